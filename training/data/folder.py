"""Any folder of pictures with depth: ``rgb/NAME.png``, ``depth/NAME.png``, ``dataset.yaml``.

Pictures pair with depth by name, in any depth of sub-folders. Depth is PNG, TIFF, NPZ, NPY or EXR.
Where the folder has ``train/`` and ``val/`` (and ``test/``), each of them holds ``rgb/`` and
``depth/``; else the last tenth of the names is kept for validation. dataset.yaml says::

    scale: 0.001               # metres of one stored unit
    intrinsics: {width: 640, height: 480, fx: 525.0, fy: 525.0, cx: 319.5, cy: 239.5}
    rgb: rgb                   # name of the folder of the pictures (may be left out)
    depth: depth               # name of the folder of the depth (may be left out)
    depth_range: [0.1, 20.0]   # metres; depth outside is missing (may be left out)
    inverse: true              # stored is inverse depth, large near: metres = 1 / (value * scale)
    masks: masks               # name of a folder of segmentation targets (may be left out)
    classes: {0: 0, 255: 1}    # stored value of a mask -> class; -1: no target (with masks)

``hfov_deg: 60.0`` (of every picture, whatever its size) may stand for intrinsics. Masks are PNG
pictures of one channel, by the name of their picture; one without a mask has no target.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses
from dataclasses import dataclass, field
import math
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset
import yaml

from depth_perception.geometry import GeometryError, Intrinsics
from training.data.augment import UNLABELLED
from training.data.faults import require_root
from training.data.picture_files import DEPTH_SUFFIXES, IMAGE_SUFFIXES, read_depth
from training.data.picture_sets import open_pictures
from training.data.pictures import DataConfig, PairedFiles, number, options, require_split
from training.data.root import DataError, UnreadableFile
from training.data.splits import SPLITS

SOURCE, DESCRIPTION = 'folder', 'dataset.yaml'


@dataclass(frozen=True)
class FolderOptions:
    """Settings of folder: `val_share` of the pictures, the last by name, where no val/ is."""

    val_share: float = 0.1

    def __post_init__(self):
        object.__setattr__(self, 'val_share', number(self.val_share, 'val_share'))
        if not 0 < self.val_share < 1:
            raise DataError(f'val_share is {self.val_share}; give a number above 0 and below 1')


@dataclass(frozen=True)
class Description:
    """What dataset.yaml says; see the head of this file."""

    scale: float
    intrinsics: Intrinsics | None = None
    hfov_deg: float = 0.0
    rgb: str = 'rgb'
    depth: str = 'depth'
    depth_range: tuple[float, float] = (0.0, math.inf)
    inverse: bool = False
    masks: str = ''
    classes: Mapping[int, int] = field(default_factory=dict)

    def metres(self, path: Path) -> np.ndarray:
        """Read a depth file, (H, W) float32 metres, NaN where missing or out of range."""
        depth = read_depth(path, self.scale)
        if self.inverse:
            with np.errstate(divide='ignore'):
                depth = 1 / depth
        low, high = self.depth_range
        return np.where((depth > 0) & (depth >= low) & (depth <= high), depth, np.float32(np.nan))

    def camera_of(self, width: int, height: int) -> Intrinsics:
        """Return the intrinsics; UnreadableFile for a picture of another size."""
        camera = self.intrinsics
        if camera is None:
            return Intrinsics.from_hfov(width, height, self.hfov_deg)
        if (width, height) != (camera.width, camera.height):
            raise UnreadableFile(f'the picture is {width}x{height}, the intrinsics of '
                                 f'{DESCRIPTION} are for {camera.width}x{camera.height}')
        return camera


@dataclass(frozen=True)
class Masks:
    """The segmentation targets of a folder; `classes` is stored value -> class."""

    folder: Path
    classes: Mapping[int, int]

    def __call__(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """Return the targets of the picture `name` of `size` (height, width), (H, W) uint8.

        Raises
        ------
        UnreadableFile
            The mask is damaged, of another size, or has a value that `classes` lacks.
        """
        path = self.folder / f'{name}.png'
        if not path.exists():
            return np.full(size, UNLABELLED, np.uint8)
        stored = read_depth(path, 1.0)
        if stored.shape != size:
            raise UnreadableFile(f'{path} is {stored.shape}, its picture {size}; a mask has the '
                                 'size of its picture')
        unknown = sorted({int(x) for x in np.unique(stored)} - set(self.classes))
        if unknown:
            raise UnreadableFile(f'{path} has the labels {unknown}; {DESCRIPTION} knows '
                                 f'{sorted(self.classes)}: add them, as -1 to leave them out')
        labels = np.full(size, UNLABELLED, np.uint8)
        for value, label in self.classes.items():
            if label >= 0:
                labels[stored == value] = label
        return labels


def read_description(path: Path) -> Description:
    """Read dataset.yaml.

    Raises
    ------
    DataError
        The file is missing, no mapping, has an unknown or missing key or a wrong value.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f'{path} cannot be read: {error}; it says scale and intrinsics, see '
                        'training/data/folder.py') from error
    given = _mapping(content, Description, str(path))
    if ('intrinsics' in given) == ('hfov_deg' in given):
        raise DataError(f'{path}: give intrinsics, or hfov_deg where pictures differ in size')
    if ('masks' in given) != ('classes' in given):
        raise DataError(f'{path}: masks and classes belong together; give both, or none')
    return Description(
        scale=_positive(given['scale'], f'{path}: scale'),
        **_camera(given, path), **_targets(given, path),
        inverse=bool(given.get('inverse', False)),
        depth_range=_range(given.get('depth_range', (0.0, math.inf)), f'{path}: depth_range'),
        **{key: str(given[key]) for key in ('rgb', 'depth') if key in given})


