"""What engines are verified on: the pictures of ``models/verify`` and noise, as network inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from depth_perception.model_contract import ModelSpec
from depth_perception.preprocessing import Preprocessor, place

PICTURES = Path(__file__).parents[1] / 'models' / 'verify'
_NOISE_SEED = 20


class Picture(NamedTuple):
    """One network input: (1, 3, h, w) or (1, N, 3, h, w) float32, and the inputs beside it."""

    name: str
    image: np.ndarray
    extra: dict[str, np.ndarray]


def verification_pictures(spec: ModelSpec, size: tuple[int, int] | None = None) -> list[Picture]:
    """The stored pictures and two of noise, as network inputs of a model.

    Parameters
    ----------
    spec : ModelSpec
    size : (height, width), optional
        Of the network input, for an engine that takes one size only; else what the model takes
        for 4:3 pictures.
    """
    if size is not None:
        spec = replace(spec, size_multiple=0, input_height=size[0], input_width=size[1])
    return [_picture(name, pixels, spec) for name, pixels in _stored_and_noise()]


def _stored_and_noise() -> Iterator[tuple[str, np.ndarray]]:
    """Names and (H, W, 3) uint8 RGB pictures."""
    for file in sorted(PICTURES.glob('*.jpg')):
        yield file.stem, np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])
    rng = np.random.default_rng(_NOISE_SEED)
    yield 'noise', rng.integers(0, 256, (240, 320, 3), np.uint8)
    coarse = rng.integers(0, 256, (15, 20, 3), np.uint8)
    yield 'coarse noise', cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)


def _picture(name: str, pixels: np.ndarray, spec: ModelSpec) -> Picture:
    """Of a stack each slice is the picture moved by a pixel: equal ones would hide their order."""
    preprocess = Preprocessor(spec, place(*pixels.shape[:2], spec))
    if spec.frames == 1:
        return Picture(name, preprocess(pixels).copy(), _extra(spec))
    stack = [preprocess(np.roll(pixels, i, axis=1)).copy() for i in range(spec.frames)]
    return Picture(name, np.stack(stack, axis=1), _extra(spec))


def _extra(spec: ModelSpec) -> dict[str, np.ndarray]:
    """Focus distances over the model's range, evenly in dioptres, near to far."""
    near, far = max(spec.depth_range[0], 0.1), spec.depth_range[1]
    dioptres = np.linspace(1 / near, 1 / far, spec.frames, dtype=np.float32)
    return dict.fromkeys(spec.extra_inputs, 1 / dioptres[None])
