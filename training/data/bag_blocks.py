"""Which frame of a recording is for training, validation or testing: blocks of time with gaps.

A block is so many seconds of the clock by which frames are stamped, so recordings that overlap
share their blocks, and a bag that is added later meets the blocks that are there.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from training.data.bag_pairs import NS_PER_S
from training.data.root import DataError
from training.data.splits import SPLITS

AUTO = 'auto'
# Ten blocks in turn. Validation and test have training on both sides: they see the same places.
PATTERN = ('train', 'train', 'train', 'val', 'train', 'train', 'train', 'train', 'test', 'train')
SHORTEST_S, LONGEST_S = 2.0, 60.0
GAP_S = 2.0
# Stamps and the recorder's clock differ by more than this from one frame to the next: a jump.
JUMP_NS = NS_PER_S


@dataclass(frozen=True)
class Blocks:
    """How time is cut.

    Attributes
    ----------
    block_s
        Length of a block, s.
    gap_s
        Frames of different splits are at least this far apart, s.
    """

    block_s: float
    gap_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.gap_s < self.block_s:
            raise DataError(f'blocks of {self.block_s:g} s with gaps of {self.gap_s:g} s; a gap '
                            'must be shorter than a block')

    @classmethod
    def fitting(cls, durations_s: Iterable[float], block_s: float = 0.0,
                gap_s: float | None = None) -> Blocks:
        """Return blocks of which the longest recording has ten, or of what is given."""
        if not block_s:
            longest = max(durations_s, default=0.0)
            block_s = min(max(longest / len(PATTERN), SHORTEST_S), LONGEST_S)
        return cls(block_s, min(GAP_S, block_s / 4) if gap_s is None else gap_s)

    def split_of(self, stamp_ns: int) -> str:
        """Return the split of a moment; '' in the gap where one split changes into another."""
        half_ns = round(self.gap_s * NS_PER_S / 2)
        found = {self._at(stamp_ns + shift) for shift in (-half_ns, 0, half_ns)}
        return found.pop() if len(found) == 1 else ''

    def _at(self, stamp_ns: int) -> str:
        return PATTERN[stamp_ns // round(self.block_s * NS_PER_S) % len(PATTERN)]


class Clock:
    """Tells when stamps do not follow the time that passed: what is near then may be far by stamp.

    Parameters
    ----------
    gap_s
        How long after a jump frames are still neighbours of those before it.

    Attributes
    ----------
    last : (int, int) or None
        Stamp and log time of the last frame, ns; may be set, to go on where a recording ended.
    jumps : int
    """

    def __init__(self, gap_s: float) -> None:
        self._gap_ns = round(gap_s * NS_PER_S)
        self.last: tuple[int, int] | None = None
        self._since_jump_ns: int | None = None
        self.jumps = 0

    def near_jump(self, stamp_ns: int, log_ns: int) -> bool:
        """Take the next frame; say whether it follows a jump too closely."""
        last, self.last = self.last, (stamp_ns, log_ns)
        if last is None:
            return False
        passed_ns = log_ns - last[1]
        if abs(stamp_ns - last[0] - passed_ns) > JUMP_NS or stamp_ns < last[0] - JUMP_NS // 2:
            self.jumps += 1
            self._since_jump_ns = 0
        elif self._since_jump_ns is not None:
            self._since_jump_ns += max(0, passed_ns)
        return self._since_jump_ns is not None and self._since_jump_ns < self._gap_ns

    def next_bag(self, start_ns: int) -> None:
        """Begin another recording, whose stamps may be of another clock."""
        if self.last and abs(start_ns - self.last[1]) > self._gap_ns:
            self.last = self._since_jump_ns = None


def check_split(split: str) -> str:
    """Return `split` where it is one, or 'auto'; DataError otherwise."""
    if split != AUTO and split not in SPLITS:
        raise DataError(f'split is {split!r}; use auto, or {", ".join(SPLITS)} for whole bags')
    return split
