"""Pictures with depth as focus stacks: a lens, focus distances and noise are drawn for each.

`options.source` names any data set of pictures; it is drawn, cut and jittered as ever, with the
paper's augmentations alone (zoom, flip, crop, colour), because blur and compression come behind a
lens. The blur itself is rendered from the item by training/stacks.py. Source: V. Subramanian,
"Transformer-based Monocular Depth Estimation using Defocus Cues", section 4.2.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from dataclasses import dataclass, field
import math
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from depth_perception.optics import (
    FULL_FRAME_M,
    LARGE_F_NUMBERS,
    LOWER_DIOPTRE,
    UPPER_DIOPTRE,
    Lens,
    focus_distances,
)
from depth_perception.psf import SHAPES
from training.data.pictures import DataConfig, number, options
from training.data.root import DataError

SAMPLINGS = ('disparity', 'linear', 'fixed')
LENSES = ('full_frame', 'canonical')
OWN_KEY = 5  # sets these random numbers apart from those of the source's items


@dataclass(frozen=True)
class FocusOptions:
    """Settings of focus.

    Attributes
    ----------
    source, source_options
        A data set of pictures, and its own settings; data.root, views and weights are its.
    frames
        Images of a stack.
    f_numbers
        One of them is drawn for each stack; .inf blurs nothing.
    lens
        What an f-number means. 'full_frame': the lens that sees as the picture does, before a
        sensor 36 mm wide; a narrower view has a longer lens, which blurs more. 'canonical': what
        a 36 mm lens blurs there, brought to the picture as canonical space brings depth; blur
        then depends on the f-number alone, whatever the focal length.
    focus
        Spacing of the focus distances: 'disparity' (even steps of blur), 'linear' in metres, or
        'fixed': in disparity between the middles of both ranges, always the same.
    lower, upper
        Ranges in dioptres (1/m) that the farthest and the nearest focus are drawn from.
    psf
        'gaussian' or 'disc'.
    occlusion
        Whether near things hide what is behind them, also where they are blurred.
    gamma
        1 blurs the picture's values, as the paper does; 2.2 blurs light.
    noise
        Largest deviation of the sensor's noise, of a full scale of 1; drawn from 0 on.
    when_scored
        Settings that val and test have instead: runs that differ in the others are then scored
        on the same stacks.
    """

    source: str = 'mixed'
    source_options: dict[str, Any] = field(default_factory=dict)
    frames: int = 5
    f_numbers: Sequence[float] = LARGE_F_NUMBERS
    lens: str = 'full_frame'
    focus: str = 'disparity'
    lower: Sequence[float] = LOWER_DIOPTRE
    upper: Sequence[float] = UPPER_DIOPTRE
    psf: str = 'gaussian'
    occlusion: bool = False
    gamma: float = 1.0
    noise: float = 0.0
    when_scored: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for key, known in (('lens', LENSES), ('focus', SAMPLINGS), ('psf', SHAPES)):
            if getattr(self, key) not in known:
                raise DataError(f'{key} is {getattr(self, key)!r}; use one of {", ".join(known)}')
        for key in ('f_numbers', 'lower', 'upper'):
            object.__setattr__(self, key, _numbers(getattr(self, key), key))
        for key in ('noise', 'gamma'):
            object.__setattr__(self, key, number(getattr(self, key), key))
        if not (isinstance(self.frames, int) and self.frames >= 2):
            raise DataError(f'frames is {self.frames!r}; a stack has at least 2')
        if not (self.f_numbers and min(self.f_numbers) > 0):
            raise DataError(f'f_numbers is {list(self.f_numbers)}; give numbers above 0')
        if not 0 < self.gamma < math.inf:
            raise DataError(f'gamma is {self.gamma}; give 1, or 2.2 to blur light')
        if not 0 <= self.noise < 1:
            raise DataError(f'noise is {self.noise}; give a share of full scale, from 0 on')
        self._check_ranges()

    def _check_ranges(self):
        for key in ('lower', 'upper'):
            found = getattr(self, key)
            if len(found) != 2 or not 0 <= found[0] <= found[1] < math.inf:
                raise DataError(f'{key} is {list(found)}; give [least, most] dioptres, 1 / metres')
        if not max(self.lower) < min(self.upper):
            raise DataError(f'lower is {list(self.lower)} and upper {list(self.upper)}; every '
                            'lower one must be below every upper one')


def _numbers(given: Any, key: str) -> tuple[float, ...]:
    if isinstance(given, (str, Mapping)) or not hasattr(given, '__iter__'):
        raise DataError(f'{key} is {given!r}; give a list of numbers')
    found = tuple(number(value, key) for value in given)
    if any(math.isnan(value) for value in found):
        raise DataError(f'{key} is {list(found)}; give numbers')
    return found


def draw_focus(rng: np.random.Generator, chosen: FocusOptions) -> np.ndarray:
    """Draw the focus distances of one stack: (frames,) float64 metres, from near to far."""
    lower, upper = rng.uniform(*chosen.lower), rng.uniform(*chosen.upper)
    if chosen.focus == 'fixed':
        lower, upper = sum(chosen.lower) / 2, sum(chosen.upper) / 2
    if chosen.focus == 'linear':
        # A farthest focus at infinity has no even steps; what lies there is sharp at 1000 m.
        return np.linspace(1 / upper, 1 / max(lower, 0.001), chosen.frames)
    return focus_distances(chosen.frames, lower, upper)


def blur_scale(f_number: float, lens: str, focal_px: float, height: int, width: int) -> float:
    """Blur scale f^2 / (N * pitch) of a picture, px m: its blur's diameter a dioptre."""
    if lens == 'canonical':
        # Where f is one picture width, a 36 mm lens has a scale of 36 mm * width / N. A focal
        # length f' times as long makes canonical metres as many times longer: blur as well.
        return FULL_FRAME_M * focal_px / f_number
    return Lens.full_frame(width, height, focal_px, f_number).blur_scale_px_m


