"""Where files of the user lie: below the home folder, or where XDG_DATA_HOME, XDG_CACHE_HOME say.

A process may have no home: that of a container's user whom its /etc/passwd does not know.
"""

from __future__ import annotations

import os
from pathlib import Path


class FolderError(ValueError):
    """There is no home folder, or no user of the name that a path begins with."""


def expanded(name: str | Path) -> Path:
    """Return the path `name` with a leading ``~`` or ``~user`` filled in.

    Raises
    ------
    FolderError
        There is no such user, or no home folder.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise FolderError(f'{str(name)!r} begins with a home folder that is not known here; give '
                          'the whole path') from None


def data_folder() -> Path:
    """``$XDG_DATA_HOME/depth_perception``, by default below ``~/.local/share``.

    Raises
    ------
    FolderError
        Neither is known.
    """
    return _of_user('XDG_DATA_HOME', '.local/share')


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/depth_perception``, by default below ``~/.cache``.

    Raises
    ------
    FolderError
        Neither is known.
    """
    return _of_user('XDG_CACHE_HOME', '.cache')


def _of_user(variable: str, below_home: str) -> Path:
    try:
        return Path(os.environ.get(variable) or Path.home() / below_home) / 'depth_perception'
    except RuntimeError:
        raise FolderError('this process has no home folder (HOME is not set, and its user is not '
                          f'known); set HOME or {variable}') from None
