"""Expected values: hand computation, cv2.resize itself, and own code for lens distortion."""

from __future__ import annotations

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.geometry import (
    CameraModel,
    GeometryError,
    Intrinsics,
    Rectifier,
    project,
    ray_planes,
    unproject,
)

K = Intrinsics(8, 6, 10.0, 12.0, 3.2, 2.9)

focal = st.floats(5.0, 2000.0)
intrinsics = st.builds(Intrinsics, st.integers(1, 40), st.integers(1, 40), focal, focal,
                       st.floats(-50, 50), st.floats(-50, 50))


def values(k):
    return (k.fx, k.fy, k.cx, k.cy)


def random_depth(k, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 30, (k.height, k.width)).astype(np.float32)


def test_from_hfov_puts_the_image_edges_at_half_the_angle():
    k = Intrinsics.from_hfov(640, 480, 90)
    edges = (np.array([-0.5, 639.5]) - k.cx) / k.fx  # pixel 0 covers -0.5 to 0.5
    np.testing.assert_allclose(np.degrees(np.arctan(edges)), [-45, 45])
    assert k.fx == k.fy
    assert (k.cx, k.cy) == (319.5, 239.5)


def test_focal_px_is_the_geometric_mean():
    assert Intrinsics(4, 4, 2.0, 8.0, 0, 0).focal_px == 4.0


@pytest.mark.parametrize(('width', 'height'), [(320, 240), (160, 240), (80, 40)])
def test_resized_follows_cv2_resize(width, height):
    k = Intrinsics.from_hfov(640, 480, 60)
    u, v = np.meshgrid(np.arange(640, dtype=np.float32), np.arange(480, dtype=np.float32))
    coordinates = cv2.resize(np.dstack([u, v]), (width, height), interpolation=cv2.INTER_AREA)
    rays = (coordinates - [k.cx, k.cy]) / [k.fx, k.fy]
    x, y = ray_planes(k.resized(width, height))
    np.testing.assert_allclose(x, rays[..., 0], atol=1e-6)
    np.testing.assert_allclose(y, rays[..., 1], atol=1e-6)


@given(intrinsics, st.integers(1, 100), st.integers(1, 100), st.integers(1, 100))
def test_two_resizes_are_one(k, width, height, between):
    twice = k.resized(between, between).resized(width, height)
    np.testing.assert_allclose(values(twice), values(k.resized(width, height)), rtol=1e-9,
                               atol=1e-9)


@given(intrinsics)
def test_projecting_unprojected_depth_gives_the_pixels_back(k):
    pixels = project(unproject(random_depth(k), k).astype(np.float64), k)
    u, v = np.meshgrid(np.arange(k.width), np.arange(k.height))
    np.testing.assert_allclose(pixels, np.dstack([u, v]), atol=2e-3)


@given(st.integers(0, 7), st.integers(0, 5), st.data())
def test_unprojecting_a_crop_is_cropping_the_points(x, y, data):
    width, height = data.draw(st.integers(1, 8 - x)), data.draw(st.integers(1, 6 - y))
    depth = random_depth(K)
    window = (slice(y, y + height), slice(x, x + width))
    np.testing.assert_allclose(unproject(depth[window], K.cropped(x, y, width, height)),
                               unproject(depth, K)[window], rtol=1e-5, atol=1e-5)


@given(st.integers(1, 10))
def test_unprojecting_every_nth_pixel_is_taking_every_nth_point(stride):
    depth = random_depth(K)
    k = K.strided(stride)
    sampled = depth[::stride, ::stride]
    assert sampled.shape == (k.height, k.width)
    np.testing.assert_allclose(unproject(sampled, k), unproject(depth, K)[::stride, ::stride],
                               rtol=1e-5, atol=1e-5)


def test_a_letterbox_is_a_crop_that_starts_outside():
    assert K.cropped(-2, -3, 12, 12) == Intrinsics(12, 12, 10.0, 12.0, 5.2, 5.9)


def test_unproject_of_one_pixel_by_hand():
    k = Intrinsics(3, 2, 2.0, 4.0, 1.0, 0.5)
    points = unproject(np.full((2, 3), 8.0), k)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[1, 2], [4.0, 1.0, 8.0])  # (2-1)/2*8, (1-0.5)/4*8


def test_nan_depth_is_a_nan_point():
    depth = np.ones((6, 8))
    depth[2, 3] = np.nan
    invalid = np.isnan(unproject(depth, K))
    assert invalid[2, 3].all()
    assert invalid.sum() == 3


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(project(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]), K)).all()


