"""A weighted sum of registered losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn

#: What U-Net++ is trained with here; its paper names no loss.
DEFAULT_TERMS = MappingProxyType({'scale_invariant_log': 1.0, 'gradient_matching': 0.5})


class WeightedLoss(nn.Module):
    """sum of weight * loss over `terms`.

    Parameters
    ----------
    build : callable
        Makes a loss of its name and keyword options.
    terms : mapping
        Name -> weight, or name -> {weight: …, and the loss's own options}.
    """

    def __init__(
        self,
        build: Callable[..., nn.Module],
        *,
        terms: Mapping[str, float | Mapping] = DEFAULT_TERMS,
    ) -> None:
        super().__init__()
        if not terms:
            raise ValueError('terms is empty; name at least one loss with its weight')
        self.weights: dict[str, float] = {}
        self.terms = nn.ModuleDict()
        for name, setting in terms.items():
            options = dict(setting) if isinstance(setting, Mapping) else {'weight': setting}
            self.weights[name] = float(options.pop('weight', 1.0))
            self.terms[name] = build(name, **options)

    def forward(self, log_depth: Tensor, depth: Tensor, image: Tensor) -> Tensor:
        """Loss of log metres against metres with holes; `image` is RGB in 0..1."""
        return sum(
            weight * self.terms[name](log_depth, depth, image)
            for name, weight in self.weights.items()
        )
