"""Focus stacks from all-in-focus images and depth, in batches and with gradients.

The formulas are those of depth_perception/focus_render.py: see there, and psf.py for the levels.
Here a level is convolved in the frequency domain, where it is a product with a real function,
because the kernels are symmetric, and where levels add up before the one way back. That has
gradients, and suits a GPU whatever the radius. On the processor, where no gradient is asked for,
OpenCV is several times faster: the other module then renders this one's batches.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from depth_perception.focus_render import (
    BEHIND_SHARPNESS,
    HOLE_DEPTH_M,
    LEAST_LIGHT,
    blur_light,
)
from depth_perception.optics import OpticsError
from depth_perception.psf import Level, check_shape, disc_kernel, levels, reach_px


def fill_holes(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Depth without holes, and where it was known: only there may a loss look.

    Parameters
    ----------
    depth : (...) float, metres
        Holes are what is not finite or not above 0.

    Returns
    -------
    filled : as `depth`, HOLE_DEPTH_M in the holes, without gradient there
    valid : (...) bool
    """
    valid = torch.isfinite(depth) & (depth > 0)
    return torch.where(valid, depth, HOLE_DEPTH_M), valid


def render_stack(image: Tensor, depth: Tensor, focus_distances: Tensor, blur_scale: Tensor,
                 focal_length: Tensor | float = 0.0, *, psf: str = 'gaussian',
                 occlusion: bool = False, gamma: float = 1.0) -> Tensor:
    """What a lens sees when it is focused at one distance after the other.

    Gradients flow to image, depth, focus distances and blur scale, where they are asked for.

    Parameters
    ----------
    image : (B, 3, H, W) float, 0..1
        All in focus.
    depth : (B, 1, H, W) float, metres
        Holes (not finite, not above 0) are blurred as what is 1000 m away, without gradient.
    focus_distances : (B, N) metres
    blur_scale : (B,) pixel metres
        `Lens.blur_scale_px_m`: f^2 / (N * pixel pitch); 0 for f-number infinity, where each
        slice is the image itself.
    focal_length : (B,) or float, metres
        0 takes it as much shorter than the focus distances (equation 2).
    psf : 'gaussian' or 'disc'
    occlusion : bool
        Near things hide what is behind them; about twice the time.
    gamma : float
        What the values are a power of light to; 2.2 blurs light itself, 1 the values.

    Returns
    -------
    (B, N, 3, H, W), as `image`

    Raises
    ------
    OpticsError
        Shapes do not match, a focus distance is not beyond the focal length, a blur scale is
        negative or not finite, `gamma` is not above 0, or `psf` is unknown.
    """
    check_shape(psf)
    _check(image, depth, focus_distances, blur_scale, focal_length, gamma)
    dtype = image.dtype if image.dtype == torch.float64 else torch.float32
    radius = signed_radius_px(fill_holes(depth)[0].to(dtype), focus_distances.to(dtype),
                              blur_scale.to(dtype), focal_length)
    stack = _render(image.to(dtype), radius, psf, occlusion, gamma).to(image.dtype)
    sharp = (blur_scale == 0).reshape(-1, 1, 1, 1, 1)
    return torch.where(sharp, image[:, None], stack)


def signed_radius_px(depth: Tensor, focus_distances: Tensor, blur_scale: Tensor,
                     focal_length: Tensor | float = 0.0) -> Tensor:
    """Blur radius (B, N, H, W) of each pixel, positive behind the focus.

    At most half of the picture's shorter side. Parameters are those of `render_stack`;
    depth has no holes.
    """
    nearness = 1.0 / focus_distances[..., None, None]
    focal_length = torch.as_tensor(focal_length).to(depth).reshape(-1, 1, 1, 1)
    scale = 0.5 * blur_scale.reshape(-1, 1, 1, 1) / (1.0 - focal_length * nearness)
    limit = 0.5 * min(depth.shape[-2:])
    return (scale * (nearness - 1.0 / depth)).clamp(-limit, limit)


