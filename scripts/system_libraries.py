"""Find the system libraries that an environment's extension modules lack, and get them by apt."""
from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import re
import shlex
import shutil
import subprocess

# Debian names a library package after the soname (policy 8.1); these are named after their source.
NAMED_AFTER_SOURCE = {
    'libz.so.1': 'zlib1g', 'libcrypto.so.3': 'libssl3', 'libssl.so.3': 'libssl3',
    'libglib-2.0.so.0': 'libglib2.0-0', 'libgthread-2.0.so.0': 'libglib2.0-0',
    'libgobject-2.0.so.0': 'libglib2.0-0', 'libgio-2.0.so.0': 'libglib2.0-0',
    'libxml2.so.2': 'libxml2', 'libGLdispatch.so.0': 'libglvnd0',
}
# Ubuntu 24.04 and Debian 13 renamed libraries for 64-bit time: the old names are gone or virtual.
SUFFIXES = ('', 't64')


def provide(folder: Path, error: type[Exception], say: Callable[[str], None]) -> None:
    """Install the packages of the missing libraries, or raise ``error`` with the command."""
    missing = missing_sonames(folder)
    names = set().union(*missing.values())
    if names:
        refresh_empty_lists(say)
    packages = {name: known_package(name) for name in names}
    # A module that also lacks what no package brings (the CUDA half of a wheel, say) would not
    # load anyway, so its other libraries are not worth installing. The imports afterwards judge.
    needed = set().union(*(lacks for lacks in missing.values()
                           if all(packages[name] for name in lacks)))
    if needed:
        say(f'system libraries missing: {", ".join(sorted(needed))}')
        apt_install(sorted({str(packages[name]) for name in needed}), error, say)


def missing_sonames(folder: Path) -> dict[str, set[str]]:
    """List per extension module what neither the system nor the environment itself provides."""
    files = [path for path in sorted(folder.glob('lib/python3*/site-packages/**/*.so*'))
             if path.is_file()]
    own = {path.name for path in files}
    missing: dict[str, set[str]] = {}
    for start in range(0, len(files), 200):
        done = subprocess.run(['ldd', *map(str, files[start:start + 200])], capture_output=True,
                              text=True, env={**os.environ, 'LC_ALL': 'C'})
        missing.update(parse_ldd(done.stdout))
    return {file: lacks - own for file, lacks in missing.items() if lacks - own}


def parse_ldd(output: str) -> dict[str, set[str]]:
    """Return file -> names not found, from the output of ldd for several files."""
    missing: dict[str, set[str]] = {}
    file = ''
    for line in output.splitlines():
        if not line[:1].isspace():
            file = line.rstrip(':')
        elif line.endswith('=> not found'):
            missing.setdefault(file, set()).add(line.split()[0])
    return missing


def debian_name(soname: str) -> str | None:
    """Return the Debian package of a soname by Debian's own rule, None for unversioned names."""
    if soname in NAMED_AFTER_SOURCE:
        return NAMED_AFTER_SOURCE[soname]
    match = re.fullmatch(r'(lib[\w.+-]+?)\.so\.([\w.]+)', soname)
    if not match:
        return None
    name, version = match[1].lower().replace('_', '-'), match[2]
    return f'{name}-{version}' if name[-1].isdigit() else f'{name}{version}'


def known_package(soname: str) -> str | None:
    """Return the package under the name that apt has for it, None where it has none.

    Without apt-cache (not a Debian) the name by the rule is the best hint for the person.
    """
    name = debian_name(soname)
    if name is None or not shutil.which('apt-cache'):
        return name
    for suffix in SUFFIXES:
        done = subprocess.run(['apt-cache', 'show', '--no-all-versions', name + suffix],
                              capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip():
            return name + suffix
    return None


def root_prefix() -> list[str] | None:
    """Return what to put before apt-get: nothing for root, sudo where it asks no password."""
    if os.geteuid() == 0:
        return []
    if shutil.which('sudo') and subprocess.run(['sudo', '-n', 'true'],
                                               capture_output=True).returncode == 0:
        return ['sudo', '-n']
    return None


def refresh_empty_lists(say: Callable[[str], None]) -> None:
    """Fetch apt's package lists where there are none, as in a new container."""
    if not any(Path('/var/lib/apt/lists').glob('*_Packages*')):
        refresh_lists(say)


def refresh_lists(say: Callable[[str], None]) -> None:
    """Fetch apt's package lists where allowed."""
    prefix = root_prefix()
    if prefix is None or not shutil.which('apt-get'):
        return
    say('apt-get update')
    subprocess.run([*prefix, 'apt-get', '-qq', 'update'], stdin=subprocess.DEVNULL)


def apt_install(packages: list[str], error: type[Exception], say: Callable[[str], None]) -> None:
    """Install Debian packages, or raise ``error`` with the command that the person has to run."""
    by_hand = f'run: sudo apt-get install {shlex.join(packages)}; then make again'
    prefix = root_prefix()
    if prefix is None or not shutil.which('apt-get'):
        raise error(f'{" ".join(packages)} missing, and no right to install; {by_hand}')
    command = [*prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', 'install', '-y',
               '--no-install-recommends', *packages]
    say(shlex.join(command))
    if quietly(command):
        return
    refresh_lists(say)
    if not quietly(command):
        raise error(f'apt-get could not install {" ".join(packages)}; {by_hand}')


def quietly(command: list[str]) -> bool:
    """Run a command without its progress; tell whether it worked. Errors are shown."""
    return subprocess.run(command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL).returncode == 0
