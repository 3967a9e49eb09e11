"""What each filter of a navigation cloud costs beside none, at 640x480; medians, taken in turn.

    python benchmarks/bench_cloud_filters.py

The frame is a rendered room, its depth stretched to 0.5 to 8 m, with missing pixels and a smeared
edge as a network draws them. `open3d` does the same with voxel_down_sample and
remove_radius_outlier, the usual way. The bar is 30 Hz with everything on.
"""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d

from benchmarks.turns import medians_ms
from depth_perception.cloud_filters import CloudFilters, CloudFilterSettings
from depth_perception.cloud_voxels import voxel_downsample
from depth_perception.geometry import Intrinsics
from depth_perception.point_cloud import CloudBuilder, unpack_rgb, valid_points
from depth_perception.scenes import Room

RESULTS = Path(__file__).parent / 'results' / 'cloud_filters.json'
CAMERA = Intrinsics.from_hfov(640, 480, 65.0)
VOXEL = 0.05
FRAME_MS = 1000.0 / 30.0
MOUNT = CloudFilterSettings(camera_height=1.0, camera_pitch_deg=5.0)
FILTERS = {
    'none': MOUNT,
    'range': replace(MOUNT, min_range=0.3, max_range=7.0),
    'height': replace(MOUNT, min_height=0.05, max_height=1.8),
    'flying pixels': replace(MOUNT, flying_pixel_step=0.05),
    'sky': replace(MOUNT, sky_min_depth=4.0),
    'outliers': replace(MOUNT, island_points=50),
    'all but voxels': replace(
        MOUNT, min_range=0.3, max_range=7.0, min_height=0.05, max_height=1.8,
        flying_pixel_step=0.05, sky_min_depth=4.0, island_points=50),
}


def frame() -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) float32 metres and image (H, W, 3) uint8."""
    room = Room.random(3)
    view = room.render(CAMERA, room.random_pose(np.random.default_rng(1)))
    depth = cv2.normalize(view.depth, None, 0.5, 8.0, cv2.NORM_MINMAX)
    depth = cv2.GaussianBlur(depth, (5, 5), 0)
    depth[np.random.default_rng(0).random(depth.shape) < 0.02] = np.nan
    return depth, view.rgb


def by_open3d(cloud: np.ndarray) -> np.ndarray:
    """Voxels and outliers as most people filter them."""
    points = valid_points(cloud)
    o3d_cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(
        points[:, :3].astype(np.float64)))
    o3d_cloud.colors = o3d.utility.Vector3dVector(unpack_rgb(points[:, 3]) / 255.0)
    small = o3d_cloud.voxel_down_sample(VOXEL)
    kept, _ = small.remove_radius_outlier(nb_points=4, radius=2 * VOXEL)
    return np.asarray(kept.points)


def main() -> None:
    """Measure, print and write the JSON."""
    depth, image = frame()
    builder, filters = CloudBuilder(CAMERA), {name: CloudFilters(CAMERA) for name in FILTERS}
    cloud = np.empty((builder.height, builder.width, 4), np.float32)

    def organised(name: str) -> np.ndarray:
        builder.fill(filters[name](depth, image, FILTERS[name]), image, cloud)
        return cloud

    calls = {name: lambda name=name: organised(name) for name in FILTERS}
    calls['plain list'] = lambda: valid_points(organised('none'))
    calls['voxels of 5 cm'] = lambda: voxel_downsample(organised('none'), VOXEL)
    calls['all'] = lambda: voxel_downsample(organised('all but voxels'), VOXEL)
    calls['open3d'] = lambda: by_open3d(organised('none'))
    left = {name: len(valid_points(np.asarray(call(), np.float32))) if name != 'open3d'
            else len(call()) for name, call in calls.items()}
    ms = medians_ms(calls, rounds=25)
    beside = {name: value - ms['none'] for name, value in ms.items() if name != 'none'}
    for name, value in ms.items():
        print(f'{name:15s} {value:7.2f} ms  {beside.get(name, 0.0):+7.2f}  {left[name]:7d} points')
    print(f"all filters take {100 * ms['all'] / FRAME_MS:.0f} % of a frame at 30 Hz "
          f"({1000 / ms['all']:.0f} Hz); open3d's voxels and outliers alone "
          f"{beside['open3d'] / beside['all']:.1f} x the time of all ours")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({
        'target_hz': 30.0, 'hz_with_all': 1000.0 / ms['all'], 'ms': ms,
        'ms_beside_none': beside, 'points': left,
        'ratio_open3d': beside['open3d'] / beside['all']}, indent=2) + '\n')


if __name__ == '__main__':
    main()
