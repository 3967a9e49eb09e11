"""The arrows of the architecture: who may import what, and what must not need a newer ROS."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import re
import sys

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'depth_perception'

# Root modules are pure by rule: arrays in, arrays out.
PURE = {'numpy', 'cv2', 'yaml', 'open3d'}
# google is protobuf: the error that onnx raises on a file that is none. The kernel is imported by
# stereo.py alone, behind a guard.
PURE_ALSO = {'model_spec.py': {'onnx', 'google'}, 'stereo_kernel.py': {'numba'}}
LAYERS = {'inference', 'nodes', 'tools'}
ROS = re.compile(r'(rclpy|rosidl_\w+|cv_bridge|sensor_msgs_py|builtin_interfaces|\w+_(msgs|srvs)|'
                 r'rcl_interfaces|launch(_ros)?)$')
TORCH = {'torch', 'lightning', 'pytorch_lightning', 'torchvision', 'timm', 'training'}

# Names of rclpy that Humble does not have, with the release that brought them.
NEWER_THAN_HUMBLE = {
    'rclpy.event_handler': 'Iron', 'rclpy.parameter_event_handler': 'Iron',
    'rclpy.service_introspection': 'Iron', 'rclpy.clock_type': 'Iron',
    'rclpy.type_description_service': 'Jazzy', 'rclpy.type_hash': 'Iron',
    'rclpy.experimental': 'Kilted', 'rclpy.event_loop': 'Kilted',
    'add_post_set_parameters_callback': 'Iron', 'add_pre_set_parameters_callback': 'Iron',
    'count_clients': 'Iron', 'count_services': 'Iron', 'wait_for_node': 'Jazzy',
    'get_logging_directory': 'Iron', 'get_publisher_count': 'Kilted',
    'configure_introspection': 'Iron', 'EventsExecutor': 'Kilted', 'InitContextManager': 'Kilted',
}
GUARDS = {'ImportError', 'ModuleNotFoundError', 'AttributeError'}


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob('*.py'))


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def imports(tree: ast.AST, package: str = '') -> Iterator[str]:
    """Every imported name, dotted, at any depth of the code; `package` is the file's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split('.')[:len(package.split('.')) - node.level + 1]
            origin = [*(above if node.level else []), *([node.module] if node.module else [])]
            # "from depth_perception import geometry" imports depth_perception.geometry.
            yield from ('.'.join([*origin, alias.name]) for alias in node.names)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'), filename=str(path))


def imports_of(path: Path) -> list[str]:
    return list(imports(parse(path), '.'.join(path.relative_to(ROOT).parent.parts)))


def tops(path: Path) -> set[str]:
    return {name.split('.')[0] for name in imports_of(path)}


def layers(path: Path) -> set[str]:
    """The folders of depth_perception that a file imports."""
    parts = (name.split('.') for name in imports_of(path))
    return {part[1] for part in parts if part[0] == 'depth_perception' and part[1] in LAYERS}


ROOT_MODULES = sorted(PACKAGE.glob('*.py'))
ALL_MODULES = files('depth_perception')
TRAINING = files('training')


@pytest.mark.parametrize('path', ROOT_MODULES, ids=names(ROOT_MODULES))
def test_a_root_module_is_pure(path):
    allowed = PURE | PURE_ALSO.get(path.name, set()) | {'depth_perception'}
    assert tops(path) - set(sys.stdlib_module_names) <= allowed
    assert layers(path) == set()


@pytest.mark.parametrize('path', files('depth_perception/inference'),
                         ids=names(files('depth_perception/inference')))
def test_inference_knows_neither_ros_nor_the_nodes(path):
    assert not [name for name in tops(path) if ROS.match(name)]
    assert layers(path) <= {'inference'}


@pytest.mark.parametrize('path', files('depth_perception/nodes'),
                         ids=names(files('depth_perception/nodes')))
def test_nodes_know_no_tools(path):
    assert layers(path) <= {'inference', 'nodes'}


@pytest.mark.parametrize('path', ALL_MODULES, ids=names(ALL_MODULES))
def test_nothing_installed_on_a_robot_imports_torch_or_training(path):
    assert tops(path) & TORCH == set()


