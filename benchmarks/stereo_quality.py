"""How much drawn stereo views look like what the other camera saw; see bench_stereo.py.

Real: the Middlebury motorcycle that scikit-image ships, drawn by its own disparity, that is with
the screen at f * B / doffs, beside the photograph. Simulated: rooms rendered from both places at
twice the size and reduced, so that edges mix as in a camera, with exact depth.

A pixel of the right picture is visible if the left camera sees the same point, by the truth
alone: one mask for all methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import math
from typing import NamedTuple

import cv2
import numpy as np
from skimage.data import stereo_motorcycle
from skimage.metrics import structural_similarity

from depth_perception.geometry import Intrinsics, ray_planes
from depth_perception.scenes import Room
from depth_perception.stereo_plan import FlickerMeter, StereoSettings
from depth_perception.stereo_views import StereoViews

SCENES = 20
FIRST_SEED = 700_000        # rooms that no training uses
CAMERA = Intrinsics.from_hfov(480, 360, 63.0)
SAME_POINT_PX = 1.0         # of disparity, between what both cameras see
SCALE_NOISE = 0.05          # of a network that estimates each frame alone
SWAY_FRAMES, SWAY_FIRST, SWAY_EVERY = 24, 9, 3

#: What the shipped settings are, and each of them changed.
WAYS = {
    'ours': StereoSettings(),
    'no edge dilation': StereoSettings(edge_dilation_px=0),
    'hard edges': StereoSettings(soft_edges=False),
    'fill: inpaint': StereoSettings(fill='inpaint'),
    'fill: temporal': StereoSettings(fill='temporal'),
    'bare warp (as timed)': StereoSettings(edge_dilation_px=0, soft_edges=False),
}


class Case(NamedTuple):
    """One stereo pair with the depth of its left picture."""

    left: np.ndarray
    right: np.ndarray
    depth: np.ndarray
    visible: np.ndarray


def backward_remap(image: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """Each target looks up the image by the disparity of its own pixel: no z-buffer."""
    height, width = disparity.shape
    x = np.arange(width, dtype=np.float32) + np.nan_to_num(disparity)
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], x.shape)
    return cv2.remap(image, x, np.ascontiguousarray(y), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REPLICATE)


def motorcycle() -> tuple[Case, Intrinsics]:
    """The real pair; its "depth" gives its disparity by 1 px of focal length and 1 m between."""
    left, right, disparity = stereo_motorcycle()
    disparity = np.where(np.isfinite(disparity), disparity, np.nan).astype(np.float32)
    height, width = disparity.shape
    camera = Intrinsics(width, height, 1.0, 1.0, 0.0, 0.0)
    return Case(left, right, 1.0 / disparity, splatted(disparity)), camera


def splatted(disparity: np.ndarray) -> np.ndarray:
    """Pixels of the right picture on which at least one left pixel lands, (H, W) bool."""
    rows, columns = np.nonzero(np.isfinite(disparity))
    target = columns - disparity[rows, columns]
    seen = np.zeros(disparity.shape, bool)
    for whole in (np.floor(target), np.ceil(target)):
        inside = (whole >= 0) & (whole < disparity.shape[1])
        seen[rows[inside], whole[inside].astype(int)] = True
    return seen


def seen_by_both(left_depth: np.ndarray, right_depth: np.ndarray, scale: float) -> np.ndarray:
    """Pixels of the right picture whose point the left camera sees; `scale` is f * B in px m."""
    disparity = scale / right_depth
    x = np.arange(disparity.shape[1], dtype=np.float32) + disparity
    y = np.broadcast_to(np.arange(len(x), dtype=np.float32)[:, None], x.shape)
    there = cv2.remap(scale / left_depth, x, np.ascontiguousarray(y), cv2.INTER_NEAREST,
                      borderMode=cv2.BORDER_CONSTANT, borderValue=-1e3)
    return np.abs(there - disparity) < SAME_POINT_PX


def to_the_right(pose: np.ndarray, baseline_m: float) -> np.ndarray:
    moved = pose.copy()
    moved[:3, 3] += baseline_m * pose[:3, 0]
    return moved


def pictured(room: Room, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture with mixed edges, and depth at the pixels' centres."""
    twice = Intrinsics.from_hfov(2 * CAMERA.width, 2 * CAMERA.height, 63.0)
    picture = cv2.resize(room.render(twice, pose).rgb, (CAMERA.width, CAMERA.height),
                         interpolation=cv2.INTER_AREA)
    return picture, room.scene.depth_along(*ray_planes(CAMERA), pose)


def simulated(room: Room, pose: np.ndarray) -> Case:
    baseline = WAYS['ours'].baseline_m
    left, depth = pictured(room, pose)
    right, right_depth = pictured(room, to_the_right(pose, baseline))
    return Case(left, right, depth, seen_by_both(depth, right_depth, CAMERA.fx * baseline))


def scores(drawn: np.ndarray, case: Case) -> dict[str, float]:
    """PSNR and SSIM over visible and over all pixels."""
    error = np.mean((drawn.astype(float) - case.right) ** 2, axis=2)
    _, ssim = structural_similarity(drawn, case.right, channel_axis=2, full=True)
    ssim = ssim.mean(axis=2)
    return {'psnr_visible': psnr_db(error[case.visible]), 'psnr_all': psnr_db(error),
            'psnr_hidden': psnr_db(error[~case.visible]),
            'ssim_visible': float(ssim[case.visible].mean()), 'ssim_all': float(ssim.mean())}


