"""One recording into a data set: what is kept, what is left out and why; it goes on after a stop.

Every picture gets a line in the manifest. A run that goes on reads the lines that are there
instead of decoding the pictures again, so it ends with the same data set as one that never
stopped.
"""
from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.data.bag_blocks import AUTO, Blocks, Clock
from training.data.bag_camera import Unusable
from training.data.bag_filters import Blur, Stillness, blur_of, thumbnail
from training.data.bag_frames import Frame, FrameReader, record_of, stack_of
from training.data.bag_pairs import NS_PER_S
from training.data.bag_plan import Settings
from training.data.bag_sweeps import Sweep, SweepReader
from training.data.bag_writer import DataSetWriter
from training.data.root import DataError

BAG_NAME = 40  # characters of a bag's name that go into the names of its frames


@dataclass
class Tally:
    """What became of the pictures of one recording."""

    pictures: int = 0
    kept: Counter[str] = field(default_factory=Counter)  # by split
    left_out: Counter[str] = field(default_factory=Counter)  # by reason

    def count(self, entry: dict) -> None:
        """Count one line of the manifest."""
        self.pictures += 1
        if 'dropped' in entry:
            self.left_out[entry['dropped']] += 1
        else:
            self.kept[entry['split']] += 1


class Converter:
    """Brings the frames of one recording into a data set.

    Parameters
    ----------
    key
        The recording in the manifest.
    frames
        What it holds.
    writer
        The data set.
    blocks, clock
        How time is cut.
    """

    def __init__(self, key: str, frames: FrameReader, writer: DataSetWriter, blocks: Blocks,
                 clock: Clock, settings: Settings) -> None:
        self._key, self._frames, self._writer = key, frames, writer
        self._blocks, self._clock, self._settings = blocks, clock, settings
        self._blur, self._still = Blur(settings.blur), Stillness(settings.still)
        self._done = deque(writer.entries(key))
        self._last_kept: int | None = None
        self.tally = Tally()

    def run(self, step: Callable[[], Any] = int) -> Tally:
        """Convert it all; `step` is called after each picture.

        Raises
        ------
        DataError
            The disk is full, or the recording is another one than before.
        """
        if self._frames.plan.kind == 'focus':
            self._run_sweeps(step)
        else:
            for frame in self._frames:
                if not self._known(frame):
                    self._take(self._entry(frame.stamp_ns, frame.image), self._frame, frame)
                step()
        self._writer.commit()
        return self.tally

    def _run_sweeps(self, step: Callable[[], Any]) -> None:
        sweeps = SweepReader(self._frames, round(self._settings.tolerance * NS_PER_S))
        for sweep in sweeps:
            # Slices depend on those before them: they are read again, but not written again.
            if self._done:
                entry = self._done.popleft()
                self._check(entry, sweep.stamp_ns)
                self._near_jump(entry)
                self.tally.count(entry)
            else:
                self._take(self._entry(sweep.stamp_ns, sweep.image), self._stack, sweep)
            step()
        self.tally.left_out.update(sweeps.left_out)

    def _entry(self, stamp_ns: int, image: Any) -> dict:
        names = self._frames.plan.names
        entry = {'bag': self._key, 'topic': names.image, 'stamp_ns': stamp_ns,
                 'log_ns': image.log_ns}
        return entry | ({'depth_topic': names.depth} if names.depth else {})

    def _known(self, frame: Frame) -> bool:
        """Take what an earlier run found out about a picture, if one did."""
        if not self._done:
            return False
        entry = self._done.popleft()
        self._check(entry, frame.stamp_ns)
        self._near_jump(entry)
        if 'blur' in entry:
            self._blur.is_blurred(np.nan if entry['blur'] is None else entry['blur'])
        if 'shard' in entry:
            self._kept(entry['stamp_ns'])
            if not any('shard' in later for later in self._done):
                records = np.load(self._writer.folder / entry['shard'], mmap_mode='r')
                self._still.keep(thumbnail(np.array(records[entry['row']]['image'])))
        self.tally.count(entry)
        return True

    def _check(self, entry: dict, stamp_ns: int) -> None:
        if entry['stamp_ns'] != stamp_ns:
            raise DataError(f'{self._key} has changed since {self._writer.folder} was begun; name '
                            'another folder with -o')

    def _take(self, entry: dict, make: Callable, source: Frame | Sweep) -> None:
        record = None
        try:
            entry['split'] = self._split(entry)
            record = make(entry, source)
        except Unusable as error:
            entry.pop('split', None)
            entry['dropped'] = str(error)
        else:
            entry['kind'] = self._frames.plan.kind
        self._writer.add(entry, record)
        self.tally.count(entry)

    def _near_jump(self, entry: dict) -> bool:
        return self._clock.near_jump(entry['stamp_ns'], entry['log_ns'])

    def _split(self, entry: dict) -> str:
        near_jump = self._near_jump(entry)
        if self._settings.split != AUTO:
            return self._settings.split
        split = self._blocks.split_of(entry['stamp_ns'])
        if near_jump or not split:
            raise Unusable('after a jump of the clock' if near_jump else 'between blocks of time')
        return split

    def _name(self, entry: dict) -> str:
        return f'{self._key[-BAG_NAME:]}/{entry["stamp_ns"]}'

    def _frame(self, entry: dict, frame: Frame) -> np.ndarray:
        """Make the record of a picture; Unusable where it is left out."""
        reader = self._frames
        if reader.plan.kind == 'depth' and frame.depth is None:
            raise Unusable('no depth of its time')
        self._too_soon(entry['stamp_ns'])
        self._unseen(entry, reader.checksum(frame.image))
        view, _ = reader.picture(frame.stamp_ns, frame.image)
        small, blur = thumbnail(view.image), blur_of(view.image)
        entry['blur'] = round(blur, 4) if blur == blur else None
        if self._blur.is_blurred(np.nan if entry['blur'] is None else entry['blur']):
            raise Unusable('blurred')
        if self._still.is_still(small):
            raise Unusable('nothing moved')
        depth = None
        if frame.depth is not None:
            depth = reader.depth(frame.stamp_ns, frame.depth, view)
        self._still.keep(small)
        self._kept(entry['stamp_ns'])
        return record_of(self._name(entry), frame.stamp_ns, view, depth)

    def _stack(self, entry: dict, sweep: Sweep) -> np.ndarray:
        # The stack has the stamp of its last slice; its first may lie in another block.
        if self._settings.split == AUTO and any(
                self._blocks.split_of(each.stamp_ns) != entry['split'] for each in sweep.slices):
            raise Unusable('between blocks of time')
        self._unseen(entry, sweep.slices[0].source[2])
        depth = None
        if self._frames.plan.names.depth:
            if sweep.depth is None:
                raise Unusable('no depth of its time')
            view = next(each.source[0] for each in sweep.slices
                        if each.stamp_ns == sweep.stamp_ns)
            depth = self._frames.depth(sweep.stamp_ns, sweep.depth, view)
        return stack_of(self._name(entry), sweep.stamp_ns, sweep.views, sweep.focus_m, depth)

    def _unseen(self, entry: dict, checksum: str) -> None:
        entry['checksum'] = checksum
        if checksum in self._writer.checksums:
            raise Unusable('seen already')

    def _too_soon(self, stamp_ns: int) -> None:
        rate, last = self._settings.max_rate, self._last_kept
        # A tenth early is on time: stamps jitter.
        if rate and last is not None and 0 <= stamp_ns - last < 0.9 * NS_PER_S / rate:
            raise Unusable('above the rate')

    def _kept(self, stamp_ns: int) -> None:
        self._last_kept = stamp_ns
