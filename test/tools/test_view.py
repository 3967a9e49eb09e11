"""The browser view: real nodes, a real browser, and what the page shows."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
from pathlib import Path
import shutil
import socket
import subprocess
import sys
import time
from types import SimpleNamespace
import urllib.request

import cv2
import numpy as np
import pytest

from depth_perception.tools import cli, view
from depth_perception.tools.processes import NodeProcess, graph_environment

pytest.importorskip('viser')
ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))),
                None)
START_S = 30.0


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind((view.HOST, 0))
        return probe.getsockname()[1]


class Browser:
    """One page, drawn by the processor."""

    def __init__(self, url: str, profile: Path) -> None:
        self._log = (profile / 'log').open('w')
        self._process = subprocess.Popen(
            [CHROMIUM, '--headless=new', '--no-sandbox', '--disable-dev-shm-usage',
             '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist',
             '--window-size=1280,900', '--remote-debugging-port=0',
             f'--user-data-dir={profile}', url], stdout=self._log, stderr=self._log)
        port_file = profile / 'DevToolsActivePort'
        end = time.monotonic() + START_S
        while not port_file.exists() or '\n' not in port_file.read_text():
            assert time.monotonic() < end, 'Chromium did not start'
            time.sleep(0.1)
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/json') as answer:
            pages = [page for page in json.load(answer) if page['type'] == 'page']
        from websockets.sync.client import connect  # comes with viser

        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(
            connect(pages[0]['webSocketDebuggerUrl'], max_size=None))
        self._numbers = itertools.count(1)

    def evaluate(self, script: str) -> object:
        answer = self._call('Runtime.evaluate', expression=script, returnByValue=True)
        return answer['result'].get('value')

    def screenshot(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        data = base64.b64decode(self._call('Page.captureScreenshot', format='png')['data'])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def close(self) -> None:
        self._open.close()
        self._process.terminate()
        self._process.wait(15)
        self._log.close()

    def _call(self, method: str, **parameters: object) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({'id': number, 'method': method, 'params': parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get('id') == number:
                assert 'error' not in answer, answer
                return answer['result']


def cloud_message(points, colours, height=1):
    """As nodes._messages.CloudWriter lays a cloud out."""
    values = np.zeros((len(points), 4), np.float32)
    values[:, :3] = points
    values[:, 3:].view(np.uint8)[:, 2::-1] = colours
    return SimpleNamespace(data=values.tobytes(), point_step=16, height=height,
                           width=len(points) // height)


def test_points_come_with_their_colours_and_without_those_that_have_no_depth():
    points = [[1, 2, 3], [np.nan] * 3, [4, 5, 6]]
    colours = [[10, 20, 30], [0, 0, 0], [250, 128, 7]]
    got_points, got_colours = view.points_of(cloud_message(points, colours))
    assert got_points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert got_colours.tolist() == [[10, 20, 30], [250, 128, 7]]


@pytest.mark.parametrize('height', [1, 480])
def test_a_large_cloud_is_thinned_evenly(height):
    count = 640 * 480
    points = np.ones((count, 3), np.float32) * np.arange(count)[:, None]
    shown = view.points_of(cloud_message(points, np.zeros((count, 3), np.uint8), height))[0]
    assert view.MAX_POINTS / 2 < len(shown) <= view.MAX_POINTS
    assert shown[0, 0] == 0 and shown[-1, 0] > 0.99 * count


def test_a_cloud_without_any_point_is_nothing_to_show():
    points, colours = view.points_of(cloud_message([[np.nan] * 3] * 4, np.zeros((4, 3))))
    assert points.shape == colours.shape == (0, 3)


def test_a_taken_port_is_an_error_with_the_way_out(port, capsys):
    with socket.socket() as taken:
        taken.bind((view.HOST, port))
        taken.listen()
        assert cli.main(['view', '--port', str(port)]) == 1
    assert f'port {port} is taken' in capsys.readouterr().err


class Topics:
    """A graph that has these topics."""

    def __init__(self, *names):
        self._names = names

    def get_topic_names_and_types(self):
        return [(name, []) for name in self._names]


def test_the_only_node_that_can_be_viewed_is_found_by_its_topics():
    graph = Topics('/tf', '/robot/depth_node/stereo/anaglyph', '/robot/depth_node/points',
                   '/robot/depth_node/depth/image_colored', '/rosout')
    assert view.find_node(graph, 1.0) == '/robot/depth_node'


def test_several_nodes_or_none_end_with_the_way_out():
    with pytest.raises(view.ViewError, match='/a, /b; choose one with --node'):
        view.find_node(Topics('/a/points', '/b/points'), 1.0)
    with pytest.raises(view.ViewError, match='nothing to view appeared within 0.3 s; start'):
        view.find_node(Topics('/tf'), 0.3)


@pytest.fixture(scope='module')
def nodes(isolated_graph, make_model, tmp_path_factory):
    """A camera that shows one picture, and the depth node on it; dark is near."""
    picture = np.full((240, 320, 3), 200, np.uint8)
    picture[60:180, 100:220] = (60, 40, 20)
    noise = np.random.default_rng(0).integers(0, 50, picture.shape, np.uint8)
    file = tmp_path_factory.mktemp('picture') / 'picture.png'
    cv2.imwrite(str(file), cv2.add(picture, noise))
    model = make_model(depth=1.0, brightness=2.0)
    camera = {'source': str(file), 'loop': True, 'rate_hz': 5.0, 'hfov_deg': 60.0}
    with NodeProcess('camera_node', 'seen', camera) as one, \
            NodeProcess('depth_node', 'seen', {'model': str(model)}) as two:
        yield one, two


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium: apt-get install chromium')
def test_the_page_shows_the_cloud_and_all_pictures_of_running_nodes(nodes, port, tmp_path):
    command = [sys.executable, '-m', 'depth_perception.tools.cli', 'view', '--port', str(port)]
    viewer = subprocess.Popen(command, cwd=ROOT, env=graph_environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        shown = wait_for_line(viewer, 'showing')
        assert f'showing /seen/depth_node on http://127.0.0.1:{port}' in shown
        browser = Browser(f'http://127.0.0.1:{port}', tmp_path)
        try:
            labels = wait_for_pictures(browser)
            picture = wait_for_cloud(browser)
        finally:
            browser.close()
    finally:
        viewer.terminate()
        viewer.wait(15)
    cv2.imwrite(str(tmp_path / 'page.png'), picture)
    assert all(text in labels for text in view.PICTURES.values())
    for node in nodes:
        node.check_alive()


def wait_for_line(process, part):
    for line in process.stdout:
        if part in line:
            return line
    pytest.fail(f'the viewer ended with {process.wait()}')


def wait_for_pictures(browser):
    """The page's text, once all pictures are loaded."""
    end = time.monotonic() + 60.0
    loaded = '[...document.images].filter(each => each.naturalWidth > 100).length'
    while (count := browser.evaluate(loaded)) != len(view.PICTURES):
        assert time.monotonic() < end, f'{count} pictures'
        time.sleep(0.3)
    return browser.evaluate('document.body.innerText')


def wait_for_cloud(browser):
    """A picture of the page, once more than its dark ground is drawn beside the panel."""
    end = time.monotonic() + 60.0
    while True:
        picture = browser.screenshot()
        scene = picture[:, :picture.shape[1] * 6 // 10].astype(int)
        bright, brown = (scene.min(axis=2) > 150), (scene[..., 2] > 1.5 * scene[..., 0] + 10)
        if bright.mean() > 0.05 or brown.mean() > 0.02:
            return picture
        assert time.monotonic() < end, 'no cloud is drawn'
        time.sleep(0.5)
