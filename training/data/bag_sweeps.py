"""The focus sweeps of a recording: slices with their focus distance, and whole stacks of them."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from depth_perception.focus_alignment import matched, measured_scale, movement
from depth_perception.focus_alignment import thumbnail as soft_thumbnail
from depth_perception.focus_stack import Slice, StackAssembler, StackRules, newest
from training.data.bag_camera import Unusable, View
from training.data.bag_focus import focus_of
from training.data.bag_frames import FrameReader
from training.data.bag_pairs import Pairer
from training.data.bag_salvage import Stored

MOST_MOTION = 0.005  # of the width: how far the picture may move within a sweep
TIMEOUT_S = 10.0


class Sweep(NamedTuple):
    """A complete stack, near to far, and the depth of its newest slice; None where it has none."""

    stamp_ns: int
    image: Stored
    slices: tuple[Slice, ...]
    depth: Stored | None

    @property
    def views(self) -> list[View]:
        """The pictures."""
        return [each.source[0] for each in self.slices]

    @property
    def focus_m(self) -> list[float]:
        """Where they are sharp, metres."""
        return [each.distance_m for each in self.slices]


class SweepReader:
    """Reads the stacks of a recording in one pass.

    Parameters
    ----------
    frames
        The recording's frames; its pictures are read by it.
    tolerance_ns
        Largest difference of stamps that belong together.

    Attributes
    ----------
    left_out : list of str
        Why slices were left out, one reason a slice.
    """

    def __init__(self, frames: FrameReader, tolerance_ns: int) -> None:
        self._frames, self._tolerance_ns = frames, tolerance_ns
        size = frames.plan.slices
        self._assembler = StackAssembler(StackRules(
            size, size, timeout_s=TIMEOUT_S, missing='discard', moved=_moved))
        self.left_out: list[str] = []

    def __iter__(self) -> Iterator[Sweep]:
        names = self._frames.plan.names
        focused, deep = Pairer(self._tolerance_ns), Pairer(self._tolerance_ns)
        for stamp_ns, message in self._frames.stamped([names.image, names.focus, names.depth]):
            if message.topic == names.depth:
                done = deep.add(1, stamp_ns, message, len(message.data))
                yield from map(_with_depth, done)
                continue
            side = int(message.topic == names.focus)
            for pair in focused.add(side, stamp_ns, (stamp_ns, message), len(message.data)):
                yield from self._slice(*pair, deep)
        for pair in focused.finish():
            yield from self._slice(*pair, deep)
        yield from map(_with_depth, deep.finish())

    def _slice(self, image: tuple[int, Stored], focus: tuple[int, Stored] | None,
               deep: Pairer) -> Iterator[Sweep]:
        if focus is None:
            self.left_out.append('picture without focus')
            return
        try:
            made = self._made(*image, focus[1])
        except Unusable as error:
            self.left_out.append(str(error))
            return
        stack = self._assembler.add(made).stack
        if not stack:
            return
        last = newest(stack)
        sweep = Sweep(last.stamp_ns, last.source[1], stack, None)
        if self._frames.plan.names.depth:
            size = sum(each.image.nbytes for each in stack)
            yield from map(_with_depth, deep.add(0, last.stamp_ns, sweep, size))
        else:
            yield sweep

    def _made(self, stamp_ns: int, image: Stored, focus: Stored) -> Slice:
        told = self._frames.recording.decoded(focus)
        if told is None:
            raise Unusable('unreadable focus: not a message of its type')
        view, checksum = self._frames.picture(stamp_ns, image)
        height, width = view.image.shape[:2]
        return Slice(stamp_ns, focus_of(told), view.image, None, soft_thumbnail(view.image),
                     f'{width}x{height}', (view, image, checksum))


def _with_depth(pair: tuple[Sweep, Stored | None]) -> Sweep:
    return pair[0]._replace(depth=pair[1])


def _moved(first: Slice, second: Slice) -> bool:
    scale = measured_scale(second.thumbnail, first.thumbnail)
    return movement(*matched(second.thumbnail, first.thumbnail, scale)) > MOST_MOTION
