"""Random changes to a training view that move image, depth and focal length together.

Geometry is one affine map from the network's picture back into the stored view (crop, zoom, roll
and mirror at once), so every pixel is sampled once. All random numbers come from the generator
that the caller passes: the same generator state gives the same bytes.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import math

import cv2
import numpy as np

HALF_NAN_BITS = 0x7E00  # NaN of float16, as OpenCV needs it for its 16-bit integer border value
GREY = np.array([0.299, 0.587, 0.114])
NOISE_SIGMAS = (1.5, 3.0, 5.0, 8.0, 12.0)
NOISE_SHIFT = 32
UNLABELLED = 255  # stored segmentation target of a pixel that has none


@dataclass(frozen=True)
class AugmentConfig:
    """How much is changed; each probability is per picture.

    Attributes
    ----------
    zoom
        Smallest and largest random zoom (log-uniform). Zooming makes the focal length grow and
        leaves depth alone, which is how close range and long lenses are learnt.
    roll_deg
        Largest roll of the camera, either way.
    """

    zoom: tuple[float, float] = (1.0, 2.5)
    flip: float = 0.5
    roll: float = 0.3
    roll_deg: float = 5.0
    colour: float = 0.9
    grey: float = 0.08
    noise: float = 0.5
    blur: float = 0.25
    jpeg: float = 0.2

    def __post_init__(self):
        if not 1.0 <= self.zoom[0] <= self.zoom[1]:
            raise ValueError(f'zoom is {self.zoom}; give (low, high) with 1 <= low <= high')


@dataclass(frozen=True)
class Crop:
    """Where the network's picture lies in the stored view.

    The picture's centre is (x, y) px of the view, `scale` view pixels make one picture pixel,
    the camera is rolled by `roll_rad`, and `mirror` swaps left and right.
    """

    x: float
    y: float
    scale: float
    roll_rad: float = 0.0
    mirror: bool = False

    def matrix(self, height: int, width: int) -> np.ndarray:
        """Return the 2x3 map from picture pixels (width x height) to view pixels."""
        cos, sin = self.scale * math.cos(self.roll_rad), self.scale * math.sin(self.roll_rad)
        side = -1.0 if self.mirror else 1.0
        linear = np.array([[cos * side, -sin], [sin * side, cos]])
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        return np.column_stack([linear, np.array([self.x, self.y]) - linear @ centre])


def fitted_crop(view_height: int, view_width: int, height: int, width: int,
                zoom: float = 1.0) -> Crop:
    """Return the centred crop that fills height x width from as much of the view as fits."""
    scale = min(view_height / height, view_width / width) / zoom
    return Crop((view_width - 1) / 2, (view_height - 1) / 2, scale)


def random_crop(rng: np.random.Generator, view_height: int, view_width: int, height: int,
                width: int, config: AugmentConfig) -> Crop:
    """Return a random crop that keeps inside the view but for the corners of a roll."""
    zoom = math.exp(rng.uniform(math.log(config.zoom[0]), math.log(config.zoom[1])))
    scale = fitted_crop(view_height, view_width, height, width, zoom).scale
    slack_x = max(0.0, (view_width - scale * width) / 2)
    slack_y = max(0.0, (view_height - scale * height) / 2)
    x = (view_width - 1) / 2 + rng.uniform(-slack_x, slack_x)
    y = (view_height - 1) / 2 + rng.uniform(-slack_y, slack_y)
    roll = rng.uniform(-config.roll_deg, config.roll_deg) if rng.random() < config.roll else 0.0
    return Crop(x, y, scale, math.radians(roll), bool(rng.random() < config.flip))


def apply_crop(image: np.ndarray, depth: np.ndarray, focal_px: float, crop: Crop, height: int,
               width: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Cut a picture out of a view.

    Parameters
    ----------
    image, depth
        (H, W, 3) uint8 and (H, W) float16 metres, NaN where missing.
    focal_px
        Focal length of the view, px.

    Returns
    -------
    tuple
        image (height, width, 3) uint8, depth (height, width) float32 metres (looked up, never
        blended), focal length in px of the new picture. Depth stays: z does not change when a
        picture is cut, enlarged, mirrored or rolled about the optical axis.
    """
    matrix = crop.matrix(height, width)
    # Moved as 16-bit integers because OpenCV has no float16 warp; the bits stay as they are.
    bits = cv2.warpAffine(np.ascontiguousarray(depth).view(np.int16), matrix, (width, height),
                          flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_CONSTANT, borderValue=HALF_NAN_BITS)
    image, matrix = _halved(image, matrix, crop.scale)
    picture = cv2.warpAffine(image, matrix, (width, height),
                             flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                             borderMode=cv2.BORDER_REPLICATE)
    return picture, bits.view(np.float16).astype(np.float32), focal_px / crop.scale


def cut_labels(labels: np.ndarray, crop: Crop, height: int, width: int) -> np.ndarray:
    """Cut segmentation targets (H, W) uint8 as `apply_crop` cuts depth; UNLABELLED outside."""
    return cv2.warpAffine(labels, crop.matrix(height, width), (width, height),
                          flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_CONSTANT, borderValue=UNLABELLED)


