"""Negative log-likelihood of depth whose error is Laplacian with a scale that the network gives.

Source: A. Kendall and Y. Gal, "What Uncertainties Do We Need in Bayesian Deep Learning for
Computer Vision?" (2017), section 2.2, with a Laplace instead of a Gaussian distribution:
|p - t| / b + ln b. Here p and t are natural logarithms of metres, so that b is about a relative
error; ln 2 is added, which makes it the likelihood itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
from types import MappingProxyType

import torch
from torch import Tensor, nn

from training.losses.masked import kept, known, masked_mean

#: Limits of ln b: an error of 0.1 %, and of a factor of e^2. Beyond them b has no gradient.
LOWEST, HIGHEST = math.log(1e-3), math.log(2.0)
DEFAULT_LOSS = MappingProxyType({'name': 'realtime_unet'})


def laplace_nll(log_depth: Tensor, log_scale: Tensor, depth: Tensor) -> Tensor:
    """Mean of |ln p - ln t| / b + ln(2 b) over the pixels whose depth is known.

    Parameters
    ----------
    log_depth, log_scale : Tensor
        (B, 1, H, W) natural logarithms of predicted metres and of b.
    depth : Tensor
        (B, 1, H, W) metres with holes. A batch of holes gives 0.

    Returns
    -------
    Tensor
        Scalar. It is least where b is the mean absolute error of ln p.
    """
    mask = known(depth)
    target = torch.where(mask, depth, torch.ones_like(depth)).log()
    error = kept(log_depth - target, mask).abs()
    bounded = kept(log_scale, mask).clamp(LOWEST, HIGHEST)
    return masked_mean(error * torch.exp(-bounded) + bounded + math.log(2.0), mask)


class LaplaceLoss(nn.Module):
    """A depth loss plus `weight` times :func:`laplace_nll`, for a network with confidence.

    Parameters
    ----------
    build : callable
        Makes a loss of its name and keyword options.
    loss : mapping
        Name and options of the depth loss.
    weight : float
        Of the likelihood. Where the scale b is small it pulls at depth by 1 / b: at 0.1 already
        more than realtime_unet's loss does. What gives b learns as well with a small weight, as
        AdamW's steps do not depend on it.
    """

    def __init__(
        self,
        build: Callable[..., nn.Module],
        *,
        loss: Mapping[str, object] = DEFAULT_LOSS,
        weight: float = 0.01,
    ) -> None:
        super().__init__()
        if not weight > 0:
            raise ValueError(f'weight is {weight}; it must be above 0')
        self.depth = build(**loss)
        self.weight = weight

    def forward(
        self, log_depth: Tensor, depth: Tensor, image: Tensor, log_scale: Tensor
    ) -> Tensor:
        """Loss of log metres and log b against metres with holes; `image` is RGB in 0..1."""
        of_depth = self.depth(log_depth, depth, image)
        return of_depth + self.weight * laplace_nll(log_depth, log_scale.float(), depth)
