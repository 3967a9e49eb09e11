"""Stereo views from one image and its depth (DIBR), and the formats that show them.

The image of a camera beside the real one follows from disparity alone: the point seen at column
x moves to ``x - d``. Each pair of neighbouring pixels that belong to one surface is drawn as a
short segment, so that slanted surfaces stay closed and every pixel of the new view looks up the
image at a fraction of a pixel. Neighbours more than one pixel of disparity apart are an edge:
what opens between them is a hole, and is filled with the surface behind.

Nearer surfaces hide farther ones without any sorting: of two sources that land on one target
``t = x - d`` the one with the larger x has the larger d, so drawing columns in increasing order
is the exact z-buffer. The eye on the left is the same thing in a mirror.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

UNIT = 32               # positions are counted in 1/32 pixel: the step of cv2.remap's own tables


class StereoError(ValueError):
    """Images, disparities or settings that do not make a stereo view."""


def disparity_from_depth(depth: np.ndarray, focal_px: float, baseline_m: float,
                         convergence_m: float = math.inf,
                         out: np.ndarray | None = None) -> np.ndarray:
    """Disparity of each pixel between two cameras side by side.

    Parameters
    ----------
    depth : (H, W) float32, metres
    focal_px : float
        Focal length of the image, pixels.
    baseline_m : float
        Distance between the cameras, metres.
    convergence_m : float
        The distance that has no disparity, at the depth of the screen; infinite for parallel
        cameras, as stereo_msgs/DisparityImage has them.
    out : (H, W) float32, optional

    Returns
    -------
    (H, W) float32, pixels
        ``focal_px * baseline_m * (1 / depth - 1 / convergence_m)``; NaN where depth is NaN.

    Raises
    ------
    StereoError
        If focal length, baseline or convergence are not above zero.
    """
    for name, value in (('focal length', focal_px), ('baseline', baseline_m),
                        ('convergence distance', convergence_m)):
        if not value > 0.0:
            raise StereoError(f'{name} is {value:g}; it must be above 0')
    scale = np.float32(focal_px * baseline_m)
    with np.errstate(divide='ignore'):
        disparity = np.divide(scale, depth, out=out, dtype=np.float32)
    if math.isfinite(convergence_m):
        disparity -= np.float32(scale / convergence_m)
    return disparity


class StereoRenderer:
    """Draws what the other eye sees; buffers are made once per image size.

    Uses Numba where it is installed and NumPy with OpenCV otherwise; the pixels are the same.
    Results are overwritten by the next call.

    Pixels whose disparity is not finite, or larger than twice the width, move with the farther
    of their valid neighbours in the row; a row without any valid pixel stays where it is.

    Attributes
    ----------
    backend : str
        'numba' or 'numpy'.
    """

    def __init__(self, width: int, height: int) -> None:
        if width < 2 or height < 1:
            raise StereoError(f'image size is {width}x{height}; it must be at least 2x1')
        self._shape = (height, width)
        self._shift = np.empty((height, width), np.int32)
        self._views = np.empty((2, height, width, 3), np.uint8)
        self._holes = np.empty((2, height, width), np.bool_)
        kernel = _numba_kernel()
        self.backend = 'numpy' if kernel is None else 'numba'
        if kernel is None:
            warper = _NumpyWarper(width, height)
            self._warp, self._fill_invalid = warper.warp, fill_invalid
        else:
            self._warp, self._fill_invalid = kernel.warp, kernel.fill_invalid
        # compiles what is not yet compiled, so that the first frame does not wait for it
        self.views(np.zeros((height, width, 3), np.uint8), np.full((height, width), np.nan))

    def views(self, image: np.ndarray, disparity: np.ndarray,
              ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Both views, half a disparity to either side of the image.

        Parameters
        ----------
        image : (H, W, 3) uint8, any channel order
        disparity : (H, W) float32, pixels
            Between the two views, positive for what is nearer than the screen.

        Returns
        -------
        left, right : (H, W, 3) uint8
        left_holes, right_holes : (H, W) bool
            True where the image does not show what this view sees; filled from the background.

        Raises
        ------
        StereoError
            If image or disparity have another size or type.
        """
        self._quantise(image, disparity, 0.5)
        for eye, mirrored in enumerate((True, False)):
            self._warp(image, self._shift, mirrored, UNIT, self._views[eye], self._holes[eye])
        return (*self._views, *self._holes)

    def right_from_left(self, image: np.ndarray, disparity: np.ndarray,
                        ) -> tuple[np.ndarray, np.ndarray]:
        """The right view where the image itself is the left one; see `views`.

        Returns
        -------
        right : (H, W, 3) uint8
        holes : (H, W) bool
        """
        self._quantise(image, disparity, 1.0)
        self._warp(image, self._shift, False, UNIT, self._views[1], self._holes[1])
        return self._views[1], self._holes[1]

    def _quantise(self, image: np.ndarray, disparity: np.ndarray, share: float) -> None:
        """`share` of the disparity, in 1/UNIT pixel and without gaps, into self._shift."""
        if image.shape != (*self._shape, 3) or image.dtype != np.uint8:
            raise StereoError(f'image is {image.dtype} {image.shape}; this renderer needs uint8 '
                              f'{(*self._shape, 3)}: make one per size')
        if disparity.shape != self._shape:
            raise StereoError(f'disparity has shape {disparity.shape}, the image {self._shape}; '
                              'resize one to the other')
        valid = np.abs(disparity) <= 2 * self._shape[1]         # False for NaN, too
        cv2.addWeighted(disparity, share * UNIT, disparity, 0.0, 0.0, dst=self._shift,
                        dtype=cv2.CV_32S)
        if not valid.all():
            self._fill_invalid(self._shift, valid)


