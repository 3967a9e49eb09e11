"""Organised XYZRGB clouds: ours beside the usual ways, in turn in one run; medians.

    python benchmarks/bench_cloud.py

All ways write the same bytes of a PointCloud2 message (x, y, z, rgb float32). `memcpy` only
copies that many bytes: the floor. `sensor_msgs_py` is left out where ROS does not provide it.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d

from benchmarks.turns import medians_ms
from depth_perception.cloud_voxels import voxel_downsample
from depth_perception.geometry import Intrinsics
from depth_perception.point_cloud import CloudBuilder, flying_pixel_mask

try:
    from sensor_msgs.msg import PointField
    from sensor_msgs_py.point_cloud2 import create_cloud
    from std_msgs.msg import Header
except ImportError:
    create_cloud = None

RESULTS = Path(__file__).parent / 'results' / 'cloud.json'
SIZES = {'vga': (480, 640), 'hd': (720, 1280)}
TARGETS = {'ours_ms': 0.45, 'mpoints_s': 700, 'times_memcpy': 2.0,
           'ratio open3d': 20.0, 'ratio sensor_msgs_py': 8.0}  # the bar at VGA


def meshgrid(depth: np.ndarray, image: np.ndarray, k: Intrinsics) -> np.ndarray:
    """The formula as it is written in tutorials, through a structured array."""
    v, u = np.mgrid[:k.height, :k.width]
    points = np.empty((k.height, k.width), [(name, np.float32) for name in 'xyz'] +
                      [('rgb', np.uint32)])
    points['x'] = (u - k.cx) * depth / k.fx
    points['y'] = (v - k.cy) * depth / k.fy
    points['z'] = depth
    r, g, b = (image[..., c].astype(np.uint32) for c in range(3))
    points['rgb'] = 0xFF << 24 | r << 16 | g << 8 | b
    return np.frombuffer(points.tobytes(), np.float32).reshape(k.height, k.width, 4)


def open3d_legacy(depth: np.ndarray, image: np.ndarray, k: Intrinsics) -> np.ndarray:
    """create_from_rgbd_image, then packed."""
    rgbd = o3d.geometry.RGBDImage.create_from_color_and_depth(
        o3d.geometry.Image(image), o3d.geometry.Image(depth), depth_scale=1.0, depth_trunc=1e3,
        convert_rgb_to_intensity=False)
    camera = o3d.camera.PinholeCameraIntrinsic(k.width, k.height, k.fx, k.fy, k.cx, k.cy)
    cloud = o3d.geometry.PointCloud.create_from_rgbd_image(rgbd, camera,
                                                           project_valid_depth_only=False)
    packed = np.empty((k.height * k.width, 4), np.float32)
    packed[:, :3] = np.asarray(cloud.points)
    bgra = packed[:, 3:].view(np.uint8)
    bgra[:, 2::-1] = np.rint(np.asarray(cloud.colors) * 255)
    bgra[:, 3] = 255
    return packed.reshape(k.height, k.width, 4)


def sensor_msgs_py_structured(xyzrgb: np.ndarray) -> object:
    """Points that are already computed, as a structured array into a message."""
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
              for i, name in enumerate(('x', 'y', 'z', 'rgb'))]
    dtype = np.dtype([(name, np.float32) for name in ('x', 'y', 'z', 'rgb')])
    return create_cloud(Header(), fields, xyzrgb.view(dtype)[..., 0])


def measure(height: int, width: int) -> dict[str, object]:
    """One image size."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    depth = cv2.GaussianBlur(rng.uniform(0.5, 8, (height, width)).astype(np.float32), (0, 0), 9)
    k = Intrinsics.from_hfov(width, height, 65.0)
    builder, half = CloudBuilder(k), CloudBuilder(k, 2)
    out = np.empty((height, width, 4), np.float32)
    small = np.empty((half.height, half.width, 4), np.float32)
    copy = np.empty_like(out)
    builder.fill(depth, image, out)
    # bit by bit: a colour may be a NaN
    for way in (meshgrid, open3d_legacy):
        other = way(depth, image, k)
        assert np.array_equal(other[..., 3].view(np.uint32), out[..., 3].view(np.uint32)), way
        np.testing.assert_allclose(other[..., :3], out[..., :3], rtol=1e-4, atol=1e-4)
    calls = {
        'ours': lambda: builder.fill(depth, image, out),
        'memcpy': lambda: np.copyto(copy, out),
        'meshgrid': lambda: meshgrid(depth, image, k),
        'open3d': lambda: open3d_legacy(depth, image, k),
        'ours, stride 2': lambda: half.fill(depth, image, small),
        'flying pixel mask': lambda: flying_pixel_mask(depth, 0.05),
        'voxels of 5 cm': lambda: voxel_downsample(out, 0.05),
    }
    if create_cloud is not None:
        calls['sensor_msgs_py'] = lambda: sensor_msgs_py_structured(out)
    ms = medians_ms(calls)
    ratios = {name: ms[name] / ms['ours'] for name in ('meshgrid', 'open3d', 'sensor_msgs_py')
              if name in ms}
    return {'ms': ms, 'ratios': ratios, 'times_memcpy': ms['ours'] / ms['memcpy'],
            'mpoints_s': height * width / ms['ours'] / 1e3}


def main() -> None:
    results = {name: measure(*size) for name, size in SIZES.items()}
    for name, result in results.items():
        print(f'{name}: ours {result["ms"]["ours"]:.3f} ms, {result["mpoints_s"]:.0f} Mpoints/s, '
              f'{result["times_memcpy"]:.1f} x memcpy')
        for way, ratio in result['ratios'].items():
            print(f'    {way:18s} {result["ms"][way]:8.2f} ms   {ratio:5.1f} x ours')
        for way in ('ours, stride 2', 'flying pixel mask', 'voxels of 5 cm'):
            print(f'    {way:18s} {result["ms"][way]:8.2f} ms')
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({'targets': TARGETS, **results}, indent=2) + '\n')


if __name__ == '__main__':
    main()