@pytest.mark.parametrize('path', TRAINING, ids=names(TRAINING))
def test_training_never_imports_ros(path):
    assert not [name for name in tops(path) if ROS.match(name)]
    assert layers(path) <= {'inference'}  # the exported file is checked with the robot's engine


def is_guard(node: ast.AST) -> bool:
    """Whether code below this node runs only where the name exists."""
    if isinstance(node, ast.Try):
        caught = {part.id for handler in node.handlers if handler.type
                  for part in ast.walk(handler.type) if isinstance(part, ast.Name)}
        return bool(caught & GUARDS)
    return isinstance(node, (ast.If, ast.IfExp)) and any(
        isinstance(part, ast.Name) and part.id == 'hasattr' for part in ast.walk(node.test))


def used_names(node: ast.AST) -> set[str]:
    """The names of the table that this one node uses."""
    if isinstance(node, ast.Attribute):
        used = {node.attr}
    elif isinstance(node, ast.Name):
        used = {node.id}
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        found = set(imports(node))
        used = {alias.name for alias in node.names}
        used |= {known for known in NEWER_THAN_HUMBLE for name in found
                 if name == known or name.startswith(known + '.')}
    else:
        return set()
    return used & set(NEWER_THAN_HUMBLE)


def unguarded(node: ast.AST) -> Iterator[str]:
    """Uses of newer names with no guard around them."""
    for child in ast.iter_child_nodes(node):
        for name in used_names(child):
            yield f'line {child.lineno}: {name} came with {NEWER_THAN_HUMBLE[name]}'
        if not is_guard(child):
            yield from unguarded(child)


@pytest.mark.parametrize('path', ALL_MODULES, ids=names(ALL_MODULES))
def test_names_newer_than_humble_are_guarded(path):
    assert list(unguarded(parse(path))) == []


@pytest.mark.parametrize('path', ALL_MODULES, ids=names(ALL_MODULES))
def test_init_is_not_used_as_a_context_manager(path):
    # "with rclpy.init()" came with Kilted; on Humble init returns None.
    managers = [item.context_expr for node in ast.walk(parse(path)) if isinstance(node, ast.With)
                for item in node.items]
    assert not [m for m in managers if ast.unparse(m).startswith(('rclpy.init(', 'init('))]


@pytest.mark.parametrize('code, found', [
    ('import rclpy.experimental', 1),
    ('from rclpy.experimental import EventsExecutor', 1),
    ('from rclpy.event_handler import PublisherEventCallbacks', 1),
    ('try:\n    from rclpy.event_handler import X\nexcept ImportError:\n    X = None', 0),
    ('node.add_post_set_parameters_callback(f)', 1),
    ('if hasattr(node, "count_clients"):\n    node.count_clients("/x")', 0),
    ('try:\n    node.count_clients("/x")\nexcept ValueError:\n    pass', 1),
])
def test_the_guard_check_sees_what_it_should(code, found):
    assert bool(list(unguarded(ast.parse(code)))) == bool(found)


def test_the_numba_kernel_is_imported_behind_a_guard_and_by_stereo_alone():
    kernel = 'depth_perception.stereo_kernel'
    users = [path for path in ALL_MODULES if kernel in imports_of(path)]
    assert users == [PACKAGE / 'stereo.py']
    guarded = [node for node in ast.walk(parse(users[0])) if is_guard(node)]
    assert any(kernel in imports(node) for node in guarded)


@pytest.mark.parametrize('code, name', [
    ('from . import geometry', 'depth_perception.nodes.geometry'),
    ('from ..geometry import Intrinsics', 'depth_perception.geometry.Intrinsics'),
    ('import torch.nn', 'torch.nn'),
])
def test_relative_imports_are_resolved(code, name):
    assert list(imports(ast.parse(code), 'depth_perception.nodes')) == [name]


def test_no_module_is_a_bag_of_odds_and_ends():
    bags = {'utils', 'util', 'common', 'helpers', 'base_node', 'misc'}
    paths = files('depth_perception', 'training')
    assert [str(p) for p in paths if p.stem.strip('_') in bags or p.parent.name in bags] == []
