from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from depth_perception.geometry import GeometryError, Intrinsics, project, unproject
from depth_perception.point_cloud import (
    CloudBuilder,
    PointCloudError,
    flying_pixel_mask,
    orbit_pose,
    pack_rgb,
    render_cloud,
    unpack_rgb,
    valid_points,
    write_ply,
)

CAMERA = Intrinsics(7, 5, 10.0, 12.0, 3.2, 1.9)


def frame(camera=CAMERA, seed=0):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 9.0, (camera.height, camera.width)).astype(np.float32)
    return depth, rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8)


def build(depth, image, camera=CAMERA, stride=1, channel_order='rgb'):
    builder = CloudBuilder(camera, stride)
    out = np.full((builder.height, builder.width, 4), -7.0, np.float32)
    builder.fill(depth, image, out, channel_order)
    return out


def points(xyz, rgb=(10, 20, 30)):
    """Points of one colour."""
    xyz = np.asarray(xyz, np.float32)
    colour = pack_rgb(np.broadcast_to(np.uint8(rgb), xyz.shape))
    return np.concatenate((xyz, colour[:, None]), axis=1)


def test_a_pixel_becomes_the_point_of_the_pinhole_formula():
    depth, image = frame()
    cloud = build(depth, image)
    z = depth[4, 6]
    np.testing.assert_allclose(cloud[4, 6, :3], [(6 - 3.2) / 10 * z, (4 - 1.9) / 12 * z, z],
                               rtol=1e-6)


def test_the_colour_is_packed_as_pcl_reads_it():
    depth, image = frame()
    image[1, 2] = (200, 100, 50)
    bits = build(depth, image)[1, 2, 3:].view(np.uint32)[0]
    assert bits == 0xFF << 24 | 200 << 16 | 100 << 8 | 50


@pytest.mark.parametrize('stride', [1, 2, 3, 9])
def test_points_lie_where_unproject_puts_them_and_keep_their_colour(stride):
    depth, image = frame()
    cloud = build(depth, image, stride=stride)
    np.testing.assert_allclose(cloud[..., :3], unproject(depth, CAMERA)[::stride, ::stride],
                               rtol=1e-6)
    assert np.array_equal(unpack_rgb(cloud[..., 3]), image[::stride, ::stride])


def test_bgr_images_give_the_same_cloud():
    depth, image = frame()
    swapped = build(depth, np.ascontiguousarray(image[..., ::-1]), channel_order='bgr')
    assert swapped.tobytes() == build(depth, image).tobytes()


def test_a_pixel_without_depth_has_no_position():
    depth, image = frame()
    depth[2, 3] = np.nan
    cloud = build(depth, image)
    assert np.isnan(cloud[2, 3, :3]).all()
    assert np.isfinite(cloud[..., :3]).sum() == 3 * (depth.size - 1)
    assert len(valid_points(cloud)) == depth.size - 1


def test_the_cloud_projects_back_onto_its_pixels():
    cloud = build(*frame())
    v, u = np.mgrid[:5, :7]
    np.testing.assert_allclose(project(cloud[..., :3], CAMERA), np.stack((u, v), -1), atol=1e-4)


def test_buffers_that_would_not_be_filled_are_refused():
    depth, image = frame()
    builder, out = CloudBuilder(CAMERA), np.empty((5, 7, 4), np.float32)
    for args, message in (
            ((depth[:4], image, out), r'depth is float32 \(4, 7\).*float32 \(5, 7\)'),
            ((depth.astype(float), image, out), 'depth is float64'),
            ((depth, image[:, :6], out), r'image is uint8 \(5, 6, 3\).*register'),
            ((depth, image, np.empty((5, 7, 3), np.float32)), r'out is float32 \(5, 7, 3\)'),
            ((depth, image, np.empty((7, 5, 4), np.float32).transpose(1, 0, 2)), 'contiguous'),
            ((depth, image, out, 'rgba'), "'rgba'; use 'rgb' or 'bgr'")):
        with pytest.raises(PointCloudError, match=message):
            builder.fill(*args)
    with pytest.raises(GeometryError, match='stride'):
        CloudBuilder(CAMERA, 0)


def test_valid_points_are_those_with_all_three_coordinates():
    cloud = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    cloud[0, 1, 0], cloud[1, 0, 1], cloud[1, 2, 2] = np.nan, np.inf, np.nan
    cloud[0, 0, 3] = np.nan                 # a colour may be a NaN, bit by bit
    expected = np.stack((cloud[0, 0], cloud[0, 2], cloud[1, 1]))
    assert valid_points(cloud).tobytes() == expected.tobytes()
    assert valid_points(cloud[:, ::2]).tobytes() == expected[:2].tobytes()   # not contiguous
    assert valid_points(np.empty((0, 4), np.float32)).shape == (0, 4)