def psnr_db(error: np.ndarray) -> float:
    return float(10 * np.log10(255.0 ** 2 / error.mean())) if error.size else math.nan


def all_ways(case: Case, camera: Intrinsics, baseline_m: float) -> dict[str, dict[str, float]]:
    """Scores of every way to draw a single pair; temporal needs a sequence."""
    disparity = (camera.fx * baseline_m / case.depth).astype(np.float32)
    result = {}
    for name, settings in WAYS.items():
        if settings.fill != 'temporal':
            right = drawn(settings, case, camera, baseline_m)
            result[name] = scores(right, case)
    result['backward_remap'] = scores(backward_remap(case.left, disparity), case)
    result['left unchanged'] = scores(case.left, case)
    return result


def drawn(settings: StereoSettings, case: Case, camera: Intrinsics, baseline_m: float,
          ) -> np.ndarray:
    views = StereoViews(StereoSettings(**{**vars(settings), 'baseline_m': baseline_m}))
    views.update(case.left, case.depth, camera)
    return views.pair().right


def mean_of(results: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {way: {key: float(np.nanmean([each[way][key] for each in results]))
                  for key in results[0][way]} for way in results[0]}


def rooms(count: int = SCENES) -> dict[str, dict[str, dict[str, float]]]:
    """Means over rooms, by exact depth and by depth as coarse as a network's."""
    exact, coarse = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        room = Room.random(seed)
        case = simulated(room, room.random_pose(np.random.default_rng(seed)))
        exact.append(all_ways(case, CAMERA, WAYS['ours'].baseline_m))
        coarse.append(all_ways(case._replace(depth=coarsened(case.depth)), CAMERA,
                               WAYS['ours'].baseline_m))
    return {'rooms': mean_of(exact), 'rooms, depth at a quarter of the size': mean_of(coarse)}


def coarsened(depth: np.ndarray) -> np.ndarray:
    """Depth whose edges are smeared over several pixels, as networks give it."""
    height, width = depth.shape
    small = cv2.resize(1.0 / depth, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return 1.0 / cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def swaying(pose: np.ndarray) -> Iterator[np.ndarray]:
    """A head or a hand that sways by 8 cm and 4 degrees."""
    for index in range(SWAY_FRAMES):
        phase = 2 * math.pi * index / SWAY_FRAMES
        move = np.eye(4)
        move[:3, :3] = cv2.Rodrigues(np.array([0.0, math.radians(4) * math.sin(phase), 0.0]))[0]
        move[0, 3] = 0.08 * math.sin(phase)
        yield pose @ move


def sequences(count: int) -> dict[str, dict[str, float]]:
    """Filling by earlier frames beside the others, while the camera sways."""
    results = []
    ways = ('ours', 'fill: inpaint', 'fill: temporal')
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        room = Room.random(seed)
        views = {way: StereoViews(WAYS[way]) for way in ways}
        start = room.random_pose(np.random.default_rng(seed))
        for index, pose in enumerate(swaying(start)):
            judged = index >= SWAY_FIRST and index % SWAY_EVERY == 0
            picture, depth = pictured(room, pose)
            for each in views.values():
                each.update(picture, depth, CAMERA)
            if judged:
                case = simulated(room, pose)
                results.append({way: scores(views[way].pair().right, case) for way in ways})
    return mean_of(results)


def flicker(count: int) -> dict[str, dict[str, float]]:
    """A still camera and depth whose scale jumps from frame to frame, 60 frames a room."""
    noise: Callable[[], float] = np.random.default_rng(0).normal
    result = {}
    for weight in (0.0, 0.8, 0.95):
        meter_sum, frames = 0.0, 0
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            room = Room.random(seed)
            picture, depth = pictured(room, room.random_pose(np.random.default_rng(seed)))
            views, meter = StereoViews(StereoSettings(smoothing=weight)), FlickerMeter()
            for _ in range(60):
                views.update(picture, depth * np.float32(math.exp(SCALE_NOISE * noise())), CAMERA)
                meter.add(picture, views.disparity)
            meter_sum, frames = meter_sum + meter.px * meter.frames, frames + meter.frames
        result[f'smoothing {weight:g}'] = {'flicker_px': meter_sum / frames}
    return result


def round_trip(count: int = SCENES) -> dict[str, float]:
    """Relative error of depth that OpenCV's matcher finds in our pairs, medians over rooms."""
    matcher = cv2.StereoSGBM.create(0, 64, 5, P1=600, P2=2400, uniquenessRatio=10,
                                    speckleWindowSize=50, speckleRange=1, disp12MaxDiff=1,
                                    mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY)
    errors, shares = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        room = Room.random(seed)
        left, depth = pictured(room, room.random_pose(np.random.default_rng(seed)))
        views = StereoViews()
        views.update(left, depth, CAMERA)
        pair = views.pair()
        found = matcher.compute(*(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY)
                                  for each in pair[:2])).astype(np.float32) / 16
        good = found > 0.5
        measured = CAMERA.fx * views.plan.baseline_m / found[good]
        errors.append(float(np.median(np.abs(measured / depth[good] - 1.0))))
        shares.append(float(good.mean()))
    return {'median_relative_error': float(np.median(errors)), 'worst_room': max(errors),
            'matched_share': float(np.mean(shares))}


def measure(count: int = SCENES) -> dict[str, object]:
    """Everything, for the JSON."""
    case, camera = motorcycle()
    return {'motorcycle': all_ways(case, camera, 1.0), **rooms(count),
            'swaying camera': sequences(max(1, count // 4)),
            'breathing depth': flicker(max(1, count // 4)), 'round_trip': round_trip(count)}
