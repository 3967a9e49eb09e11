"""What the temporal filter and the scale correction cost, and how much flicker the filter removes.

    python benchmarks/bench_temporal.py

Cost: medians of calls taken in turn in one run, beside copying the same depth once. Flicker: the
shipped network sees a still room through a noisy sensor; the standard deviation over time of each
pixel with the filter and without, and how far depth lags behind when the camera cuts to another
room.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from benchmarks.turns import medians_ms
from depth_perception import inference
from depth_perception.estimator import DepthEstimator
from depth_perception.model_spec import DEFAULT_MODEL
from depth_perception.scale import Scale
from depth_perception.scale_apply import Rescaler
from depth_perception.sources import open_source
from depth_perception.temporal import TemporalFilter

RESULTS = Path(__file__).parent / 'results' / 'temporal.json'
SIZES = {'vga': (480, 640), 'hd': (720, 1280)}
FRAMES, SETTLED = 120, 40
SENSOR_NOISE = 6.0      # grey levels of 255: an indoor camera at a high gain
EXPOSURE_NOISE = 0.03   # from frame to frame, as flickering lamps make it
TARGETS = {'still room, times less deviation': 3.0, 'smear across a cut [%]': 0.0}


def cost(height: int, width: int) -> dict[str, float]:
    """Milliseconds a frame of one size."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8),
                       (width, height))
    depth = cv2.GaussianBlur(rng.uniform(0.5, 8, (height, width)).astype(np.float32), (0, 0), 9)
    work, copy, values = depth.copy(), depth.copy(), (1.0 / depth).astype(np.float32)
    steady, rescaler, stamps = TemporalFilter(), Rescaler(), iter(range(10**6))

    def fresh() -> np.ndarray:
        np.copyto(work, depth)
        return work

    return medians_ms({
        'copy': lambda: np.copyto(copy, depth),
        'temporal filter': lambda: steady(fresh(), image, next(stamps) / 30.0),
        'scale': lambda: rescaler.metric(fresh(), Scale(1.1), 0.0, 100.0),
        'scale and shift': lambda: rescaler.metric(fresh(), Scale(1.1, 0.02), 0.0, 100.0),
        'relative to metres': lambda: rescaler.relative(
            values, Scale(1.1, 0.02), 0.0, 100.0, work),
    }, rounds=60)


def sensor(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture as a cheap camera delivers it."""
    gain = 1.0 + rng.normal(0.0, EXPOSURE_NOISE)
    noisy = gain * image + rng.normal(0.0, SENSOR_NOISE, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def flicker(estimator: DepthEstimator, seed: int) -> dict[str, float]:
    """Deviation over time in one still room, and smear when another one follows."""
    frame, other = (next(open_source('scene', seed=each)) for each in (seed, seed + 100))
    rng, steady = np.random.default_rng(seed), TemporalFilter()
    plain, filtered = [], []
    for i in range(FRAMES):
        picture = sensor(frame.image, rng)
        depth = estimator(picture, frame.intrinsics).depth.copy()
        plain.append(np.log(depth[::4, ::4]))
        filtered.append(np.log(steady(depth, picture, i / 30.0)[::4, ::4]))
    picture = sensor(other.image, rng)
    depth = estimator(picture, other.intrinsics).depth.copy()
    smeared = steady(depth.copy(), picture, FRAMES / 30.0) != depth
    before, after = (np.array(each[SETTLED:]).std(axis=0) for each in (plain, filtered))
    return {'without [%]': 100.0 * float(np.median(before)),
            'with [%]': 100.0 * float(np.median(after)),
            'times less': float(np.median(before / after)),
            'times less, 5th percentile': float(np.percentile(before / after, 5)),
            'smear across a cut [%]': 100.0 * float(smeared.mean())}


def main() -> None:
    costs = {name: cost(*size) for name, size in SIZES.items()}
    for name, ms in costs.items():
        print(f'{name}: ' + ', '.join(f'{what} {value:.3f} ms ({value / ms["copy"]:.1f} x copy)'
                                      for what, value in ms.items()))
    engine = inference.load(DEFAULT_MODEL, backend='cpu', threads=1)
    estimator = DepthEstimator(engine)
    rooms = {f'room {seed}': flicker(estimator, seed) for seed in (1, 2, 3)}
    engine.close()
    for name, result in rooms.items():
        print(f'{name}: ' + ', '.join(f'{what} {value:.2f}' for what, value in result.items()))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({'targets': TARGETS, 'cost_ms': costs, 'flicker': rooms,
                                   'model': DEFAULT_MODEL}, indent=2) + '\n')


if __name__ == '__main__':
    main()
