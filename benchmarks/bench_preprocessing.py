"""Camera image -> network input, and network output -> depth: our path beside plain numpy.

    python benchmarks/bench_preprocessing.py

Plain: what node after node does, `cv2.resize`, / 255, - mean, / std, transpose, and back
`np.exp`, `cv2.resize`, two comparisons. Same values, taken in turn in one run; medians.
"""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import time

import cv2
import numpy as np

from depth_perception.model_spec import ModelSpec
from depth_perception.postprocessing import Postprocessor
from depth_perception.preprocessing import Placement, Preprocessor, place

RESULTS = Path(__file__).parent / 'results' / 'preprocessing.json'
REPEATS, CALLS = 60, 5
SPEC = ModelSpec(name='bench', architecture='none', input_height=240, input_width=320,
                 output_kind='log', canonical_focal_px=260.0, depth_range=(0.1, 20.0),
                 training_data='none', licence='Apache-2.0')
SIZES = {'vga': (480, 640), 'hd': (720, 1280)}
F_PX, LIMITS = 300.0, {'min_depth': 0.3, 'max_depth': 10.0}


def plain_preprocessing(image: np.ndarray, placement: Placement) -> np.ndarray:
    """The formula as it is written in papers: (1, 3, h, w) float32."""
    small = cv2.resize(image, (placement.width, placement.height), interpolation=cv2.INTER_AREA)
    x = (small.astype(np.float32) / 255 - np.float32(SPEC.mean)) / np.float32(SPEC.std)
    rows = (placement.y, placement.input_height - placement.height - placement.y)
    columns = (placement.x, placement.input_width - placement.width - placement.x)
    if any(rows + columns):
        x = np.pad(x, (rows, columns, (0, 0)), 'edge')
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])  # HWC -> NCHW


def plain_postprocessing(raw: np.ndarray, placement: Placement) -> np.ndarray:
    """Metres at the size of the image: (H, W) float32."""
    depth = np.exp(raw) * F_PX / SPEC.canonical_focal_px
    size = (placement.image_width, placement.image_height)
    depth = cv2.resize(depth[placement.region], size)
    depth[(depth < LIMITS['min_depth']) | (depth > LIMITS['max_depth'])] = np.nan
    return depth


def medians_ms(*calls: Callable[[], object]) -> list[float]:
    """Median time of each call, taken in turn, so that noise hits all alike."""
    times = np.empty((REPEATS, len(calls)))
    for row in times:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            row[i] = (time.perf_counter() - start) / CALLS
    return (np.median(times[5:], axis=0) * 1e3).tolist()  # the first ones warm the caches


def measure(height: int, width: int) -> dict[str, dict[str, float]]:
    """Both directions for one image size."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 3)
    placement = place(height, width, SPEC)
    raw = rng.uniform(-1, 2, (SPEC.input_height, SPEC.input_width)).astype(np.float32)
    pre, post = Preprocessor(SPEC, placement), Postprocessor(SPEC, placement)
    times = medians_ms(lambda: pre(image), lambda: plain_preprocessing(image, placement),
                       lambda: post.depth(raw, F_PX, **LIMITS),
                       lambda: plain_postprocessing(raw, placement))
    difference = np.abs(pre(image) - plain_preprocessing(image, placement)).max()
    return {'preprocessing': {'ours_ms': times[0], 'plain_ms': times[1],
                              'ratio': times[1] / times[0],
                              'largest_difference': float(difference)},
            'postprocessing': {'ours_ms': times[2], 'plain_ms': times[3],
                               'ratio': times[3] / times[2]}}


def main() -> None:
    """Measure all sizes, print a table, write the JSON."""
    results = {name: measure(*size) for name, size in SIZES.items()}
    for name, parts in results.items():
        for part, row in parts.items():
            print(f'{name:4s} {part:15s} {row["ours_ms"]:6.3f} ms  plain {row["plain_ms"]:6.3f} ms'
                  f'  {row["ratio"]:5.1f} x faster')
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
