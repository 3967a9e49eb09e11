"""Give pictures of a recording without depth the depth that a model estimates.

The recording is a data set that training.data.prepare wrote of bags with colour pictures alone;
training.finetune calls this for it. A model, the teacher, estimates the depth of each picture with
the camera's calibration: the scale of all labels is the teacher's. How the camera moved from a
picture to its neighbours in time follows from matched features and that depth
(training.data.relative_pose). Where neighbours see a point too, labels that agree are averaged,
and a label that they contradict is left out.

Nothing of this is a measurement, and labels.json of the result says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
import json
import logging
import math
import os
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from tqdm import tqdm

from depth_perception.estimator import DepthEstimator, Engine
from depth_perception.geometry import Intrinsics
from training.data import DataError
from training.data.relative_pose import Features, Motion, features, motion
from training.data.self_labelled import DESCRIPTION, NAME_LENGTH, record_type
from training.data.shards import HEIGHT, WIDTH

log = logging.getLogger(__name__)

REACH = 4                       # how many pictures before and after may become a neighbour
LEAST_PARALLAX_PX = 1.5         # less, and a pair says nothing of depth
AGREEMENT = math.log(1.25)      # of the labels of two pictures for one point
REMEMBERED = 2 * REACH + 2


class Video(Protocol):
    """Pictures of moving cameras; `runs` numbers the stretches without a gap in time."""

    names: np.ndarray
    stamps: np.ndarray
    runs: np.ndarray

    def load(self, number: int) -> tuple[np.ndarray, Intrinsics]:
        """Return a picture (H, W, 3) uint8 RGB, and its camera."""


class _Seen(NamedTuple):
    image: np.ndarray
    camera: Intrinsics
    depth: np.ndarray
    features: Features


class Labeller:
    """Labels the pictures of one video; each is estimated once.

    Parameters
    ----------
    video : Video
    engine : Engine
        The teacher; of a model in metres.
    """

    def __init__(self, video: Video, engine: Engine) -> None:
        self._video, self._estimator = video, DepthEstimator(engine)
        self._seen: OrderedDict[int, _Seen] = OrderedDict()

    def seen(self, number: int) -> _Seen:
        """Return a picture at the stored size, with the teacher's depth."""
        if number not in self._seen:
            image, camera = self._video.load(number)
            image, camera = stored_size(image, camera)
            depth = self._estimator(image, camera).depth.copy()
            self._seen[number] = _Seen(image, camera, depth, features(image))
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return self._seen[number]

    def neighbour(self, number: int, step: int) -> tuple[int, Motion] | None:
        """Find the nearest picture in the direction `step` (1 or -1) that moved enough."""
        here = self.seen(number)
        for other in range(number + step, number + step * (REACH + 1), step):
            if not 0 <= other < len(self._video.runs):
                return None
            if self._video.runs[other] != self._video.runs[number]:
                return None
            there = self.seen(other)
            found = motion(here.features, here.depth, there.features, here.camera, there.camera)
            if found is None:
                return None  # farther away they will not match either
            if found.parallax_px >= LEAST_PARALLAX_PX:
                return other, found
        return None

    def label(self, number: int) -> tuple[np.ndarray, list[tuple[int, Motion] | None]]:
        """Return depth (H, W) float32 metres, NaN where it is contradicted, and the neighbours."""
        here = self.seen(number)
        found = [self.neighbour(number, step) for step in (-1, 1)]
        said = [transferred(here, self.seen(pair[0]), pair[1].matrix) for pair in found if pair]
        return fused(here.depth, said), found


def stored_size(image: np.ndarray, camera: Intrinsics) -> tuple[np.ndarray, Intrinsics]:
    """Shrink a picture to at most the size of stored views; its shape stays."""
    scale = min(1.0, HEIGHT / image.shape[0], WIDTH / image.shape[1])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image, camera
    return (cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA),
            camera.resized(width, height))