def _halved(image: np.ndarray, matrix: np.ndarray, scale: float):
    """Shrink by averaging until bilinear sampling no longer skips pixels of the view."""
    while scale >= 1.8:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[:2 * height, :2 * width], (width, height),
                           interpolation=cv2.INTER_AREA)
        # Pixel centres are integers: view coordinate u becomes (u + 0.5) / 2 - 0.5.
        matrix = matrix / 2
        matrix[:, 2] -= 0.25
        scale /= 2
    return image, matrix


def jitter_colour(image: np.ndarray, rng: np.random.Generator, grey: bool) -> np.ndarray:
    """Change hue, saturation, white balance, gamma, contrast and brightness of (H, W, 3) uint8."""
    saturation = 0.0 if grey else rng.uniform(0.5, 1.4)
    mixed = cv2.transform(image, _saturation_hue(saturation, rng.normal(0, 0.06)))
    balance = np.ones(3) if grey else np.exp(rng.normal(0, 0.07, 3))
    gamma = math.exp(rng.normal(0, 0.25))
    contrast, brightness = rng.uniform(0.7, 1.3), rng.normal(0, 0.06)
    levels = (np.arange(256) / 255.0) ** gamma
    levels = (levels[:, None] * balance - 0.5) * contrast + 0.5 + brightness
    table = np.clip(levels * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return cv2.LUT(mixed, table[None])


def _saturation_hue(saturation: float, hue_turn: float) -> np.ndarray:
    """Return the 3x3 RGB matrix: rotation about grey by hue_turn (of 2 pi), then saturation."""
    angle = 2 * math.pi * hue_turn
    axis = np.full(3, 1 / math.sqrt(3))
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = (math.cos(angle) * np.eye(3) + math.sin(angle) * cross
            + (1 - math.cos(angle)) * np.outer(axis, axis))
    return (saturation * np.eye(3) + (1 - saturation) * np.tile(GREY, (3, 1))) @ turn


@lru_cache(maxsize=8)
def _noise_bank(height: int, width: int, sigma: float) -> np.ndarray:
    generator = np.random.default_rng(20)
    shape = (height + NOISE_SHIFT, width + NOISE_SHIFT, 3)
    return np.rint(generator.normal(0, sigma, shape)).astype(np.int16)


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add sensor noise: a random piece of a stored noise field (drawing anew takes 10 ms)."""
    height, width = image.shape[:2]
    sigma = NOISE_SIGMAS[int(len(NOISE_SIGMAS) * rng.random() ** 2)]
    y, x = rng.integers(0, NOISE_SHIFT, 2)
    bank = _noise_bank(height, width, sigma)
    return cv2.add(image, bank[y:y + height, x:x + width], dtype=cv2.CV_8U)


def add_blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur as a soft lens (Gaussian) or as motion along a random direction."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4))
    length, angle = rng.uniform(1.5, 6.0), rng.uniform(0, math.pi)
    kernel = np.zeros((9, 9), np.float32)
    step = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    # 4 fractional bits of sub-pixel position, so that slow motion is a short streak.
    ends = [tuple(int(round((4 + side * s) * 16)) for s in step) for side in (-1, 1)]
    cv2.line(kernel, *ends, 1.0, 1, cv2.LINE_8, 4)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def add_jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress and expand as JPEG of quality 30 to 90."""
    quality = int(rng.integers(30, 91))
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def change_picture(image: np.ndarray, rng: np.random.Generator,
                   config: AugmentConfig) -> np.ndarray:
    """Apply lens blur, colour, noise and JPEG, in the order in which a camera does."""
    if rng.random() < config.blur:
        image = add_blur(image, rng)
    grey = bool(rng.random() < config.grey)
    if grey or rng.random() < config.colour:
        image = jitter_colour(image, rng, grey)
    if rng.random() < config.noise:
        image = add_noise(image, rng)
    if rng.random() < config.jpeg:
        image = add_jpeg(image, rng)
    return image


def augment(
    image: np.ndarray, depth: np.ndarray, focal_px: float, rng: np.random.Generator,
    height: int, width: int, config: AugmentConfig,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a randomly changed (height, width) picture of a view; see apply_crop for types."""
    return augment_labelled(image, depth, None, focal_px, rng, height, width, config)[:3]


def augment_labelled(
    image: np.ndarray, depth: np.ndarray, labels: np.ndarray | None, focal_px: float,
    rng: np.random.Generator, height: int, width: int, config: AugmentConfig,
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
    """Return what `augment` does, by the same random numbers, and its segmentation targets."""
    crop = random_crop(rng, *depth.shape, height, width, config)
    if labels is not None:
        labels = cut_labels(labels, crop, height, width)
    image, depth, focal_px = apply_crop(image, depth, focal_px, crop, height, width)
    return change_picture(image, rng, config), depth, focal_px, labels