def test_matrix_projects_as_project_does():
    point = np.array([0.3, -0.2, 1.5])
    u, v, w = K.matrix() @ point
    np.testing.assert_allclose(project(point, K), [u / w, v / w])


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: Intrinsics(0, 5, 1, 1, 0, 0), 'image size is 0x5; both must be at least 1'),
    (lambda: Intrinsics(5, 5, 0, 1, 0, 0), 'fx=0, fy=1 pixels; both must be finite and above 0'),
    (lambda: Intrinsics(5, 5, 1, float('inf'), 0, 0), 'fy=inf'),
    (lambda: Intrinsics(5, 5, 1, float('nan'), 0, 0), 'fy=nan'),
    (lambda: Intrinsics(5, 5, 1, 1, float('nan'), 0), 'principal point is cx=nan'),
    (lambda: Intrinsics.from_hfov(5, 5, 180), '180 degrees'),
    (lambda: K.strided(0), 'stride is 0; it must be at least 1'),
    (lambda: unproject(np.ones((3, 3)), K), r'depth has shape \(3, 3\).* \(6, 8\)'),
    (lambda: CameraModel(4, 4, (1.0,)), 'camera matrix K has 1 values; it must have 9'),
    (lambda: CameraModel(4, 4, (1.0,) * 9, p=(1.0,)), 'P has 1 values; it must have 12'),
    (lambda: CameraModel(4, 4, (1.0,) * 9, d=(np.nan,) * 5), 'D of the camera holds NaN'),
    (lambda: CameraModel(4, 4, (1.0,) * 9, r=(np.inf,) * 9), 'R of the camera holds NaN'),
])
def test_an_impossible_camera_is_refused(make, message):
    with pytest.raises(GeometryError, match=message):
        make()


# Lens distortion, inverted numerically here: cv2 is only asked to undo it.

W, H = 320, 240
RAW = (200.0, 0, 161.0, 0, 205.0, 118.0, 0, 0, 1.0)
LENSES = {
    'plumb_bob': (-0.33, 0.13, 0.002, -0.001, -0.02),
    'rational_polynomial': (1.2, 0.3, 0.001, -0.0005, 0.02, 1.6, 0.7, 0.08),
    'equidistant': (0.08, -0.03, 0.02, -0.004),
}


