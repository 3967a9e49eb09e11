"""config/sros2 against the live graph: every name that a node uses, and none that it does not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import contextlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).resolve().parents[2] / 'config' / 'sros2'
CAMERA = {'width': 96, 'height': 72, 'rate_hz': 5.0, 'seed': 4}
LENS = {'lens.focal_length': 0.025, 'lens.f_number': 2.8}
# Nodes in the states in which they use what they can use: (node, parameters); each the first time
# in a run of its own, the rest when those are up.
RUNS = (
    ('camera_node', CAMERA),
    ('focus_camera_node', {**CAMERA, 'sweep.slices': 3, 'lens.settle_time': 0.0}),
    ('depth_node', {'model': {'confidence': 0.5}, 'range.source': 'depth_image'}),
    ('focus_depth_node', {**LENS, 'model': {'frames': 3, 'blur_scale_range': (0.3, 1.0)}}),
    ('multi_depth_node', {'model': {'confidence': 0.5}, 'range.source': 'depth_image'}),
    ('point_cloud_node', {'use_sim_time': True}),
    ('stereo_view_node', {}),
    ('depth_node', {'model': {'kind': 'relative'}, 'image_transport': 'compressed'}),
)
NODES = sorted({node for node, _ in RUNS})
# What a policy allows although not every run here shows it, and which do.
ELSEWHERE = {
    ('subscribe', '/clock'),                    # with use_sim_time
    ('subscribe', 'image/compressed'),          # with image_transport: compressed
    ('reply', '~/get_type_description'),        # since ROS Jazzy
    ('subscribe', '/tf_static'),                # where tf2_msgs is installed
}
ELSEWHERE_OF = {
    'focus_depth_node': {('publish', '~/confidence')},      # of a model that has it
    'multi_depth_node': {(right, name) for camera in ('front', 'rear') for right, name in (
        ('subscribe', f'{camera}/image/compressed'),        # as of the depth node: the same code
        ('publish', f'~/{camera}/relative_depth/image'))},
}

SHOWN = {'depth_node': {('subscribe', 'image/compressed')},
         'point_cloud_node': {('subscribe', '/clock')}}


def unseen(node: str) -> set[tuple[str, str]]:
    """What a policy allows that no run of the node shows."""
    return (ELSEWHERE | ELSEWHERE_OF.get(node, set())) - SHOWN.get(node, set())


def allowed(node: str) -> set[tuple[str, str]]:
    """Rights and names of a policy, such as ('publish', '~/points')."""
    root = ElementTree.parse(FOLDER / f'{node}.policy.xml').getroot()
    return {(right, entry.text) for group in root.iter() for right in group.attrib
            if right in ('publish', 'subscribe', 'reply', 'request') for entry in group}


def used(graph, node: str, namespace: str) -> set[tuple[str, str]]:
    """What the graph says that a node uses, with names as a policy has them."""
    questions = {'publish': graph.probe.get_publisher_names_and_types_by_node,
                 'subscribe': graph.probe.get_subscriber_names_and_types_by_node,
                 'reply': graph.probe.get_service_names_and_types_by_node,
                 'request': graph.probe.get_client_names_and_types_by_node}
    return {(right, relative(name, node, namespace)) for right, ask in questions.items()
            for name, _ in ask(node, namespace)}


def relative(name: str, node: str, namespace: str) -> str:
    for prefix, short in ((f'{namespace}/{node}/', '~/'), (f'{namespace}/', '')):
        if name.startswith(prefix):
            return short + name[len(prefix):]
    return name


@pytest.fixture(scope='module')
def seen(graph, make_model) -> dict[str, set[tuple[str, str]]]:
    """What each node uses, over all of its runs."""
    def start(run: tuple[int, tuple[str, dict]]) -> tuple[str, str]:
        number, (node, given) = run
        parameters = dict(given)
        if 'model' in given:
            parameters['model'] = str(models[number])
        graph.spawn(node, parameters, namespace=f'/run{number}')
        return node, f'/run{number}'

    models = {number: make_model(**given['model']) for number, (_, given) in enumerate(RUNS)
              if 'model' in given}
    runs = list(enumerate(RUNS))
    with ThreadPoolExecutor(len(NODES)) as pool:
        places = list(pool.map(start, runs[:len(NODES)]))
    places += map(start, runs[len(NODES):])

    def discovered() -> bool:
        # a service may be found before its node is
        known = set(graph.probe.get_node_names_and_namespaces())
        return set(places) <= known

    graph.wait_for(discovered, what='all nodes')

    def union(name: str) -> set[tuple[str, str]]:
        return set().union(*(used(graph, node, space) for node, space in places if node == name))

    def complete(name: str) -> bool:
        return union(name) >= allowed(name) - unseen(name)

    # The graph comes together by and by; the tests say what is missing after that time.
    with contextlib.suppress(pytest.fail.Exception):
        graph.wait_for(lambda: all(complete(name) for name in NODES), 5.0)
    return {name: union(name) for name in NODES}


def test_each_policy_is_tried():
    assert sorted(path.name.split('.')[0] for path in FOLDER.glob('*.xml')) == NODES


@pytest.mark.parametrize('node', NODES)
def test_a_node_uses_nothing_that_its_policy_does_not_allow(seen, node):
    assert seen[node] - allowed(node) == set()


@pytest.mark.parametrize('node', NODES)
def test_a_policy_allows_nothing_that_its_node_does_not_use(seen, node):
    assert allowed(node) - seen[node] - unseen(node) == set()
