"""``depth-perception view``: what running nodes publish, in a browser on this machine.

For robots without a screen: ``ssh -L 8080:127.0.0.1:8080 robot`` brings the page to the desk.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import math
import time
from typing import Any

import cv2
import numpy as np

HOST = '127.0.0.1'      # whoever reaches the page sees what the robot sees
PORT = 8080
RATE_HZ = 5.0
MAX_POINTS = 60_000     # of a cloud: 1 MB a message is what a browser follows with ease
POINT_SIZE_M = 0.01
WAIT_S = 60.0
PICTURES = {'depth/image_colored': 'Depth', 'stereo/anaglyph': 'Anaglyph, red-cyan',
            'stereo/side_by_side': 'Side by side'}
CLOUD = 'points'
PICTURE_WIDTH = 640


class ViewError(RuntimeError):
    """There is nothing to view; the message gives the way out."""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        'view', help='running nodes in a browser: cloud, depth, anaglyph, side by side')
    parser.add_argument('--node', default='', help='full name such as /depth_node; left out: the '
                        'only one that publishes any of it')
    parser.add_argument('--port', type=int, default=PORT, help='default: %(default)s')
    parser.add_argument('--rate', type=float, default=RATE_HZ,
                        help='updates a second (default: %(default)s)')
    parser.add_argument('--seconds', type=float, default=0.0, help='stop after so long')
    parser.set_defaults(run=run)


def run(node: str, port: int, rate: float, seconds: float) -> int:
    """Show a node until Ctrl-C.

    Raises
    ------
    ViewError
        If viser is missing, the port is taken, or nothing is published.
    """
    import rclpy

    page = Page(port)
    rclpy.init()
    watcher = rclpy.create_node('depth_perception_view')
    end = time.monotonic() + (seconds or float('inf'))
    try:
        name = node or find_node(watcher, WAIT_S)
        print(f'showing {name} on http://{HOST}:{port} (Ctrl-C ends it)', flush=True)
        show(watcher, name, page, rate, lambda: time.monotonic() > end)
    except KeyboardInterrupt:
        pass
    finally:
        watcher.destroy_node()
        rclpy.try_shutdown()
        page.close()
    return 0


def find_node(watcher: Any, wait_s: float) -> str:
    """The full name of the node that publishes any of the topics.

    Raises
    ------
    ViewError
        If there is none for `wait_s` seconds, or there are several.
    """
    endings = tuple(f'/{each}' for each in (*PICTURES, CLOUD))
    end = time.monotonic() + wait_s
    found: set[str] = set()
    while time.monotonic() < end:
        found = {topic.removesuffix(ending) for topic, _ in watcher.get_topic_names_and_types()
                 for ending in endings if topic.endswith(ending)}
        if found:
            break
        time.sleep(0.2)
    if len(found) != 1:
        names = ', '.join(sorted(found))
        raise ViewError(f'several nodes can be viewed: {names}; choose one with --node' if found
                        else f'nothing to view appeared within {wait_s:g} s; start a node, for '
                        'instance: ros2 launch depth_perception depth.launch.py')
    return found.pop()


def show(watcher: Any, name: str, page: Page, rate: float, done: Callable[[], bool]) -> None:
    """Bring the newest message of each topic to the page, `rate` times a second."""
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image, PointCloud2

    newest: dict[str, Any] = {}

    def keep(part: str) -> Callable[[Any], None]:
        return lambda message: newest.__setitem__(part, message)

    for part in (*PICTURES, CLOUD):
        kind = PointCloud2 if part == CLOUD else Image
        watcher.create_subscription(kind, f'{name}/{part}', keep(part), qos_profile_sensor_data)
    executor = SingleThreadedExecutor(context=watcher.context)
    executor.add_node(watcher)
    due = time.monotonic()
    try:
        while not done():
            executor.spin_once(timeout_sec=max(0.0, min(0.2, due - time.monotonic())))
            if time.monotonic() >= due:
                due = time.monotonic() + 1.0 / rate
                _bring(newest, page)
    finally:
        executor.shutdown()


def _bring(newest: dict[str, Any], page: Page) -> None:
    from depth_perception.nodes._messages import MessageError, to_rgb

    while newest:
        part, message = newest.popitem()
        if part == CLOUD:
            page.show_cloud(*points_of(message))
            continue
        try:
            picture, order = to_rgb(message)
        except MessageError as error:
            page.say(f'{part}: {error}')
            continue
        page.show_picture(part, picture if order == 'rgb' else picture[..., ::-1])


def points_of(cloud: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) float32 in metres and colours (N, 3) uint8 of our clouds, at most MAX_POINTS.

    Our layout: x, y, z and packed rgb as float32, see nodes._messages.CloudWriter.
    """
    values = np.frombuffer(cloud.data, np.float32).reshape(cloud.height, cloud.width, -1)
    surplus = cloud.height * cloud.width / MAX_POINTS
    if surplus > 1.0:       # of an organised cloud every n-th column of every n-th row
        step = math.ceil(surplus if cloud.height == 1 else math.sqrt(surplus))
        values = values[::step, ::step]
    values = values[np.isfinite(values[..., 2])]
    colours = np.ascontiguousarray(values[:, 3]).view(np.uint8).reshape(-1, 4)[:, 2::-1]
    return np.ascontiguousarray(values[:, :3]), np.ascontiguousarray(colours)


