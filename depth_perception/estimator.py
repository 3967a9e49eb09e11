"""Image in, depth out: preprocessing, an engine, postprocessing, with buffers made once a size."""

from __future__ import annotations

import math
import time
from typing import NamedTuple, Protocol

import numpy as np

from depth_perception.geometry import GeometryError, Intrinsics
from depth_perception.model_contract import ModelError, ModelSpec
from depth_perception.postprocessing import Postprocessor
from depth_perception.preprocessing import ImageError, Preprocessor, place
from depth_perception.timing import StageClock


class Engine(Protocol):
    """Something that runs a network.

    Attributes
    ----------
    spec : ModelSpec
    backend : str
        For people: ``onnxruntime CPUExecutionProvider``.

    An engine may take camera images as they are: it then has an ``image_size`` (height, width)
    and an ``image_order`` (``rgb`` or ``bgr``), and its `infer` takes (H, W, 3) uint8.
    """

    spec: ModelSpec
    backend: str

    def infer(self, image: np.ndarray,
              **extra_inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Run the network on `image` (1, 3, h, w) float32, of a stack (1, N, 3, h, w).

        `extra_inputs` are those that the contract names. Returns depth (h, w) float32 of the
        kind `spec.output_kind`, and confidence (h, w) or None. Both are valid until the next
        call.
        """

    def close(self) -> None:
        """Give back what the engine holds; it cannot be used afterwards."""


class Estimate(NamedTuple):
    """Depth of one image; its arrays are overwritten by the next call for the same size.

    Attributes
    ----------
    depth : (H, W) float32 array
        Metres, NaN invalid; of a relative model inverse depth without a unit.
    confidence : (H, W) float32 array, 0..1, or None
    nonfinite : int
        Pixels of the network output for which the model gave NaN or infinity.
    """

    depth: np.ndarray
    confidence: np.ndarray | None
    nonfinite: int


class DepthEstimator:
    """Estimates depth from single images of any size and camera.

    Parameters
    ----------
    engine : Engine
        Of a model with one frame and no input beside the image.
    min_depth, max_depth : float
        Metres; depth outside becomes NaN. May be set at any time. A relative model has no
        metres: they do not apply.

    Raises
    ------
    ModelError
        If the model needs more than one image.
    """

    def __init__(self, engine: Engine, *, min_depth: float = 0.0,
                 max_depth: float = math.inf) -> None:
        spec = engine.spec
        if spec.frames != 1 or spec.extra_inputs:
            more = ', '.join(spec.extra_inputs) or 'nothing else'
            raise ModelError(f'model {spec.name} takes {spec.frames} frames and {more}; a single '
                             'camera gives 1 frame and nothing else: choose a model for that, or '
                             'run focus_depth_node for a focus stack')
        self._engine = engine
        self.min_depth = min_depth
        self.max_depth = max_depth
        self._intrinsics: Intrinsics | None = None
        self._size: tuple[int, int] | None = None

    @property
    def spec(self) -> ModelSpec:
        """Contract of the model."""
        return self._engine.spec

    @property
    def is_metric(self) -> bool:
        """Whether depth is in metres; False for a relative model."""
        return self.spec.output_kind != 'relative'

    def __call__(self, image: np.ndarray, intrinsics: Intrinsics, *, channel_order: str = 'rgb',
                 clock: StageClock | None = None, out: np.ndarray | None = None) -> Estimate:
        """Estimate the depth of `image`.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
        intrinsics : Intrinsics
            Of this image.
        channel_order : str
            ``rgb`` or ``bgr``.
        clock : StageClock, optional
            Gets the stages ``preprocess``, ``inference`` and ``postprocess``.
        out : (H, W) float32 array, optional
            Where to write the depth; else an own buffer.

        Raises
        ------
        ImageError
            If the image is not (H, W, 3) uint8, is empty, or `out` does not fit.
        GeometryError
            If image and intrinsics differ in size.
        ValueError
            Of the engine, if it fails (`depth_perception.inference.BackendError`).
        """
        start = time.perf_counter()
        self._plan(image, intrinsics)
        tensor = self._network_input(image, channel_order)
        prepared = time.perf_counter()
        raw, raw_confidence = self._engine.infer(tensor)
        inferred = time.perf_counter()
        depth, nonfinite = self._postprocessor.depth(
            raw, self._focal_px, min_depth=self.min_depth, max_depth=self.max_depth, out=out)
        confidence = None
        if raw_confidence is not None:
            confidence = self._postprocessor.confidence(raw_confidence)
        if clock is not None:
            clock.record('preprocess', prepared - start)
            clock.record('inference', inferred - prepared)
            clock.record('postprocess', time.perf_counter() - inferred)
        return Estimate(depth, confidence, nonfinite)

    def _network_input(self, image: np.ndarray, channel_order: str) -> np.ndarray:
        wanted = getattr(self._engine, 'image_size', None)
        if wanted is None:
            return self._preprocessor(image, channel_order)
        # The engine resizes and normalises by itself.
        order = self._engine.image_order
        if image.shape[:2] != wanted or channel_order != order:
            raise ImageError(
                f'image is {image.shape[1]}x{image.shape[0]} {channel_order}, the engine was '
                f'built for {wanted[1]}x{wanted[0]} {order}; build it for this camera')
        return image

    def _plan(self, image: np.ndarray, intrinsics: Intrinsics) -> None:
        """Make the buffers for a new image size, and the focal length for a new camera."""
        size = check_size(image, intrinsics)
        if size != self._size:
            self._placement = place(*size, self.spec)
            self._preprocessor = Preprocessor(self.spec, self._placement)
            self._postprocessor = Postprocessor(self.spec, self._placement)
            self._size, self._intrinsics = size, None
        if intrinsics != self._intrinsics:
            placed = intrinsics.resized(self._placement.width, self._placement.height)
            self._focal_px = placed.focal_px
            self._intrinsics = intrinsics


def check_size(image: np.ndarray, intrinsics: Intrinsics) -> tuple[int, int]:
    """Height and width of `image` (H, W, 3), which must be those of `intrinsics`.

    Raises
    ------
    ImageError
        It is no image, or empty.
    GeometryError
        The sizes differ.
    """
    if image.ndim != 3 or image.size == 0:
        raise ImageError(f'image has shape {image.shape}; it must be (H, W, 3) and not empty')
    size = image.shape[:2]
    if size != (intrinsics.height, intrinsics.width):
        raise GeometryError(
            f'image is {size[1]}x{size[0]}, its intrinsics are for '
            f'{intrinsics.width}x{intrinsics.height}; both must be of the same size')
    return size
