"""Which frames of a recording are not worth keeping: blurred by motion, or seen already."""
from __future__ import annotations

from collections import deque
from statistics import median

import cv2
import numpy as np

BLUR_WIDTH = 320  # px, of the picture in which blur is measured
BLUR_KERNEL = 9  # px
FLAT = 0.5  # grey levels: a picture whose neighbours differ by less shows neither edge nor blur
RECENT, FEWEST = 30, 5  # frames that a frame is compared with
THUMBNAIL = (64, 48)


def blur_of(image: np.ndarray) -> float:
    """Return how blurred a picture is in the direction in which it is most: 0 sharp, 1 no edge.

    What another blur takes from the steps between neighbours is little where they were soft
    before. F. Crete et al., "The Blur Effect: Perception and Estimation with a New No-Reference
    Perceptual Blur Metric", 2007. It depends on the picture far less than its contrast does.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB

    Returns
    -------
    float
        NaN where the picture is flat.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, BLUR_WIDTH / grey.shape[1])
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    worst = -1.0
    for axis, kernel in ((0, (1, BLUR_KERNEL)), (1, (BLUR_KERNEL, 1))):
        steps = np.abs(np.diff(grey, axis=axis))
        total = float(steps.mean(dtype=np.float64))
        if total < FLAT:
            return float('nan')
        softer = np.abs(np.diff(cv2.blur(grey, kernel), axis=axis))
        lost = float(np.maximum(steps - softer, 0).mean(dtype=np.float64))
        worst = max(worst, 1 - lost / total)
    return worst


class Blur:
    """Finds frames that are more blurred than those around them, whatever the lens is like.

    Parameters
    ----------
    margin
        By how much more; 0: none is.
    """

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._recent: deque[float] = deque(maxlen=RECENT)

    def is_blurred(self, blur: float) -> bool:
        """Take the blur of the next frame."""
        recent = [each for each in self._recent if each == each]  # without NaN
        self._recent.append(blur)
        return (self._margin > 0 and len(recent) >= FEWEST
                and blur > median(recent) + self._margin)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return a small grey picture without noise, (48, 64) float32."""
    small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


class Stillness:
    """Finds frames that show what the last kept one shows: the robot stands.

    Parameters
    ----------
    limit
        Mean difference of thumbnails, grey levels of 255; 0: every frame is another.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._kept: np.ndarray | None = None

    def is_still(self, small: np.ndarray) -> bool:
        """Say whether a thumbnail is that of the last kept frame."""
        return (self._kept is not None and self._limit > 0
                and float(np.abs(small - self._kept).mean()) < self._limit)

    def keep(self, small: np.ndarray) -> None:
        """Take the thumbnail of a frame that is kept."""
        self._kept = small
