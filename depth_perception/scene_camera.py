"""What a real camera does to a picture: glare, blur, vignetting, colour, noise, compression."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class CameraEffects:
    """The faults of one camera; all zero leaves a picture as it is.

    Attributes
    ----------
    glare : share of the light of bright places that spreads over their surroundings.
    blur_px : deviation of the lens' blur, pixels at 640 wide.
    motion_px : length of the smear of a moving camera, pixels at 640 wide.
    motion_angle : its direction, radians.
    vignette : loss of brightness in the corners, 0..1.
    gain : (3,) colour gains of the white balance and the exposure.
    gamma : exponent on values 0..1.
    noise : deviation of the noise of a mid grey, 0..255.
    jpeg_quality : 0 for none, else 1..100.
    """

    glare: float = 0.0
    blur_px: float = 0.0
    motion_px: float = 0.0
    motion_angle: float = 0.0
    vignette: float = 0.0
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    noise: float = 0.0
    jpeg_quality: int = 0

    @classmethod
    def random(cls, rng: np.random.Generator) -> CameraEffects:
        """A camera by chance, from good to poor."""
        poor = rng.random()
        exposure = float(np.exp(rng.normal(0, 0.15)))
        return cls(
            glare=float(rng.uniform(0, 0.3)) * (rng.random() < 0.4),
            blur_px=float(abs(rng.normal(0, 0.4 + 0.8 * poor))),
            motion_px=float(rng.uniform(1, 9)) * (rng.random() < 0.15),
            motion_angle=float(rng.uniform(0, np.pi)),
            vignette=float(rng.uniform(0, 0.5)) * (rng.random() < 0.6),
            gain=tuple(float(g) * exposure for g in np.exp(rng.normal(0, 0.08, 3))),
            gamma=float(np.exp(rng.normal(0, 0.15))),
            noise=float(rng.uniform(0.3, 2 + 8 * poor)),
            jpeg_quality=int(rng.integers(35, 96)) * int(rng.random() < 0.5))

    def __call__(self, rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The picture (H, W, 3) uint8 RGB as this camera gives it; `rng` draws the noise."""
        scale = rgb.shape[1] / 640
        picture = _glare(rgb, self.glare)
        picture = _blur(picture, self.blur_px * scale, self.motion_px * scale, self.motion_angle)
        picture = _tones(picture, self.gain, self.gamma)
        if self.vignette or self.noise:
            picture = _vignette_and_noise(picture, self.vignette, self.noise, rng)
        if self.jpeg_quality:
            coded = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])[1]
            picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        return picture


def camera_effects(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB as some camera by chance would give it, same size.

    A live camera should rather keep one `CameraEffects` and call it for each frame.
    """
    return CameraEffects.random(rng)(rgb, rng)


def _glare(rgb, share: float) -> np.ndarray:
    if not share:
        return rgb
    height, width = rgb.shape[:2]
    size = (max(width // 8, 1), max(height // 8, 1))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    bright = np.where(small.max(axis=2, keepdims=True) > 215, small, 0).astype(np.uint8)
    halo = cv2.GaussianBlur(bright, (0, 0), max(width / 8 / 12, 0.5))
    return cv2.addWeighted(rgb, 1.0, cv2.resize(halo, (width, height)), share, 0)


def _blur(picture, blur_px: float, motion_px: float, angle: float) -> np.ndarray:
    if blur_px > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    if motion_px > 1.5:
        size = int(motion_px) | 1
        kernel = np.zeros((size, size), np.float32)
        reach = np.array([np.cos(angle), np.sin(angle)]) * (size // 2)
        middle = np.array([size // 2, size // 2])
        ends = [tuple(int(c) for c in np.rint(middle + sign * reach)) for sign in (-1, 1)]
        cv2.line(kernel, *ends, 1.0)
        picture = cv2.filter2D(picture, -1, kernel / kernel.sum())
    return picture


def _tones(picture, gain, gamma: float) -> np.ndarray:
    levels = (np.arange(256, dtype=np.float32)[:, None] / 255) ** gamma * np.asarray(gain)
    table = np.clip(np.rint(255 * levels), 0, 255).astype(np.uint8)
    return cv2.LUT(picture, table.reshape(256, 1, 3))


def _vignette_and_noise(picture, vignette: float, noise: float, rng) -> np.ndarray:
    """Corners darkened; noise that grows with the root of the light, as photons make it."""
    height, width = picture.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    lens = 1 - np.float32(vignette / 2) * (x * x + y * y)
    values = picture * lens[..., None]
    spread = np.sqrt(values * np.float32(1 / 128) + np.float32(0.2)) * np.float32(noise)
    values += spread * rng.standard_normal(values.shape, np.float32)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)
