"""What stamps say of a stream: jumps back, gaps, and which messages belong together."""

from __future__ import annotations

from collections import deque
from math import inf
from statistics import median
from typing import Any, NamedTuple

NS_PER_S = 1_000_000_000


def stamp_ns(header) -> int:
    """Return the stamp of a ``std_msgs/Header`` in nanoseconds."""
    return header.stamp.sec * NS_PER_S + header.stamp.nanosec


class StampStep(NamedTuple):
    """What one stamp says about the stream: it went back, or ``missing`` frames lie before it."""

    jumped_back: bool
    missing: int


class StampMonitor:
    """Watches the stamps of one topic; its usual period is the median of the last 15 steps."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._periods: deque[int] = deque(maxlen=15)

    @property
    def usual_period_ns(self) -> float:
        """Median step [ns]; infinite until five steps are known."""
        return median(self._periods) if len(self._periods) >= 5 else inf

    def step(self, stamp: int) -> StampStep:
        """Take the next stamp [ns]; a jump back starts the statistics anew."""
        last, self._last = self._last, stamp
        if last is None or stamp == last:
            return StampStep(False, 0)
        if stamp < last:
            self._periods.clear()
            return StampStep(True, 0)
        periods = (stamp - last) / self.usual_period_ns
        self._periods.append(stamp - last)
        return StampStep(False, round(periods) - 1 if periods > 1.5 else 0)


class _Waiting(NamedTuple):
    stamp: int
    message: Any


class _Side:
    """The messages of one topic that wait for a partner."""

    def __init__(self, size: int) -> None:
        self.monitor = StampMonitor()
        self.waiting: deque[_Waiting] = deque(maxlen=size)


class StampPairer:
    """
    Brings the messages of two topics together whose stamps differ by at most a tolerance.

    Each side waits in a list of at most ``size`` messages, so that a depth image that a slow
    network made still finds its picture. Messages older than a pair are dropped: pairs come out
    in the order of time. A side whose stamps jump back starts anew.

    Parameters
    ----------
    size : int
        Messages of each side that wait for a partner.

    Attributes
    ----------
    nearest_gap_ns : int or None
        Difference between the last stamp and the nearest of the other side that waited.
    unmatched : list of int
        Messages of each side so far that were given up for want of a partner.

    """

    def __init__(self, size: int) -> None:
        self._sides = _Side(size), _Side(size)
        self.nearest_gap_ns: int | None = None
        self.unmatched = [0, 0]

    def add(self, side: int, stamp: int, message: Any,
            tolerance_ns: int) -> tuple[Any, Any] | None:
        """Add a message to side 0 or 1; return the pair (side 0, side 1) that it completes."""
        mine, others = self._sides[side], self._sides[1 - side].waiting
        if mine.monitor.step(stamp).jumped_back:
            self._give_up(side)
        partner = min(others, key=lambda other: abs(other.stamp - stamp), default=None)
        self.nearest_gap_ns = None if partner is None else abs(partner.stamp - stamp)
        if partner is None or self.nearest_gap_ns > self._limit(tolerance_ns):
            self.unmatched[side] += len(mine.waiting) == mine.waiting.maxlen
            mine.waiting.append(_Waiting(stamp, message))
            return None
        self._give_up(side)
        while others.popleft() is not partner:
            self.unmatched[1 - side] += 1
        return (message, partner.message) if side == 0 else (partner.message, message)

    def _give_up(self, side: int) -> None:
        self.unmatched[side] += len(self._sides[side].waiting)
        self._sides[side].waiting.clear()

    def _limit(self, tolerance_ns: int) -> float:
        # beyond half a period a nearer partner is still to come: a fast camera's neighbour
        # frame lies within the tolerance too
        return min(tolerance_ns, *(0.5 * side.monitor.usual_period_ns for side in self._sides))
