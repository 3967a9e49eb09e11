from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from depth_perception import cloud_voxels
from depth_perception.cloud_voxels import voxel_downsample
from depth_perception.point_cloud import PointCloudError, pack_rgb, unpack_rgb


def points(xyz, rgb=(10, 20, 30)):
    """Points of one colour."""
    xyz = np.asarray(xyz, np.float32)
    colour = pack_rgb(np.broadcast_to(np.uint8(rgb), xyz.shape))
    return np.concatenate((xyz, colour[:, None]), axis=1)


def test_a_voxel_holds_the_mean_position_and_colour_of_its_points():
    cloud = np.concatenate((points([[0.01, 0.02, 1.01]], (0, 100, 255)),
                            points([[0.03, 0.06, 1.03]], (101, 200, 255)),
                            points([[-0.01, 0.02, 1.01]], (7, 8, 9))))
    cloud = np.append(cloud, [[np.nan, np.nan, np.nan, 1.0]], axis=0).astype(np.float32)
    voxels = voxel_downsample(cloud, 0.1)
    voxels = voxels[np.argsort(voxels[:, 0])]
    np.testing.assert_allclose(voxels[:, :3], [[-0.01, 0.02, 1.01], [0.02, 0.04, 1.02]], atol=1e-6)
    assert unpack_rgb(voxels[:, 3]).tolist() == [[7, 8, 9], [50, 150, 255]]


@settings(max_examples=40)
@given(xyz=hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)),
                      elements=st.floats(-3, 3, width=32)),
       size=st.floats(0.05, 2.0))
def test_voxels_are_those_of_a_dictionary_of_cubes(xyz, size):
    cubes = {}
    for point in xyz:
        cubes.setdefault(tuple(np.floor(point.astype(float) / size)), []).append(point)
    expected = sorted(np.mean(cube, axis=0, dtype=float).tolist() for cube in cubes.values())
    found = voxel_downsample(points(xyz), size)
    np.testing.assert_allclose(sorted(found[:, :3].tolist()), expected, atol=1e-6)


@settings(max_examples=25)
@given(xyz=hnp.arrays(np.float32, (60, 3), elements=st.floats(-3, 3, width=32)))
def test_cubes_that_fall_onto_one_place_of_the_table_stay_apart(xyz):
    usual = voxel_downsample(points(xyz), 0.5)
    bits, cloud_voxels.TABLE_BITS = cloud_voxels.TABLE_BITS, 1     # two places for all cubes
    try:
        crowded = voxel_downsample(points(xyz), 0.5)
    finally:
        cloud_voxels.TABLE_BITS = bits
    assert crowded.tobytes() == usual.tobytes()


def test_voxels_come_in_the_order_of_their_cubes_whatever_that_of_the_points():
    rng = np.random.default_rng(0)
    cloud = points(rng.uniform(-2.0, 2.0, (500, 3)))
    voxels = voxel_downsample(cloud, 0.5)
    cubes = np.floor(voxels[:, :3] / 0.5)
    assert np.array_equal(np.lexsort(cubes.T[::-1]), np.arange(len(cubes)))
    shuffled = voxel_downsample(rng.permutation(cloud), 0.5)
    np.testing.assert_allclose(shuffled[:, :3], voxels[:, :3], rtol=1e-6)


@settings(max_examples=25)
@given(xyz=hnp.arrays(np.float32, (40, 3), elements=st.floats(-3, 3, width=32)),
       size=st.floats(0.1, 2.0))
def test_a_second_pass_changes_nothing(xyz, size):
    once = voxel_downsample(points(xyz), size)
    # a mean may be rounded onto the wall of its cube, and into the cube of another one
    cubes = np.floor(once[:, :3].astype(float) / size)
    assume(len(np.unique(cubes, axis=0)) == len(once))
    twice = voxel_downsample(once, size)
    assert sorted(map(bytes, twice)) == sorted(map(bytes, once))


def test_a_cloud_without_points_has_no_voxels():
    assert voxel_downsample(np.full((2, 2, 4), np.nan, np.float32), 0.1).shape == (0, 4)


@pytest.mark.parametrize('size', [0.0, -1.0, np.nan])
def test_a_voxel_size_must_be_positive(size):
    with pytest.raises(PointCloudError, match='above 0'):
        voxel_downsample(points([[0, 0, 1]]), size)


def test_voxels_too_small_to_count_are_refused():
    with pytest.raises(PointCloudError, match='larger voxels'):
        voxel_downsample(points([[-1e6, -1e6, -1e6], [1e6, 1e6, 1e6]]), 1e-3)
