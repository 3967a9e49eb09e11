"""Network output -> depth of the camera image: in metres, without the letterbox, bad values NaN.

Conversion happens at the network's size: an exponential costs more than the resize that follows.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from depth_perception.model_contract import ModelError, ModelSpec
from depth_perception.preprocessing import ImageError, Placement

_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)


def to_metres(raw: np.ndarray, spec: ModelSpec, f_px_at_input: float,
              out: np.ndarray | None = None) -> np.ndarray:
    """Turn what the network gave into metres.

    Parameters
    ----------
    raw : (h, w) float32 array
        The network's output of the kind `spec.output_kind`.
    spec : ModelSpec
    f_px_at_input : float
        The camera's focal length in pixels of the network input.
    out : array like raw, optional
        Where to write.

    Returns
    -------
    (h, w) float32 array, metres
        NaN where `raw` is not finite or stands for no distance above 0.

    Raises
    ------
    ModelError
        If the model is relative: its output has no unit.
    """
    if spec.output_kind == 'relative':
        raise ModelError(f'model {spec.name} gives relative depth, which has no unit; '
                         'metres need a metric model')
    out = np.empty(raw.shape, np.float32) if out is None else out
    _convert(raw, spec, f_px_at_input, 0.0, math.inf, out,
             np.empty(raw.shape, bool), np.empty(raw.shape, bool))
    return out


def _convert(raw: np.ndarray, spec: ModelSpec, f_px_at_input: float, min_depth: float,
             max_depth: float, out: np.ndarray, valid: np.ndarray, within: np.ndarray) -> int:
    """Write metres (a relative model: its values) into `out`, NaN where they are not valid.

    `valid` and `within` are boolean buffers of the same shape. Returns how many values of `raw`
    are not finite.
    """
    scale = f_px_at_input / spec.canonical_focal_px if spec.canonical_focal_px else 1.0
    np.isfinite(raw, out=valid)
    nonfinite = raw.size - int(np.count_nonzero(valid))
    with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
        _KINDS[spec.output_kind](raw, np.float32(scale), out)
    low, high = -_LARGEST, _LARGEST
    if spec.output_kind != 'relative':
        low, high = max(min_depth, _SMALLEST), min(max_depth, _LARGEST)
    # Of NaN cv2.exp makes numbers: `valid` remembers them.
    np.logical_and(valid, np.greater_equal(out, np.float32(low), out=within), out=valid)
    np.logical_and(valid, np.less_equal(out, np.float32(high), out=within), out=valid)
    np.copyto(out, np.nan, where=np.logical_not(valid, out=valid))
    return nonfinite


def _from_metric(raw: np.ndarray, scale: np.float32, out: np.ndarray) -> None:
    np.multiply(raw, scale, out=out)


def _from_log(raw: np.ndarray, scale: np.float32, out: np.ndarray) -> None:
    # Three times as fast as np.exp and as exact in float32.
    cv2.exp(raw, dst=out)
    np.multiply(out, scale, out=out)


def _from_inverse(raw: np.ndarray, scale: np.float32, out: np.ndarray) -> None:
    np.divide(scale, raw, out=out)


def _from_relative(raw: np.ndarray, scale: np.float32, out: np.ndarray) -> None:
    # Without a unit there is nothing that a focal length could rescale.
    np.copyto(out, raw)


_KINDS = {'metric': _from_metric, 'log': _from_log, 'inverse': _from_inverse,
          'relative': _from_relative}


class Postprocessor:
    """Turns network outputs of one placement into depth images.

    Parameters
    ----------
    spec : ModelSpec
    placement : Placement
        The same as the Preprocessor's.
    """

    def __init__(self, spec: ModelSpec, placement: Placement) -> None:
        self._spec = spec
        self._region = placement.region
        self._value = np.empty((placement.height, placement.width), np.float32)
        self._masks = [np.empty(self._value.shape, bool) for _ in range(2)]
        shape = (placement.image_height, placement.image_width)
        self._depth = np.empty(shape, np.float32)
        self._confidence = np.empty(shape, np.float32)

    def depth(self, raw: np.ndarray, f_px_at_input: float, *, min_depth: float = 0.0,
              max_depth: float = math.inf,
              out: np.ndarray | None = None) -> tuple[np.ndarray, int]:
        """Depth at the camera image's size.

        Parameters
        ----------
        raw : (h, w) float32 array
            The network's output.
        f_px_at_input : float
            The camera's focal length in pixels of the network input.
        min_depth, max_depth : float
            Metres; depth outside becomes NaN. Does not apply to a relative model.
        out : (H, W) float32 array, optional
            Where to write; else an own buffer, which the next call overwrites.

        Returns
        -------
        depth : (H, W) float32 array
            Metres; of a relative model inverse depth without a unit. NaN: invalid; pixels
            interpolated from an invalid one are invalid as well.
        nonfinite : int
            Pixels of the network output (letterbox apart) that were NaN or infinite.

        Raises
        ------
        ImageError
            If `out` has the wrong shape or type.
        """
        out = self._depth if out is None else _checked(out, self._depth)
        nonfinite = _convert(raw[self._region], self._spec, f_px_at_input, min_depth, max_depth,
                             self._value, *self._masks)
        return _upscale(self._value, out), nonfinite

    def confidence(self, raw: np.ndarray) -> np.ndarray:
        """Confidence (h, w) 0..1 at the camera image's size: (H, W) float32, an own buffer."""
        return _upscale(raw[self._region], self._confidence)


def _checked(out: np.ndarray, like: np.ndarray) -> np.ndarray:
    # cv2 would silently write into a new array instead.
    if out.shape != like.shape or out.dtype != like.dtype or not out.flags.c_contiguous:
        raise ImageError(f'out has shape {out.shape} and type {out.dtype}; '
                         f'it must be {like.shape}, {like.dtype} and contiguous')
    return out


def _upscale(value: np.ndarray, out: np.ndarray) -> np.ndarray:
    return cv2.resize(value, out.shape[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
