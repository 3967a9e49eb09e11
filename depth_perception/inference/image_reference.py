"""What an engine that takes camera images is compared with: the same network on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort

from depth_perception.inference.image_input import FOLDED, ImageInput, fold_image_input
from depth_perception.inference.verification_pictures import Picture
from depth_perception.model_spec import ModelSpec


class ImageReference:
    """The folded network in FP32 on the CPU; see `depth_perception.estimator.Engine`.

    Parameters
    ----------
    model : Path
    spec : ModelSpec
    image : ImageInput
    """

    def __init__(self, model: Path, spec: ModelSpec, image: ImageInput) -> None:
        self.spec = spec
        self.image_size, self.image_order = (image.height, image.width), image.channel_order
        self.backend = 'onnxruntime CPUExecutionProvider, camera image'
        folded = fold_image_input(onnx.load(str(model)), spec, image)
        self._session = ort.InferenceSession(folded.SerializeToString(),
                                             providers=['CPUExecutionProvider'])
        self._input = next(name for name, order in FOLDED.items() if order == self.image_order)

    def infer(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Depth and confidence (h, w) of `image` (H, W, 3) uint8."""
        names = ['depth', 'confidence'] if self.spec.confidence else ['depth']
        depth, *sure = self._session.run(names, {self._input: image[None]})
        return depth[0, 0], sure[0][0, 0] if sure else None

    def close(self) -> None:
        """Give back the session."""
        del self._session


def image_pictures(photographs: Sequence[np.ndarray], image: ImageInput) -> list[Picture]:
    """Verification pictures of the camera's size, of RGB photographs and one of noise."""
    size = (image.width, image.height)
    pictures = [cv2.resize(photograph, size) for photograph in photographs]
    pictures.append(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))
    if image.channel_order == 'bgr':
        pictures = [picture[..., ::-1] for picture in pictures]
    return [Picture(f'picture {i}', np.ascontiguousarray(picture), {})
            for i, picture in enumerate(pictures)]
