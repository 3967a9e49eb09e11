from __future__ import annotations

import cv2
import numpy as np
import pytest

from depth_perception.inference import load
from depth_perception.inference.image_input import ImageInput
from depth_perception.inference.image_reference import ImageReference, image_pictures
from depth_perception.inference.verify import verify
from depth_perception.model_spec import DEFAULT_MODEL, find_model, read_spec
from depth_perception.preprocessing import Preprocessor, place

PHOTOGRAPH = cv2.GaussianBlur(
    np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8), (0, 0), 6)


@pytest.fixture(scope='module')
def shipped():
    path = find_model(DEFAULT_MODEL)
    return path, read_spec(path)


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_it_gives_the_depth_that_the_host_s_path_gives(shipped, order):
    path, spec = shipped
    reference = ImageReference(path, spec, ImageInput(240, 320, order))
    picture, noise = image_pictures([PHOTOGRAPH], ImageInput(240, 320, order))
    depth, confidence = reference.infer(picture.image)
    plain = load(str(path), backend='cpu')
    expected, sure = plain.infer(Preprocessor(spec, place(240, 320, spec))(PHOTOGRAPH))
    assert np.abs(np.expm1(depth - expected)).mean() < 0.01
    assert np.abs(confidence - sure).mean() < 0.01
    assert noise.image.shape == (240, 320, 3)
    plain.close()
    reference.close()


def test_an_engine_is_verified_on_camera_images(shipped):
    path, spec = shipped
    image = ImageInput(240, 320)
    pictures = image_pictures([PHOTOGRAPH], image)
    first, second = (ImageReference(path, spec, image) for _ in range(2))
    assert verify(first, second, 'fp16', pictures=pictures).accepted
    swapped = ImageReference(path, spec, ImageInput(240, 320, 'bgr'))
    colored = [picture._replace(image=picture.image * np.array([1, 0, 0], np.uint8))
               for picture in pictures]
    assert not verify(swapped, second, 'fp16', pictures=colored).accepted
