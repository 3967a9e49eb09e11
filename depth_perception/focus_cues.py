"""Whether a focus stack holds cues for depth, and where to sweep when it does not.

Depth from defocus reads how sharpness changes from slice to slice. A stack whose slices are all
sharp (a small aperture, or everything far away), or all blurred (the scene lies outside of the
sweep), says nothing, and the network then guesses as from one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from depth_perception.focus_alignment import scaled

WIDTH = 320         # pixels: finer structure than that of the network's input does not count
BLOCK = 16          # edge of the squares that are judged as a whole, pixels
TEXTURE = 1.5       # grey levels of fine structure that stand out of the noise
VARIATION = 1.25    # sharpest over most blurred slice of a square with a cue
SHARP = 0.5         # fine over coarse structure of a square that is in focus
ENOUGH = 0.2        # share of the squares with structure that need a cue
STEP = 1.5          # by which factor a range of dioptres is widened

VERDICTS = ('enough', 'all sharp', 'all blurred', 'no texture')


class Verdict(NamedTuple):
    """
    What a stack holds.

    Attributes
    ----------
    kind : {'enough', 'all sharp', 'all blurred', 'no texture'}
    share : float
        Of the squares with structure, those whose sharpness changes and has its peak within the
        sweep, 0..1.
    side : {'', 'near', 'far'}
        Where the squares that are blurred in all slices get sharper: the scene lies beyond that
        end of the sweep.

    """

    kind: str
    share: float
    side: str = ''


def judge(images: Sequence[np.ndarray], scales: Sequence[float] | None = None,
          channel_order: str = 'rgb') -> Verdict:
    """
    Judge a stack.

    Parameters
    ----------
    images : N arrays (H, W, 3) uint8
        From the nearest to the farthest focus, as the camera gave them: enlarging blurs.
    scales : N floats, optional
        By how much each has to be enlarged to be as large as the others; none when left out.
    channel_order : {'rgb', 'bgr'}

    """
    scales = [1.0] * len(images) if scales is None else scales
    fine, coarse = (np.stack(planes) for planes in zip(
        *(_structure(image, scale, channel_order) for image, scale in zip(images, scales))))
    # each (N, h, w), one value a square
    peak, floor = fine.max(axis=0), fine.min(axis=0)
    textured = coarse.max(axis=0) > TEXTURE
    if textured.mean() < 0.02:
        return Verdict('no texture', 0.0)
    varied = peak > VARIATION * np.maximum(floor, 1e-6)
    sharp = (fine / np.maximum(coarse, 1e-6)).max(axis=0) > SHARP
    best = fine.argmax(axis=0)
    share = float(np.mean((varied & sharp)[textured]))
    if share >= ENOUGH:
        return Verdict('enough', share)
    if np.mean(sharp[textured]) >= 0.5:
        return Verdict('all sharp', share)
    ends = [float(np.mean((best == end)[textured & ~sharp])) for end in (0, len(images) - 1)]
    return Verdict('all blurred', share, 'near' if ends[0] > ends[1] else 'far')


def _structure(image: np.ndarray, scale: float,
               channel_order: str) -> tuple[np.ndarray, np.ndarray]:
    """
    Return how much fine and coarse structure each square of a picture has, in grey levels.

    Two bands of differences of Gaussians, an octave apart: blur takes from the fine one first, so
    that their ratio says how sharp a square is, whatever its contrast.
    """
    code = cv2.COLOR_RGB2GRAY if channel_order == 'rgb' else cv2.COLOR_BGR2GRAY
    grey = cv2.cvtColor(image, code)
    if grey.shape[1] > WIDTH:
        size = WIDTH, max(1, round(grey.shape[0] * WIDTH / grey.shape[1]))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    levels = [grey.astype(np.float32)]
    levels += [cv2.GaussianBlur(levels[0], (0, 0), sigma) for sigma in (0.7, 1.4, 2.8)]
    bands = [scaled(cv2.absdiff(levels[index], levels[index + 1]), scale) for index in (1, 2)]
    squares = max(1, grey.shape[1] // BLOCK), max(1, grey.shape[0] // BLOCK)
    fine, coarse = (cv2.resize(band, squares, interpolation=cv2.INTER_AREA) for band in bands)
    return fine, coarse


def widened(nearest_m: float, farthest_m: float, verdict: Verdict,
            limits: tuple[float, float]) -> tuple[float, float]:
    """
    Return a sweep with more cues than one that had too few.

    Parameters
    ----------
    nearest_m, farthest_m : float
        Of the sweep that was judged.
    verdict : Verdict
    limits : (nearest, farthest) floats
        Metres that are never left.

    Returns
    -------
    nearest, farthest : floats
        Metres; those given where nothing is to be done. Of a stack that is all sharp both ends
        move, since what lies farther from the focus is more blurred; of one that is all blurred
        the end beyond which the scene lies.

    """
    near, far = 1.0 / nearest_m, 1.0 / farthest_m
    if verdict.kind == 'all sharp' or verdict.side == 'near':
        near *= STEP
    if verdict.kind == 'all sharp' or verdict.side == 'far':
        far /= STEP
    return (max(limits[0], 1.0 / near),
            min(limits[1], 1.0 / far if far > 0.0 else limits[1]))