def _mapping(content, kind: type, where: str) -> dict:
    fields = dataclasses.fields(kind)
    known = [item.name for item in fields]
    required = [item.name for item in fields
                if item.default is item.default_factory is dataclasses.MISSING]
    if not isinstance(content, dict):
        raise DataError(f'{where} is {content!r}; it must be a mapping of {", ".join(known)}')
    unknown, missing = set(content) - set(known), set(required) - set(content)
    if unknown or missing:
        said = [f'unknown {key}' for key in unknown] + [f'missing {key}' for key in missing]
        raise DataError(f'{where}: {", ".join(sorted(said))}; its keys are {", ".join(known)}')
    return content


def _camera(given: Mapping, path: Path) -> dict:
    if 'intrinsics' in given:
        return {'intrinsics': _intrinsics(given['intrinsics'], f'{path}: intrinsics')}
    return {'hfov_deg': _positive(given['hfov_deg'], f'{path}: hfov_deg')}


def _targets(given: Mapping, path: Path) -> dict:
    if 'masks' not in given:
        return {}
    classes = given['classes']
    whole = isinstance(classes, dict) and all(
        type(x) is int and 0 <= x < UNLABELLED + 1 and type(y) is int and -1 <= y < UNLABELLED
        for x, y in classes.items())
    if not classes or not whole:
        raise DataError(f'{path}: classes is {classes!r}; give stored value (0 to 255): class '
                        f'(0 to {UNLABELLED - 1}, or -1 for no target)')
    return {'masks': str(given['masks']), 'classes': classes}


def _positive(value, where: str) -> float:
    value = number(value, where)
    if not 0 < value < math.inf:
        raise DataError(f'{where} is {value}; it must be above 0')
    return value


def _intrinsics(content, where: str) -> Intrinsics:
    given = {key: number(value, f'{where}.{key}')
             for key, value in _mapping(content, Intrinsics, where).items()}
    try:
        return Intrinsics(**given | {key: int(given[key]) for key in ('width', 'height')})
    except GeometryError as error:
        raise DataError(f'{where}: {error}') from error


def _range(value, where: str) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise DataError(f'{where} is {value!r}; give [nearest, farthest] in metres')
    low, high = (number(end, where) for end in value)
    if not 0 <= low < high:
        raise DataError(f'{where} is {value!r}; give [nearest, farthest] with nearest < farthest')
    return low, high


def _by_name(folder: Path, suffixes: Iterable[str]) -> dict[str, str]:
    """Return name without ending -> name, both below `folder`, in the order of the names."""
    if not folder.is_dir():
        raise DataError(f'{folder} is missing; the layout is rgb/, depth/ and {DESCRIPTION}')
    found: dict[str, str] = {}
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() not in suffixes:
            continue
        key = str(path.relative_to(folder).with_suffix(''))
        if key in found:
            raise DataError(f'{folder} has {found[key]} and {path.name}; keep one of them')
        found[key] = str(path.relative_to(folder))
    return found


def _paired(folder: Path, description: Description, labels: bool) -> PairedFiles:
    images = _by_name(folder / description.rgb, IMAGE_SUFFIXES)
    depths = _by_name(folder / description.depth, DEPTH_SUFFIXES)
    if images and not set(images) & set(depths):
        raise DataError(f'no picture of {folder / description.rgb} has depth of the same name in '
                        f'{folder / description.depth}; one pair is {next(iter(images))}.*')
    # A picture without depth is a fault like any other: named, counted, left out.
    files = [depths.get(name, f'{name}.*') for name in images]
    has_masks = labels and description.masks
    masks = Masks(folder / description.masks, description.classes) if has_masks else None
    return PairedFiles(
        SOURCE, folder, np.array(list(images)),
        np.array([f'{description.rgb}/{name}' for name in images.values()]),
        np.array([f'{description.depth}/{name}' for name in files]),
        description.metres, description.camera_of, masks)


def _split_by_name(pictures: PairedFiles, split: str, val_share: float) -> PairedFiles:
    # A block at the end: neighbours in a video are nearly the same picture.
    count = len(pictures.names)
    first_val = count - max(1, round(val_share * count))
    part = slice(first_val, None) if split == 'val' else slice(first_val)
    return dataclasses.replace(pictures, names=pictures.names[part], images=pictures.images[part],
                               depths=pictures.depths[part])


def build_folder(config: DataConfig, split: str = 'train', *, augment: bool = True) -> Dataset:
    """Return the pictures of the folder config.root.

    Raises
    ------
    DataError
        The folder or dataset.yaml is missing or wrong, or the folder has no such split.
    """
    require_split(split, SOURCE)
    chosen = options(FolderOptions, config.options, SOURCE)
    root = require_root(config.root, SOURCE)
    description = read_description(root / DESCRIPTION)
    if any((root / name / description.rgb).is_dir() for name in SPLITS):
        return open_pictures(_paired(root / split, description, config.labels), config, split,
                             augment)
    if split == 'test':
        raise DataError(f'{root} has no test/; put the pictures for testing into test/rgb and '
                        'test/depth, and the others into train/ and val/')
    paired = _paired(root, description, config.labels)
    pictures = _split_by_name(paired, split, chosen.val_share)
    return open_pictures(pictures, config, split, augment)
