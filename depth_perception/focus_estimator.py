"""A focus stack in, depth out: N images of one view, each focused elsewhere, in one call.

Focus distances reach the network in canonical metres, as depth leaves it: times
canonical_focal_px / focal length in pixels. What a lens blurs by is not told to the network; the
contract holds the range of it in training, and :meth:`FocusStackEstimator.check_blur_scale`
compares a camera with that.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
import time

import numpy as np

from depth_perception.estimator import Engine, Estimate, check_size
from depth_perception.geometry import Intrinsics
from depth_perception.model_contract import ModelError, ModelSpec
from depth_perception.model_spec import FOCUS_DISTANCES
from depth_perception.postprocessing import Postprocessor
from depth_perception.preprocessing import Preprocessor, place
from depth_perception.timing import StageClock


class FocusStackError(ValueError):
    """A stack, its focus distances or its camera, that the model cannot be run on."""


class FocusStackEstimator:
    """Estimates depth from focus stacks of any size and camera.

    Parameters
    ----------
    engine : Engine
        Of a model for a focus stack: frames above 1, and focus_distances as its only extra input.
    min_depth, max_depth : float
        Metres; depth outside becomes NaN. May be set at any time.

    Raises
    ------
    ModelError
        If the model takes something else.
    """

    def __init__(self, engine: Engine, *, min_depth: float = 0.0,
                 max_depth: float = math.inf) -> None:
        spec = engine.spec
        if spec.frames < 2 or spec.extra_inputs != (FOCUS_DISTANCES,):
            more = ', '.join(spec.extra_inputs) or 'nothing else'
            raise ModelError(f'model {spec.name} takes frames = {spec.frames} and {more}; a focus '
                             f'stack needs frames above 1 and {FOCUS_DISTANCES}: choose a model '
                             'for focus stacks')
        self._engine = engine
        self.min_depth = min_depth
        self.max_depth = max_depth
        self._key: tuple[int, tuple[int, int]] | None = None  # frames, and image size
        self._intrinsics: Intrinsics | None = None

    @property
    def spec(self) -> ModelSpec:
        """Contract of the model."""
        return self._engine.spec

    @property
    def frames_range(self) -> tuple[int, int]:
        """The fewest and the most images that a stack may have."""
        fewest, most = self.spec.frames_range or (self.spec.frames, self.spec.frames)
        return fewest, most

    def __call__(self, images: Sequence[np.ndarray], focus_distances: Sequence[float],
                 intrinsics: Intrinsics, *, channel_order: str = 'rgb',
                 clock: StageClock | None = None, out: np.ndarray | None = None) -> Estimate:
        """Estimate the depth of one view.

        Parameters
        ----------
        images : N arrays (H, W, 3), or one (N, H, W, 3), uint8
            Of the same view and scale; in any order.
        focus_distances : N floats
            Metres, one an image; each above 0, no two equal. Infinity is a distance.
        intrinsics : Intrinsics
            Of every image.
        channel_order : str
            ``rgb`` or ``bgr``.
        clock : StageClock, optional
            Gets the stages ``preprocess``, ``inference`` and ``postprocess``.
        out : (H, W) float32 array, optional
            Where to write the depth; else an own buffer.

        Raises
        ------
        FocusStackError
            If there are too few or too many images for the model, images of differing sizes, or
            focus distances that are none.
        ImageError
            If an image is not (H, W, 3) uint8, is empty, or `out` does not fit.
        GeometryError
            If images and intrinsics differ in size.
        ValueError
            Of the engine, if it fails (`depth_perception.inference.BackendError`).
        """
        start = time.perf_counter()
        distances = self._check(images, focus_distances)
        self._plan(images, intrinsics)
        for fill, image in zip(self._preprocessors, images):
            fill(image, channel_order)
        np.multiply(distances, self._canonical_scale, out=self._distances[0], casting='same_kind')
        prepared = time.perf_counter()
        raw, raw_confidence = self._engine.infer(self._stack, focus_distances=self._distances)
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

    def blur_scale_range(self, intrinsics: Intrinsics) -> tuple[float, float] | None:
        """Between which blur scales of such a camera the model was trained.

        Returns
        -------
        (lo, hi) : floats, or None
            f^2 / (F-number * pixel pitch) in px m, pixels of the camera's image; None where the
            contract does not say.
        """
        spec = self.spec
        if spec.blur_scale_range is None:
            return None
        if spec.canonical_focal_px:
            factor = intrinsics.focal_px / spec.canonical_focal_px
        else:
            factor = intrinsics.width / place(intrinsics.height, intrinsics.width, spec).width
        lo, hi = spec.blur_scale_range
        return lo * factor, hi * factor

    def check_blur_scale(self, blur_scale: float, intrinsics: Intrinsics) -> None:
        """Refuse a camera whose lens blurs more or less than those of the training.

        Parameters
        ----------
        blur_scale : float
            f^2 / (F-number * pixel pitch) of the camera, px m; pixels of its image.
        intrinsics : Intrinsics
            Of its image.

        Raises
        ------
        FocusStackError
            With the camera's number, the model's range, and by how much to change the aperture.
        """
        if not (math.isfinite(blur_scale) and blur_scale > 0):
            raise FocusStackError(f'blur scale f^2/(N pitch) is {blur_scale} px m; it must be '
                                  'above 0: check focal length, F-number and pixel pitch')
        trained = self.blur_scale_range(intrinsics)
        if trained is None or trained[0] <= blur_scale <= trained[1]:
            return
        lo, hi = trained
        way_out = f'divide the F-number by at least {lo / blur_scale:.3g}'
        if blur_scale > hi:
            way_out = f'multiply the F-number by at least {blur_scale / hi:.3g}'
        raise FocusStackError(
            f'blur scale f^2/(N pitch) of this camera is {blur_scale:.3g} px m; model '
            f'{self.spec.name} was trained for {lo:.3g} to {hi:.3g} px m at its focal length of '
            f'{intrinsics.focal_px:.4g} px: {way_out}, or choose another model')

    def _check(self, images: Sequence[np.ndarray], distances: Sequence[float]) -> np.ndarray:
        """Check what a stack is by itself; returns the distances as an array."""
        fewest, most = self.frames_range
        if not fewest <= len(images) <= most:
            rule = str(fewest) if fewest == most else f'{fewest} to {most}'
            raise FocusStackError(f'the stack has {len(images)} images; model {self.spec.name} '
                                  f'takes {rule}')
        found = np.asarray(distances, np.float64)
        if found.shape != (len(images),):
            raise FocusStackError(f'{len(images)} images have focus distances of shape '
                                  f'{found.shape}; give one for each image')
        if not (found > 0).all():  # False for NaN
            raise FocusStackError(f'focus distances are {_listed(found)} m; each must be above 0: '
                                  'leave such images out')
        if len(np.unique(found)) < len(found):
            raise FocusStackError(f'focus distances are {_listed(found)} m; no two may be equal: '
                                  'keep one image of each')
        for index, image in enumerate(images):
            if image.shape != images[0].shape:
                raise FocusStackError(
                    f'image {index} of the stack has shape {image.shape}, image 0 '
                    f'{images[0].shape}; all images of a stack must be of one size')
        return found

    def _plan(self, images: Sequence[np.ndarray], intrinsics: Intrinsics) -> None:
        """Make the buffers for a new stack or image size, and the scale for a new camera."""
        key = (len(images), check_size(images[0], intrinsics))
        if key != self._key:
            self._placement = p = place(*key[1], self.spec)
            self._stack = np.zeros((1, key[0], 3, p.input_height, p.input_width), np.float32)
            self._distances = np.zeros((1, key[0]), np.float32)
            self._preprocessors = [Preprocessor(self.spec, p, self._stack[:, index])
                                   for index in range(key[0])]
            self._postprocessor = Postprocessor(self.spec, p)
            self._key, self._intrinsics = key, None
        if intrinsics != self._intrinsics:
            placed = intrinsics.resized(self._placement.width, self._placement.height)
            self._focal_px = placed.focal_px
            canonical = self.spec.canonical_focal_px
            self._canonical_scale = canonical / placed.focal_px if canonical else 1.0
            self._intrinsics = intrinsics


def _listed(distances: np.ndarray) -> str:
    return ', '.join(f'{d:.4g}' for d in distances)
