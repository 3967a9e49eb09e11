"""Times of several ways to do a thing, taken in turn: on a shared machine noise hits all alike."""

from __future__ import annotations

from collections.abc import Callable
import time

import numpy as np

WARM_UP = 3  # first rounds, which fill caches and compile


def medians_ms(calls: dict[str, Callable[[], object]], rounds: int = 40) -> dict[str, float]:
    """Median milliseconds of each call over `rounds` rounds, after three that do not count."""
    times = np.empty((rounds + WARM_UP, len(calls)))
    for row in times:
        for i, call in enumerate(calls.values()):
            start = time.perf_counter()
            call()
            row[i] = time.perf_counter() - start
    return dict(zip(calls, (np.median(times[WARM_UP:], axis=0) * 1e3).tolist()))
