"""Messages of range sensors to points in the sensor's own frame."""

from __future__ import annotations

import math

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, Range

from depth_perception.geometry import unproject
from depth_perception.nodes._messages import MessageError, camera_model, to_depth
from depth_perception.range_points import scan_points

# Of sensor_msgs/PointField: INT8 to FLOAT64.
FIELD_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
CLOUD_POINTS = 20000    # a lidar looks all around, and the camera sees a part of that
IMAGE_POINTS = 5000
LARGEST_POINT = 65535   # bytes; NumPy has its own limit far beyond any driver


def scan_to_points(message: LaserScan) -> np.ndarray:
    """
    Return the points (N, 3) of a planar scan.

    Raises
    ------
    MessageError
        Its angles or limits are no numbers.

    """
    limits = (message.angle_min, message.angle_increment, message.range_min, message.range_max)
    if not all(map(math.isfinite, limits[:3])) or math.isnan(limits[3]):
        raise MessageError(f'angle_min, angle_increment, range_min, range_max of the scan are '
                           f'{limits}; they must be numbers: check the driver')
    return scan_points(np.asarray(message.ranges, np.float32), *limits)


def range_to_points(message: Range) -> np.ndarray:
    """
    Return the reading (1, 3) on the axis of the sensor, which is x; none (0, 3) out of range.

    Raises
    ------
    MessageError
        The sensor only tells near from far.

    """
    if message.min_range == message.max_range:
        raise MessageError('min_range and max_range are equal: the sensor only tells near from '
                           'far; a sensor that measures is needed')
    if not message.min_range <= message.range <= message.max_range:   # NaN and infinity too
        return np.empty((0, 3))
    return np.array([[message.range, 0.0, 0.0]])


def cloud_to_points(message: PointCloud2, limit: int = CLOUD_POINTS) -> np.ndarray:
    """
    Return evenly taken points (N, 3) of any cloud with x, y and z; about ``limit`` of them.

    Raises
    ------
    MessageError
        As `fields_of`.

    """
    cloud = fields_of(message, ('x', 'y', 'z'))
    share = cloud.size / limit
    step = max(1, math.ceil(share if cloud.shape[0] == 1 else math.sqrt(share)))
    some = cloud[::step, ::step].ravel()
    points = np.stack([some[name].astype(np.float64) for name in 'xyz'], axis=-1)
    return points[np.isfinite(points).all(axis=1)]


def fields_of(message: PointCloud2, names: tuple[str, ...]) -> np.ndarray:
    """
    Return a structured view (H, W) on the message's bytes, with the fields of these names.

    Whatever their types, order, padding and byte order are.

    Raises
    ------
    MessageError
        The data is shorter than the sizes say, or a point is too large; a field is missing, of
        an unknown type or no single number, or reaches beyond its point.

    """
    row_step = _row_step(message)
    fields = {field.name: field for field in message.fields}
    missing = [name for name in names if name not in fields]
    if missing:
        raise MessageError(f'the cloud has the fields {", ".join(fields) or "none"}; '
                           f'{", ".join(missing)} must be among them')
    order = '>' if message.is_bigendian else '<'
    formats = []
    for name in names:
        field = fields[name]
        kind = FIELD_TYPES.get(field.datatype)
        if kind is None or field.count > 1:
            raise MessageError(f'field {name} of the cloud has datatype {field.datatype} and '
                               f'count {field.count}; it must be one number')
        if field.offset + int(kind[1]) > message.point_step:
            raise MessageError(f'field {name} of the cloud ends at byte '
                               f'{field.offset + int(kind[1])} of a point of '
                               f'{message.point_step} bytes: the driver fills it wrongly')
        formats.append(order + kind)
    dtype = np.dtype({'names': names, 'formats': formats, 'itemsize': message.point_step,
                      'offsets': [fields[name].offset for name in names]})
    if not message.height * message.width:
        return np.empty((0, 0), dtype)
    return np.ndarray((message.height, message.width), dtype, message.data,
                      strides=(row_step, message.point_step))


def _row_step(message: PointCloud2) -> int:
    if message.point_step > LARGEST_POINT:
        raise MessageError(f'the cloud has points of {message.point_step} bytes; at most '
                           f'{LARGEST_POINT} are taken: the driver fills it wrongly')
    row = message.width * message.point_step
    # for a single row some drivers leave it 0
    step = message.row_step if message.height > 1 else row
    if step < row or len(message.data) < step * message.height:
        raise MessageError(
            f'the cloud of {message.width}x{message.height} points of {message.point_step} bytes '
            f'has row_step {message.row_step} and {len(message.data)} bytes of data: it was cut '
            'short')
    return step


def depth_to_points(message: Image, info: CameraInfo, limit: int = IMAGE_POINTS) -> np.ndarray:
    """
    Return points (N, 3) of another depth image, in its optical frame; about ``limit`` of them.

    Raises
    ------
    MessageError
        As `to_depth` and `camera_model`; camera_info is for another size.

    """
    camera = camera_model(info).rectified_intrinsics()
    if (message.width, message.height) != (camera.width, camera.height):
        raise MessageError(
            f'the depth image is {message.width}x{message.height}, its camera_info for '
            f'{camera.width}x{camera.height}; remap range_camera_info to its own')
    step = max(1, math.ceil(math.sqrt(camera.width * camera.height / limit)))
    depth = to_depth(message)[::step, ::step]
    points = unproject(depth, camera.strided(step)).reshape(-1, 3)
    return points[np.isfinite(points[:, 2])].astype(np.float64)
