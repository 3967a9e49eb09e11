"""A focus stack becomes metres whatever the camera, and what is no stack is refused by name."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.estimator import DepthEstimator
from depth_perception.focus_estimator import FocusStackError, FocusStackEstimator
from depth_perception.geometry import GeometryError, Intrinsics
from depth_perception.model_spec import ModelError, ModelSpec
from depth_perception.optics import Lens
from depth_perception.preprocessing import ImageError
from depth_perception.timing import StageClock

SPEC = ModelSpec(name='m', architecture='a', input_height=48, input_width=64, mean=(0.0, 0.0, 0.0),
                 std=(1.0, 1.0, 1.0), frames=3, extra_inputs=('focus_distances',),
                 output_kind='metric', canonical_focal_px=64.0, blur_scale_range=(2.0, 8.0),
                 depth_range=(0.1, 100.0), training_data='', licence='')
K = Intrinsics.from_hfov(128, 96, 60.0)
FOCUS_M = (0.5, 1.0, 4.0)


class BrightestEngine:
    """Says in each pixel the (canonical) focus distance of the slice that is brightest there."""

    backend = 'test'

    def __init__(self, spec=SPEC):
        self.spec = spec

    def infer(self, image, focus_distances):
        self.image, self.focus_distances = image.copy(), focus_distances.copy()
        best = image[0].mean(axis=1).argmax(axis=0)  # (N, 3, h, w) to (h, w)
        value = focus_distances[0][best]
        return (np.log(value) if self.spec.output_kind == 'log' else value), None

    def close(self):
        pass


def stack(width=128, height=96, count=3):
    """Slice i is white in the i-th of as many columns."""
    images = np.zeros((count, height, width, 3), np.uint8)
    for index, part in enumerate(np.array_split(np.arange(width), count)):
        images[index, :, part] = 255
    return images


def middles(depth, count=3):
    """The depth in the middle of each column of `stack`, away from the resize at its edges."""
    return [part[:, part.shape[1] // 3: -part.shape[1] // 3]
            for part in np.array_split(depth, count, axis=1)]


@pytest.mark.parametrize(('width', 'height'), [(128, 96), (640, 480), (100, 60)])
@pytest.mark.parametrize('hfov_deg', [30.0, 90.0])
@pytest.mark.parametrize('kind', ['metric', 'log'])
def test_what_is_sharp_at_a_focus_lies_there_whatever_the_camera(width, height, hfov_deg, kind):
    estimate = FocusStackEstimator(BrightestEngine(replace(SPEC, output_kind=kind)))
    camera = Intrinsics.from_hfov(width, height, hfov_deg)
    depth = estimate(stack(width, height), FOCUS_M, camera).depth
    assert depth.shape == (height, width)
    for found, expected in zip(middles(depth), FOCUS_M):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_network_gets_canonical_focus_distances():
    # Of 128 px width the network sees 64: f = 110.85 px becomes 55.43, and 64 is canonical.
    engine = BrightestEngine()
    FocusStackEstimator(engine)(stack(), FOCUS_M, K)
    factor = 64 / (64 / math.tan(math.radians(30)) / 2)
    np.testing.assert_allclose(engine.focus_distances, [np.array(FOCUS_M) * factor], rtol=1e-6)


def test_without_a_canonical_focal_length_distances_stay_as_they_are():
    engine = BrightestEngine(replace(SPEC, canonical_focal_px=None))
    FocusStackEstimator(engine)(stack(), FOCUS_M, K)
    np.testing.assert_array_equal(engine.focus_distances, np.float32([FOCUS_M]))


@given(st.permutations(range(3)))
def test_the_order_of_the_slices_does_not_matter(order):
    estimate = FocusStackEstimator(BrightestEngine())
    shuffled = estimate(stack()[list(order)], [FOCUS_M[i] for i in order], K).depth
    for found, expected in zip(middles(shuffled), FOCUS_M):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_slices_are_normalised_and_resized_like_single_images():
    spec = replace(SPEC, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    engine = BrightestEngine(spec)
    images = np.random.default_rng(0).integers(0, 255, (3, 96, 128, 3), np.uint8)
    FocusStackEstimator(engine)(images, FOCUS_M, K, channel_order='bgr')

    class Single:
        backend = 'test'
        spec = replace(SPEC, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), frames=1, extra_inputs=(),
                       blur_scale_range=None)

        def infer(self, image):
            self.image = image.copy()
            return image[0, 0], None

    single = Single()
    for index in range(3):
        DepthEstimator(single)(images[index], K, channel_order='bgr')
        np.testing.assert_array_equal(engine.image[:, index], single.image)


def test_infinity_is_a_focus_distance():
    depth = FocusStackEstimator(BrightestEngine(), max_depth=50.0)(
        stack(), (0.5, 1.0, math.inf), K).depth
    near, middle, far = middles(depth)
    np.testing.assert_allclose(middle, 1.0, rtol=1e-5)
    assert np.isnan(far).all()  # beyond max_depth


def test_limits_out_buffer_and_clock_are_those_of_single_images():
    estimate = FocusStackEstimator(BrightestEngine(), min_depth=0.8, max_depth=2.0)
    clock, out = StageClock(), np.empty((96, 128), np.float32)
    found = estimate(stack(), FOCUS_M, K, clock=clock, out=out)
    assert found.depth is out and found.confidence is None and found.nonfinite == 0
    near, middle, far = middles(out)
    assert np.isnan(near).all() and np.isnan(far).all() and np.isfinite(middle).all()
    assert set(clock.summary()) == {'preprocess', 'inference', 'postprocess'}


@pytest.mark.parametrize('distances', [
    (0.0, 1.0, 2.0), (-1.0, 1.0, 2.0), (math.nan, 1.0, 2.0),
])
def test_what_is_no_focus_distance_is_refused_and_the_next_stack_runs(distances):
    estimate = FocusStackEstimator(BrightestEngine())
    with pytest.raises(FocusStackError, match='each must be above 0'):
        estimate(stack(), distances, K)
    assert np.isfinite(estimate(stack(), FOCUS_M, K).depth).all()


def test_two_slices_of_one_focus_are_refused():
    with pytest.raises(FocusStackError, match=r'0\.5, 2, 2 m; no two may be equal'):
        FocusStackEstimator(BrightestEngine())(stack(), (0.5, 2.0, 2.0), K)


def test_a_distance_is_needed_for_each_image():
    with pytest.raises(FocusStackError, match=r'3 images have focus distances of shape \(2,\)'):
        FocusStackEstimator(BrightestEngine())(stack(), (0.5, 2.0), K)


@pytest.mark.parametrize('count', [0, 1, 2, 4])
def test_another_number_of_images_than_the_contract_allows_is_refused(count):
    with pytest.raises(FocusStackError, match=f'has {count} images; model m takes 3'):
        FocusStackEstimator(BrightestEngine())(list(stack())[:count] + [None] * (count - 3),
                                               range(1, count + 1), K)


def test_a_range_of_stack_sizes_is_taken_in_turn():
    estimate = FocusStackEstimator(BrightestEngine(replace(SPEC, frames_range=(2, 4))))
    assert estimate.frames_range == (2, 4)
    for count in (2, 4, 3, 2):
        depth = estimate(stack(count=count), range(1, count + 1), K).depth
        for found, expected in zip(middles(depth, count), range(1, count + 1)):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(FocusStackError, match='has 5 images; model m takes 2 to 4'):
        estimate(stack(count=5), range(1, 6), K)


def test_images_of_differing_size_are_refused_with_the_slice():
    images = [stack()[0], stack()[1], stack(64, 48)[2]]
    with pytest.raises(FocusStackError, match='image 2 of the stack .* must be of one size'):
        FocusStackEstimator(BrightestEngine())(images, FOCUS_M, K)


@pytest.mark.parametrize(('images', 'error', 'message'), [
    (stack().astype(np.float32), ImageError, 'and uint8'),
    (stack()[..., :2], ImageError, r'must be \(96, 128, 3\)'),
    (stack()[..., 0], ImageError, r'must be \(H, W, 3\)'),
    (stack(64, 48), GeometryError, 'intrinsics are for 128x96'),
])
def test_what_is_no_image_is_refused(images, error, message):
    with pytest.raises(error, match=message):
        FocusStackEstimator(BrightestEngine())(images, FOCUS_M, K)


@pytest.mark.parametrize('change', [
    {'frames': 1}, {'extra_inputs': ()}, {'extra_inputs': ('focus_distances', 'f_number')},
])
def test_a_model_for_something_else_is_refused(change):
    with pytest.raises(ModelError, match='choose a model for focus stacks'):
        FocusStackEstimator(BrightestEngine(replace(SPEC, **change)))


def test_the_trained_blur_is_that_of_a_camera_with_as_many_pixels_a_radian():
    # f = 128 px is twice the canonical 64: pixels and metres of the camera are twice as fine.
    camera = Intrinsics(128, 96, 128.0, 128.0, 63.5, 47.5)
    assert FocusStackEstimator(BrightestEngine()).blur_scale_range(camera) == (4.0, 16.0)


def test_without_a_canonical_focal_length_only_pixels_are_scaled():
    engine = BrightestEngine(replace(SPEC, canonical_focal_px=None))
    assert FocusStackEstimator(engine).blur_scale_range(K) == (4.0, 16.0)  # 128 px for 64
    wide = Intrinsics.from_hfov(256, 96, 60.0)  # letterboxed: 256 px for 64
    assert FocusStackEstimator(engine).blur_scale_range(wide) == (8.0, 32.0)


@pytest.mark.parametrize('factor', [0.25, 0.5, 2.0, 4.0])
def test_the_same_lens_is_judged_alike_at_any_resolution(factor):
    # A 50 mm lens at f/2.8 before 36 mm: pitch and focal length in pixels follow the width.
    width = round(640 * factor)
    lens = Lens(0.05, 2.8, 0.036 / width)
    focal_px = 0.05 / lens.pixel_pitch_m
    camera = Intrinsics(width, round(480 * factor), focal_px, focal_px, width / 2, 100.0)
    lo, hi = FocusStackEstimator(BrightestEngine()).blur_scale_range(camera)
    # An aperture of 0.05 / 2.8 m blurs that times 64 px, in canonical pixels and metres.
    assert lens.blur_scale_px_m / lo == pytest.approx(0.05 / 2.8 * 64 / 2.0, rel=1e-6)
    assert lens.blur_scale_px_m / hi == pytest.approx(0.05 / 2.8 * 64 / 8.0, rel=1e-6)


def test_a_camera_outside_the_trained_blur_is_refused_with_the_numbers():
    check = FocusStackEstimator(BrightestEngine()).check_blur_scale
    camera = Intrinsics(128, 96, 128.0, 128.0, 63.5, 47.5)
    check(4.0, camera)
    check(16.0, camera)
    with pytest.raises(FocusStackError, match=(
            r'is 2 px m; model m was trained for 4 to 16 px m at its focal length of 128 px: '
            'divide the F-number by at least 2, or')):
        check(2.0, camera)
    with pytest.raises(FocusStackError, match='multiply the F-number by at least 1.5, or'):
        check(24.0, camera)


@pytest.mark.parametrize('blur_scale', [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_blur_scale_is_refused(blur_scale):
    with pytest.raises(FocusStackError, match='check focal length, F-number and pixel pitch'):
        FocusStackEstimator(BrightestEngine()).check_blur_scale(blur_scale, K)


def test_a_contract_without_a_blur_range_refuses_no_camera():
    estimator = FocusStackEstimator(BrightestEngine(replace(SPEC, blur_scale_range=None)))
    assert estimator.blur_scale_range(K) is None
    estimator.check_blur_scale(1e-3, K)
