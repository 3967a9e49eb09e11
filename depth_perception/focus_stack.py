"""Focus stacks from the slices of a sweep: which belong together, and when a stack is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from typing import Any, NamedTuple

import numpy as np

ASSEMBLIES = ('sweep', 'sliding')
MISSING = ('wait', 'discard', 'shorten')
NS_PER_S = 1_000_000_000
# Two readings of one focus position differ by less than this share of their dioptres.
SAME_FOCUS = 0.01


class FocusError(ValueError):
    """A focus distance, an f-number or a list of distances that no camera can have."""


class Slice(NamedTuple):
    """
    One image of a sweep, and how the lens stood.

    Attributes
    ----------
    stamp_ns : int
    distance_m : float
        Focus distance; may be infinite.
    image : (H, W, 3) uint8 array
    f_number : float or None
        None where the camera does not tell.
    thumbnail : (h, w) float32 array or None
        For the comparison with other slices, see focus_alignment.thumbnail.
    kind : str
        Encoding and frame, for instance: within a stack it does not change.
    source : object
        Whatever else belongs to the image; handed through.

    """

    stamp_ns: int
    distance_m: float
    image: np.ndarray
    f_number: float | None = None
    thumbnail: np.ndarray | None = None
    kind: str = ''
    source: Any = None


class Restart(NamedTuple):
    """Why slices were thrown away: a word to count it under, and a sentence for people."""

    reason: str
    text: str


class Added(NamedTuple):
    """What came of a slice: a complete stack from near to far, and what was thrown away for it."""

    stack: tuple[Slice, ...] = ()
    restart: Restart | None = None


def never(first: Slice, second: Slice) -> bool:
    """Say that a camera stands on a tripod."""
    return False


@dataclass(frozen=True)
class StackRules:
    """
    When slices make a stack.

    Attributes
    ----------
    size : int
        Slices of a stack.
    fewest : int
        With how few the model can do; for `missing` = 'shorten'.
    assembly : {'sweep', 'sliding'}
        'sweep': a stack for each sweep; 'sliding': a stack for each slice, of the latest ones.
    timeout_s : float
        Slices that are older than the newest by more than this do not count.
    missing : {'wait', 'discard', 'shorten'}
        What happens when a sweep comes round with too few slices. 'wait': the next sweep fills
        the gap; 'discard': the slices are thrown away; 'shorten': the stack is made of those
        there are, if the model can do with so few.
    moved : callable
        ``moved(first, second)``: whether the camera moved between two slices.

    """

    size: int
    fewest: int = 2
    assembly: str = 'sweep'
    timeout_s: float = math.inf
    missing: str = 'wait'
    moved: Callable[[Slice, Slice], bool] = never


def newest(stack: Sequence[Slice]) -> Slice:
    """Return the slice that was taken last: depth is of its moment and its scale."""
    return max(stack, key=lambda each: each.stamp_ns)


def check_distance(distance_m: float, focal_length_m: float = 0.0) -> None:
    """
    Check a focus distance.

    Raises
    ------
    FocusError
        Unless it is above the focal length; a NaN is not. Infinity is a focus distance.

    """
    if not distance_m > 0.0:
        raise FocusError(f'focus distance is {distance_m:g} m; it must be above 0')
    if distance_m <= focal_length_m:
        raise FocusError(f'focus distance is {distance_m:g} m; it must be beyond the focal length '
                         f'of {focal_length_m:g} m, as no image forms inside it')


def check_f_number(f_number: float | None) -> None:
    """Raise FocusError unless an f-number, where there is one, is above 0."""
    if f_number is not None and not f_number > 0.0:
        raise FocusError(f'f-number is {f_number:g}; it must be above 0')


def same_focus(first_m: float, second_m: float) -> bool:
    """Whether two readings of the focus distance are of one position of the lens."""
    nearness = 1.0 / first_m, 1.0 / second_m
    return abs(nearness[0] - nearness[1]) <= SAME_FOCUS * max(nearness)


class StackAssembler:
    """
    Collects slices and says when they make a stack.

    Slices may come in any order, twice, and with gaps. A stack never mixes images of differing
    size or aperture, or from before and after a movement of the camera. Of one focus distance
    the newest image counts.

    Parameters
    ----------
    rules : StackRules

    Attributes
    ----------
    slices : list of Slice
        Those that wait for the rest, in the order they came.
    complete : tuple of float
        Focus distances of the last stack [m], near to far; () before the first.

    """

    def __init__(self, rules: StackRules) -> None:
        self.rules = rules
        self.slices: list[Slice] = []
        self.complete: tuple[float, ...] = ()
        self.clear()

    def clear(self) -> None:
        """Forget the slices that wait."""
        self.slices = []
        self._run = _Run()
        # Stacks shall begin where sweeps do. Whether they do is unknown at the start, and they
        # do not once a slice of the next sweep has filled a gap: both are put right at a turn.
        self._astray, self._filled = True, False

    def add(self, new: Slice) -> Added:
        """Take the next slice."""
        restart = self._reason_to_restart(new)
        if restart is not None:
            self.clear()
        restart = self._drop_old(new) or restart
        longest = self._run.step(new.distance_m)
        if self._astray and self._run.begun and self.rules.assembly == 'sweep':
            kept = self._run.begun - 1          # of the sweep that has begun, without the new one
            self.slices, self._astray = self.slices[len(self.slices) - kept:], False
        if longest > self.rules.size:
            self.slices = []
            return Added((), Restart('sweep too long', (
                f'the camera sweeps over at least {longest} focus distances, a stack has '
                f'{self.rules.size}: let it sweep over {self.rules.size}, or set stack.slices to '
                'the number of the camera, if the model takes so many')))
        return self._place(new, restart)

    def _place(self, new: Slice, restart: Restart | None) -> Added:
        """Put a slice in its place; return the stack if it is complete."""
        twin = next((index for index, each in enumerate(self.slices)
                     if same_focus(each.distance_m, new.distance_m)), None)
        stack: tuple[Slice, ...] = ()
        if twin is None and len(self.slices) == self.rules.size:
            del self.slices[0]                      # sliding, over distances that change
        elif twin is not None and self._came_round(twin):
            if self.rules.missing == 'shorten' and len(self.slices) >= self.rules.fewest:
                stack = self._finished()
            elif self.rules.missing != 'wait':
                restart = self._incomplete()
            if self.rules.missing != 'wait':
                self.slices, twin = [], None
            self._filled = self.rules.missing == 'wait'
        if twin is not None:
            del self.slices[twin]
        self.slices.append(new)
        if len(self.slices) == self.rules.size:
            stack = self._finished()
            if self.rules.assembly == 'sweep':
                self.slices = []
                self._astray, self._filled = self._filled, False
        return Added(stack, restart)

    def _came_round(self, twin: int) -> bool:
        """Whether a sweep is over with too few slices; a camera that dwells is not round."""
        return (self.rules.assembly == 'sweep' and twin != len(self.slices) - 1
                and len(self.slices) < self.rules.size)

    def _finished(self) -> tuple[Slice, ...]:
        stack = tuple(sorted(self.slices, key=lambda each: each.distance_m))
        self.complete = tuple(each.distance_m for each in stack)
        return stack

    def _incomplete(self) -> Restart:
        return Restart('sweep incomplete', (
            f'a sweep came round with {len(self.slices)} of {self.rules.size} slices: images or '
            'focus messages are lost, or the camera sweeps over too few distances'))

    def _reason_to_restart(self, new: Slice) -> Restart | None:
        """Say why a slice cannot be of one stack with those before it."""
        if not self.slices:
            return None
        last = self.slices[-1]
        if new.stamp_ns < last.stamp_ns:
            return Restart('time', 'stamps jumped back in time: the stack starts anew')
        if new.image.shape != last.image.shape:
            return Restart('size', (
                f'images of one stack must be of one size; after {_size(last)} came {_size(new)}: '
                'the stack starts anew'))
        if new.f_number != last.f_number:
            return Restart('settings', (
                f'the f-number changed from {last.f_number} to {new.f_number}: the stack starts '
                'anew'))
        if new.kind != last.kind:
            return Restart('settings', (
                f'the camera changed from {last.kind} to {new.kind}: the stack starts anew'))
        # Against the oldest one, which a slow movement has left farthest behind.
        if self.rules.moved(self.slices[0], new) or self.rules.moved(last, new):
            return Restart('moved', 'the camera moved during a sweep: the stack starts anew')
        return None

    def _drop_old(self, new: Slice) -> Restart | None:
        limit = new.stamp_ns - self.rules.timeout_s * NS_PER_S
        young = [each for each in self.slices if each.stamp_ns >= limit]
        dropped = len(self.slices) - len(young)
        self.slices = young
        return None if not dropped else Restart('timeout', (
            f'{dropped} slices are older than {self.rules.timeout_s:g} s and do not count any '
            'more: sweep faster, or raise stack.timeout'))


class _Run:
    """
    The slices of a sweep in one direction: where sweeps begin, and how long they are.

    A sweep that starts anew turns round; a camera that jumps about has short runs.

    Attributes
    ----------
    begun : int
        How many of the last slices a new sweep has begun with; 0 where none has.

    """

    def __init__(self) -> None:
        self._last: float | None = None     # dioptres
        self._step = 0.0
        self._length, self._before = 1, 0
        self.begun = 0

    def step(self, distance_m: float) -> int:
        """Return the longer of this run, with the next slice, and the run before it."""
        last, self._last, self.begun = self._last, 1.0 / distance_m, 0
        if last is None or same_focus(1.0 / last if last else math.inf, distance_m):
            return max(self._length, self._before)
        before, self._step = self._step, self._last - last
        if self._step * before < 0.0:
            # of two steps to and fro the longer one is the way back to the sweep's start
            self.begun = 2 if abs(self._step) < abs(before) else 1
            self._before, self._length = self._length, self.begun
            self._step = self._step if self.begun == 2 else 0.0
        else:
            self._length += 1
        return max(self._length, self._before)


def _size(each: Slice) -> str:
    return f'{each.image.shape[1]}x{each.image.shape[0]}'
