"""Pictures that show two views at once, for screens, glasses and headsets.

Each format is a pure function of finished views; :data:`FORMATS` names all that there are, those
of stereo_multiview.py included. Views are (H, W, 3) uint8; the order of channels matters to
anaglyphs alone.
"""

from __future__ import annotations

from collections.abc import Callable
import difflib
import functools

import cv2
import numpy as np

from depth_perception.stereo_disparity import StereoError


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
    size = (max(1, left.shape[1] // 2), left.shape[0])
    # at a factor of two, linear is the mean of two pixels, and faster than the area filter
    return cv2.hconcat([cv2.resize(view, size, interpolation=cv2.INTER_LINEAR)
                        for view in (left, right)], dst=out)


def cross_eyed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Right view to the left, (H, 2 W, 3): seen in depth by crossing the eyes, without glasses."""
    return side_by_side(right, left)


def top_bottom(left: np.ndarray, right: np.ndarray, half: bool = False) -> np.ndarray:
    """Left view above the right one, (2 H, W, 3); with `half` (2 (H // 2), W, 3)."""
    if half:
        size = (left.shape[1], max(1, left.shape[0] // 2))
        left, right = (cv2.resize(view, size, interpolation=cv2.INTER_LINEAR)
                       for view in (left, right))
    return cv2.vconcat([left, right])


def row_interleaved(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rows in turn, the topmost of the left view: for screens with polarised lines."""
    mixed = left.copy()
    mixed[1::2] = right[1::2]
    return mixed


def column_interleaved(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Columns in turn, the leftmost of the left view: for parallax barriers; any width."""
    mixed = left.copy()
    mixed[:, 1::2] = right[:, 1::2]
    return mixed


LUMA = (0.299, 0.587, 0.114)
_GREEN_BLUE = ((0, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 1))
#: What red-cyan glasses are given: rows R G B; columns R G B of the left view, then of the right.
ANAGLYPHS = {
    # the left view's red beside the right view's green and blue
    'color': ((1, 0, 0, 0, 0, 0), *_GREEN_BLUE),
    # red by the left view's brightness: red things do not blink between the eyes
    'half_color': ((*LUMA, 0, 0, 0), *_GREEN_BLUE),
    'gray': ((*LUMA, 0, 0, 0), (0, 0, 0, *LUMA), (0, 0, 0, *LUMA)),
    # Dubois, "Conversion of a stereo pair to anaglyph with the least-squares projection method",
    # 2009: the matrices for red-cyan glasses on an LCD screen. Each row sums to 1.
    'dubois': ((0.437, 0.449, 0.164, -0.011, -0.032, -0.007),
               (-0.062, -0.062, -0.024, 0.377, 0.761, 0.009),
               (-0.048, -0.050, -0.017, -0.026, -0.093, 1.234)),
    # Wimmer, "Anaglyph methods comparison": red from what the left eye sees in green and blue
    'wimmer': ((0, 0.7, 0.3, 0, 0, 0), *_GREEN_BLUE),
}
SIXTY_FOURTHS = 64      # what an int16 has room for: sums stay exact to 1/64 of a grey level


def anaglyph(left_rgb: np.ndarray, right_rgb: np.ndarray, out: np.ndarray | None = None,
             method: str = 'dubois') -> np.ndarray:
    """Red-cyan anaglyph, red for the left eye.

    Parameters
    ----------
    left_rgb, right_rgb : (H, W, 3) uint8, RGB
    out : (H, W, 3) uint8, optional
    method : a key of ANAGLYPHS

    Returns
    -------
    (H, W, 3) uint8, RGB

    Raises
    ------
    StereoError
        If the method does not exist.
    """
    if method not in ANAGLYPHS:
        raise StereoError(f'anaglyph is {method!r}; choose one of {", ".join(ANAGLYPHS)}')
    # negative and too bright parts of one eye meet the other's before anything is cut off
    weights = np.array(ANAGLYPHS[method]) * SIXTY_FOURTHS
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
    grey[~(depth > 0.0)] = 0
    return cv2.hconcat([image, cv2.merge([grey] * 3)], dst=out)


PAIR_FORMATS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    'side_by_side': side_by_side,
    'half_side_by_side': functools.partial(side_by_side, half=True),
    'cross_eyed': cross_eyed,
    'top_bottom': top_bottom,
    'half_top_bottom': functools.partial(top_bottom, half=True),
    'row_interleaved': row_interleaved,
    'column_interleaved': column_interleaved,
    **{f'anaglyph_{name}': functools.partial(anaglyph, method=name) for name in ANAGLYPHS},
}
#: rgbd is the image with its depth; the last three show more than two views.
FORMATS = (*PAIR_FORMATS, 'rgbd', 'quilt', 'tile', 'lenticular')


def check_format(name: str) -> None:
    """Raise StereoError, naming the nearest, unless a format of this name exists."""
    if name not in FORMATS:
        nearest = difflib.get_close_matches(name, FORMATS, n=1)
        meant = f', perhaps {nearest[0]!r} is meant' if nearest else ''
        raise StereoError(f'format is {name!r}{meant}; choose one of {", ".join(FORMATS)}')
