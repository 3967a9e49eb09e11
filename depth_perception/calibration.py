"""Reads a camera calibration in the YAML format that ROS' camera_calibration writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from depth_perception.folders import expanded
from depth_perception.geometry import CameraModel, GeometryError


class CalibrationError(ValueError):
    """A calibration file is missing, damaged or incomplete."""


def _numbers(tree: dict[str, Any], key: str, count: int | None, path: Path) -> tuple[float, ...]:
    """Return ``tree[key]['data']``; () where the key is missing and no `count` is asked for."""
    matrix = tree.get(key, {'data': ()} if count is None else None)
    data = matrix.get('data') if isinstance(matrix, dict) else None
    if data is None:
        raise CalibrationError(f'{path} has no {key} with data; calibrate the camera again')
    try:
        values = tuple(float(value) for value in data)
    except (TypeError, ValueError):
        raise CalibrationError(f'{key} in {path} is {data!r}; it must be numbers') from None
    if count is not None and len(values) != count:
        raise CalibrationError(f'{key} in {path} has {len(values)} numbers; it must have {count}')
    return values


def read_calibration(path: str | Path) -> CameraModel:
    """Read image size, K, distortion, R and P of a camera.

    R and P may be missing (an identity; K), everything else must be there.

    Raises
    ------
    CalibrationError
        The file cannot be read, is no YAML, or lacks a key; the message names it.
    """
    path = expanded(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CalibrationError(f'the calibration {path} cannot be read: {error}') from None
    if not isinstance(tree, dict):
        raise CalibrationError(
            f'{path} is no camera calibration; it must have the keys image_width, image_height, '
            'camera_matrix, distortion_model, distortion_coefficients'
        )
    size = [tree.get(key) for key in ('image_width', 'image_height')]
    if not all(type(value) is int and value > 0 for value in size):
        raise CalibrationError(
            f'image_width and image_height in {path} are {size}; they must be positive'
        )
    k = _numbers(tree, 'camera_matrix', 9, path)
    if not (k[0] > 0 and k[4] > 0):
        raise CalibrationError(f'the focal lengths in {path} are {k[0]}, {k[4]}; calibrate again')
    rotation = _numbers(tree, 'rectification_matrix', None, path)
    try:
        return CameraModel(
            width=size[0], height=size[1], k=k,
            distortion_model=str(tree.get('distortion_model') or 'plumb_bob'),
            d=_numbers(tree, 'distortion_coefficients', None, path),
            r=rotation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
            p=_numbers(tree, 'projection_matrix', None, path),
        )
    except GeometryError as error:
        raise CalibrationError(f'{path}: {error}') from None
