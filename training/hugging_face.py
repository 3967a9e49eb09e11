"""A depth network of the transformers library, run as the robot runs an exported one."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from depth_perception.model_spec import ModelSpec

MEAN = STD = (0.5, 0.5, 0.5)  # of DPT's preprocessing


class HuggingFaceError(ValueError):
    """The library is missing, or there is no such network on this machine."""


class HuggingFaceEngine:
    """An Engine of `depth_perception.estimator` over DPT (Ranftl et al. 2021), such as DPT-Hybrid.

    Parameters
    ----------
    name : str
        Folder of a saved network, or the name under which the library's cache holds one, such as
        Intel/dpt-hybrid-midas. Nothing is downloaded.

    Raises
    ------
    HuggingFaceError
    """

    def __init__(self, name: str) -> None:
        try:
            from transformers import DPTForDepthEstimation
        except ImportError as error:
            raise HuggingFaceError(f'dpt={name} needs the package transformers: {error}; pip '
                                   'install transformers') from error
        try:
            network = DPTForDepthEstimation.from_pretrained(name, local_files_only=True)
        except (OSError, ValueError) as error:
            raise HuggingFaceError(f'dpt={name} is neither a folder with a saved network nor one '
                                   f'in the cache of transformers: {error}') from error
        self._device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self._network = network.to(self._device).eval()
        side = network.config.image_size
        self.spec = ModelSpec(
            name=name, architecture='dpt', input_height=side, input_width=side,
            mean=MEAN, std=STD, output_kind='relative', canonical_focal_px=None,
            depth_range=(0.1, 100.0), training_data='see its model card',
            licence='see its model card')
        self.backend = f'transformers {self._device}'

    def infer(self, image: np.ndarray) -> tuple[np.ndarray, None]:
        """Run the network on `image` (1, 3, h, w) float32; inverse depth is (h, w) float32."""
        with torch.inference_mode():
            x = torch.from_numpy(image).to(self._device)
            depth = self._network(x).predicted_depth.unsqueeze(1).float()
            depth = F.interpolate(depth, x.shape[-2:], mode='bicubic', align_corners=False)
        return depth[0, 0].cpu().numpy(), None

    def close(self) -> None:
        """Nothing to give back."""
