"""Readings of foreign range sensors, and where /tf_static says that these sit."""

from __future__ import annotations

import array
import importlib.util
import math
import struct

from geometry_msgs.msg import TransformStamped
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, PointField, Range

from depth_perception.nodes._messages import MessageError
from depth_perception.nodes._range_messages import (
    FIELD_TYPES,
    cloud_to_points,
    depth_to_points,
    fields_of,
    range_to_points,
    scan_to_points,
)
from depth_perception.nodes._transforms import StaticTransforms
from depth_perception.transforms import TransformError

# struct's letters for the datatypes of PointField, so that the bytes are not written by numpy
LETTERS = dict(zip(FIELD_TYPES, 'bBhHiIfd'))


def cloud(layout, rows, *, big_endian=False, row_padding=0, point_padding=0, **changes):
    """Pack rows of points by hand; layout: (name, datatype) in the order of the bytes."""
    order = '>' if big_endian else '<'
    offset, fields = 0, []
    for name, datatype in layout:
        fields.append(PointField(name=name, offset=offset, datatype=datatype, count=1))
        offset += struct.calcsize(order + LETTERS[datatype])
    data = b''
    for row in rows:
        for point in row:
            data += b''.join(struct.pack(order + LETTERS[kind], value)
                             for (_, kind), value in zip(layout, point)) + b'\xaa' * point_padding
        data += b'\xbb' * row_padding
    step = offset + point_padding
    message = PointCloud2(height=len(rows), width=len(rows[0]), fields=fields, point_step=step,
                          row_step=step * len(rows[0]) + row_padding, is_bigendian=big_endian)
    message.data = array.array('B', data)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


XYZ = (('x', 7), ('y', 7), ('z', 7))
ROW = [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]


def test_a_cloud_as_velodyne_and_ouster_pack_it():
    velodyne = cloud((*XYZ, ('intensity', 7), ('ring', 4), ('time', 7)),
                     [[(1.0, 2.0, 3.0, 9.0, 7, 0.1), (4.0, 5.0, 6.0, 9.0, 8, 0.2)]])
    ouster = cloud((('t', 6), *XYZ), [[(5, *point)] for point in ROW], point_padding=20)
    for message in (velodyne, ouster):
        np.testing.assert_array_equal(cloud_to_points(message), ROW)


@given(st.permutations(['x', 'y', 'z', 'a', 'b']), st.lists(
    st.sampled_from(sorted(FIELD_TYPES)), min_size=5, max_size=5), st.booleans(),
    st.integers(0, 9), st.integers(0, 9), st.integers(1, 3), st.integers(1, 4))
def test_any_order_type_padding_and_byte_order_is_read(names, kinds, big_endian, row_padding,
                                                       point_padding, height, width):
    rows = [[tuple((7 * row + 3 * column + place) % 100 for place in range(5))
             for column in range(width)] for row in range(height)]
    message = cloud(tuple(zip(names, kinds)), rows, big_endian=big_endian,
                    row_padding=row_padding, point_padding=point_padding)
    expected = [[point[names.index(name)] for name in 'xyz'] for row in rows for point in row]
    np.testing.assert_array_equal(cloud_to_points(message), expected)


def test_points_without_a_place_are_left_out_and_many_are_thinned():
    message = cloud(XYZ, [[(1.0, 2.0, 3.0), (math.nan, 0.0, 1.0), (0.0, math.inf, 1.0)]])
    np.testing.assert_array_equal(cloud_to_points(message), [(1, 2, 3)])
    many = cloud(XYZ, [[(float(i), float(j), 1.0) for i in range(30)] for j in range(20)])
    assert len(cloud_to_points(many, limit=100)) == 10 * 7
    row = cloud(XYZ, [[(float(i), 0.0, 1.0) for i in range(600)]])
    assert len(cloud_to_points(row, limit=100)) == 100


@pytest.mark.parametrize('changes', [
    {'width': 0, 'row_step': 0}, {'width': 0, 'row_step': 0, 'data': array.array('B')},
    {'height': 0, 'width': 4294967295, 'row_step': 0}, {'height': 4294967295, 'width': 0}])
def test_a_cloud_without_points_is_none(changes):
    message = cloud(XYZ, [ROW], **{'data': array.array('B'), 'row_step': 0, **changes})
    assert cloud_to_points(message).shape == (0, 3)


def test_a_single_row_needs_no_row_step():
    np.testing.assert_array_equal(cloud_to_points(cloud(XYZ, [ROW], row_step=0)), ROW)


