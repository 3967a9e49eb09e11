"""Give pictures of people depth by a model: ``python -m training.pseudo_label LAYOUT FOLDER ...``.

LAYOUT is inria or posetrack, FOLDER where the data set was unpacked (training.data.people). The
result is a folder that ``data.dataset=folder data.labels=true`` trains on: rgb/, depth/, masks/
where the data set has any, dataset.yaml, and provenance.json, which says what was made by what.
Broken off, the command goes on where it was.

keys: output=FOLDER (needed)
      model=NAME       any exported model, default: the shipped one
      dpt=FOLDER|NAME  instead: DPT of the transformers library, such as the paper's DPT-Hybrid,
                       from a folder or the library's cache
      masks=FOLDER     posetrack: masks by the pictures' names, PNG, people not 0
      hfov_deg=60      of the cameras, which the data sets do not tell
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
import json
import logging
import os
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm
import yaml

from depth_perception.estimator import DepthEstimator, Engine
from depth_perception.geometry import Intrinsics
from depth_perception.inference import load
from depth_perception.model_spec import DEFAULT_MODEL
from training.config import ConfigError, refuse_unknown
from training.data import DataError
from training.data.people import LAYOUTS, PERSON, Unlabelled, read_mask
from training.data.picture_files import read_image
from training.data.root import UnreadableFile
from training.hugging_face import HuggingFaceEngine

KEYS = ('output', 'model', 'dpt', 'masks', 'hfov_deg')
HFOV_DEG = 60.0
MM = 1000.0
# Inverse depth of a relative model, stretched to each picture's range: 0 is missing, and the
# farthest is 256 times as far as the nearest, which leaves scale and shift open as they are.
LOWEST, HIGHEST = 256, 65535

log = logging.getLogger(__name__)


class PseudoLabelError(ValueError):
    """An output folder that cannot be used."""


def label(
    layout: str, root: Path, output: Path, engine: Engine, *,
    masks: str = '', hfov_deg: float = HFOV_DEG,
) -> dict[str, Any]:
    """Write depth of all pictures of `root`, and return the provenance.

    Raises
    ------
    DataError
        The data set does not lie as `layout` says, or no picture can be read.
    PseudoLabelError
        `output` holds labels that were made otherwise, or other things.
    """
    chosen = LAYOUTS[layout]
    pictures = chosen.find(root, masks)
    provenance = _provenance(layout, engine, hfov_deg, len(pictures))
    _start(output, provenance)
    estimator = DepthEstimator(engine)
    left_out: list[str] = []
    masked = 0
    for picture in tqdm(pictures, desc='labelling', unit='picture'):
        try:
            masked += _one(picture, output, estimator, hfov_deg)
        except UnreadableFile as error:
            log.warning('left out %s: %s', picture.name, error)
            left_out.append(picture.name)
    if len(left_out) == len(pictures):
        raise DataError(f'{root}: none of {len(pictures)} pictures can be read, see the warnings')
    provenance |= {'left_out': left_out, 'masks': masked, 'complete': True}
    _describe(output, not estimator.is_metric, masked > 0, hfov_deg)
    _write_json(output / 'provenance.json', provenance)
    log.info('%s: %d pictures with depth, %d of them with segmentation targets, %d left out',
             output, len(pictures) - len(left_out), masked, len(left_out))
    return provenance


def _provenance(layout: str, engine: Engine, hfov_deg: float, count: int) -> dict[str, Any]:
    spec, chosen = asdict(engine.spec), LAYOUTS[layout]
    kept = ('name', 'architecture', 'output_kind', 'training_data', 'licence', 'weights_sha256')
    return {
        'source': {'layout': layout, 'homepage': chosen.homepage, 'licence': chosen.licence},
        'model': {key: spec[key] for key in kept},
        'backend': engine.backend,
        'depth': ('estimated by the model above, not measured: metres' if
                  engine.spec.output_kind != 'relative' else 'estimated by the model above, not '
                  "measured: inverse depth without a unit, stretched to each picture's range"),
        'hfov_deg': hfov_deg,
        'pictures': count,
        'made': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'complete': False,
    }


def _start(output: Path, provenance: dict[str, Any]) -> None:
    path = output / 'provenance.json'
    if path.exists():
        old = json.loads(path.read_text())
        changed = [key for key in ('source', 'model', 'hfov_deg') if old[key] != provenance[key]]
        if changed:
            raise PseudoLabelError(f"{output} holds labels of another {', '.join(changed)}; name "
                                   'another output')
    elif output.exists() and any(output.iterdir()):
        raise PseudoLabelError(f'{output} is not empty and was not written by this command; name '
                               'another output')
    output.mkdir(parents=True, exist_ok=True)
    _write_json(path, provenance)


def _one(
    picture: Unlabelled, output: Path, estimator: DepthEstimator, hfov_deg: float
) -> bool:
    """Label one picture; say whether it has segmentation targets."""
    depth_file = output / 'depth' / f'{picture.name}.png'
    mask_file = output / 'masks' / f'{picture.name}.png'
    if depth_file.exists():  # it is written last
        return mask_file.exists()
    image = read_image(picture.image)
    height, width = image.shape[:2]
    mask = read_mask(picture.mask, (height, width)) if picture.mask else None
    intrinsics = Intrinsics.from_hfov(width, height, hfov_deg)
    depth = estimator(image, intrinsics).depth
    stored = millimetres(depth) if estimator.is_metric else stretched(depth)
    _link(picture.image, output / 'rgb' / f'{picture.name}.jpg')
    if mask is not None:
        _write_png(mask_file, mask)
    _write_png(depth_file, stored)
    return mask is not None


def stretched(inverse: np.ndarray) -> np.ndarray:
    """Bring relative inverse depth to LOWEST..HIGHEST of uint16; 0 where it is not finite."""
    known = np.isfinite(inverse)
    values = inverse[known].astype(np.float64)
    low, width = (values.min(), np.ptp(values)) if values.size else (0.0, 0.0)
    found = np.zeros(inverse.shape, np.uint16)
    share = (values - low) / (width or 1.0)
    found[known] = np.rint(LOWEST + (HIGHEST - LOWEST) * share).astype(np.uint16)
    return found


def millimetres(depth: np.ndarray) -> np.ndarray:
    """Bring metres to uint16 millimetres; 0 where there is none, or more than fits."""
    scaled = np.rint(np.nan_to_num(depth, nan=0.0, posinf=0.0) * MM)
    return np.where(scaled < HIGHEST, scaled, 0).astype(np.uint16)


def _link(source: Path, target: Path) -> None:
    # A second name for the same bytes, where the file system can.
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write_png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.stem}.partial.png')
    if not cv2.imwrite(str(partial), array):
        raise PseudoLabelError(f'cannot write {path}; free some disk space')
    os.replace(partial, path)


def _describe(output: Path, relative: bool, masks: bool, hfov_deg: float) -> None:
    content: dict[str, Any] = {'scale': 1 / HIGHEST if relative else 1 / MM, 'hfov_deg': hfov_deg}
    if relative:
        content['inverse'] = True
    if masks:
        content |= {'masks': 'masks', 'classes': {0: 0, PERSON: PERSON}}
    head = '# Written by training.pseudo_label; provenance.json says by which model.\n'
    (output / 'dataset.yaml').write_text(head + yaml.safe_dump(content, sort_keys=False))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, path)


def _engine(given: dict[str, str]) -> Engine:
    if 'model' in given and 'dpt' in given:
        raise ConfigError('model and dpt are both given; give one of them')
    if 'dpt' in given:
        return HuggingFaceEngine(given['dpt'])
    return load(given.get('model', DEFAULT_MODEL))


def main(argv: Sequence[str] | None = None) -> None:
    """Label as the command line says."""
    parser = argparse.ArgumentParser(
        prog='python -m training.pseudo_label', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('layout', choices=list(LAYOUTS))
    parser.add_argument('folder', type=Path)
    parser.add_argument('settings', nargs='*', metavar='key=value')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    given = dict(text.partition('=')[::2] for text in arguments.settings)
    try:
        refuse_unknown(given, KEYS, '')
        if not given.get('output'):
            raise ConfigError('output is missing; name the folder to write: output=FOLDER')
        hfov_deg = float(given.get('hfov_deg', HFOV_DEG))
        if not 0 < hfov_deg < 180:
            raise ConfigError(f'hfov_deg is {hfov_deg}; it must be above 0 and below 180')
        label(arguments.layout, arguments.folder, Path(given['output']), _engine(given),
              masks=given.get('masks', ''), hfov_deg=hfov_deg)
    except ValueError as error:  # of the settings, the data set, the model or the output
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
