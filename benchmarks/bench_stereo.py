"""Stereo views: the warp with Numba and with NumPy beside plain ways, in turn in one run; medians.

    python benchmarks/bench_stereo.py          # or: make bench-stereo

Plain: the z-buffer by sorting (argsort over the disparity, far first, then holes filled from
the background side), whole pixels only. `cv2.remap` with the image's own disparity is what is
often taken for a warp: shown for its time, its edges are wrong. Quality: stereo_quality.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import sys
from unittest import mock

import cv2
import numpy as np

from benchmarks.stereo_quality import SCENES, backward_remap
from benchmarks.stereo_quality import measure as quality
from benchmarks.turns import medians_ms
from depth_perception.geometry import Intrinsics
from depth_perception.stereo import (
    FILLS,
    StereoRenderer,
    anaglyph,
    disparity_from_depth,
    side_by_side,
)
from depth_perception.stereo_plan import StereoSettings
from depth_perception.stereo_views import StereoViews

RESULTS = Path(__file__).parent / 'results' / 'stereo.json'
SIZES = {'vga': (480, 640), 'hd': (720, 1280)}
TARGETS_MS = {'vga': {'numba': 1.5, 'numpy': 6.0}, 'hd': {'numba': 4.0, 'numpy': 16.0}}


def numpy_renderer(width: int, height: int) -> StereoRenderer:
    """A renderer as it is on a machine without Numba."""
    with mock.patch.dict(sys.modules, {'depth_perception.stereo_kernel': None}):
        return StereoRenderer(width, height)


def sorting(image: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """z-buffer by sorting, holes filled from the right."""
    height, width = disparity.shape
    order = np.argsort(disparity, axis=1, kind='stable')
    rows = np.arange(height)[:, None]
    target = order - np.rint(np.take_along_axis(disparity, order, 1)).astype(np.int64)
    inside = (target >= 0) & (target < width)
    source = np.full((height, width), width, np.int64)
    source[np.broadcast_to(rows, order.shape)[inside], target[inside]] = order[inside]
    behind = np.minimum.accumulate(source[:, ::-1], axis=1)[:, ::-1]
    source = np.where(source == width, np.minimum(behind, width - 1), source)
    return image[rows, source]


def room(height: int, width: int) -> np.ndarray:
    """Depth of a slanted wall, a floor and three objects in front, metres."""
    depth = np.ones((height, 1), np.float32) * np.linspace(4.0, 5.0, width, dtype=np.float32)
    rows = np.arange(height, dtype=np.float32)[:, None]
    depth = np.minimum(depth, 0.9 * height / np.maximum(rows - 0.45 * height, 1.0))
    for left, top, size, near in ((0.1, 0.3, 0.2, 1.5), (0.45, 0.2, 0.3, 1.1),
                                  (0.7, 0.5, 0.1, 0.7)):
        x, y, s = int(left * width), int(top * height), int(size * width)
        depth[y:y + s, x:x + s] = near
    return depth


def whole_frame(image: np.ndarray, disparity: np.ndarray, fill: str) -> Callable[[], object]:
    """From depth to the right view with everything that is on by default."""
    height, width = disparity.shape
    views = StereoViews(StereoSettings(fill=fill))
    camera = Intrinsics.from_hfov(width, height, 65.0)
    depth = camera.fx * views.settings.baseline_m / disparity

    def draw() -> object:
        views.update(image, depth, camera)
        return views.pair()
    return draw


def measure(height: int, width: int) -> dict[str, object]:
    """One image size."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 2)
    disparity = disparity_from_depth(room(height, width), 0.78 * width, 0.065)
    fast, plain = StereoRenderer(width, height), numpy_renderer(width, height)
    both = np.empty((height, 2 * width, 3), np.uint8)
    mixed = np.empty_like(image)
    right = fast.right_from_left(image, disparity)[0].copy()
    assert np.array_equal(right, plain.right_from_left(image, disparity)[0])
    calls = {
        fast.backend: lambda: fast.right_from_left(image, disparity),
        'numpy': lambda: plain.right_from_left(image, disparity),
        'sorting': lambda: sorting(image, disparity),
        'cv2.remap (wrong)': lambda: backward_remap(image, disparity),
        'both views': lambda: fast.views(image, disparity),
        'anaglyph': lambda: anaglyph(image, right, out=mixed),
        'side by side': lambda: side_by_side(image, right, out=both),
        **{f'as shipped, fill: {fill}': whole_frame(image, disparity, fill) for fill in FILLS},
    }
    ms = medians_ms(calls)
    return {'backend': fast.backend, 'ms': ms,
            'ratio_sorting': {name: ms['sorting'] / ms[name] for name in (fast.backend, 'numpy')}}


def table(name: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one table of scores, the columns of its first row."""
    columns = list(next(iter(rows.values())))
    print(f'{name:40s}' + ''.join(f'{column:>14s}' for column in columns))
    for way, values in rows.items():
        print(f'    {way:36s}' + ''.join(f'{values[column]:14.3f}' for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rooms', type=int, default=SCENES,
                        help='procedural rooms (default: %(default)s)')
    count = parser.parse_args().rooms
    speed = {name: measure(*size) for name, size in SIZES.items()}
    for name, result in speed.items():
        print(f'{name}:')
        for way, ms in result['ms'].items():
            print(f'    {way:40s} {ms:7.2f} ms')
        for way, ratio in result['ratio_sorting'].items():
            print(f'    {way}: {ratio:.1f} x faster than sorting')
    seen = quality(count)
    trip = seen.pop('round_trip')
    for name, rows in seen.items():
        table(name, rows)
    print('round trip by SGBM:', ', '.join(f'{key} {value:.4f}' for key, value in trip.items()))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({'targets_ms': TARGETS_MS, 'rooms_count': count, **speed,
                                   **seen, 'round_trip': trip}, indent=2) + '\n')


if __name__ == '__main__':
    main()
