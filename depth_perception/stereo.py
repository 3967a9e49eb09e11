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

from depth_perception.stereo_warp import UNIT, NumpyWarper

SOFT_WINDOW = (3, 5)    # width, height of the blur in filled holes


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

    Raises
    ------
    StereoError
        If the size is below 2x1.
    """

    def __init__(self, width: int, height: int) -> None:
        if width < 2 or height < 1:
            raise StereoError(f'image size is {width}x{height}; it must be at least 2x1')
        self._shape = (height, width)
        self._shift, self._mirror_shift = (np.empty(self._shape, np.int32) for _ in range(2))
        self._mirror_image, self._soft = (np.empty((height, width, 3), np.uint8)
                                          for _ in range(2))
        self._views = np.empty((2, height, width, 3), np.uint8)
        self._holes = np.empty((2, height, width), np.bool_)
        self._warper = _fastest_warper()(width, height)
        self.backend = self._warper.name
        # compiles what is not yet compiled, so that the first frame does not wait for it
        self.right_from_left(self._soft, np.full(self._shape, np.nan, np.float32))

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
            True where the image does not show what this view sees, and for the two pixels
            behind an edge where the image mixes both sides; filled from the background.

        Raises
        ------
        StereoError
            If image or disparity have another size or type.
        """
        self._quantise(image, disparity, 0.5)
        cv2.flip(image, 1, dst=self._mirror_image)
        cv2.flip(self._shift, 1, dst=self._mirror_shift)
        self._draw(self._mirror_image, self._mirror_shift, 0)
        for mirrored in (self._views[0], self._holes[0].view(np.uint8)):
            cv2.flip(mirrored, 1, dst=mirrored)
        self._draw(image, self._shift, 1)
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
        self._draw(image, self._shift, 1)
        return self._views[1], self._holes[1]

    def _quantise(self, image: np.ndarray, disparity: np.ndarray, share: float) -> None:
        """`share` of the disparity, in 1/UNIT pixel and without gaps, into self._shift."""
        if image.shape != (*self._shape, 3) or image.dtype != np.uint8:
            raise StereoError(f'image is {image.dtype} {image.shape}; this renderer needs uint8 '
                              f'{(*self._shape, 3)}: make one per size')
        if disparity.shape != self._shape or disparity.dtype != np.float32:
            raise StereoError(f'disparity is {disparity.dtype} {disparity.shape}; the image '
                              f'needs float32 {self._shape}: resize one to the other')
        self._warper.quantise(disparity, share * UNIT, 2.0 * self._shape[1], self._shift)

    def _draw(self, image: np.ndarray, shift: np.ndarray, eye: int) -> None:
        view, holes = self._views[eye], self._holes[eye]
        self._warper.warp(image, shift, view, holes)
        # neighbouring rows fill their holes with different colours: streaks, unless blurred
        cv2.blur(view, SOFT_WINDOW, dst=self._soft)
        cv2.copyTo(self._soft, holes.view(np.uint8), view)


def _fastest_warper() -> type:
    try:
        import depth_perception.stereo_kernel as kernel
    except ImportError:         # no Numba, or one that refuses this NumPy
        return NumpyWarper
    return kernel.NumbaWarper


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
    # at a factor of two, linear is the mean of two pixels, and faster than the area filter
    return cv2.hconcat([cv2.resize(view, size, interpolation=cv2.INTER_LINEAR)
                        for view in (left, right)], dst=out)


# Dubois, "Conversion of a stereo pair to anaglyph with the least-squares projection method",
# 2009: the matrices for red-cyan glasses on an LCD screen; columns R G B of the left view, then
# of the right one. Each row sums to 1: grey stays grey.
DUBOIS_RED_CYAN = np.array([
    [0.437, 0.449, 0.164, -0.011, -0.032, -0.007],
    [-0.062, -0.062, -0.024, 0.377, 0.761, 0.009],
    [-0.048, -0.050, -0.017, -0.026, -0.093, 1.234]])
SIXTY_FOURTHS = 64      # what an int16 has room for: sums stay exact to 1/64 of a grey level


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
    # negative and too bright parts of one eye meet the other's before anything is cut off
    weights = DUBOIS_RED_CYAN * SIXTY_FOURTHS
    mixed = cv2.transform(left_rgb.astype(np.int16), weights[:, :3])
    mixed += cv2.transform(right_rgb.astype(np.int16), weights[:, 3:])
    mixed += SIXTY_FOURTHS // 2
    mixed //= SIXTY_FOURTHS
    if out is None:
        out = np.empty_like(left_rgb)
    np.copyto(out, np.clip(mixed, 0, 255, out=mixed), casting='unsafe')
    return out


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
