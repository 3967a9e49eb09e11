"""Focus stacks of Bitterli's rooms through a true lens: Mitsuba 3's `thinlens` sensor.

Test only, and independent of training/focus_render.py: every pixel averages rays through the whole
aperture. The lens is the 'canonical' one of focus.py, whose aperture is 36 mm over the f-number: a
pinhole image of focal length f (px) blurs by aperture * f * |1/focus - 1/depth| px.

So few rays leave two kinds of noise that no camera has. Where the lens blurs an edge, each pixel
meets either side by chance: the edge crumbles instead of being soft. And indirect light flickers.
Against the first the light is divided by the paint that the same rays met, and multiplied by the
paint that many more rays meet, which are cheap as they end there. Against the second that quotient
is averaged among neighbours that look alike through the same lens, and what it differs by between
slices is kept as far as it stands out from the noise: a wall must not get other blotches in each
slice, which no lens does and which would pass for texture out of focus. A stack takes minutes, so
it is kept in .data_cache/.
"""
from __future__ import annotations

from collections.abc import Sequence
import hashlib
import itertools
import json
import os
from pathlib import Path
import tarfile
import tempfile
from zipfile import BadZipFile
import zlib

import numpy as np

from depth_perception.geometry import Intrinsics
from depth_perception.optics import FULL_FRAME_M
from training.data import mitsuba
from training.data.root import CACHE_FOLDER, DataError
from training.data.splits import Entry

VERSION = 3
SAMPLES, GUIDE_SAMPLES, PATH_DEPTH = 36, 144, 6  # squares, as the sampler wants them
GUIDES = 'd:depth,a:albedo,n:sh_normal'
RADIUS, WIDTH = 5, 16.0  # of the filter, px and px^2
BRIGHTEST = 15.0  # of the median; fireflies are brighter
# How unlike paint, normals and nearness must be to count as another surface: 1 / deviation.
UNLIKE = np.array([15.0] * 3 + [1.0] * 3 + [1.5])
NEXT_SHARE = 0.15  # that the eight pixels around one have at least: edges are noisy as well
LEAST_PAINT = 0.1  # lamps, mirrors and the sky have none
STANDS_OUT = 3.0  # standard errors by which light differs between slices, or it is the same


def aperture_m(f_number: float) -> float:
    """Diameter of the aperture of the canonical lens, metres."""
    return FULL_FRAME_M / f_number


def blur_scale_px_m(f_number: float, intrinsics: Intrinsics) -> float:
    """Blur scale of a picture through it, px m: the blur's diameter a dioptre."""
    return aperture_m(f_number) * intrinsics.focal_px


def stack_of(entry: Entry, folder: Path, focus_m: Sequence[float], f_number: float,
             cache: Path = CACHE_FOLDER) -> np.ndarray:
    """Return the stack of a room from its author's own camera, rendered or from the cache.

    Parameters
    ----------
    entry
        Of splits.yaml, data set mitsuba_rooms, split test.
    folder
        Of the data set.
    focus_m
        Focus distances, metres along the optical axis.

    Returns
    -------
    (N, 240, 320, 3) uint8 RGB, of one exposure

    Raises
    ------
    DataError
        The entry is not for testing, Mitsuba is not installed, or the archive is not as expected.
    """
    if entry.split != 'test' or entry.dataset != mitsuba.DATASET:
        raise DataError(f'{entry.name} is a {entry.split} entry of {entry.dataset}; rooms behind '
                        f'a lens are test entries of {mitsuba.DATASET}')
    size = (mitsuba.HEIGHT, mitsuba.WIDTH)
    facts = {'version': VERSION, 'scene': entry.scene, 'focus': [round(x, 6) for x in focus_m],
             'f_number': f_number, 'size': size, 'samples': (SAMPLES, GUIDE_SAMPLES)}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    path = cache / 'thin_lens' / f'{entry.scene}-{key}.npz'
    stack = _read(path)
    if stack is None:
        stack = render_stack(folder / f'{entry.scene}.tar.xz', entry.scene, focus_m, f_number,
                             *size)
        _write(path, stack)
    return stack


def _read(path: Path) -> np.ndarray | None:
    # What cannot be read is rendered again.
    try:
        with np.load(path) as archive:
            return archive['stack']
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error):
        return None


def _write(path: Path, stack: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f'.{os.getpid()}.partial')
    with open(partial, 'wb') as file:
        np.savez_compressed(file, stack=stack)
    os.replace(partial, path)


