"""A network in training, run as the robot runs an exported one."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from depth_perception.model_spec import ModelSpec
from training.contract import at_size


class TorchEngine:
    """An Engine of `depth_perception.estimator` that holds a torch network.

    Parameters
    ----------
    network : Module
        In eval mode.
    spec : ModelSpec
        Its contract.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        self._device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self._network = network.to(self._device)
        self.spec = spec
        self.backend = f'torch {self._device}'

    def infer(self, image: np.ndarray) -> tuple[np.ndarray, None]:
        """Run the network on `image` (1, 3, h, w) float32; depth is (h, w) float32."""
        with torch.inference_mode():
            x = torch.from_numpy(image).to(self._device)
            depth = at_size(self._network(x).float(), x.shape[-2:])
        return depth[0, 0].cpu().numpy(), None

    def close(self) -> None:
        """Nothing to give back."""
