"""Which messages of two topics belong together, by stamp, in a stream that is read once.

The nodes' pairer decides at once, because a robot waits; here there is time to see the next
message first, so that each one gets the nearest partner.
"""
from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Any, NamedTuple

NS_PER_S = 1_000_000_000
# Messages that overtake each other are put in order; a larger step back is another time.
BACKWARDS_NS = NS_PER_S // 2


class Waiting(NamedTuple):
    """A message that waits for its partner; `size` is what it takes in memory, bytes."""

    stamp_ns: int
    order: int
    message: Any
    size: int


class Pairer:
    """Brings each message of side 0 together with the nearest of side 1.

    Pairs come out in the order of time, no message is in two of them, and two messages that are
    each other's nearest are always paired.

    Parameters
    ----------
    tolerance_ns
        Largest difference of two stamps.
    most_bytes
        What may wait on both sides together; beyond it the oldest are given up.

    Attributes
    ----------
    alone : list of int
        Messages of each side so far that found no partner.
    jumps : list of int
        How often the stamps of each side went back.
    """

    def __init__(self, tolerance_ns: int, most_bytes: int = 256 << 20) -> None:
        self._tolerance_ns, self._most_bytes = tolerance_ns, most_bytes
        self._sides: tuple[list[Waiting], list[Waiting]] = [], []
        self._newest: list[int | None] = [None, None]
        self._given = [-2**63, -2**63]
        self._bytes = self._count = 0
        self.alone, self.jumps = [0, 0], [0, 0]

    def add(self, side: int, stamp_ns: int, message: Any, size: int = 0
            ) -> Iterator[tuple[Any, Any | None]]:
        """Take a message; yield what is decided: (message, partner), or None for a partner."""
        newest = self._newest[side]
        if newest is not None and stamp_ns < newest - BACKWARDS_NS:
            self.jumps[side] += 1
            yield from self.finish()
            self._given, newest = [-2**63, -2**63], None
        self._newest[side] = stamp_ns if newest is None else max(newest, stamp_ns)
        self._count += 1
        if stamp_ns < self._given[side]:  # its place in the order of time has passed
            yield from self._leave(side, Waiting(stamp_ns, self._count, message, 0))
            return
        insort(self._sides[side], Waiting(stamp_ns, self._count, message, size))
        self._bytes += size
        yield from self._decided(last=False)
        while self._bytes > self._most_bytes and any(self._sides):
            yield from self._oldest()

    def finish(self) -> Iterator[tuple[Any, Any | None]]:
        """Yield what the messages that wait come to when nothing more follows."""
        yield from self._decided(last=True)
        for side, waiting in enumerate(self._sides):
            while waiting:
                yield from self._leave(side, self._pop(side))

    def _decided(self, last: bool) -> Iterator[tuple[Any, Any | None]]:
        while all(self._sides):
            first = [waiting[0].stamp_ns for waiting in self._sides]
            early = 0 if first[0] <= first[1] else 1
            gap = first[1 - early] - first[early]
            if gap > self._tolerance_ns:
                yield from self._leave(early, self._pop(early))
                continue
            nearer = self._has_nearer(early, first[1 - early], gap, last)
            if nearer is None:
                return  # what follows decides
            if nearer:
                yield from self._leave(early, self._pop(early))
            else:
                pair = self._pop(0), self._pop(1)
                yield pair[0].message, pair[1].message

    def _has_nearer(self, early: int, late_ns: int, gap: int, last: bool) -> bool | None:
        """Say whether the late side's first message has a nearer partner; None: not known yet."""
        mine, others = self._sides[early], self._sides[1 - early]
        if len(mine) < 2:
            return False if last or not gap else None
        follower = mine[1].stamp_ns
        if abs(follower - late_ns) >= gap:
            return False
        if follower <= late_ns:
            return True
        # It lies between two of the other side: it takes the nearer one.
        if len(others) < 2:
            return True if last else None
        return abs(others[1].stamp_ns - follower) >= follower - late_ns

    def _oldest(self) -> Iterator[tuple[Any, Any | None]]:
        sides = [side for side in (0, 1) if self._sides[side]]
        side = min(sides, key=lambda each: self._sides[each][0].stamp_ns)
        yield from self._leave(side, self._pop(side))

    def _pop(self, side: int) -> Waiting:
        taken = self._sides[side].pop(0)
        self._bytes -= taken.size
        self._given[side] = taken.stamp_ns
        return taken

    def _leave(self, side: int, given_up: Waiting) -> Iterator[tuple[Any, Any | None]]:
        self.alone[side] += 1
        if side == 0:
            yield given_up.message, None