class FocusViews(Dataset):
    """Items of another data set, with the lens and the focus distances of a stack.

    Training items get others every epoch; those of val and test keep theirs, whatever the seed.
    """

    def __init__(self, inner: Dataset, config: DataConfig, chosen: FocusOptions, random: bool):
        self.inner, self.config, self.chosen, self.random = inner, config, chosen, random
        self.frames = chosen.frames
        # Shared memory: workers that live on through the epochs see set_epoch too.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def sources(self) -> list[str]:
        """What `source` of the items can be."""
        return self.inner.sources

    @property
    def views(self):
        """Stored views of the source; None where it has files."""
        return getattr(self.inner, 'views', None)

    @property
    def pictures(self):
        """Pictures of the source; None where it has stored views."""
        return getattr(self.inner, 'pictures', None)

    @property
    def faults(self):
        """Damaged pictures of the source; None where it has stored views."""
        return getattr(self.inner, 'faults', None)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before the loader is iterated."""
        self._epoch[0] = epoch
        self.inner.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> dict:
        item, chosen = self.inner[index], self.chosen
        key = [self.config.seed, int(self._epoch[0]), index] if self.random else [index]
        rng = np.random.default_rng([*key, OWN_KEY])
        focus_m = draw_focus(rng, chosen)
        f_number = chosen.f_numbers[int(rng.integers(len(chosen.f_numbers)))]
        scale = blur_scale(f_number, chosen.lens, float(item['focal_px']), self.config.height,
                           self.config.width)
        return item | {
            'focus_distances': torch.from_numpy(focus_m.astype(np.float32)),
            'blur_scale': torch.tensor(scale, dtype=torch.float32),
            'noise': torch.tensor(rng.uniform(0, chosen.noise), dtype=torch.float32),
            'psf': chosen.psf, 'occlusion': chosen.occlusion, 'gamma': chosen.gamma}


def chosen_options(given: Mapping[str, Any], split: str) -> FocusOptions:
    """Return the settings of a split; DataError where one cannot work."""
    chosen = options(FocusOptions, given, 'focus')
    if split == 'train' or not chosen.when_scored:
        return chosen
    return options(FocusOptions, {**given, **chosen.when_scored, 'when_scored': {}}, 'focus')


def build_focus(
    sources: Mapping[str, Callable], config: DataConfig, split: str = 'train', *,
    augment: bool = True,
) -> Dataset:
    """Return the stacks of another data set.

    Parameters
    ----------
    sources
        Name -> build, of the data sets of pictures.

    Raises
    ------
    DataError
        The source is none of them, or an option cannot work; further as the source says.
    """
    chosen = chosen_options(config.options, split)
    if chosen.source not in sources:
        raise DataError(f'source is {chosen.source!r}; use one of {", ".join(sources)}')
    paper = dataclasses.replace(config.augmentation, roll=0.0, colour=1.0, grey=0.0, noise=0.0,
                                blur=0.0, jpeg=0.0)
    inner = dataclasses.replace(config, augmentation=paper, options=dict(chosen.source_options))
    data = sources[chosen.source](inner, split, augment=augment)
    return FocusViews(data, config, chosen, random=split == 'train')
