"""What an exported model is tried on: inputs from a picture, of a focus stack its slices too."""

from __future__ import annotations

import cv2
import numpy as np

from depth_perception.model_contract import ModelSpec
from depth_perception.model_spec import FOCUS_DISTANCES
from depth_perception.optics import LOWER_DIOPTRE, UPPER_DIOPTRE, focus_distances
from depth_perception.preprocessing import Preprocessor, place
from depth_perception.sources import Frame


def stack_of(picture: Frame, spec: ModelSpec) -> tuple[list[np.ndarray], list[float]]:
    """Images and focus distances to try a model for focus stacks on.

    As a lens would see a scene that lies at one distance, whatever the picture shows.
    """
    distances = focus_distances(spec.frames, LOWER_DIOPTRE[0], UPPER_DIOPTRE[1])
    sigmas = 0.5 + np.abs(np.arange(spec.frames) - spec.frames // 2)  # px
    images = [cv2.GaussianBlur(picture.image, (0, 0), sigma) for sigma in sigmas]
    return images, list(distances)


def network_inputs(picture: Frame, spec: ModelSpec) -> dict[str, np.ndarray]:
    """What the exported network is given for a picture, by name."""
    fill = Preprocessor(spec, place(*picture.image.shape[:2], spec))
    if spec.frames == 1:
        return {'image': fill(picture.image)}
    images, distances = stack_of(picture, spec)
    stack = np.stack([fill(image).copy() for image in images], axis=1)  # (1, N, 3, h, w)
    return {'image': stack, FOCUS_DISTANCES: np.array([distances], np.float32)}