def _check(image: Tensor, depth: Tensor, focus_distances: Tensor, blur_scale: Tensor,
           focal_length: Tensor | float, gamma: float) -> None:
    shape = image.shape
    if (image.ndim != 4 or shape[1] != 3 or depth.shape != (shape[0], 1, *shape[2:])
            or focus_distances.ndim != 2 or len(focus_distances) != shape[0]
            or blur_scale.shape != shape[:1]):
        raise OpticsError(
            f'image {tuple(shape)}, depth {tuple(depth.shape)}, focus distances '
            f'{tuple(focus_distances.shape)} and blur scale {tuple(blur_scale.shape)}; they must '
            'be (B, 3, H, W), (B, 1, H, W), (B, N) and (B,)')
    focal_length = torch.as_tensor(focal_length).to(focus_distances).reshape(-1, 1)
    good_focus = (focus_distances > focal_length).all()     # NaN is bad as well
    good_scale = ((blur_scale >= 0) & torch.isfinite(blur_scale)).all()
    if not good_focus & good_scale:             # one question, as each waits for the device
        raise OpticsError(
            f'focus distances are {focus_distances.tolist()} m and blur scales '
            f'{blur_scale.tolist()} px m; focus distances must be beyond the focal length, '
            'blur scales finite and at least 0')
    if not gamma > 0.0:
        raise OpticsError(f'gamma is {gamma:g}; it must be above 0: 1 blurs values, 2.2 light')


def _render(image: Tensor, radius: Tensor, psf: str, occlusion: bool, gamma: float) -> Tensor:
    """(B, 3, H, W) image and (B, N, H, W) signed radii to (B, N, 3, H, W)."""
    # the root's gradient at black is infinite
    light = image if gamma == 1.0 else image.clamp(min=LEAST_LIGHT) ** gamma
    wants_gradient = torch.is_grad_enabled() and (light.requires_grad or radius.requires_grad)
    if light.device.type == 'cpu' and light.dtype == torch.float32 and not wants_gradient:
        stack = _blur_arrays(light, radius, psf, occlusion)
    else:
        stack = _blur_spectra(light[:, None], radius if occlusion else radius.abs(), psf,
                              occlusion)
    return stack if gamma == 1.0 else stack.clamp(min=LEAST_LIGHT) ** (1.0 / gamma)


def _blur_arrays(light: Tensor, radius: Tensor, psf: str, occlusion: bool) -> Tensor:
    planes = light.contiguous().numpy()
    return torch.from_numpy(np.stack(
        [np.stack([blur_light(planes[item], one, psf, occlusion) for one in slices])
         for item, slices in enumerate(radius.detach().numpy())]))


def _blur_spectra(light: Tensor, radius: Tensor, psf: str, occlusion: bool) -> Tensor:
    """(B, 1, 3, H, W) light and (B, N, H, W) radii to (B, N, 3, H, W)."""
    smallest, largest = torch.stack(radius.detach().aminmax()).tolist()
    chosen = levels(psf, smallest, largest)
    widest = max(level.radius for level in chosen)
    if widest == 0.0:
        return light.expand(-1, radius.shape[1], -1, -1, -1)
    light = torch.cat((light, torch.ones_like(light[:, :, :1])), dim=2)     # (B, 1, 4, H, W)
    bench = _Bench(psf, radius.shape[-2:], reach_px(widest))
    light = (_hide if occlusion else _spread)(bench, bench.widen(light),
                                              bench.widen(radius[:, :, None]), chosen)
    return light[:, :, :3] / light[:, :, 3:].clamp(min=LEAST_LIGHT)


class _Bench:
    """Pictures with a mirrored border that is as wide as the largest blur, and their spectra."""

    def __init__(self, psf: str, size: tuple[int, int], border: int) -> None:
        self.psf = psf
        self._wide = [_fft_size(length + 2 * border) for length in size]
        self._rows, self._columns = (
            _mirror(length, border, wide) for length, wide in zip(size, self._wide))
        self._picture = tuple(slice(border, border + length) for length in size)

    def widen(self, planes: Tensor) -> Tensor:
        return planes[..., self._rows.to(planes.device), :][..., self._columns.to(planes.device)]

    def spectrum(self, planes: Tensor, radius: float) -> Tensor:
        """The spectrum of wide planes that are blurred with one radius."""
        factor = _transfer(self.psf, radius, *self._wide)
        return torch.fft.rfft2(planes).mul_(factor.to(planes))

    def blur_each(self, planes: Tensor, radius: Tensor) -> Tensor:
        """Wide planes to the picture; a Gaussian with a radius (B, N) for each slice."""
        variance = 0.25 * radius.double().square()[..., None, None, None]
        rows, columns = (torch.exp(variance * cosine.to(variance).reshape(shape)) for cosine, shape
                         in zip(_cosines(*self._wide), ((-1, 1), (1, -1))))
        return self.picture(torch.fft.rfft2(planes) * (rows * columns).to(planes))

    def picture(self, spectrum: Tensor) -> Tensor:
        return self.cut(torch.fft.irfft2(spectrum, s=self._wide))

    def cut(self, planes: Tensor) -> Tensor:
        return planes[(..., *self._picture)]


