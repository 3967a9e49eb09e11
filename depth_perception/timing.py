"""How long the stages of a frame take and how often frames come, over a rolling window.

One thread writes and another may read at any time: the writer only stores numbers into arrays
allocated beforehand, and the reader copies them first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import time
from typing import NamedTuple

import numpy as np


class Quantiles(NamedTuple):
    """Median and 99th percentile of a stage in milliseconds, and of how many frames."""

    p50_ms: float
    p99_ms: float
    count: int


class _Ring:
    """The last `size` numbers that were pushed."""

    def __init__(self, size: int) -> None:
        self._values = np.zeros(size)
        self._pushed = 0

    def push(self, value: float) -> None:
        self._values[self._pushed % len(self._values)] = value
        self._pushed += 1

    def values(self) -> np.ndarray:
        """A copy, in no particular order."""
        return self._values[:min(self._pushed, len(self._values))].copy()


class StageClock:
    """Durations of named stages; the last `window` frames count."""

    def __init__(self, window: int = 300) -> None:
        self._window = window
        self._rings: dict[str, _Ring] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` statement; a body that raises is not counted."""
        start = time.perf_counter()
        yield
        self.record(name, time.perf_counter() - start)

    def record(self, name: str, seconds: float) -> None:
        """Add one duration in seconds to the stage `name`."""
        ring = self._rings.get(name)
        if ring is None:
            ring = self._rings[name] = _Ring(self._window)
        ring.push(seconds)

    def summary(self) -> dict[str, Quantiles]:
        """Median and 99th percentile per stage, in the order in which the stages first came."""
        return {name: _quantiles(ring.values()) for name, ring in list(self._rings.items())}


class RateMeter:
    """How many events came per second, lately.

    Parameters
    ----------
    window_s : float
        Seconds that count; a stream slower than one event in this time has the rate 0.
    capacity : int
        Most events that are kept.
    """

    def __init__(self, window_s: float = 5.0, capacity: int = 512) -> None:
        self._window_s = window_s
        self._ring = _Ring(capacity)

    def tick(self, t: float) -> None:
        """Note an event at the time `t`, seconds on any steady clock."""
        self._ring.push(t)

    def rate_hz(self, now: float) -> float:
        """Events per second at the time `now`, on the clock of `tick`."""
        times = self._ring.values()
        times = times[times > now - self._window_s]
        if len(times) < 2:
            return 0.0
        first, last = times.min(), times.max()
        period = (last - first) / (len(times) - 1)
        # The next event may still come within one period; after that the rate starts to fall.
        span = max(last, now - period) - first
        return float((len(times) - 1) / span) if span > 0 else 0.0


def _quantiles(seconds: np.ndarray) -> Quantiles:
    # Between creating a ring and its first push a reader may see none: count 0 says so.
    if not len(seconds):
        return Quantiles(float('nan'), float('nan'), 0)
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return Quantiles(float(p50), float(p99), len(seconds))