def _numba_kernel():
    """The compiled loops, or None where Numba is missing or refuses this NumPy."""
    try:
        from depth_perception import stereo_kernel
    except ImportError:
        return None
    return stereo_kernel


def fill_invalid(shift: np.ndarray, valid: np.ndarray) -> None:
    """Give invalid pixels the smaller (farther) shift of their valid neighbours in the row.

    Parameters
    ----------
    shift : (H, W) int32, changed in place
        A row without a valid pixel becomes 0.
    valid : (H, W) bool
    """
    none = np.iinfo(np.int32).max
    rows = np.flatnonzero(~valid.all(axis=1))
    known, values = valid[rows], shift[rows]
    before = _last_known(values, known, none)
    after = _last_known(values[:, ::-1], known[:, ::-1], none)[:, ::-1]
    farther = np.minimum(before, after)
    farther[farther == none] = 0
    shift[rows] = np.where(known, values, farther)


def _last_known(values: np.ndarray, known: np.ndarray, none: int) -> np.ndarray:
    """The value at the last known column up to each column; `none` before the first."""
    columns = np.where(known, np.arange(values.shape[1]), -1)
    columns = np.maximum.accumulate(columns, axis=1)
    found = np.take_along_axis(values, np.maximum(columns, 0), axis=1)
    return np.where(columns < 0, none, found)


