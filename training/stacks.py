"""Focus stacks of a batch, rendered where the batch lies, and what of their lens is canonical.

A batch of training.data.focus holds all-in-focus images with depth, and for each of them the
focus distances and the lens; a batch of real stacks holds ``stack`` beside them. Blur is rendered
here and not by the data set, because a GPU does it faster than a loader's worker.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from training.contract import canonical_scale, focal_per_width, normalise
from training.focus_render import render_stack


def is_stack(batch: dict) -> bool:
    """Whether the items are focus stacks."""
    return 'focus_distances' in batch


def stack_of(batch: dict) -> Tensor:
    """What the camera saw at each focus distance: (B, N, 3, H, W) RGB in 0..1.

    Rendered from ``image``, ``depth``, ``focus_distances`` and ``blur_scale`` unless there is a
    ``stack``; then the sensor's noise is added, of the deviation ``noise`` (B,) in 0..1.
    """
    if 'stack' in batch:
        stack = batch['stack'].float() / 255
    else:
        # Half precision would take the sharp part of a large blur for noise.
        with torch.autocast(batch['image'].device.type, enabled=False):
            stack = render_stack(
                batch['image'].float() / 255, batch['depth'].unsqueeze(1).float(),
                batch['focus_distances'].float(), batch['blur_scale'].float(),
                psf=batch['psf'][0], occlusion=bool(batch['occlusion'][0]),
                gamma=float(batch['gamma'][0]))
    noise = batch['noise'].view(-1, 1, 1, 1, 1)
    if bool((noise > 0).any()):
        stack = stack + noise * torch.randn_like(stack)
    return stack.clamp(0, 1)


def takes_stack(network: nn.Module) -> bool:
    """Whether `network` estimates depth from a focus stack."""
    return getattr(network, 'frames', 1) > 1


def inputs_of(network: nn.Module, batch: dict) -> tuple[Tensor, ...]:
    """What `network` takes of a batch: the normalised image; or stack, and canonical focus."""
    if not takes_stack(network):
        return (_channels_last(normalise(batch['image'].float() / 255)),)
    stack = stack_of(batch)
    images = _channels_last(normalise(stack.flatten(0, 1)))
    return (images.unflatten(0, stack.shape[:2]),
            canonical_focus(batch, focal_per_width(network)))


def _channels_last(image: Tensor) -> Tensor:
    return image.to(memory_format=torch.channels_last)


def random_inputs(network: nn.Module, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """One example of what `network` takes, of `size` (height, width)."""
    if not takes_stack(network):
        return (torch.rand(1, 3, *size),)
    return torch.rand(1, network.frames, 3, *size), 0.5 + torch.rand(1, network.frames)


def canonical_focus(batch: dict, per_width: float | None) -> Tensor:
    """Focus distances (B, N) in canonical metres, as a network of `focal_per_width` gets them."""
    scale = canonical_scale(batch['focal_px'], batch['image'].shape[-1], per_width)
    return batch['focus_distances'].float() * scale.view(-1, 1)


def canonical_blur_scale(batch: dict, per_width: float | None) -> Tensor:
    """Blur scale (B,) as the contract counts it: canonical metres, pixels of the picture."""
    scale = canonical_scale(batch['focal_px'], batch['image'].shape[-1], per_width)
    return batch['blur_scale'].float() * scale


def as_images(item: dict) -> tuple[np.ndarray, np.ndarray]:
    """One item's stack as a camera gives it: (N, H, W, 3) uint8 RGB, and (N,) metres."""
    with torch.no_grad():
        stack = stack_of(default_collate([item]))[0]
    images = (255 * stack).round().byte().permute(0, 2, 3, 1)
    return np.ascontiguousarray(images.numpy()), item['focus_distances'].numpy()
