"""Slices of a focus stack brought to one scale: a lens focused nearer sees less ("breathing").

Also whether the camera moved from one slice to another, once that is taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import cv2
import numpy as np

from depth_perception.focus_stack import Slice
from depth_perception.preprocessing import ImageError

BREATHING = ('measure', 'thin_lens', 'none')
THUMBNAIL_WIDTH = 160
# Blur that hides how differently two slices are blurred already, pixels of the thumbnail.
SOFTENING_PX = 1.5
# No lens of this kind breathes more: a thin one of 50 mm at half a metre gives 1.11.
MOST_BREATHING = 1.15
# Over so many pixels sharpness is averaged where slices are joined.
FUSION_PX = 2.0
_COARSE_STEPS = 13
_FINE_STEPS = 6


def thumbnail(image: np.ndarray, channel_order: str = 'rgb') -> np.ndarray:
    """
    Make a small, soft picture by which slices are compared.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    channel_order : {'rgb', 'bgr'}

    Returns
    -------
    (h, w) float32 array
        Grey, 160 pixels wide (narrower images keep their size).

    """
    width = min(THUMBNAIL_WIDTH, image.shape[1])
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    code = cv2.COLOR_RGB2GRAY if channel_order == 'rgb' else cv2.COLOR_BGR2GRAY
    grey = cv2.cvtColor(small, code).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), SOFTENING_PX)


def scaled(image: np.ndarray, scale: float,
           centre: tuple[float, float] | None = None) -> np.ndarray:
    """
    Enlarge an image about a point; its size stays, and what has no source repeats the edge.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array
    scale : float
        Above 1 enlarges.
    centre : (x, y) floats, optional
        Pixel that stays where it is, the principal point; the middle when left out.

    """
    height, width = image.shape[:2]
    x, y = ((width - 1) / 2, (height - 1) / 2) if centre is None else centre
    # output pixel u shows the input at centre + (u - centre) / scale
    inverse = np.array([[1 / scale, 0, x - x / scale], [0, 1 / scale, y - y / scale]])
    return cv2.warpAffine(image, inverse, (width, height),
                          flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_REPLICATE)


def thin_lens_scale(distance_m: float, reference_m: float, focal_length_m: float) -> float:
    """
    Return by how much a slice has to be enlarged to be as large as the reference.

    A thin lens focused at d stands f / (1 - f / d) before the sensor, and that is the scale of
    its image.

    Parameters
    ----------
    distance_m, reference_m : float
        Focus distances of the slice and of the reference, beyond the focal length.
    focal_length_m : float

    """
    return (1 - focal_length_m / distance_m) / (1 - focal_length_m / reference_m)


def measured_scale(image: np.ndarray, reference: np.ndarray) -> float:
    """
    Find by how much a thumbnail has to be enlarged to be as large as the reference.

    Blur is symmetric and does not move edges, so the scale at which the two correlate best is
    the breathing of the lens, however differently they are blurred.

    Parameters
    ----------
    image, reference : (h, w) float32 arrays
        From `thumbnail`.

    Returns
    -------
    float
        1 where the pictures have no texture to tell by.

    """
    if min(image.std(), reference.std()) < 1.0:
        return 1.0
    reach = math.log(MOST_BREATHING)
    half = [cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            for each in (image, reference)]
    best = _best(*half, np.linspace(-reach, reach, _COARSE_STEPS))
    step = 2 * reach / (_COARSE_STEPS - 1)
    for _ in range(_FINE_STEPS):
        step /= 2
        best = _best(image, reference, best + np.array([-step, 0.0, step]))
    return math.exp(best)


def _best(image: np.ndarray, reference: np.ndarray, candidates: np.ndarray) -> float:
    """Return the logarithm of the scale with the highest correlation."""
    scores = [_correlation(*matched(image, reference, math.exp(each))) for each in candidates]
    return float(candidates[int(np.argmax(scores))])


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(first.ravel() @ second.ravel()) / max(spread, 1e-6)


def matched(image: np.ndarray, reference: np.ndarray,
            scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Bring both to the scale of the larger one: what is enlarged needs nothing from outside."""
    if scale >= 1.0:
        return scaled(image, scale), reference
    return image, scaled(reference, 1.0 / scale)


def breathing_scales(stack: Sequence[Slice], reference: Slice, method: str,
                     focal_length_m: float = 0.0) -> list[float]:
    """
    Return by how much each slice has to be enlarged to be as large as the reference.

    Parameters
    ----------
    stack : sequence of Slice
        With thumbnails, to be measured.
    reference : Slice
        One of them; its own scale is exactly 1.
    method : {'measure', 'thin_lens', 'none'}
    focal_length_m : float
        For 'thin_lens'.

    """
    if method == 'none':
        return [1.0] * len(stack)
    if method == 'thin_lens':
        return [thin_lens_scale(each.distance_m, reference.distance_m, focal_length_m)
                for each in stack]
    return [1.0 if each is reference else measured_scale(each.thumbnail, reference.thumbnail)
            for each in stack]


def movement(image: np.ndarray, reference: np.ndarray) -> float:
    """
    Return how far the camera's picture moved between two slices, roughly.

    Parameters
    ----------
    image, reference : (h, w) float32 arrays
        From `thumbnail`, of equal scale.

    Returns
    -------
    float
        Share of the image's width: the mean difference over the mean slope of the brightness,
        which is how far a slope must move to make it. Brightness as a whole does not count, and
        neither does a picture without slopes.

    """
    difference = image - reference
    difference -= difference.mean()
    slope = cv2.magnitude(cv2.Sobel(reference, cv2.CV_32F, 1, 0, scale=1 / 8),
                          cv2.Sobel(reference, cv2.CV_32F, 0, 1, scale=1 / 8))
    mean_slope = float(slope.mean())
    if mean_slope < 0.05:
        return 0.0
    return float(np.abs(difference).mean()) / mean_slope / image.shape[1]


def all_in_focus(images: Sequence[np.ndarray]) -> np.ndarray:
    """
    Make one picture of a stack that is sharp wherever one of its slices is.

    Parameters
    ----------
    images : N arrays (H, W, 3) uint8
        Of equal scale.

    Returns
    -------
    (H, W, 3) uint8 array

    """
    best, result = None, None
    for image in images:
        contrast = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_32F, ksize=3)
        contrast = cv2.GaussianBlur(cv2.multiply(contrast, contrast), (0, 0), FUSION_PX)
        if best is None:
            best, result = contrast, image.copy()
            continue
        better = contrast > best
        np.copyto(best, contrast, where=better)
        np.copyto(result, image, where=better[..., None])
    return result


def aligned(images: Sequence[np.ndarray], scales: Sequence[float],
            centre: tuple[float, float]) -> list[np.ndarray]:
    """
    Bring the images of a stack to the scale of one of them.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8 arrays
    scales : sequence of float
        By how much each has to be enlarged; exactly 1 leaves an image as it is, uncopied.
    centre : (x, y) floats
        The principal point.

    Raises
    ------
    ImageError
        If the images differ in size.

    """
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        listed = ', '.join(f'{shape[1]}x{shape[0]}' for shape in sorted(sizes))
        raise ImageError(f'images of one stack are {listed}; all must be of one size')
    return [image if scale == 1.0 else scaled(image, scale, centre)
            for image, scale in zip(images, scales)]
