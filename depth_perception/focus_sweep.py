"""Sweeps in a fixed order, of cameras that do not tell where their lens stands."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from depth_perception.focus_stack import NS_PER_S, FocusError, check_distance, same_focus


class FixedSweep:
    """
    Gives images the focus distances of a camera that sweeps in a fixed order.

    The first image is the first slice. When one is missing nobody knows which is which any more:
    nothing gets a distance until :meth:`restart`.

    Parameters
    ----------
    distances : sequence of float
        In the order of the sweep [m].

    Attributes
    ----------
    lost : str
        Why images get no distance; empty while they do.

    Raises
    ------
    FocusError
        If one is no focus distance, two are the same, or there is but one.

    """

    STEPS = 15      # of these the median is the usual period
    GAP = 1.5       # periods that are one too many

    def __init__(self, distances: Sequence[float]) -> None:
        check_distances(distances)
        self._distances = tuple(distances)
        self.restart()

    def restart(self) -> None:
        """Take the next image for the first slice."""
        self.lost = ''
        self._next = 0
        self._last_ns: int | None = None
        self._steps: list[int] = []

    def distance(self, stamp_ns: int) -> float | None:
        """Return the focus distance of the next image [m]; None once the sweep is lost."""
        if not self.lost and self._last_ns is not None:
            self._watch(stamp_ns - self._last_ns)
        self._last_ns = stamp_ns
        if self.lost:
            return None
        self._next += 1
        return self._distances[(self._next - 1) % len(self._distances)]

    def _watch(self, step_ns: int) -> None:
        self._steps = [*self._steps[-self.STEPS + 1:], step_ns]
        if step_ns <= 0:
            self.lost = 'stamps jumped back in time'
        # two steps do not tell which of them is the usual one
        elif len(self._steps) > 2 and max(self._steps) > self.GAP * median(self._steps):
            self.lost = (f'{max(self._steps) / NS_PER_S:.3f} s lie between two images that come '
                         f'every {median(self._steps) / NS_PER_S:.3f} s')


def check_distances(distances: Sequence[float]) -> None:
    """
    Check the focus distances of a sweep.

    Raises
    ------
    FocusError
        If one is no focus distance, two are the same, or there is but one.

    """
    for distance in distances:
        check_distance(distance)
    listed = ', '.join(f'{distance:g}' for distance in distances)
    if len(distances) < 2:
        raise FocusError(f'a sweep over {listed or "no distance"} m; it must have at least two '
                         'focus distances')
    ordered = sorted(distances)
    if any(same_focus(a, b) for a, b in zip(ordered, ordered[1:])):
        raise FocusError(f'a sweep over {listed} m; two of these are one and the same focus '
                         'distance: give each once')