@pytest.mark.parametrize('message, reason', [
    (cloud((('x', 7), ('y', 7)), [[(1.0, 2.0)]]), 'fields x, y; z must be among'),
    (cloud(XYZ, [ROW], fields=[]), 'fields none; x, y, z must be among'),
    (cloud(XYZ, [ROW, ROW], row_step=3), 'row_step 3'),
    (cloud(XYZ, [ROW], height=3), 'cut short'),
    (cloud(XYZ, [ROW], point_step=8), 'ends at byte 12 of a point of 8 bytes'),
    (cloud(XYZ, [ROW], width=4000000000, height=4000000000), 'cut short'),
    (cloud(XYZ, [ROW], point_step=4294967295, height=0), 'points of 4294967295 bytes; at most'),
    (cloud(XYZ, [ROW], fields=[PointField(name=name, datatype=99) for name in 'xyz']),
     'datatype 99'),
    (cloud(XYZ, [ROW], fields=[PointField(name=name, datatype=7, count=3) for name in 'xyz']),
     'count 3'),
    (cloud(XYZ, [ROW], fields=[PointField(name=name, datatype=7, count=1, offset=4294967290)
                               for name in 'xyz']), 'ends at byte 4294967294'),
])
def test_a_cloud_that_is_none_is_refused(message, reason):
    with pytest.raises(MessageError, match=reason):
        fields_of(message, ('x', 'y', 'z'))


def test_a_scan_keeps_what_lies_in_its_limits():
    scan = LaserScan(angle_min=0.0, angle_increment=math.pi / 2, range_min=0.5, range_max=5.0,
                     ranges=[1.0, 2.0, math.inf, 9.0])
    np.testing.assert_allclose(scan_to_points(scan), [[1, 0, 0], [0, 2, 0]], atol=1e-6)
    with pytest.raises(MessageError, match='must be numbers'):
        scan_to_points(LaserScan(angle_min=math.nan))


@pytest.mark.parametrize('reading, expected', [
    (1.5, [[1.5, 0, 0]]), (0.05, []), (9.0, []), (math.nan, []), (math.inf, []),
    (-math.inf, [])])
def test_a_range_reading_lies_on_the_axis(reading, expected):
    points = range_to_points(Range(min_range=0.1, max_range=4.0, range=reading))
    np.testing.assert_array_equal(points, np.reshape(expected, (-1, 3)))


def test_a_sensor_that_only_tells_near_from_far_is_refused():
    with pytest.raises(MessageError, match='a sensor that measures is needed'):
        range_to_points(Range(min_range=1.0, max_range=1.0, range=math.inf))


def depth_image(pixels):
    message = Image(encoding='32FC1', height=pixels.shape[0], width=pixels.shape[1],
                    step=4 * pixels.shape[1])
    message.data = array.array('B', pixels.astype('<f4').tobytes())
    return message


def camera_info(width, height):
    return CameraInfo(width=width, height=height, k=[50.0, 0, 2.0, 0, 50.0, 1.0, 0, 0, 1.0])


def test_another_depth_image_becomes_points_by_its_own_camera_info():
    pixels = np.full((3, 5), np.nan, np.float32)
    pixels[1, 2], pixels[2, 4] = 2.0, 5.0
    points = depth_to_points(depth_image(pixels), camera_info(5, 3))
    np.testing.assert_allclose(points, [[0, 0, 2], [0.2, 0.1, 5]], atol=1e-6)
    large = depth_image(np.full((120, 160), 2.0, np.float32))
    assert len(depth_to_points(large, camera_info(160, 120), limit=1000)) == 24 * 32
    with pytest.raises(MessageError, match='remap range_camera_info'):
        depth_to_points(depth_image(pixels), camera_info(6, 3))


def transform(parent, child, x, turn=(0.0, 0.0, 0.0, 1.0)):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.transform.translation.x = x
    rotation = message.transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = turn
    return message


def test_transforms_of_several_broadcasters_are_joined():
    known = StaticTransforms()
    known.add([transform('base', 'lidar', 1.0)])
    known.add([transform('base', '/camera', 0.25), transform('base', 'odd', 1.0, (0.0,) * 4)])
    np.testing.assert_allclose(known.lookup('camera', 'lidar')[:3, 3], [0.75, 0, 0])
    with pytest.raises(TransformError, match='set range.translation and range.rotation_xyzw'):
        known.lookup('camera', 'odd')


def test_without_a_way_the_text_names_the_ways_out():
    pytest.importorskip('tf2_msgs')
    known = StaticTransforms()
    known.add([transform('base', 'odd', 1.0, (0.0,) * 4)])
    with pytest.raises(TransformError, match='of odd: .* publish_tf .* range.rotation_xyzw'):
        known.lookup('camera', 'odd')


def test_without_tf2_msgs_the_text_names_the_package():
    if importlib.util.find_spec('tf2_msgs') is not None:
        pytest.skip('tf2_msgs is installed')
    with pytest.raises(TransformError, match='apt install ros-.*-tf2-msgs'):
        StaticTransforms().lookup('camera', 'lidar')
