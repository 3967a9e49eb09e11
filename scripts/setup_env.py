#!/usr/bin/env python3
"""Create the environments of the Makefile: ``setup_env.py demo|test|compat``.

Needs nothing but a Python with its standard library. Pinned wheels go into ``.venv``
(``.venv-compat`` for the second set of the tests); the system libraries that they lack are found
by ldd over the environment and installed by apt-get where that is allowed, else the command is
printed. Where a ROS 2 is sourced, its rclpy, NumPy and OpenCV are used and none is installed.
"""
from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import shlex
import shutil
import subprocess
import sys
import time

import system_libraries

ROOT = Path(__file__).resolve().parent.parent


class SetupError(RuntimeError):
    """Set-up cannot go on; the message says what the person can do."""


@dataclass(frozen=True)
class Profile:
    """One environment: where it lies, what goes in, what must then import."""

    folder: str
    requirements: tuple[str, ...]
    constraints: str
    pythons: tuple[int, ...]  # minor versions of Python 3, best first
    imports: tuple[str, ...]
    ros: bool = True
    optional: bool = False  # left out, with a word about it, where no Python fits


_DEMO = Profile(
    '.venv', ('robot', 'demo'), 'constraints.txt', (11, 12, 13),
    ('numpy', 'cv2', 'yaml', 'onnx', 'onnxruntime', 'open3d', 'rosbags.rosbag2', 'rclpy',
     'sensor_msgs.msg', 'stereo_msgs.msg', 'diagnostic_msgs.msg'))
PROFILES = {
    'demo': _DEMO,
    'test': Profile(_DEMO.folder, (*_DEMO.requirements, 'training', 'view', 'test'),
                    _DEMO.constraints, _DEMO.pythons,
                    (*_DEMO.imports, 'torch', 'pytest', 'colcon_core')),
    'compat': Profile('.venv-compat', ('compat',), 'constraints-compat.txt', (10, 11, 12),
                      ('numpy', 'cv2', 'onnx', 'onnxruntime', 'open3d', 'pytest'), ros=False,
                      optional=True),
}


def main(argv=None) -> int:
    """Set up the profiles named on the command line."""
    names = sys.argv[1:] if argv is None else argv
    unknown = sorted(set(names) - set(PROFILES))
    if unknown or not names:
        print(f'usage: setup_env.py {"|".join(PROFILES)} (got: {" ".join(names)})',
              file=sys.stderr)
        return 2
    try:
        for name in names:
            set_up(name)
    except SetupError as error:
        print(f'set-up: {error}', file=sys.stderr)
        return 1
    return 0


def set_up(name: str) -> None:
    """Make one environment complete and leave its stamp."""
    profile, start = PROFILES[name], time.monotonic()
    with_ros = profile.ros and ros_is_sourced()
    python = find_python(profile, with_ros)
    if python is None:
        return
    say(f'{profile.folder} for {name}: {python}' + (', ROS as sourced' if with_ros else ''))
    folder = ROOT / profile.folder
    make_venv(python, folder, with_ros)
    install(profile, folder, with_ros)
    system_libraries.provide(folder, SetupError, say)
    check_imports(profile, folder)
    (folder / f'.stamp-{name}').touch()
    say(f'{profile.folder} for {name}: ready in {time.monotonic() - start:.0f} s')


def say(text: str) -> None:
    """Tell the person what goes on."""
    print(f'set-up: {text}', flush=True)


def ros_is_sourced() -> bool:
    """Whether python3 sees the rclpy of a sourced ROS 2."""
    return 'ROS_DISTRO' in os.environ and can_run('python3', 'import rclpy')


def can_run(python: str, code: str) -> bool:
    """Whether an interpreter exists and runs a line of code."""
    try:
        return subprocess.run([python, '-c', code], capture_output=True).returncode == 0
    except OSError:
        return False