class _NumpyWarper:
    """`stereo_kernel.warp` in whole-array passes."""

    def __init__(self, width: int, height: int) -> None:
        self._shape = (height, width)
        self._positions = np.arange(width, dtype=np.int32) * UNIT
        self._first = np.arange(height, dtype=np.int64)[:, None] * width    # of a row, flat
        # one element more: where the sources go that leave the picture
        self._source = np.empty(height * width + 1, np.int32)
        self._map = np.empty((height, width, 2), np.int16)
        self._map[..., 1] = np.arange(height)[:, None]

    def warp(self, image: np.ndarray, shift: np.ndarray, mirrored: bool, unit: int,
             out: np.ndarray, holes: np.ndarray) -> None:
        if mirrored:
            image, shift = cv2.flip(image, 1), np.ascontiguousarray(shift[:, ::-1])
        source = self._draw_sources(shift, unit)
        nowhere = unit * self._shape[1]
        empty = source == nowhere
        behind = np.minimum.accumulate(source[:, ::-1], axis=1)[:, ::-1]
        np.minimum(behind, nowhere - unit, out=behind)
        np.copyto(source, behind, where=empty)
        np.right_shift(source, 5, out=self._map[..., 0], casting='unsafe')
        fraction = (source & (unit - 1)).astype(np.uint16)
        view = cv2.remap(image, self._map, fraction, cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_REPLICATE)
        out[...] = cv2.flip(view, 1) if mirrored else view
        holes[...] = empty[:, ::-1] if mirrored else empty

    def _draw_sources(self, shift: np.ndarray, unit: int) -> np.ndarray:
        """For each target the source position in 1/unit pixel, unit * width where none is."""
        height, width = self._shape
        here = self._positions - shift
        step = np.diff(shift, axis=1)
        joined = np.zeros(self._shape, np.bool_)
        np.less_equal(np.abs(step), unit, out=joined[:, :-1])
        length = np.full(self._shape, unit // 2, np.int32)
        np.subtract(unit, step, out=length[:, :-1], where=joined[:, :-1])
        low = here.copy()
        low[:, 0] -= unit // 2
        low[:, 1:] -= (unit // 2) * ~joined[:, :-1]
        self._source[:] = unit * width
        target = (low + (unit - 1)) // unit
        return self._write(target, here, length, joined, unit)

    def _write(self, target, here, length, joined, unit):
        height, width = self._shape
        offset = target * unit - here
        drawn = (offset < length) & (target >= 0) & (target < width)
        position = self._positions + np.where(
            joined & (offset > 0), offset * np.float32(unit) / np.maximum(length, 1), 0
        ).astype(np.int32)
        index = np.where(drawn, target + self._first, height * width)
        self._source[index] = position
        self._write_rest(target, here, length, joined, unit)
        return self._source[:-1].reshape(self._shape)

    def _write_rest(self, target, here, length, joined, unit):
        """Second and third targets of stretched sources: few, so by their indices."""
        height, width = self._shape
        rows, columns = np.nonzero((target + 1) * unit - here < length)
        target, here = target[rows, columns], here[rows, columns]
        length, joined = length[rows, columns], joined[rows, columns]
        while len(rows):
            target = target + 1
            offset = target * unit - here
            keep = offset < length
            rows, columns, target, here, length, joined, offset = (
                a[keep] for a in (rows, columns, target, here, length, joined, offset))
            inside = (target >= 0) & (target < width)
            position = columns * unit + np.where(
                joined & (offset > 0), offset * np.float32(unit) / np.maximum(length, 1), 0
            ).astype(np.int32)
            index = rows[inside] * width + target[inside]
            position = position[inside]
            current = self._source[index]
            nearer = (position > current) | (current == unit * width)
            # np.maximum.at is slow; increasing columns and last-write-wins do the same
            self._source[index[nearer]] = position[nearer]


def side_by_side(left: np.ndarray, right: np.ndarray, half: bool = False,
                 out: np.ndarray | None = None) -> np.ndarray:
    """Both views next to each other.

    Parameters
    ----------
    left, right : (H, W, 3) uint8, any channel order
    half : bool
        Squeeze each view to half its width, as 3D televisions take it.
    out : (H, 2 W, 3) uint8, with `half` (H, 2 (W // 2), 3), optional

    Returns
    -------
    The shape of `out`.
    """
    if not half:
        return cv2.hconcat([left, right], dst=out)
    size = (left.shape[1] // 2, left.shape[0])
    return cv2.hconcat([cv2.resize(view, size, interpolation=cv2.INTER_AREA)
                        for view in (left, right)], dst=out)


# Dubois, "Conversion of a stereo pair to anaglyph with the least-squares projection method",
# 2009: the matrices for red-cyan glasses on an LCD screen; columns R G B of the left view, then
# of the right one. Each row sums to 1: grey stays grey.
DUBOIS_RED_CYAN = np.array([
    [0.437, 0.449, 0.164, -0.011, -0.032, -0.007],
    [-0.062, -0.062, -0.024, 0.377, 0.761, 0.009],
    [-0.048, -0.050, -0.017, -0.026, -0.093, 1.234]], np.float32)


def anaglyph(left_rgb: np.ndarray, right_rgb: np.ndarray,
             out: np.ndarray | None = None) -> np.ndarray:
    """Red-cyan anaglyph by Dubois' least-squares projection, red for the left eye.

    Parameters
    ----------
    left_rgb, right_rgb : (H, W, 3) uint8, RGB
    out : (H, W, 3) uint8, optional

    Returns
    -------
    (H, W, 3) uint8, RGB
    """
    return cv2.transform(cv2.merge([left_rgb, right_rgb]), DUBOIS_RED_CYAN, dst=out)


def rgbd(image: np.ndarray, depth: np.ndarray, near: float, far: float,
         out: np.ndarray | None = None) -> np.ndarray:
    """2D+Z: the image and beside it its depth as grey, white at `near`, black at `far`.

    The grey runs with 1 / depth, that is with disparity, as autostereoscopic screens expect it;
    no depth is black.

    Parameters
    ----------
    image : (H, W, 3) uint8, any channel order
    depth : (H, W) float32, metres
    near, far : float, metres
    out : (H, 2 W, 3) uint8, optional

    Returns
    -------
    (H, 2 W, 3) uint8

    Raises
    ------
    StereoError
        Unless 0 < near < far.
    """
    if not 0.0 < near < far:
        raise StereoError(f'limits are near={near:g} m, far={far:g} m; '
                          'they must satisfy 0 < near < far')
    scale = 255.0 / (1.0 / near - 1.0 / far)
    inverse = cv2.divide(scale, depth)
    grey = cv2.subtract(inverse, scale / far, dtype=cv2.CV_8U)
    grey[np.isnan(depth)] = 0
    return cv2.hconcat([image, cv2.merge([grey] * 3)], dst=out)