@given(depth=hnp.arrays(np.float32, (5, 7), elements=st.one_of(
    st.floats(0.125, 50.0, width=32), st.just(np.nan))), stride=st.integers(1, 4))
def test_the_plain_list_is_the_organised_cloud_without_its_holes(depth, stride):
    cloud = build(depth, frame()[1], stride=stride)
    rows = [point for row in cloud for point in row if np.isfinite(point[:3]).all()]
    assert valid_points(cloud).tobytes() == b''.join(map(bytes, rows))
    assert len(rows) == np.isfinite(depth[::stride, ::stride]).sum()


@given(hnp.arrays(np.uint8, (3, 4, 3)))
def test_packing_and_unpacking_a_colour_is_lossless(rgb):
    assert np.array_equal(unpack_rgb(pack_rgb(rgb)), rgb)


def test_pixels_between_a_near_and_a_far_surface_are_flying():
    depth = np.full((5, 9), 1.0, np.float32)
    depth[:, 5:] = 4.0
    depth[:, 4] = 2.5                       # the veil of a smeared edge
    flying = flying_pixel_mask(depth, 0.05)
    # the veil and the first column behind it; the near side is kept
    assert np.array_equal(np.flatnonzero(flying.any(axis=0)), [4, 5])
    assert flying[:, 4:6].all()


def test_a_slanted_floor_and_missing_depth_do_not_fly():
    depth = np.geomspace(1.0, 1.04 ** 9, 10).astype(np.float32) * np.ones((10, 1), np.float32)
    depth[5, 5] = np.nan
    depth[0, 0] = np.nan
    assert not flying_pixel_mask(depth, 0.05).any()
    assert flying_pixel_mask(depth, 0.03).any()


def test_open3d_reads_the_ply_file(tmp_path):
    open3d = pytest.importorskip('open3d')
    depth, image = frame()
    depth[0, 0] = np.nan
    cloud = build(depth, image)
    write_ply(tmp_path / 'cloud.ply', cloud)
    read = open3d.io.read_point_cloud(str(tmp_path / 'cloud.ply'))
    np.testing.assert_array_equal(np.asarray(read.points, np.float32),
                                  cloud.reshape(-1, 4)[1:, :3])
    np.testing.assert_allclose(np.asarray(read.colors) * 255, image.reshape(-1, 3)[1:], atol=1e-4)


def test_a_cloud_drawn_from_its_own_camera_is_the_image():
    camera = Intrinsics(40, 30, 50.0, 50.0, 19.5, 14.5)
    image = np.full((30, 40, 3), (40, 80, 120), np.uint8)
    image[:, 20:] = (200, 150, 100)
    cloud = build(np.full((30, 40), 2.0, np.float32), image, camera)
    picture = render_cloud(cloud, camera, np.eye(4))[..., ::-1]
    # a point is two pixels wide: next to the change of colour either may lie on top
    assert np.array_equal(np.delete(picture, [19, 20, 21], 1), np.delete(image, [19, 20, 21], 1))


def test_nearer_points_hide_farther_ones_in_a_picture():
    camera = Intrinsics(21, 21, 20.0, 20.0, 10.0, 10.0)
    near, far = points([[0, 0, 1.0]], (255, 0, 0)), points([[0, 0, 3.0]], (0, 255, 0))
    cloud = np.concatenate((near, far))
    blue, green, red = render_cloud(cloud, camera, np.eye(4))[10, 10]
    assert red > 200 and green == 0 and blue == 0


def test_points_behind_the_picture_s_camera_are_not_drawn():
    camera = Intrinsics(9, 9, 9.0, 9.0, 4.0, 4.0)
    picture = render_cloud(points([[0, 0, -1.0]], (255, 255, 255)), camera, np.eye(4))
    assert (picture == picture[0, 0]).all()


def test_the_default_viewpoint_keeps_the_middle_of_the_cloud_in_its_place():
    rng = np.random.default_rng(2)
    cloud = points(rng.normal((0.3, -0.2, 3.0), 0.1, (101, 3)))
    middle = np.median(cloud[:, :3], axis=0)
    pose = orbit_pose(cloud, back_off=0.25)
    seen = np.linalg.inv(pose) @ np.append(middle, 1.0)
    np.testing.assert_allclose(seen[:3], 1.25 * middle, atol=1e-6)
    # swung to the right and up: optical y points down
    assert pose[0, 3] > 0.5 and pose[1, 3] < -0.5