def find_python(profile: Profile, with_ros: bool) -> str | None:
    """Return the interpreter to build on: ROS's own, $PYTHON, python3, or the best of the rest.

    None where an optional environment finds none.
    """
    if with_ros:
        return 'python3'  # rclpy is compiled for this one alone
    versions = ', '.join(f'(3, {minor})' for minor in profile.pythons)
    check = f'import sys; assert sys.version_info[:2] in [{versions}]'
    for candidate in python_candidates(profile):
        if can_run(candidate, check):
            return candidate
    minors = ', '.join(f'3.{minor}' for minor in profile.pythons)
    if profile.optional:
        say(f'{profile.folder} left out: its oldest libraries need Python {minors}')
        return None
    raise SetupError(f'no Python {minors} found; install one (apt-get install python3) or name '
                     'it: make PYTHON=/path/to/python3 …')


def python_candidates(profile: Profile) -> list[str]:
    """List interpreters in the order in which they are tried."""
    named = [f'python3.{minor}' for minor in profile.pythons]
    home = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv')) / 'versions'
    pyenv = [str(path) for name in named for path in sorted(home.glob(f'{name[6:]}.*/bin/{name}'))]
    current = [os.environ.get('PYTHON', 'python3'), 'python3']
    # The compat environment wants the oldest, the others what the person uses every day.
    return [*current, *named, *pyenv] if profile.ros else [*named[:1], *pyenv, *named, *current]


def make_venv(python: str, folder: Path, with_ros: bool) -> None:
    """Create the virtual environment, unless it is there, works and sees ROS if it should."""
    config = folder / 'pyvenv.cfg'
    sees_system = config.exists() and 'system-site-packages = true' in config.read_text()
    if sees_system == with_ros and can_run(str(folder / 'bin' / 'python'), 'import pip'):
        return
    if not can_run(python, 'import venv, ensurepip'):
        package = version_of(python) + '-venv'
        system_libraries.apt_install([package], SetupError, say)
    shutil.rmtree(folder, ignore_errors=True)
    run([python, '-m', 'venv', *(['--system-site-packages'] if with_ros else []), str(folder)])


def version_of(python: str) -> str:
    """Return for example ``python3.11``: the stem of Debian's package names."""
    code = 'import sys; print("python%d.%d" % sys.version_info[:2])'
    return subprocess.run([python, '-c', code], capture_output=True, text=True,
                          check=True).stdout.strip()


def install(profile: Profile, folder: Path, with_ros: bool) -> None:
    """Install the pinned requirements."""
    files = [f'requirements-{part}.txt' for part in profile.requirements]
    if with_ros:
        # ROS's compiled parts decide about NumPy: a newer major under them crashes cv_bridge.
        limit = folder / 'ros-constraints.txt'
        limit.write_text('numpy<2\n' if can_run('python3', NUMPY_1) else '')
        constraints = str(limit)
    else:
        constraints = profile.constraints
        files += ['requirements-ros.txt'] if profile.ros else []
    arguments = [part for file in files for part in ('-r', file)]
    run([str(folder / 'bin' / 'python'), '-m', 'pip', 'install', '-qq', '--progress-bar',
         'off', '--disable-pip-version-check', '--prefer-binary', '-c', constraints, *arguments])


NUMPY_1 = 'import numpy; assert numpy.__version__.startswith("1.")'


def check_imports(profile: Profile, folder: Path) -> None:
    """Import what the profile promises; the person sees the first thing that fails."""
    code = f'import {", ".join(profile.imports)}'
    done = subprocess.run([str(folder / 'bin' / 'python'), '-c', code], capture_output=True,
                          text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]
        raise SetupError(f'{profile.folder} is not complete: {reason}. If a system library is '
                         'named, install its package; else remove the folder and try again')


def run(command: list[str]) -> None:
    """Run one command in the repository root; its failure ends the set-up."""
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode:
        raise SetupError(f'exit code {done.returncode} from: {shlex.join(command)}')


if __name__ == '__main__':
    sys.exit(main())
