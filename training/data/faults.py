"""What can be wrong with a data set on disk: no folder, damaged files, depth in another unit."""
from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import math
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from training.data.root import DataError, UnreadableFile

Loaded = TypeVar('Loaded')

log = logging.getLogger(__name__)

LIMIT = 0.05  # of the pictures; a set that loses more is not the set that was asked for
LISTED = 50  # names in the error; each damaged file also has its own line in the log
PLAUSIBLE_MEDIAN_M = (0.05, 100.0)
USUAL_MEDIAN_M = 2.5


def require_root(root: str | Path, dataset: str) -> Path:
    """Return `root` as a folder that holds something.

    Raises
    ------
    DataError
        `root` is not set, is no folder, or is empty.
    """
    if not str(root):
        raise DataError(f'{dataset} needs data.root, which is not set; '
                        'give the folder of the data set: data.root=FOLDER')
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(f'data.root is {str(root)!r}, which is not a folder; '
                        f'give the folder that holds {dataset}')
    if next(folder.iterdir(), None) is None:
        raise DataError(f'data.root {str(root)!r} is empty; copy {dataset} into it')
    return folder


class Faults:
    """The damaged pictures of a data set: named, counted, and too many end the run.

    Parameters
    ----------
    source
        Name of the data set in messages.
    names
        Name of each picture.
    """

    def __init__(self, source: str, names: Sequence[str]):
        self.source, self._names = source, names
        # Shared memory: what one loader worker finds, all of them leave out.
        self._damaged = torch.zeros(len(names), dtype=torch.bool).share_memory_()

    def __contains__(self, number: int) -> bool:
        return bool(self._damaged[number])

    def __len__(self) -> int:
        return int(self._damaged.sum())

    @property
    def names(self) -> list[str]:
        """Names of the pictures that are left out."""
        return [str(self._names[i]) for i in torch.nonzero(self._damaged).flatten().tolist()]

    def add(self, number: int, reason: Exception) -> None:
        """Leave picture `number` out from now on.

        Raises
        ------
        DataError
            More than 5 % of the pictures are damaged; the text lists them.
        """
        if number in self:
            return
        self._damaged[number] = True
        log.warning('%s: left out %s (%d of %d so far): %s', self.source, self._names[number],
                    len(self), len(self._names), reason)
        if len(self) > LIMIT * len(self._names):
            self._stop()

    def add_missing(self, files_of: Callable[[int], Sequence[Path]]) -> None:
        """Leave out each picture of which a file is missing or empty, without reading any.

        Parameters
        ----------
        files_of
            Number of a picture -> its files.

        Raises
        ------
        DataError
            As `add`, with the complete list.
        """
        lost = [(i, path) for i in range(len(self._names)) for path in files_of(i)
                if not path.is_file() or not path.stat().st_size]
        for number, path in lost:
            self._damaged[number] = True
            log.warning('%s: left out %s: %s is missing or empty', self.source,
                        self._names[number], path)
        if len(self) > LIMIT * len(self._names):
            self._stop()

    def draw(self, rng: np.random.Generator, load: Callable[[int], Loaded]) -> tuple[int, Loaded]:
        """Draw a picture that can be read and load it; damaged ones are left out on the way.

        Raises
        ------
        DataError
            As `add`: it ends long before every picture is damaged.
        """
        while True:
            number = int(rng.integers(len(self._names)))
            if number in self:
                continue
            try:
                return number, load(number)
            except UnreadableFile as error:
                self.add(number, error)

    def readable(self, load: Callable[[int], object]) -> np.ndarray:
        """Load every picture once and return the numbers of those that can be read.

        All are read beforehand because a score counts each picture once, and damaged ones never.

        Raises
        ------
        DataError
            As `add`.
        """
        for number in range(len(self._names)):
            if number in self:
                continue
            try:
                load(number)
            except UnreadableFile as error:
                self.add(number, error)
        return torch.nonzero(~self._damaged).flatten().numpy()

    def _stop(self) -> None:
        names = self.names
        more = f', and {len(names) - LISTED} more' if len(names) > LISTED else ''
        raise DataError(
            f'{self.source}: {len(names)} of {len(self._names)} pictures cannot be read, more '
            f'than {LIMIT:.0%}; copy them again: {", ".join(names[:LISTED])}{more}')


def unit_factor(median_m: float) -> float:
    """Return the power of ten that brings a median depth nearest to that of a usual room.

    It is 1 where the median is plausible: 0.05 to 100 m.
    """
    low, high = PLAUSIBLE_MEDIAN_M
    if low <= median_m <= high:
        return 1.0
    return 10.0 ** -round(math.log10(median_m / USUAL_MEDIAN_M))


def check_unit(source: str, depths: Sequence[np.ndarray]) -> None:
    """Warn, with the factor to scale by, where depth seems to be in another unit than metres.

    Parameters
    ----------
    depths
        A few pictures, (H, W) metres, 0 or not finite where missing.

    Raises
    ------
    DataError
        None of them holds a valid pixel.
    """
    valid = [depth[np.isfinite(depth) & (depth > 0)] for depth in depths]
    medians = [float(np.median(values)) for values in valid if values.size]
    if not medians:
        raise DataError(f'{source}: {len(depths)} pictures were looked at and none has a valid '
                        'depth; check the depth files and their scale')
    median = float(np.median(medians))
    factor = unit_factor(median)
    if factor != 1:
        log.warning('%s: the median depth is %s m, which is hardly metres; multiply the scale of '
                    'depth by %s', source, f'{median:,.4g}', f'{factor:g}')
