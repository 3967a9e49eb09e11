"""A plane stays where it is, whatever happens to the image on the way to the network."""

from __future__ import annotations

from dataclasses import replace
import math

import numpy as np
import pytest

from depth_perception.estimator import DepthEstimator
from depth_perception.geometry import GeometryError, Intrinsics
from depth_perception.model_spec import ModelError, ModelSpec
from depth_perception.preprocessing import ImageError
from depth_perception.timing import StageClock

SPEC = ModelSpec(name='m', architecture='a', input_height=240, input_width=320,
                 mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), output_kind='metric',
                 canonical_focal_px=260.0, depth_range=(0.1, 100.0), training_data='',
                 licence='')
KINDS = {'metric': lambda z: z, 'log': np.log, 'inverse': lambda z: 1 / z}
HFOV_DEG = 70.0
FRONTAL, SLANTED = (0.0, 0.0, 0.4), (0.1, -0.06, 0.35)  # plane . point = 1


class PlaneEngine:
    """A perfect network that has seen one camera and one plane.

    It reads from the colours which part of the full image it is shown (see `position_image`),
    measures its own focal length from how fast they change, and answers with canonical depth.
    It shares no code with what is tested.
    """

    backend = 'test'

    def __init__(self, spec, plane, aspect):
        self.spec, self.plane, self.aspect = spec, plane, aspect

    def infer(self, image):
        half_width = math.tan(math.radians(HFOV_DEG / 2))
        x = (2 * image[0, 0] - 1) * half_width  # position 0..1 -> tangent of the ray
        y = (2 * image[0, 1] - 1) * half_width * self.aspect
        f_px_at_input = 1 / self._slope(x[x.shape[0] // 2])
        z = 1 / (self.plane[0] * x + self.plane[1] * y + self.plane[2])
        canonical = z * self.spec.canonical_focal_px / f_px_at_input
        return KINDS[self.spec.output_kind](canonical).astype(np.float32), None

    @staticmethod
    def _slope(tangents):
        columns = np.flatnonzero(np.abs(np.gradient(tangents)) > 0)  # not the replicated border
        columns = np.arange(columns.min() + 3, columns.max() - 2)
        return np.polyfit(columns, tangents[columns], 1)[0]

    def close(self):
        pass


def position_image(width, height):
    """Red says how far to the right a pixel lies in the image (0..1), green how far down."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.round(255 * (np.arange(width) + 0.5) / width)
    image[..., 1] = np.round(255 * (np.arange(height) + 0.5) / height)[:, None]
    return image


def plane_depth(plane, k):
    """Depth of the plane along each pixel's ray."""
    u, v = np.meshgrid(np.arange(k.width), np.arange(k.height))
    return 1 / (plane[0] * (u - k.cx) / k.fx + plane[1] * (v - k.cy) / k.fy + plane[2])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('size_multiple', [0, 16])
@pytest.mark.parametrize('plane', [FRONTAL, SLANTED], ids=['frontal', 'slanted'])
@pytest.mark.parametrize(('width', 'height'), [(640, 480), (320, 240), (1280, 720), (200, 150)])
def test_a_plane_stays_at_its_distance_when_the_image_size_changes(width, height, plane,
                                                                   size_multiple, kind):
    spec = replace(SPEC, output_kind=kind, size_multiple=size_multiple)
    estimate = DepthEstimator(PlaneEngine(spec, plane, height / width))
    k = Intrinsics.from_hfov(width, height, HFOV_DEG)
    depth = estimate(position_image(width, height), k).depth
    np.testing.assert_allclose(depth, plane_depth(plane, k), rtol=0.01)


@pytest.mark.parametrize('size_multiple', [0, 16])
@pytest.mark.parametrize('plane', [FRONTAL, SLANTED], ids=['frontal', 'slanted'])
@pytest.mark.parametrize('window', [(100, 60, 400, 300), (0, 0, 640, 200), (350, 0, 200, 480),
                                    (320, 240, 320, 240)])
def test_a_plane_stays_at_its_distance_in_a_cropped_image(window, plane, size_multiple):
    x, y, width, height = window
    spec = replace(SPEC, size_multiple=size_multiple)
    estimate = DepthEstimator(PlaneEngine(spec, plane, 480 / 640))
    whole = Intrinsics.from_hfov(640, 480, HFOV_DEG)
    image = position_image(640, 480)[y:y + height, x:x + width]
    depth = estimate(image, whole.cropped(x, y, width, height)).depth
    expected = plane_depth(plane, whole)[y:y + height, x:x + width]
    np.testing.assert_allclose(depth, expected, rtol=0.01)


def test_one_estimator_follows_a_camera_that_changes_its_resolution():
    estimate = DepthEstimator(PlaneEngine(SPEC, SLANTED, 0.75))
    for width, height in ((640, 480), (320, 240), (640, 480), (800, 600)):
        k = Intrinsics.from_hfov(width, height, HFOV_DEG)
        depth = estimate(position_image(width, height), k).depth
        np.testing.assert_allclose(depth, plane_depth(SLANTED, k), rtol=0.01)


class ConstantEngine:
    backend = 'test'

    def __init__(self, spec, value, confidence=None):
        self.spec, self.value, self.sure = spec, value, confidence

    def infer(self, image):
        shape = image.shape[2:]
        sure = None if self.sure is None else np.full(shape, self.sure, np.float32)
        return np.full(shape, self.value, np.float32), sure

    def close(self):
        pass


IMAGE = position_image(640, 480)
K = Intrinsics.from_hfov(640, 480, HFOV_DEG)


def test_metres_follow_the_focal_length_of_the_camera():
    estimate = DepthEstimator(ConstantEngine(SPEC, 2.0))
    for focal in (260.0, 520.0, 1040.0):  # at the network, half of the image's size, half as much
        depth = estimate(IMAGE, Intrinsics(640, 480, focal, focal, 320, 240)).depth
        np.testing.assert_allclose(depth, 2.0 * (focal / 2) / 260.0, rtol=1e-6)


def test_without_a_canonical_focal_length_the_camera_does_not_matter():
    estimate = DepthEstimator(ConstantEngine(replace(SPEC, canonical_focal_px=None), 2.0))
    np.testing.assert_allclose(estimate(IMAGE, K).depth, 2.0)


def test_a_relative_model_is_passed_through_and_says_so():
    spec = replace(SPEC, output_kind='relative')
    estimate = DepthEstimator(ConstantEngine(spec, 7.0), max_depth=5.0)
    assert not estimate.is_metric
    assert DepthEstimator(ConstantEngine(SPEC, 7.0)).is_metric
    np.testing.assert_allclose(estimate(IMAGE, K).depth, 7.0)


def test_limits_can_be_set_while_running():
    estimate = DepthEstimator(ConstantEngine(replace(SPEC, canonical_focal_px=None), 2.0))
    assert np.isfinite(estimate(IMAGE, K).depth).all()
    estimate.max_depth = 1.5
    assert np.isnan(estimate(IMAGE, K).depth).all()
    estimate.min_depth, estimate.max_depth = 1.9, 2.1
    assert np.isfinite(estimate(IMAGE, K).depth).all()


def test_nan_from_the_model_is_counted_and_does_not_stay():
    engine = ConstantEngine(SPEC, math.nan)
    estimate = DepthEstimator(engine)
    result = estimate(IMAGE, K)
    assert result.nonfinite == 320 * 240
    assert np.isnan(result.depth).all()
    engine.value = 1.0
    result = estimate(IMAGE, K)
    assert result.nonfinite == 0
    assert np.isfinite(result.depth).all()


def test_confidence_comes_at_the_size_of_the_image_or_not_at_all():
    with_it = DepthEstimator(ConstantEngine(replace(SPEC, confidence=True), 1.0, 0.75))
    np.testing.assert_allclose(with_it(IMAGE, K).confidence, np.full((480, 640), 0.75))
    assert DepthEstimator(ConstantEngine(SPEC, 1.0))(IMAGE, K).confidence is None


def test_the_stages_are_timed():
    clock = StageClock()
    estimate = DepthEstimator(ConstantEngine(SPEC, 1.0))
    for _ in range(3):
        estimate(IMAGE, K, clock=clock)
    assert {name: q.count for name, q in clock.summary().items()} == {
        'preprocess': 3, 'inference': 3, 'postprocess': 3}


def test_arrays_are_reused_and_out_is_written():
    estimate = DepthEstimator(ConstantEngine(SPEC, 1.0))
    assert estimate(IMAGE, K).depth is estimate(IMAGE, K).depth
    out = np.zeros((480, 640), np.float32)
    assert estimate(IMAGE, K, out=out).depth is out
    assert out.all()


@pytest.mark.parametrize(('image', 'error', 'message'), [
    (np.zeros((240, 320, 3), np.uint8), GeometryError,
     'image is 320x240, its intrinsics are for 640x480'),
    (np.zeros((480, 640), np.uint8), ImageError, r'shape \(480, 640\); it must be \(H, W, 3\)'),
    (np.zeros((0, 640, 3), np.uint8), ImageError, 'not empty'),
    (np.zeros((480, 640, 4), np.uint8), ImageError, r'must be \(480, 640, 3\)'),
    (np.zeros((480, 640, 3), np.float32), ImageError, 'float32'),
])
def test_a_bad_image_is_refused_and_the_next_one_works(image, error, message):
    estimate = DepthEstimator(ConstantEngine(SPEC, 1.0))
    with pytest.raises(error, match=message):
        estimate(image, K)
    assert np.isfinite(estimate(IMAGE, K).depth).all()


@pytest.mark.parametrize('change', [{'frames': 5}, {'extra_inputs': ('focus_distances',)}])
def test_a_model_for_more_than_one_image_is_refused(change):
    with pytest.raises(ModelError, match='a single camera gives 1 frame and nothing else'):
        DepthEstimator(ConstantEngine(replace(SPEC, **change), 1.0))


class TakesImages:
    """An engine that resizes by itself: depth is the image's first channel, at half size."""

    backend, image_size, image_order = 'by hand', (8, 12), 'bgr'

    def __init__(self, spec):
        self.spec = spec

    def infer(self, image):
        return image[::2, ::2, 0].astype(np.float32), None


def test_an_engine_that_takes_camera_images_gets_them_untouched():
    spec = ModelSpec(name='test', architecture='by hand', input_height=4, input_width=6,
                     output_kind='metric', canonical_focal_px=None, depth_range=(0.1, 300.0),
                     training_data='none', licence='none')
    estimator = DepthEstimator(TakesImages(spec))
    image = np.full((8, 12, 3), 7, np.uint8)
    intrinsics = Intrinsics.from_hfov(12, 8, 60.0)
    depth = estimator(image, intrinsics, channel_order='bgr').depth
    np.testing.assert_array_equal(depth, np.full((8, 12), 7, np.float32))
    with pytest.raises(ImageError, match='12x8 rgb, the engine was built for 12x8 bgr'):
        estimator(image, intrinsics)
    with pytest.raises(ImageError, match='10x8 bgr, the engine was built for 12x8 bgr'):
        estimator(image[:, :10], Intrinsics.from_hfov(10, 8, 60.0), channel_order='bgr')
