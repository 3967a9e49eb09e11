"""The set-up scripts: which libraries are missing, what they are called, what is pinned."""

from __future__ import annotations

from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[2]
LDD = """\
/env/open3d/pybind.so:
\tlinux-vdso.so.1 (0x00007ffd)
\tlibGL.so.1 => not found
\tlibgomp.so.1 => not found
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
/env/open3d/torch_ops.so:
\tlibtorch_cuda.so => not found
\tlibusb-1.0.so.0 => not found
/env/rclpy/fine.so:
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
"""


@pytest.fixture
def system_libraries(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'scripts')
    import system_libraries

    return system_libraries


@pytest.fixture
def setup_env(system_libraries):
    import setup_env

    return setup_env


def test_ldd_is_read_file_by_file(system_libraries):
    assert system_libraries.parse_ldd(LDD) == {
        '/env/open3d/pybind.so': {'libGL.so.1', 'libgomp.so.1'},
        '/env/open3d/torch_ops.so': {'libtorch_cuda.so', 'libusb-1.0.so.0'},
    }


# Names as Debian 12 has them.
@pytest.mark.parametrize('soname, package', [
    ('libGL.so.1', 'libgl1'),
    ('libgomp.so.1', 'libgomp1'),
    ('libusb-1.0.so.0', 'libusb-1.0-0'),
    ('libX11.so.6', 'libx11-6'),
    ('libEGL.so.1', 'libegl1'),
    ('libc++.so.1', 'libc++1'),
    ('libstdc++.so.6', 'libstdc++6'),
    ('libz.so.1', 'zlib1g'),
    ('libglib-2.0.so.0', 'libglib2.0-0'),
    ('libtorch_cuda.so', None),
])
def test_debian_names_follow_the_soname(system_libraries, soname, package):
    assert system_libraries.debian_name(soname) == package


def test_only_what_can_load_afterwards_is_installed(system_libraries, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(system_libraries, 'missing_sonames',
                        lambda folder: system_libraries.parse_ldd(LDD))
    monkeypatch.setattr(system_libraries, 'known_package', system_libraries.debian_name)
    monkeypatch.setattr(system_libraries, 'refresh_empty_lists', lambda say: None)
    monkeypatch.setattr(system_libraries, 'apt_install',
                        lambda packages, error, say: asked.extend(packages))
    system_libraries.provide(tmp_path, ValueError, print)
    # torch_ops lacks libtorch_cuda, which no package brings: its libusb would help nobody.
    assert asked == ['libgl1', 'libgomp1']


def test_without_rights_the_command_is_told(system_libraries, monkeypatch):
    monkeypatch.setattr(system_libraries, 'root_prefix', lambda: None)
    with pytest.raises(ValueError, match='sudo apt-get install libgl1 libgomp1; then make again'):
        system_libraries.apt_install(['libgl1', 'libgomp1'], ValueError, print)


def test_an_unknown_profile_is_refused_with_the_known_ones(setup_env, capsys):
    assert setup_env.main(['tset']) == 2
    assert 'demo|test|compat' in capsys.readouterr().err


def test_where_no_python_fits_only_the_second_environment_is_left_out(
        setup_env, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, 'can_run', lambda python, code: False)
    assert setup_env.main(['compat']) == 0
    assert '.venv-compat left out' in capsys.readouterr().out
    assert setup_env.main(['demo']) == 1
    assert 'make PYTHON=' in capsys.readouterr().err


def canonical(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def required(file: str) -> set[str]:
    lines = [line.split('#')[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return {canonical(re.match(r'[\w.-]+', line)[0]) for line in lines if line}


def pinned(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    pairs = [line.split('==') for line in lines if line and not line.startswith('#')]
    return {canonical(name): version for name, version in pairs}


def test_everything_that_is_required_is_pinned(setup_env):
    for profile in setup_env.PROFILES.values():
        parts = [*profile.requirements, *(['ros'] if profile.ros else [])]
        for part in parts:
            assert required(f'requirements-{part}.txt') <= set(pinned(profile.constraints))


def test_the_demo_needs_no_torch_and_nothing_needs_torchvision(setup_env):
    demo = {name for part in (*setup_env.PROFILES['demo'].requirements, 'ros')
            for name in required(f'requirements-{part}.txt')}
    assert not demo & {'torch', 'lightning'}
    assert 'torchvision' not in pinned('constraints.txt')


def test_the_second_environment_has_numpy_1_and_opencv_4():
    pins = pinned('constraints-compat.txt')
    assert pins['numpy'].startswith('1.26.')
    assert pins['opencv-python-headless'].startswith('4.')
    assert pinned('constraints.txt')['numpy'].startswith('2.')
    assert pinned('constraints.txt')['opencv-python-headless'].startswith('5.')


def test_setuptools_is_one_with_which_colcon_can_symlink():
    assert int(pinned('constraints.txt')['setuptools'].split('.')[0]) < 80