def _share(level: Level, squared: Tensor) -> Tensor:
    return torch.minimum(level.a * squared + level.b, level.c * squared + level.d).clamp(min=0)


def _spread(bench: _Bench, light: Tensor, radius: Tensor, chosen: list[Level]) -> Tensor:
    squared, total = radius.square(), None
    for level in chosen:
        part = bench.spectrum(light * _share(level, squared), level.radius)
        total = part if total is None else total.add_(part)
    return bench.picture(total)


def _hide(bench: _Bench, light: Tensor, radius: Tensor, chosen: list[Level]) -> Tensor:
    """From near to far, as `_hide` in depth_perception/focus_render.py."""
    squared = radius * radius.abs()
    total, room = 0.0, torch.ones_like(bench.cut(radius))
    for level in chosen:
        part = light * _share(level, squared)
        part = (bench.picture(bench.spectrum(part, level.radius)) if level.radius
                else bench.cut(part))
        # rounding in the frequency domain leaves light of nothing, below zero too
        cover = torch.minimum(part[:, :, 3:].clamp(min=0), room)
        total = total + part * (cover / part[:, :, 3:].clamp(min=LEAST_LIGHT))
        room = room - cover
    near, far = (end(dim=(-2, -1), keepdim=True) for end in (radius.amin, radius.amax))
    seen_through = near < 0         # in these slices; in others nothing hides what is sharper
    if not seen_through.any():
        return total
    weight = ((radius - far) * (BEHIND_SHARPNESS / (far - near).clamp(min=1e-3))).exp()
    behind = bench.blur_each(light * weight, -near.clamp(max=0)[:, :, 0, 0, 0])
    return total + seen_through * behind * (room / behind[:, :, 3:])


def _mirror(length: int, border: int, wide: int) -> Tensor:
    """Which row of a picture each row of the one with mirrored borders shows."""
    at = np.arange(-border, wide - border)
    period = max(2 * (length - 1), 1)
    return torch.from_numpy((length - 1) - np.abs(at % period - (length - 1)))


def _fft_size(size: int) -> int:
    """The smallest length from `size` on with no prime factor above 5: what FFTs are fast at."""
    rest = size
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return size if rest == 1 else _fft_size(size + 1)


@lru_cache(maxsize=64)
def _cosines(height: int, width: int) -> tuple[Tensor, Tensor]:
    """cos(w) - 1 of each frequency as rfft2 orders them: the log of a Gaussian, per variance."""
    return tuple(torch.cos(2.0 * torch.pi * f.double()) - 1.0
                 for f in (torch.fft.fftfreq(height), torch.fft.rfftfreq(width)))


def _transfer(psf: str, radius_px: float, height: int, width: int) -> Tensor:
    """The factor of each frequency: (height, width // 2 + 1) float32."""
    if psf == 'disc':
        return _disc_transfer(radius_px, height, width)
    rows, columns = (torch.exp(0.25 * radius_px ** 2 * c).float()
                     for c in _cosines(height, width))
    return rows[:, None] * columns


# borders are as wide as a level's reach, so there are few sizes
@lru_cache(maxsize=64)
def _disc_transfer(radius_px: float, height: int, width: int) -> Tensor:
    kernel = torch.from_numpy(disc_kernel(radius_px))
    half = len(kernel) // 2
    padded = kernel.new_zeros(height, width)
    padded[:len(kernel), :len(kernel)] = kernel
    return torch.fft.rfft2(padded.roll((-half, -half), (0, 1))).real
