"""Other packages' launch files and programs, as ours start them: drivers, rtabmap, Nav2, bags.

An included launch file sees the arguments of the one that includes it, by name: our params_file
would replace that of a driver. Each is therefore included in a scope of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import sys
import tempfile

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext
from launch.action import Action
from launch.actions import ExecuteProcess, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
import yaml

from depth_perception.tools import launch_parts as parts
from depth_perception.tools.nav2_parameters import combined

#: Before the first message of a bag, and of each loop: so long may the two sides take to find each
#: other on a busy computer, where a lost announcement is repeated after three seconds.
DISCOVERY_S = 5.0
DRIVER = ('false', 'true also starts the driver, with large shared memory and without depth of '
          'its own; false: it runs already.')


def included(context: LaunchContext, package: str, files: str | tuple[str, ...],
             arguments: Mapping[str, str]) -> GroupAction:
    """Include a launch file of another package; it sees nothing but `arguments`.

    Parameters
    ----------
    package : str
        Where the file lies, in the folder ``launch``.
    files : str or tuple of str
        Its name, or names of which the first that exists is taken.

    Raises
    ------
    ValueError
        The package is not installed, or has none of the files.
    """
    folder = share_of(package) / 'launch'
    names = (files,) if isinstance(files, str) else files
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise ValueError(f'{folder} has no {" and no ".join(names)}: this version of {package} '
                         'is not known here; start it by itself')
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(file)), launch_arguments=dict(arguments).items())
    # The scope also forgets the transport, which matters most in a driver.
    return GroupAction([*parts.transport(context), include], scoped=True, forwarding=False)


def share_of(package: str) -> Path:
    """Return the share folder of another package.

    Raises
    ------
    ValueError
        It is not installed.
    """
    try:
        return Path(get_package_share_directory(package))
    except PackageNotFoundError:
        raise ValueError(f'package {package} is not installed: apt install '
                         f'ros-$ROS_DISTRO-{package.replace("_", "-")}, or leave out what '
                         'starts it') from None


def wants_driver(context: LaunchContext) -> bool:
    """Whether the driver shall be started.

    Raises
    ------
    ValueError
        In a namespace: the drivers' launch files differ too much in how they take one.
    """
    wanted = parts.value(context, 'driver').lower() == 'true'
    if wanted and parts.value(context, 'namespace'):
        raise ValueError('driver:=true starts the driver without a namespace, and namespace is '
                         f'{parts.value(context, "namespace")!r}: leave out one of the two')
    return wanted


def example(name: str) -> str:
    """Return the path of a file in ``config/examples``."""
    return str(parts.share() / 'config' / 'examples' / name)


def bag_player(context: LaunchContext, node: str, reliable: list[str]) -> Action:
    """Return what plays the argument `bag`, with its clock, once our node is active.

    Parameters
    ----------
    node : str
        Name of our node; a bag that starts before it loses its first frames.
    reliable : list of str
        Topics that are played reliably, however they were recorded: `process: every` takes them
        no other way.
    """
    bag, rate = parts.value(context, 'bag'), parts.value(context, 'rate')
    if not bag:
        raise ValueError('bag is empty; give the folder or file of a bag: bag:=/path/to/bag')
    play = ['ros2', 'bag', 'play', bag, '--clock', '--disable-keyboard-controls', '--rate', rate,
            '--delay', str(DISCOVERY_S), '--qos-profile-overrides-path',
            _reliable_file([parts.full_name(context, topic) for topic in reliable])]
    if parts.value(context, 'loop').lower() == 'true':
        play.append('--loop')
    wait = [sys.executable, '-m', 'depth_perception.tools.when_active',
            parts.full_name(context, node)]
    return ExecuteProcess(cmd=[*wait, *play], output='screen')


def _reliable_file(topics: list[str]) -> str:
    """Write a file for the option --qos-profile-overrides-path of ros2 bag."""
    profile = {'reliability': 'reliable', 'history': 'keep_last', 'depth': 100}
    file = Path(tempfile.mkdtemp(prefix='depth_perception_')) / 'reliable.yaml'
    file.write_text(yaml.safe_dump({topic: dict(profile) for topic in topics}))
    return str(file)


def nav2_file(robot: Path, example: Path, cloud_topic: str) -> str:
    """Write a parameter file for Nav2; see nav2_parameters.combined."""
    tree = combined(yaml.safe_load(robot.read_text()), yaml.safe_load(example.read_text()),
                    cloud_topic)
    file = Path(tempfile.mkdtemp(prefix='depth_perception_')) / robot.name
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return str(file)
