"""Stereo views from one image and its depth (DIBR).

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

from collections.abc import Callable

import cv2
import numpy as np

from depth_perception.stereo_disparity import StereoError, disparity_from_depth
from depth_perception.stereo_fill import (
    edge_directed,
    hidden_points,
    soften_edges,
    soften_holes,
)
from depth_perception.stereo_formats import anaglyph, rgbd, side_by_side
from depth_perception.stereo_warp import UNIT, NumpyWarper

__all__ = ['FILLS', 'StereoError', 'StereoRenderer', 'anaglyph', 'disparity_from_depth', 'rgbd',
           'side_by_side']

#: How holes are filled: the background extended; half that and half OpenCV's inpainting; or with
#: what earlier frames saw there, else extended.
FILLS = ('background', 'inpaint', 'temporal')

#: ``look_up(x, y, disparity) -> colours (N, 3), found (N,)`` of points that the image hides.
LookUp = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


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
    fill : str
        One of FILLS; may change between two calls, as all that follow.
    edge_dilation_px : int
        By how much near surfaces grow: where depth comes from a network its edges lie next to
        those of the picture, and what is cut off a near surface stays on the far one.
    soft_edges : bool
        Mix the two pixels at an edge a little, as lenses do.
    look_up : callable or None
        See LookUp; asked with `fill` temporal.

    Raises
    ------
    StereoError
        If the size is below 2x1.
    """

    def __init__(self, width: int, height: int) -> None:
        if width < 2 or height < 1:
            raise StereoError(f'image size is {width}x{height}; it must be at least 2x1')
        self.fill, self.edge_dilation_px, self.soft_edges = 'background', 0, False
        self.look_up: LookUp | None = None
        self._shape = (height, width)
        self._shift, self._mirror_shift = (np.empty(self._shape, np.int32) for _ in range(2))
        self._mirror_image, self._blurred = (np.empty((height, width, 3), np.uint8)
                                             for _ in range(2))
        self._views = np.empty((2, height, width, 3), np.uint8)
        self._holes = np.empty((2, height, width), np.bool_)
        self._warper = _fastest_warper()(width, height)
        self.backend = self._warper.name
        # compiles what is not yet compiled, so that the first frame does not wait for it
        self.right_from_left(self._blurred, np.full(self._shape, np.nan, np.float32))

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
            behind an edge where the image mixes both sides; filled as `fill` says.

        Raises
        ------
        StereoError
            If image or disparity have another size or type.
        """
        self._quantise(image, disparity, 0.5)
        self._draw_left(image, -0.5)
        self._draw(image, self._shift, 1, 0.5)
        return (*self._views, *self._holes)

    def right_from_left(self, image: np.ndarray, disparity: np.ndarray,
                        ) -> tuple[np.ndarray, np.ndarray]:
        """The right view where the image itself is the left one; see `views`.

        Returns
        -------
        right : (H, W, 3) uint8
        holes : (H, W) bool
        """
        return self.view_at(image, disparity, 1.0)

    def view_at(self, image: np.ndarray, disparity: np.ndarray, share: float,
                ) -> tuple[np.ndarray, np.ndarray]:
        """The view of an eye `share` of the baseline to the right of the image; see `views`.

        Parameters
        ----------
        share : float
            Below 0 to the left; 0 gives the image itself.

        Returns
        -------
        view : (H, W, 3) uint8
        holes : (H, W) bool
        """
        self._quantise(image, disparity, abs(share))
        if share < 0.0:
            self._draw_left(image, share)
            return self._views[0], self._holes[0]
        if share == 0.0:
            np.copyto(self._views[1], image)
            self._holes[1] = False
        else:
            self._draw(image, self._shift, 1, share)
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
        if self.edge_dilation_px > 0:
            self._dilate_near()

    def _dilate_near(self) -> None:
        window = np.ones((2 * self.edge_dilation_px + 1,) * 2, np.uint8)
        # float32 holds these whole numbers exactly, and is what OpenCV dilates
        np.copyto(self._shift, cv2.dilate(self._shift.astype(np.float32), window),
                  casting='unsafe')

    def _draw_left(self, image: np.ndarray, share: float) -> None:
        """The eye on the left is the eye on the right in a mirror."""
        cv2.flip(image, 1, dst=self._mirror_image)
        cv2.flip(self._shift, 1, dst=self._mirror_shift)
        self._draw(self._mirror_image, self._mirror_shift, 0, share)
        for mirrored in (self._views[0], self._holes[0].view(np.uint8)):
            cv2.flip(mirrored, 1, dst=mirrored)

    def _draw(self, image: np.ndarray, shift: np.ndarray, eye: int, share: float) -> None:
        view, holes = self._views[eye], self._holes[eye]
        self._warper.warp(image, shift, view, holes)
        if self.fill == 'inpaint':
            edge_directed(view, holes)
        soften_holes(view, holes, self._blurred)
        if self.fill == 'temporal' and self.look_up is not None:
            self._fill_from_history(view, holes, share)
        if self.soft_edges:
            soften_edges(view, holes, self._warper.source, self._blurred)

    def _fill_from_history(self, view: np.ndarray, holes: np.ndarray, share: float) -> None:
        points = hidden_points(holes, self._warper.source)
        x = points.column + points.shift
        if share < 0.0:
            x = self._shape[1] - 1 - x
        colours, found = self.look_up(x, points.row, points.shift / np.float32(abs(share)))
        view[points.row[found], points.column[found]] = colours[found]


def _fastest_warper() -> type:
    try:
        import depth_perception.stereo_kernel as kernel
    except ImportError:         # no Numba, or one that refuses this NumPy
        return NumpyWarper
    return kernel.NumbaWarper