class Page:
    """The page: a cloud to walk around in, and pictures beside it.

    Raises
    ------
    ViewError
        If viser is not installed, or the port is taken.
    """

    def __init__(self, port: int) -> None:
        try:
            import viser
        except ImportError as error:
            raise ViewError(f'the view needs viser ({error}): pip install viser') from None
        _check_free(port)
        self._server = viser.ViserServer(HOST, port, label='depth_perception', verbose=False)
        self._server.gui.configure_theme(control_layout='fixed', control_width='large',
                                         dark_mode=True, show_logo=False, show_share_button=False)
        # optical frame: x right, y down, z forward
        self._server.scene.set_up_direction('-y')
        self._server.on_client_connect(_look_ahead)
        self._status = self._server.gui.add_markdown('waiting for the first message …')
        self._pictures: dict[str, Any] = {}

    def show_picture(self, part: str, picture: np.ndarray) -> None:
        """Show a picture (H, W, 3) uint8 RGB under the name that `part` has in PICTURES."""
        height, width = picture.shape[:2]
        if width > PICTURE_WIDTH:
            picture = cv2.resize(picture, (PICTURE_WIDTH, max(1, height * PICTURE_WIDTH // width)),
                                 interpolation=cv2.INTER_AREA)
        picture = np.ascontiguousarray(picture)
        if part in self._pictures:
            self._pictures[part].image = picture
        else:
            order = float(list(PICTURES).index(part))
            self._pictures[part] = self._server.gui.add_image(picture, PICTURES[part], order=order)
        self.say('')

    def show_cloud(self, points: np.ndarray, colours: np.ndarray) -> None:
        """Show points (N, 3) in metres with colours (N, 3) uint8 RGB."""
        self._server.scene.add_point_cloud('/cloud', points, colours, point_size=POINT_SIZE_M,
                                           point_shape='rounded')
        self.say('')

    def say(self, text: str) -> None:
        """Show one line above the pictures."""
        if self._status.content != text:
            self._status.content = text

    def close(self) -> None:
        """Close the page."""
        self._server.stop()


def _check_free(port: int) -> None:
    """Refuse a port in use: viser itself would take another port and say nothing."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ViewError(f'port {port} is taken ({error}); choose another with --port'
                            ) from None


def _look_ahead(client: Any) -> None:
    """Begin a little behind the camera, looking where it looks."""
    client.camera.position = (0.0, -0.2, -0.4)
    client.camera.look_at = (0.0, 0.0, 2.0)
    client.camera.up_direction = (0.0, -1.0, 0.0)
