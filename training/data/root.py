"""Where the data sets lie: the environment variable DATA_ROOT, and nothing else."""
from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Rendered views live inside the checkout (git ignores the folder), whatever the command's cwd.
CACHE_FOLDER = REPOSITORY / '.data_cache'


class DataError(ValueError):
    """A data set, file or setting that cannot be used; the text says what to do about it."""


def sentence(error: Exception) -> str:
    """Return what an error says, without the traceback that a loader's worker puts before it."""
    text = str(error)
    if not text.startswith('Caught '):
        return text
    return text.rpartition(f'{type(error).__name__}: ')[2].strip()


class UnreadableFile(DataError):
    """One damaged file among many: it is named in the log, left out and counted."""


def data_root() -> Path | None:
    """Return the folder of the data sets, or None where DATA_ROOT is unset or empty.

    Raises
    ------
    DataError
        DATA_ROOT names something that is not a folder.
    """
    text = os.environ.get('DATA_ROOT', '')
    if not text:
        return None
    root = Path(text)
    if not root.is_dir():
        raise DataError(f'DATA_ROOT is {text!r}, which is not a folder; '
                        'set it to the folder of the data sets, or unset it')
    return root


def dataset_folder(name: str, root: Path | None = None) -> Path:
    """Return the folder of the data set `name` under `root` (default: DATA_ROOT).

    Raises
    ------
    DataError
        DATA_ROOT is unset, or the folder is missing.
    """
    root = data_root() if root is None else root
    if root is None:
        raise DataError(f'data set {name!r} needs DATA_ROOT, which is not set; '
                        'set it to the folder that holds the data sets')
    folder = root / name
    if not folder.is_dir():
        raise DataError(f'data set {name!r} is not in {root}; '
                        'set DATA_ROOT to the folder that holds it')
    return folder
