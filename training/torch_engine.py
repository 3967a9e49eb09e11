"""A network in training, run as the robot runs an exported one."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from depth_perception.model_spec import ModelSpec
from training.contract import at_size, confidence_of, split_confidence


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

    def infer(
        self, image: np.ndarray, **extra_inputs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Run the network on `image` (1, 3, h, w) float32, of a stack (1, N, 3, h, w).

        `extra_inputs` are those that the contract names; depth and, where there is one,
        confidence are (h, w) float32.
        """
        arrays = (image, *(extra_inputs[name] for name in self.spec.extra_inputs))
        with torch.inference_mode():
            inputs = [torch.from_numpy(x).to(self._device) for x in arrays]
            maps = at_size(self._network(*inputs).float(), image.shape[-2:])
            depth, *log_scale = (x[0, 0] for x in split_confidence(maps))
            confidence = [confidence_of(x).cpu().numpy() for x in log_scale]
        return depth.cpu().numpy(), confidence[0] if confidence else None

    def close(self) -> None:
        """Nothing to give back."""