def brown(x, y, d):
    """Distorted normalised coordinates: the formula of the OpenCV manual, by hand."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*d, *(0,) * (8 - len(d)))
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y)


def kannala_brandt(x, y, d):
    r = np.hypot(x, y) + 1e-12
    theta = np.arctan(r)
    distorted = theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(d)))
    return x * distorted / r, y * distorted / r


def rays_through(model):
    """Undistorted rays (x, y at z = 1) of all raw pixels, by fixed-point iteration."""
    distort = kannala_brandt if model == 'equidistant' else brown
    u, v = np.meshgrid(np.arange(W), np.arange(H))
    seen = ((u - RAW[2]) / RAW[0], (v - RAW[5]) / RAW[4])
    x, y = seen
    for _ in range(300):
        got = distort(x, y, LENSES[model])
        x, y = x + 0.5 * (seen[0] - got[0]), y + 0.5 * (seen[1] - got[1])
    np.testing.assert_allclose(distort(x, y, LENSES[model]), seen, atol=1e-6)
    return x, y


@pytest.mark.parametrize('model', LENSES)
@pytest.mark.parametrize('plane', [(0.0, 0.0, 0.5), (0.12, -0.08, 0.4)],
                         ids=['fronto-parallel', 'slanted'])
def test_a_plane_seen_through_a_strong_lens_stays_flat(model, plane):
    x, y = rays_through(model)
    depth = (1 / (plane[0] * x + plane[1] * y + plane[2])).astype(np.float32)  # plane . point = 1
    rectify = Rectifier(CameraModel(W, H, RAW, model, LENSES[model]))
    rectified = rectify(depth)
    points = unproject(rectified, rectify.intrinsics)[np.isfinite(rectified)].astype(np.float64)
    assert len(points) > 0.7 * W * H
    assert np.abs(points @ plane - 1).max() < 0.01
    bent = unproject(depth, rectify.intrinsics).reshape(-1, 3)
    if plane[0]:
        assert np.abs(bent @ plane - 1).max() > 0.03, 'the lens is too weak to test anything'


def test_a_colour_image_is_rectified_where_the_formula_says():
    x, _ = rays_through('plumb_bob')
    image = np.repeat(np.clip(128 + 100 * x, 0, 255)[..., None], 3, axis=2).round()
    rectify = Rectifier(CameraModel(W, H, RAW, 'plumb_bob', LENSES['plumb_bob']))
    result = rectify(image.astype(np.uint8))
    assert result.dtype == np.uint8
    expected = 128 + 100 * ray_planes(rectify.intrinsics)[0]
    np.testing.assert_allclose(result[..., 1], np.clip(expected, 0, 255), atol=1.6)


def test_rectify_writes_into_out():
    rectify = Rectifier(CameraModel(W, H, RAW, 'plumb_bob', LENSES['plumb_bob']))
    image = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
    out = np.zeros_like(image)
    assert rectify(image, out) is out
    np.testing.assert_array_equal(out, rectify(image))


def test_what_the_camera_did_not_see_is_nan_in_depth_and_black_in_colour():
    wide = (60.0, 0, 160, 0, 0, 60, 120, 0, 0, 0, 1, 0)
    rectify = Rectifier(CameraModel(W, H, RAW, 'plumb_bob', LENSES['plumb_bob'], p=wide))
    assert np.isnan(rectify(np.ones((H, W), np.float32))[0, 0])
    assert rectify(np.ones((H, W), np.float32))[120, 160] == 1
    assert rectify(np.full((H, W, 3), 9, np.uint8))[0, 0].tolist() == [0, 0, 0]
    assert rectify(np.full((H, W), 9, np.uint16))[0, 0] == 0
    np.testing.assert_array_equal(rectify.unseen, np.isnan(rectify(np.ones((H, W), np.float32))))


def test_a_camera_that_saw_the_whole_rectified_image_has_no_unseen_pixels():
    narrow = (600.0, 0, 160, 0, 0, 600, 120, 0, 0, 0, 1, 0)
    lens = CameraModel(W, H, RAW, 'plumb_bob', LENSES['plumb_bob'], p=narrow)
    assert Rectifier(lens).unseen is None


def test_p_gives_the_rectified_camera_and_k_where_p_is_missing_or_zero():
    p = (150.0, 0, 150, 0, 0, 151, 119, 0, 0, 0, 1, 0)
    raw = Intrinsics(W, H, 200, 205, 161, 118)
    assert CameraModel(W, H, RAW, p=p).rectified_intrinsics() == Intrinsics(W, H, 150, 151, 150,
                                                                            119)
    assert CameraModel(W, H, RAW).rectified_intrinsics() == raw
    assert CameraModel(W, H, RAW, p=(0.0,) * 12).rectified_intrinsics() == raw
    assert CameraModel(W, H, RAW, p=p).intrinsics() == raw


def test_a_rotation_of_zeros_counts_as_none():
    image = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
    camera = {'width': W, 'height': H, 'k': RAW, 'd': LENSES['plumb_bob']}
    np.testing.assert_array_equal(Rectifier(CameraModel(**camera, r=(0.0,) * 9))(image),
                                  Rectifier(CameraModel(**camera))(image))


def test_only_a_coefficient_that_is_not_zero_distorts():
    assert not CameraModel(W, H, RAW).is_distorted
    assert not CameraModel(W, H, RAW, d=(0.0,) * 5).is_distorted
    assert CameraModel(W, H, RAW, d=(0.0, 0.0, 0.0, 0.0, 1e-9)).is_distorted


def test_without_distortion_any_model_name_leaves_the_image_as_it_is():
    image = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
    np.testing.assert_array_equal(Rectifier(CameraModel(W, H, RAW, ''))(image), image)


@pytest.mark.parametrize(('model', 'd', 'message'), [
    ('fov', (0.1,), "'fov'; it must be one of plumb_bob, rational_polynomial, equidistant"),
    ('plumb_bob', (0.1,) * 3, 'plumb_bob came with 3 coefficients; it has 4 or 5'),
    ('rational_polynomial', (0.1,) * 5, 'came with 5 coefficients; it has 8'),
    ('equidistant', (0.1,) * 5, 'came with 5 coefficients; it has 4'),
])
def test_an_unknown_lens_is_refused(model, d, message):
    with pytest.raises(GeometryError, match=message):
        Rectifier(CameraModel(W, H, RAW, model, d))


def test_an_uncalibrated_camera_is_refused():
    with pytest.raises(GeometryError, match='calibrate the camera'):
        Rectifier(CameraModel(W, H, (0.0,) * 9, 'plumb_bob', (0.1,) * 5))


def test_an_image_of_another_size_is_refused():
    rectify = Rectifier(CameraModel(W, H, RAW, 'plumb_bob', LENSES['plumb_bob']))
    with pytest.raises(GeometryError, match='image is 10x20, the camera_info is for 320x240'):
        rectify(np.zeros((20, 10, 3), np.uint8))
