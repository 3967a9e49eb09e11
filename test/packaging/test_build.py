"""What a robot builder does with the package: colcon build, --symlink-install, pip install."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path
import re
import sys
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
NODES = ('camera_node', 'depth_node', 'focus_camera_node', 'focus_depth_node', 'multi_depth_node',
         'point_cloud_node', 'stereo_view_node')
EXECUTABLES = (*NODES, 'depth-perception')
SHARED = ('launch', 'config')


def package_xml() -> ElementTree.Element:
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*')
            if path.is_file() and '__pycache__' not in path.parts}


def test_colcon_takes_the_package_for_a_ros_package(copied, shell):
    # An e-mail address that does not parse, for one, makes it plain "python" without a word.
    listing = shell([sys.executable, '-m', 'colcon', 'list'], cwd=copied.folder)
    assert re.search(r'^depth_perception\s.*\(ros\.ament_python\)$', listing, re.MULTILINE)


@pytest.mark.parametrize('name', EXECUTABLES)
def test_ros2_run_finds_each_executable(workspace, name):
    assert Path(workspace.executable(name)).is_file()


def test_the_share_folder_holds_launch_files_and_settings(workspace):
    for folder in SHARED:
        assert files_below(workspace.share / folder) == files_below(workspace.source / folder)
    assert (workspace.share / 'package.xml').is_file()
    index = workspace.install / 'share/ament_index/resource_index/packages/depth_perception'
    assert index.exists()


def test_the_installed_package_has_its_models(workspace, shell):
    code = ('from importlib.resources import files; '
            'print(*[x.name for x in files("depth_perception").joinpath("models").rglob("*.*")])')
    installed = shell([sys.executable, '-c', code], env=workspace.environment(),
                      cwd=workspace.folder)
    models = workspace.source / 'depth_perception' / 'models'
    assert sorted(installed.split()) == sorted(p.name for p in models.rglob('*.*'))


def test_the_command_line_tool_answers(workspace, shell):
    text = shell([workspace.executable('depth-perception'), '--help'], env=workspace.environment())
    assert 'demo' in text


@pytest.mark.parametrize('name', NODES)
def test_an_installed_node_joins_the_graph_and_ends_cleanly(workspace, live_graph, name):
    command = [workspace.executable(name), '--ros-args', '-p', 'autostart:=false']
    with live_graph.running(command, workspace.environment()):
        live_graph.wait_for(f'/{name}', '/diagnostics')


def test_symlink_install_runs_the_sources_in_place(symlinked, shell):
    # setuptools 80 and later fail here, or copy without a word.
    code = 'import depth_perception; print(depth_perception.__file__)'
    where = shell([sys.executable, '-c', code], env=symlinked.environment(), cwd='/')
    package = symlinked.source / 'depth_perception'
    assert Path(where.strip()).resolve() == package.resolve() / '__init__.py'
    launch_file = symlinked.share / 'launch' / 'depth.launch.py'
    assert launch_file.resolve() == (symlinked.source / 'launch/depth.launch.py').resolve()


def test_pip_install_gives_the_same_executables(sources, tmp_path, shell):
    shell([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-build-isolation',
           '--prefix', str(tmp_path), str(sources)])
    assert {path.name for path in (tmp_path / 'bin').iterdir()} == set(EXECUTABLES)
    installed = next(tmp_path.glob('lib/python3*/site-packages'))
    assert not (installed / 'training').exists()  # it would hide others' "training"
    assert (tmp_path / 'share/depth_perception/launch/depth.launch.py').is_file()
    text = shell([str(tmp_path / 'bin' / 'depth-perception'), '--help'], cwd='/',
                 env={'PYTHONPATH': str(installed)})
    assert 'demo' in text


def test_package_xml_names_every_ros_package_that_the_code_imports():
    used = set()
    for path in (ROOT / 'depth_perception').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                used |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                used.add(node.module.split('.')[0])
    ros = {name for name in used
           if re.fullmatch(r'rclpy|cv_bridge|launch\w*|sensor_msgs_py|\w+_(msgs|srvs|interfaces)|'
                           r'ament_index_python', name)}
    declared = {item.text for item in package_xml().iter('exec_depend')}
    # builtin_interfaces comes with every message package.
    assert ros - {'builtin_interfaces'} <= declared


def test_package_xml_names_what_the_recorder_looks_for():
    record = ast.parse((ROOT / 'launch' / 'record.launch.py').read_text(encoding='utf-8'))
    needed, = (ast.literal_eval(node.value) for node in record.body
               if isinstance(node, ast.Assign) and node.targets[0].id == 'NEEDED')
    assert {'ros2bag'} < set(needed) <= {x.text for x in package_xml().iter('exec_depend')}


def test_setup_py_and_package_xml_say_the_same(shell):
    fields = ('--name', '--version', '--license', '--maintainer', '--maintainer-email')
    said = shell([sys.executable, 'setup.py', '-q', *fields], cwd=ROOT).split('\n')[:5]
    root = package_xml()
    maintainer = root.find('maintainer')
    assert said == [root.findtext('name'), root.findtext('version'), root.findtext('license'),
                    maintainer.text, maintainer.get('email')]
    assert root.get('format') == '3'


def test_executables_go_where_ros2_run_looks():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    assert config['develop']['script_dir'] == '$base/lib/depth_perception'
    assert config['install']['install_scripts'] == '$base/lib/depth_perception'
