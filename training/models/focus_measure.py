"""Shape from focus as features: where in a stack each place is sharp.

Source: S. K. Nayar and Y. Nakagawa, "Shape from Focus" (1994): the energy of the Laplacian around
a pixel tells how sharp it is, and the slice where it peaks how far the pixel lies. Computed, not
learned: a network of an hour's training otherwise spends that hour on finding such filters. What
it makes of them (how far to trust them, what lies between textures) stays for it to learn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALES = (1, 2, 4)      # the picture is shrunk by these: fine texture drowns in noise, coarse less
CELL = 4                # the features' pixels, in pixels of the picture
NOISE_FLOOR = 0.03      # energy of a normalised picture that counts as none, at scale 1
FEATURES = 3 * len(SCALES) + 1


class FocusMeasure(nn.Module):
    """Maps of sharpness, and of the focus distance at which it peaks, as `width` channels.

    For each of three scales: the log energy of a slice less the stack's mean (0 where all slices
    are alike), that mean (the texture), and the stack's dioptres weighted by a softmax of the
    first: the estimate of shape from focus. With them go the slice's own dioptres.

    Parameters
    ----------
    width : int
        Channels to give, from a learned 1x1 convolution of the ten features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sharpening = nn.Parameter(torch.full((len(SCALES),), 2.0))  # of the softmax
        self.proj = nn.Conv2d(FEATURES, width, 1)

    def forward(self, image: Tensor, dioptres: Tensor) -> Tensor:
        """Map stacks (B, N, 3, H, W), focused at (B, N), to (B N, width, H / 4, W / 4)."""
        return self.proj(self._features(image.float(), dioptres.float()).flatten(0, 1))

    def _features(self, image: Tensor, dioptres: Tensor) -> Tensor:
        frames = image.shape[1]
        grey = image.mean(dim=2).flatten(0, 1)[:, None]  # (B N, 1, H, W)
        focus = dioptres[:, :, None, None, None]  # (B, N, 1, 1, 1)
        found = []
        for scale, sharpening in zip(SCALES, self.sharpening, strict=True):
            energy = self._log_energy(grey, scale).unflatten(0, (-1, frames))
            texture = energy.mean(dim=1, keepdim=True)
            relative = energy - texture  # (B, N, 1, H / 4, W / 4)
            weights = (sharpening * relative).softmax(dim=1)
            peak = (weights * focus).sum(dim=1, keepdim=True)
            found += [relative, texture.expand_as(relative), peak.expand_as(relative)]
        return torch.cat([*found, focus.expand_as(found[0])], dim=2)

    def _log_energy(self, grey: Tensor, scale: int) -> Tensor:
        if scale > 1:
            grey = functional.avg_pool2d(grey, scale)
        # An edge of zeros would be the sharpest thing in every slice. Not by a padding, of which
        # ONNX' kind of opset 18 cannot be put back to opset 17.
        padded = torch.cat([grey[..., :1, :], grey, grey[..., -1:, :]], dim=-2)
        padded = torch.cat([padded[..., :1], padded, padded[..., -1:]], dim=-1)
        # Sums, not a convolution: autocast would compute that with eight bits of mantissa, and
        # the Laplacian would be one of rounding errors.
        around = (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
                  + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:])
        energy = (around - 4 * grey).square()
        if scale < CELL:
            energy = functional.avg_pool2d(energy, CELL // scale)
        energy = functional.avg_pool2d(energy, 3, stride=1, padding=1, count_include_pad=False)
        return (energy + NOISE_FLOOR / scale**2).log()