def render_stack(archive: Path, scene: str, focus_m: Sequence[float], f_number: float,
                 height: int, width: int) -> np.ndarray:
    """Render a stack; see stack_of.

    Raises
    ------
    DataError
        Mitsuba is not installed, or the archive is not as expected.
    """
    mi = mitsuba.load_mitsuba()
    metres = mitsuba.SCALE.get(scene, 1.0)  # of one unit of the scene
    # Samples spread evenly over pixel and aperture.
    lens = {'type': 'thinlens', 'aperture_radius': aperture_m(f_number) / 2 / metres,
            'sampler': {'type': 'multijitter', 'sample_count': SAMPLES}}
    slices = []
    with tempfile.TemporaryDirectory() as unpacked:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter='data')
        except (OSError, tarfile.TarError) as error:
            raise DataError(f'{archive} is damaged: {error}; copy it again') from error
        file = Path(unpacked) / scene / 'scene.xml'
        pose, fov_deg = mitsuba.read_camera(file.read_text())
        loaded = mi.load_file(str(file))
        for number, distance in enumerate(focus_m):
            camera = mi.load_dict(mitsuba.sensor(mi, pose, fov_deg, height, width) | lens
                                  | {'focus_distance': distance / metres})
            slices.append(_slice(mi, loaded, camera, 2 * number))
    # One exposure for all: a camera that sweeps its focus holds it.
    limit = BRIGHTEST * float(np.median([light for light, _, _ in slices]))
    light, paint, guides = map(np.stack, zip(*slices))
    light = filtered(np.minimum(light, limit), paint, guides)
    gain = mitsuba.GREY_LEVEL / max(float(np.median(light.mean(axis=-1))), 1e-6)
    return mitsuba.encoded(gain * light)


def _slice(mi, scene, camera, seed: int) -> tuple[np.ndarray, ...]:
    """Return light (H, W, 3), the paint (H, W, 3) that its rays met, and guides (H, W, 7).

    Guides are paint, normals and 1 / distance, of more rays. Seeds differ among slices, or all of
    a stack would have the same noise, which then looks like texture that is always sharp.
    """
    path = {'type': 'path', 'max_depth': PATH_DEPTH}
    seen = mitsuba.render(mi, scene, camera, SAMPLES, seed=seed, type='aov', aovs=GUIDES,
                          image=path)
    more = mitsuba.render(mi, scene, camera, GUIDE_SAMPLES, seed=seed + 1, type='aov', aovs=GUIDES)
    near = 1 / np.maximum(more[..., :1], 1e-2) * (more[..., :1] > 0)
    return seen[..., :3], seen[..., -6:-3], np.concatenate([more[..., 1:], near], axis=-1)


def filtered(light: np.ndarray, paint: np.ndarray, guides: np.ndarray) -> np.ndarray:
    """Average light (N, H, W, 3) among neighbours with alike guides (N, H, W, 7); see _slice.

    Where the lens blurs, the guides are blurred as well, so no edge appears or vanishes. What is
    averaged is the mean of the slices, and how each differs from it, less what noise would differ
    by: a shrinkage towards the mean (James and Stein, 1961).
    """
    falling = light / (paint + LEAST_PAINT)  # what falls onto a surface varies less than texture
    mean = falling.mean(axis=0)
    return np.stack([_shrunk_average(mean, of_slice - mean, own) * (own[..., :3] + LEAST_PAINT)
                     for of_slice, own in zip(falling, guides)])


def _shrunk_average(mean: np.ndarray, apart: np.ndarray, guides: np.ndarray) -> np.ndarray:
    # The average of `mean`, plus that of `apart` as far as it stands out from its own noise.
    scaled = guides * UNLIKE
    both = np.concatenate([mean, apart, apart ** 2], axis=-1)
    total = np.zeros_like(both)
    weight = np.zeros((*mean.shape[:2], 1))
    squares = np.zeros_like(weight)
    for shift in itertools.product(range(-RADIUS, RADIUS + 1), repeat=2):
        both_there, guides_there = (np.roll(x, shift, axis=(0, 1)) for x in (both, scaled))
        unlike = ((guides_there - scaled) ** 2).sum(axis=-1, keepdims=True)
        least = NEXT_SHARE if max(map(abs, shift)) == 1 else 0.0
        w = (np.exp(-(shift[0] ** 2 + shift[1] ** 2) / WIDTH)
             * np.maximum(np.exp(-unlike / 2), least))
        total += w * both_there
        weight += w
        squares += w * w
    mean, apart, square = np.split(total / weight, 3, axis=-1)
    variance = np.maximum(square - apart ** 2, 0) * squares / weight ** 2  # of the average
    kept = 1 - (STANDS_OUT ** 2 * variance.sum(axis=-1, keepdims=True)
                / np.maximum((apart ** 2).sum(axis=-1, keepdims=True), 1e-12))
    return mean + np.maximum(kept, 0) * apart