def transferred(here: _Seen, there: _Seen, matrix: np.ndarray) -> np.ndarray:
    """What the depth of another picture says of the points of this one.

    Returns
    -------
    np.ndarray
        (H, W) float32: ln of the other picture's depth over the depth that a point has there by
        this picture's; 0 where both agree, NaN where the other does not see it.
    """
    k, height, width = here.camera, *here.depth.shape
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    points = np.stack([(u - k.cx) / k.fx * here.depth, (v - k.cy) / k.fy * here.depth, here.depth])
    x, y, z = np.tensordot(matrix[:3, :3], points, axes=1) + matrix[:3, 3, None, None]
    with np.errstate(invalid='ignore', divide='ignore'):
        u, v = (there.camera.fx * x / z + there.camera.cx, there.camera.fy * y / z
                + there.camera.cy)
        depth = cv2.remap(there.depth, u.astype(np.float32), v.astype(np.float32),
                          cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=math.nan)
        return np.where(z > 0, np.log(depth / z), np.nan).astype(np.float32)


def fused(depth: np.ndarray, said: Sequence[np.ndarray]) -> np.ndarray:
    """Average depth with what neighbours that agree say of it; NaN where all that see it do not.

    Parameters
    ----------
    depth : (H, W) float32, metres
    said : sequence of (H, W) float32
        See `transferred`.
    """
    agree, disagree = np.ones(depth.shape), np.zeros(depth.shape, bool)
    total = np.zeros(depth.shape)
    for ratio in said:
        near = np.abs(ratio) < AGREEMENT  # False for NaN
        total += np.where(near, ratio, 0.0)
        agree += near
        disagree |= np.isfinite(ratio) & ~near
    averaged = depth * np.exp(total / agree)
    return np.where(disagree & (agree == 1), np.nan, averaged).astype(np.float32)


def label_video(video: Video, engine: Engine, path: Path) -> dict[str, int]:
    """Write the records of one split to `path`; say how many, and how many have a neighbour."""
    count = len(video.names)
    if not count:
        return {'frames': 0, 'with_neighbours': 0}
    labeller = Labeller(video, engine)
    shape = labeller.seen(0).depth.shape
    partial = path.with_name(f'{path.stem}.partial.npy')
    records = np.lib.format.open_memmap(partial, 'w+', record_type(*shape), (count,))
    posed = 0
    for number in tqdm(range(count), desc=f'labelling {path.stem}', unit='frame'):
        depth, found = labeller.label(number)
        here = labeller.seen(number)
        if here.depth.shape != shape:
            raise DataError(f'{video.names[number]} is {here.depth.shape}, the first picture '
                            f'{shape}; prepare cameras of different shapes as data sets of their '
                            'own')
        k, record = here.camera, records[number]
        record['image'], record['depth'] = here.image, depth
        record['camera'] = (k.fx, k.fy, k.cx, k.cy)
        record['name'] = str(video.names[number])[-NAME_LENGTH:]
        record['rows'] = [pair[0] if pair else -1 for pair in found]
        record['motions'] = [pair[1].matrix[:3] if pair else np.zeros((3, 4)) for pair in found]
        posed += any(pair is not None for pair in found)
    records.flush()
    os.replace(partial, path)
    return {'frames': count, 'with_neighbours': posed}


def label(
    videos: dict[str, Video], engine: Engine, output: Path, source: Mapping[str, str]
) -> dict:
    """Label every split into the folder `output` and return what labels.json says.

    `source` is the name of the data set and the manifest_sha256 of its pictures. Labels that lie
    there of the same teacher and source are kept.

    Raises
    ------
    DataError
        The teacher gives relative depth, `output` is something else, or there is no picture.
    """
    spec = engine.spec
    if spec.output_kind == 'relative':
        raise DataError(f'model {spec.name} gives relative depth, which has no scale to keep; '
                        'label with a model in metres')
    told = {'labels': f'estimated by {spec.name}, not measured; their scale is that of '
                      f'{spec.name} by the calibration of the camera',
            'teacher': {'name': spec.name, 'weights_sha256': spec.weights_sha256},
            'source': dict(source)}
    file = output / DESCRIPTION
    if file.exists():
        old = json.loads(file.read_text())
        if told.items() <= old.items():
            return old
        raise DataError(f'{output} holds labels of other pictures or of another model; delete it '
                        'or name another output')
    if not any(len(video.names) for video in videos.values()):
        raise DataError(f'{source["name"]} has no picture to label')
    output.mkdir(parents=True, exist_ok=True)
    found = {split: label_video(video, engine, output / f'{split}.npy')
             for split, video in videos.items()}
    told |= {'counts': {split: each['frames'] for split, each in found.items()},
             'with_neighbours': {split: each['with_neighbours'] for split, each in found.items()}}
    partial = file.with_suffix('.partial')
    partial.write_text(json.dumps(told, indent=1))
    os.replace(partial, file)
    return told
