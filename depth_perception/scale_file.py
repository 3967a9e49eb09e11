"""Where scales are kept: one small YAML file for each camera and model, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import re
import sys
import tempfile
from typing import Any

import yaml

from depth_perception.folders import FolderError, data_folder, expanded
from depth_perception.geometry import Intrinsics
from depth_perception.scale import Scale, ScaleError

FORMAT = 1
MAX_BYTES = 65536           # a scale takes a few hundred
SAME_LENS = 0.03            # focal lengths that differ by less belong to the same camera


class ScaleFileError(ValueError):
    """A file of a scale cannot be read or written, or belongs to something else."""


@dataclass(frozen=True)
class Calibration:
    """A scale, and what it holds for.

    Attributes
    ----------
    scale : Scale
    camera : str
        Topic of the images.
    model : str
        Name in the contract.
    weights_sha256 : str
        Of the model; '' where the contract has none.
    focal_per_width : float
        fx / width of the rectified image; 0: not known.
    source : str
        What the distances came from.
    error : float
        Typical error of the fit, as a share of the distance.
    """

    scale: Scale
    camera: str
    model: str
    weights_sha256: str = ''
    focal_per_width: float = 0.0
    source: str = ''
    error: float = 0.0

    def fits_lens(self, intrinsics: Intrinsics) -> bool:
        """Whether it was made with the field of view of `intrinsics`, or with an unknown one."""
        return not self.focal_per_width or same_lens(self.focal_per_width,
                                                     intrinsics.fx / intrinsics.width)


def same_lens(first: float, second: float) -> bool:
    """Whether two focal lengths, as shares of the width, may be of one lens at one zoom."""
    return abs(first - second) <= SAME_LENS * first


def default_path(camera: str, model: str) -> Path:
    """``$XDG_DATA_HOME/depth_perception/scales/<camera>--<model>-<hash>.yaml``.

    The hash keeps /a/b and /a_b apart; FolderError where there is no such folder.
    """
    code = hashlib.sha256(f'{camera}\n{model}'.encode()).hexdigest()[:8]
    words = '--'.join(re.sub(r'[^A-Za-z0-9]+', '_', part).strip('_')[:80]
                      for part in (camera, model))
    return data_folder() / 'scales' / f'{words}-{code}.yaml'


def path_of(file: str, camera: str, model: str) -> Path:
    """Where the scale of a camera and model is kept: in `file`, or if that is '' by default.

    Raises
    ------
    ScaleFileError
        That is below a home folder which is not known.
    """
    try:
        return expanded(file) if file else default_path(camera, model)
    except FolderError as error:
        raise ScaleFileError(
            f'there is no place for a scale: {error}, or set scale.file') from None


def write(path: Path, calibration: Calibration) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    ScaleFileError
        It cannot be written.
    """
    tree = {'format': FORMAT, 'camera': calibration.camera, 'model': calibration.model,
            'weights_sha256': calibration.weights_sha256, 'scale': calibration.scale.scale,
            'shift': calibration.scale.shift, 'focal_per_width': calibration.focal_per_width,
            'source': calibration.source, 'error': calibration.error}
    text = ('# 1 / metres = scale * value + shift; value: 1 / metres of the model, or its '
            'relative output\n' + yaml.safe_dump(tree, sort_keys=False))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text.encode())
    except OSError as error:
        raise ScaleFileError(f'cannot write {path}: {error.strerror or error}; free some space, '
                             'make the folder writable, or set scale.file') from None


def _replace(path: Path, data: bytes) -> None:
    # In the same folder: os.replace is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def read(path: Path, camera: str, model: str, weights_sha256: str) -> Calibration | None:
    """Read the scale of a camera and model; None where there is no file.

    Raises
    ------
    ScaleFileError
        The file is damaged, or belongs to another camera or model.
    """
    try:
        found = _parsed(path)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ScaleFileError(f'the scale in {path} is not used: {_one_line(error)}; calibrate '
                             'again, or delete the file') from None
    for what, wanted, got in (('camera', camera, found.camera), ('model', model, found.model),
                              ('weights', weights_sha256, found.weights_sha256)):
        if wanted != got:
            raise ScaleFileError(f'the scale in {path} is not used: it was made for the {what} '
                                 f'{got or "?"}, not {wanted or "?"}; calibrate again')
    return found


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def _parsed(path: Path) -> Calibration:
    with path.open('rb') as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f'it has more than {MAX_BYTES} bytes')
    tree = yaml.safe_load(data.decode())
    if not isinstance(tree, dict) or tree.get('format') != FORMAT:
        raise ValueError(f'it does not say format: {FORMAT}')
    names = ('camera', 'model', 'weights_sha256', 'source')
    return Calibration(
        scale=Scale(_number(tree, 'scale'), _number(tree, 'shift')),
        focal_per_width=_number(tree, 'focal_per_width'), error=_number(tree, 'error'),
        **{name: _text(tree, name) for name in names})


def _number(tree: Mapping[str, Any], name: str) -> float:
    value = tree.get(name)
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise ScaleError(f'{name} is {value!r}; it must be a finite number')
    return float(value)


def _text(tree: Mapping[str, Any], name: str) -> str:
    value = tree.get(name)
    if not isinstance(value, str):
        raise ValueError(f'{name} is {value!r}; it must be a text')
    return value
