"""What ~/calibrate_scale makes of the shipped network in procedural rooms, with a simulated lidar.

    python benchmarks/bench_scale.py

The lidar gives 16 rows of 48 points, with 2 % noise and 10 % wild readings. For each of 24 views
the scale is fitted, or refused, and abs_rel of the whole picture is taken before and after.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from depth_perception import inference
from depth_perception.estimator import DepthEstimator
from depth_perception.geometry import Intrinsics, unproject
from depth_perception.metrics import depth_metrics
from depth_perception.model_spec import DEFAULT_MODEL
from depth_perception.range_points import samples
from depth_perception.scale import Scale, ScaleError, fit_scale
from depth_perception.scale_apply import Rescaler
from depth_perception.sources import simulated_room

RESULTS = Path(__file__).parent / 'results' / 'scale.json'
ROOMS, VIEWS = range(21, 27), 4
CAMERA = Intrinsics.from_hfov(320, 240, 65.0)
NOISE, WILD = 0.02, 0.1


def lidar(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points (N, 3) of a lidar in the camera's place."""
    height, width = depth.shape
    depth = depth * rng.normal(1.0, NOISE, depth.shape)
    wild = rng.random(depth.shape) < WILD
    depth[wild] = rng.uniform(0.2, 20.0, wild.sum())
    rows, columns = np.linspace(20, height - 20, 16), np.linspace(5, width - 5, 48)
    return unproject(depth, CAMERA)[np.ix_(rows.astype(int), columns.astype(int))].reshape(-1, 3)


def abs_rel(depth: np.ndarray, truth: np.ndarray, scale: Scale) -> float:
    """Error of the model's depth under a scale."""
    return depth_metrics(Rescaler().metric(depth.copy(), scale, 0.0, 100.0), truth)['abs_rel']


def main() -> None:
    engine = inference.load(DEFAULT_MODEL, backend='cpu', threads=1)
    estimator, rng = DepthEstimator(engine), np.random.default_rng(0)
    accepted, refused = [], []
    for seed in ROOMS:
        room = simulated_room(seed)
        for view in (room.render(CAMERA, pose) for pose in room.camera_path(VIEWS)):
            depth = estimator(view.rgb, CAMERA).depth
            seen = samples(lidar(view.depth, rng), depth, CAMERA, is_metric=True)
            before = abs_rel(depth, view.depth, Scale())
            try:
                fit = fit_scale(*seen, is_metric=True)
            except ScaleError:
                refused.append(before)
            else:
                accepted.append((before, abs_rel(depth, view.depth, fit.scale)))
    engine.close()
    before, after = np.mean(accepted, axis=0)
    worse = sum(second > first for first, second in accepted)
    print(f'{len(accepted)} fits: abs_rel {before:.3f} before, {after:.3f} after, {worse} became '
          f'worse; {len(refused)} refused (abs_rel {np.mean(refused):.3f})')
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({'model': DEFAULT_MODEL, 'accepted': accepted,
                                   'refused': refused}, indent=2) + '\n')


if __name__ == '__main__':
    main()
