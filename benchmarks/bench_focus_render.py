"""Focus stacks: a 5-slice 480x640 stack beside a sum over each pixel's own blur, in one run.

    python benchmarks/bench_focus_render.py [--repeats 7] [--small] [--picture FILE.png]

The brute-force reference spreads each pixel over a window of its own Gaussian, offset by offset,
which is how public depth-from-defocus code renders (there in CUDA). It is timed once, as it takes
long, and its window holds the largest blur whole. torch is timed on a GPU too, where there is one.
The picture shows a stack, without and with occlusion.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
import math
from pathlib import Path
import time

import cv2
import numpy as np

from benchmarks.turns import medians_ms
from depth_perception.focus_render import fill_holes, render_stack, signed_radius_px
from depth_perception.geometry import Intrinsics
from depth_perception.optics import Lens, focus_distances
from depth_perception.scenes import Room, View

try:
    import torch

    from training.focus_render import render_stack as torch_stack
except ImportError:
    torch = None

RESULTS = Path(__file__).parent / 'results' / 'focus_render.json'
F_NUMBERS = (1.4, 4.0, 8.0)
DISTANCES = focus_distances(5, 0.15, 1.5)
ROOM_SEED = 5       # from 0.3 to 3 m


def brute_force(image: np.ndarray, depth: np.ndarray, focus_m: float, lens: Lens) -> np.ndarray:
    """One slice, each pixel spread by its own Gaussian; the border mirrored."""
    radius = np.abs(signed_radius_px(depth, focus_m, lens))
    reach = math.ceil(1.6 * float(radius.max()))
    # samples of a Gaussian narrower than a quarter of a pixel are one sample
    per_variance = -0.5 / np.maximum(0.5 * radius, 0.25) ** 2
    pad = (reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    light = [cv2.copyMakeBorder(plane, *pad).astype(np.float32) for plane in cv2.split(image)]
    along = [np.exp(per_variance * np.float32(i * i)) for i in range(reach + 1)]
    area = along[0] + 2 * sum(along[1:])
    along = [cv2.copyMakeBorder(term / area, *pad) for term in along]
    total = np.zeros((4, *depth.shape), np.float32)
    term, product = np.empty_like(total[0]), np.empty_like(total[0])
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            window = (slice(y, y + len(depth)), slice(x, x + depth.shape[1]))
            np.multiply(along[abs(y - reach)][window], along[abs(x - reach)][window], out=term)
            for plane, channel in zip(light, total):
                channel += np.multiply(plane[window], term, out=product)
            total[3] += term
    return cv2.merge([cv2.convertScaleAbs(plane / total[3]) for plane in total[:3]])


def torch_calls(view: View, lens: Lens) -> dict[str, Callable[[], object]]:
    """The same stack in torch, on each device."""
    if torch is None:
        return {}
    calls = {}
    for device in ('cpu', 'cuda') if torch.cuda.is_available() else ('cpu',):
        inputs = (torch.from_numpy(view.rgb).permute(2, 0, 1)[None].to(device) / 255,
                  torch.from_numpy(view.depth)[None, None].to(device),
                  torch.from_numpy(DISTANCES)[None].float().to(device),
                  torch.tensor([lens.blur_scale_px_m], device=device), lens.focal_length_m)
        for name, options in (('gaussian', {}), ('disc', {'psf': 'disc'}),
                              ('gaussian, occlusion', {'occlusion': True})):
            calls[f'torch {device}, {name}'] = _rendering(inputs, options, device)
    return calls


def _rendering(inputs: tuple, options: dict[str, object], device: str) -> Callable[[], None]:
    @torch.no_grad()
    def call() -> None:
        torch_stack(*inputs, **options)
        if device == 'cuda':
            torch.cuda.synchronize()
    return call


def measure(view: View, f_number: float, focal_px: float, repeats: int) -> dict[str, object]:
    """One f-number."""
    height, width = view.depth.shape
    lens = Lens.full_frame(width, height, focal_px, f_number)
    depth = fill_holes(view.depth)[0]
    start = time.perf_counter()
    true = np.stack([brute_force(view.rgb, depth, focus_m, lens) for focus_m in DISTANCES])
    brute_ms = (time.perf_counter() - start) * 1e3
    calls = {f'numpy, {psf}{", occlusion" if occlusion else ""}':
             lambda psf=psf, occlusion=occlusion: render_stack(
                 view.rgb, view.depth, DISTANCES, lens, psf, occlusion)
             for psf in ('gaussian', 'disc') for occlusion in (False, True)}
    ms = medians_ms({**calls, **torch_calls(view, lens)}, repeats)
    error = (calls['numpy, gaussian']().astype(np.float64) - true) ** 2
    largest = max(float(np.abs(signed_radius_px(depth, focus_m, lens)).max())
                  for focus_m in DISTANCES)
    return {'largest_radius_px': largest, 'ms': ms, 'brute_force_ms': brute_ms,
            'times_faster': {name: brute_ms / value for name, value in ms.items()},
            'slices_per_s': {name: 1e3 * len(DISTANCES) / value for name, value in ms.items()},
            'psnr_to_brute_force_db': float(10 * np.log10(255 ** 2 / error.mean()))}


def save_picture(path: Path, view: View, focal_px: float) -> None:
    """All in focus, then five slices without occlusion, and the same with it below."""
    height, width = view.depth.shape
    lens = Lens.full_frame(width, height, focal_px, F_NUMBERS[0])
    rows = []
    for occlusion in (False, True):
        slices = render_stack(view.rgb, view.depth, DISTANCES, lens, 'disc', occlusion)
        tiles = [view.rgb.copy(), *slices]
        names = ['all in focus', *(f'{d:.2f} m' for d in DISTANCES)]
        for tile, name in zip(tiles, names):
            cv2.putText(tile, name, (8, height - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.8,
                        (255, 255, 255), 2, cv2.LINE_AA)
        rows.append(cv2.hconcat(tiles))
    picture = cv2.cvtColor(cv2.vconcat(rows), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), picture):
        raise SystemExit(f'{path} could not be written; give a .png or .jpg in a folder of yours')


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--small', action='store_true', help='120x160, to see that it works')
    parser.add_argument('--picture', type=Path)
    arguments = parser.parse_args(argv)
    width, height = (160, 120) if arguments.small else (640, 480)
    intrinsics = Intrinsics.from_hfov(width, height, 60.0)
    room = Room.random(ROOM_SEED)
    view = room.render(intrinsics, room.random_pose(np.random.default_rng(ROOM_SEED + 1)))
    if arguments.picture:
        save_picture(arguments.picture, view, intrinsics.fx)
    results = {'size': [height, width], 'focus_distances_m': DISTANCES.tolist(),
               'threads': cv2.getNumThreads()}
    for f_number in F_NUMBERS:
        result = measure(view, f_number, intrinsics.fx, arguments.repeats)
        results[f'f/{f_number:g}'] = result
        print(f'f/{f_number:g}, radius up to {result["largest_radius_px"]:.1f} px: brute force '
              f'{result["brute_force_ms"]:.0f} ms a stack, '
              f'{result["psnr_to_brute_force_db"]:.1f} dB from it')
        for name, ms in result['ms'].items():
            print(f'    {name:32s} {ms:8.1f} ms   {result["times_faster"][name]:6.1f} x faster, '
                  f'{result["slices_per_s"][name]:6.1f} slices/s')
    RESULTS.parent.mkdir(exist_ok=True)
    if not arguments.small:
        RESULTS.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
