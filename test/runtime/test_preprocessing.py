from __future__ import annotations

from dataclasses import replace

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.model_spec import ModelSpec
from depth_perception.preprocessing import ImageError, Placement, Preprocessor, place

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPEC = ModelSpec(name='m', architecture='a', input_height=240, input_width=320, mean=MEAN,
                 std=STD, output_kind='metric', canonical_focal_px=None, depth_range=(0.1, 10.0),
                 training_data='', licence='')
PLAIN = replace(SPEC, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def prepare(image, spec, **options):
    return Preprocessor(spec, place(*image.shape[:2], spec))(image, **options)


@given(sizes, st.sampled_from([0, 1, 16, 32]))
def test_the_image_keeps_its_aspect_and_lies_inside(size, multiple):
    p = place(*size, replace(SPEC, input_height=256, size_multiple=multiple))
    assert 0 <= p.x <= p.x + p.width <= p.input_width
    assert 0 <= p.y <= p.y + p.height <= p.input_height
    assert (p.image_height, p.image_width) == size
    scale = min(p.input_width / size[1], p.input_height / size[0])
    assert abs(p.height - size[0] * scale) <= max(0.5, 1 - size[0] * scale)
    assert abs(p.width - size[1] * scale) <= max(0.5, 1 - size[1] * scale)


@given(sizes, st.sampled_from([8, 16, 32]))
def test_a_free_input_size_is_a_multiple_with_about_the_nominal_area(size, multiple):
    p = place(*size, replace(SPEC, input_height=256, size_multiple=multiple))
    assert p.input_height % multiple == 0 == p.input_width % multiple
    if max(size) < 4 * min(size):
        assert p.input_height * p.input_width == pytest.approx(256 * 320, rel=0.3)
        assert p.height * p.width >= 0.75 * p.input_height * p.input_width


@pytest.mark.parametrize(('size', 'multiple', 'expected'), [
    ((480, 640), 0, Placement(240, 320, 0, 0, 320, 240, 480, 640)),
    ((480, 640), 16, Placement(240, 320, 0, 0, 320, 240, 480, 640)),
    ((720, 1280), 0, Placement(240, 320, 0, 30, 320, 180, 720, 1280)),
    ((720, 1280), 16, Placement(208, 368, 0, 0, 368, 207, 720, 1280)),
    ((960, 480), 0, Placement(240, 320, 100, 0, 120, 240, 960, 480)),
])
def test_placements_by_hand(size, multiple, expected):
    assert place(*size, replace(SPEC, size_multiple=multiple)) == expected


def test_an_empty_image_has_no_place():
    with pytest.raises(ImageError, match='image is 640x0'):
        place(0, 640, SPEC)


def test_normalisation_is_the_textbook_formula():
    image = random_image(240, 320)
    expected = ((image / 255.0 - MEAN) / STD).transpose(2, 0, 1)  # HWC -> CHW
    tensor = prepare(image, SPEC)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 240, 320), np.float32)
    np.testing.assert_allclose(tensor[0], expected, atol=1e-5)


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_the_channel_order_of_the_image_does_not_matter_when_it_is_told(order):
    spec = replace(SPEC, channel_order=order)
    image = random_image(480, 640)
    of_rgb = prepare(image, spec, channel_order='rgb').copy()
    of_bgr = prepare(image[..., ::-1], spec, channel_order='bgr')
    np.testing.assert_array_equal(of_rgb, of_bgr)


def test_mean_and_std_belong_to_the_channels_of_the_input():
    spec = replace(PLAIN, channel_order='bgr', mean=(0.1, 0.2, 0.3))
    image = np.zeros((240, 320, 3), np.uint8)
    image[..., 0] = 255  # red
    tensor = prepare(image, spec, channel_order='rgb')
    np.testing.assert_allclose(tensor[0, :, 0, 0], [-0.1, -0.2, 0.7], atol=1e-6)


def test_half_size_is_the_mean_of_four_pixels():
    image = random_image(480, 640)
    means = image.reshape(240, 2, 320, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(prepare(image, PLAIN)[0] * 255, means, atol=0.51)


def textured_image(height, width):
    """Noise with as much contrast in each octave, like a photograph."""
    rng = np.random.default_rng(0)
    octaves = [cv2.GaussianBlur(rng.standard_normal((height, width, 3)).astype(np.float32),
                                (0, 0), sigma) for sigma in (0.7, 1.5, 3, 6, 12, 24)]
    texture = sum(octave / octave.std() for octave in octaves)
    return np.clip(128 + 45 * texture / texture.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('size', [(720, 1280), (1080, 1920), (1080, 1440)])
def test_downscaling_is_close_to_the_area_mean_of_the_training(size):
    image, spec = textured_image(*size), replace(PLAIN, size_multiple=16)
    p = place(*size, spec)
    area, linear = (cv2.resize(image, (p.width, p.height), interpolation=how).astype(float)
                    for how in (cv2.INTER_AREA, cv2.INTER_LINEAR))
    ours = prepare(image, spec)[0].transpose(1, 2, 0)[p.region] * 255  # CHW -> HWC
    assert np.abs(ours - area).mean() < 0.6 * np.abs(linear - area).mean()
    assert np.abs(ours - area).mean() < 6


def test_the_border_is_the_replicated_edge():
    image = random_image(100, 640)
    placement = Placement(240, 330, 5, 95, 320, 50, 100, 640)
    tensor = Preprocessor(PLAIN, placement)(image)[0]
    inner = tensor[:, 95:145, 5:325]
    np.testing.assert_array_equal(tensor, np.pad(inner, ((0, 0), (95, 95), (5, 5)), 'edge'))


def test_padded_rows_and_flipped_channels_need_no_copy_by_the_caller():
    padded = random_image(480, 700)
    expected = prepare(np.ascontiguousarray(padded[:, :640]), SPEC).copy()
    np.testing.assert_array_equal(prepare(padded[:, :640], SPEC), expected)


def test_small_images_are_enlarged():
    np.testing.assert_allclose(prepare(np.full((48, 64, 3), 51, np.uint8), PLAIN), 0.2, atol=1e-6)


def test_the_same_buffer_comes_back():
    pre = Preprocessor(SPEC, place(480, 640, SPEC))
    first = pre(random_image(480, 640, 1))
    assert pre(random_image(480, 640, 2)) is first


@pytest.mark.parametrize(('image', 'message'), [
    (np.zeros((480, 641, 3), np.uint8), r'shape \(480, 641, 3\).*must be \(480, 640, 3\)'),
    (np.zeros((480, 640, 4), np.uint8), r'shape \(480, 640, 4\)'),
    (np.zeros((480, 640, 3), np.float32), 'type float32; it must be .* uint8'),
])
def test_another_image_is_refused(image, message):
    with pytest.raises(ImageError, match=message):
        Preprocessor(SPEC, place(480, 640, SPEC))(image)


def test_an_unknown_channel_order_is_refused():
    with pytest.raises(ImageError, match="'rgba'; it must be one of rgb, bgr"):
        prepare(random_image(480, 640), SPEC, channel_order='rgba')
