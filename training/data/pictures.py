"""Stored pictures with depth, whatever their layout, and the settings that choose them.

A layout (nyu.py, folder.py) gives `Pictures`: names, and how to load one; picture_sets.py makes
training items from them.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from dataclasses import dataclass, field
import difflib
import hashlib
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from depth_perception.geometry import Intrinsics
from training.data import mixed
from training.data.picture_files import read_image
from training.data.root import DataError, UnreadableFile
from training.data.splits import SPLITS, SplitError

T = TypeVar('T')


@dataclass(frozen=True)
class DataConfig(mixed.DataConfig):
    """What training reads: the settings of every data set, and where one of files lies.

    Attributes
    ----------
    root
        Folder of the data set.
    options
        Settings of that data set alone; each layout names its own.
    """

    root: str = ''
    options: dict[str, Any] = field(default_factory=dict)


class Picture(NamedTuple):
    """One picture: image (H, W, 3) uint8 RGB, depth (H, W) float32 metres, intrinsics.

    Depth that is 0, negative or not finite is missing. `labels`, where there are any, are (H, W)
    uint8 segmentation targets; UNLABELLED of augment.py where a pixel has none.
    """

    image: np.ndarray
    depth: np.ndarray
    intrinsics: Intrinsics
    labels: np.ndarray | None = None

    def cropped(self, x: int, y: int, width: int, height: int) -> Picture:
        """Return the part of the picture from column x and row y on."""
        rows, columns = slice(y, y + height), slice(x, x + width)
        labels = None if self.labels is None else self.labels[rows, columns]
        return Picture(self.image[rows, columns], self.depth[rows, columns],
                       self.intrinsics.cropped(x, y, width, height), labels)


class Pictures(Protocol):
    """Pictures by number. `names` is an array: Python strings make forked workers grow."""

    source: str
    names: np.ndarray

    def files(self, number: int) -> Sequence[Path]:
        """Return the files of a picture, to see whether they are there."""

    def load(self, number: int) -> Picture:
        """Read a picture; UnreadableFile where it is damaged."""


@dataclass(frozen=True)
class PairedFiles:
    """Pictures of which image and depth are files of their own.

    Attributes
    ----------
    images, depths
        File names below `root`, arrays of str of the same length.
    depth_of
        Reads a depth file to float32 metres.
    intrinsics_of
        (width, height) of a picture -> its intrinsics.
    labels_of
        Picture's name, its (height, width) -> segmentation targets; None: there are none.
    """

    source: str
    root: Path
    names: np.ndarray
    images: np.ndarray
    depths: np.ndarray
    depth_of: Callable[[Path], np.ndarray]
    intrinsics_of: Callable[[int, int], Intrinsics]
    labels_of: Callable[[str, tuple[int, int]], np.ndarray] | None = None

    def files(self, number: int) -> tuple[Path, Path]:
        """Return the image and the depth file."""
        return self.root / str(self.images[number]), self.root / str(self.depths[number])

    def load(self, number: int) -> Picture:
        """Read both files.

        Raises
        ------
        UnreadableFile
            One is missing or damaged, or they differ in size.
        """
        image_file, depth_file = self.files(number)
        image, depth = read_image(image_file), self.depth_of(depth_file)
        if depth.shape != image.shape[:2]:
            raise UnreadableFile(f'{depth_file} is {depth.shape}, its image {image.shape[:2]}; '
                                 'depth must be registered to the image')
        height, width = depth.shape
        labels = None
        if self.labels_of is not None:
            labels = self.labels_of(str(self.names[number]), (height, width))
        return Picture(image, depth, self.intrinsics_of(width, height), labels)


def options(kind: type[T], given: Mapping[str, Any], dataset: str) -> T:
    """Return the dataclass `kind` filled from data.options.

    Raises
    ------
    DataError
        An unknown option, or a value that `kind` refuses.
    """
    known = [item.name for item in dataclasses.fields(kind)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0)
            hint = f'the nearest known is {near[0]!r}' if near else 'it has none'
            raise DataError(f'unknown option {key!r} of {dataset}; {hint}')
    return kind(**given)


def number(value: Any, what: str) -> float:
    """Return `value` as a float; DataError where it is none."""
    # PyYAML reads 1e-3 as text: YAML 1.1 wants a dot in a float.
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f'{what} is {value!r}; it must be a number') from error


def held_out(groups: np.ndarray, share: float) -> np.ndarray:
    """Choose whole groups (scenes) for validation, so that no scene is on both sides.

    Groups are taken in the order of their hash, which is random but the same everywhere, until
    they hold `share` of the pictures.

    Returns
    -------
    np.ndarray
        (N,) bool.

    Raises
    ------
    DataError
        The share is not inside 0 and 1, or there are fewer than two groups.
    """
    if not 0 < share < 1:
        raise DataError(f'val_share is {share}; give a number above 0 and below 1')
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise DataError(f'all {len(groups)} pictures are of {len(names)} scene; validation needs '
                        'a scene of its own')
    order = sorted(range(len(names)),
                   key=lambda i: hashlib.sha256(str(names[i]).encode()).digest())
    needed = int(np.searchsorted(np.cumsum(counts[order]), share * len(groups))) + 1
    return np.isin(groups, names[order[:min(needed, len(names) - 1)]])


def require_split(split: str, dataset: str, known: Sequence[str] = SPLITS) -> None:
    """Raise SplitError where `split` is none of `known`."""
    if split not in known:
        raise SplitError(f'{dataset} was asked for split {split!r}; it has {", ".join(known)}')
