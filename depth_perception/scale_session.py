"""From frames to a scale: what one calibration gathers, and what is kept from one to the next."""

from __future__ import annotations

import numpy as np

from depth_perception.scale import MIN_SPREAD, ScaleError, ScaleFit, fit_scale

UNEVEN = 0.15           # a wall that the model sees as more uneven than this is none
UNSTEADY = 0.15         # nor may it change more than this from frame to frame
SAME_DISTANCE = 0.05    # a wall at the same distance again replaces the first


class Gathering:
    """What the model says at known distances, over some frames.

    Parameters
    ----------
    frames : int
        How many are wanted.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self._values: list[np.ndarray] = []
        self._metres: list[np.ndarray] = []

    @property
    def complete(self) -> bool:
        """Whether that many frames were added."""
        return len(self._values) >= self.frames

    def add(self, values: np.ndarray, metres: np.ndarray) -> None:
        """Take what `range_points.samples` found in one frame; nothing is refused here."""
        self._values.append(np.atleast_1d(values))
        self._metres.append(np.atleast_1d(metres))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and metres of all frames, (N,) each."""
        return np.concatenate(self._values), np.concatenate(self._metres)

    def single(self) -> tuple[float, float]:
        """Value and metres of a source that looks at one place: the median over the frames.

        Raises
        ------
        ScaleError
            In most frames there was nothing, or it changed from frame to frame.
        """
        values, metres = self.arrays()
        good = np.isfinite(values) & np.isfinite(metres)
        values, metres = values[good], metres[good]
        if 2 * len(values) < self.frames:
            raise ScaleError(f'only {len(values)} of {self.frames} frames have depth where the '
                             'distance is known; point the camera at a surface that fills the '
                             'middle of the picture')
        for what, each in (('depth of the model', values), ('distance', metres)):
            middle = float(np.median(each))
            spread = float(np.median(np.abs(each - middle)))
            if spread > UNSTEADY * abs(middle):
                raise ScaleError(f'the {what} changes by {100 * spread / abs(middle or 1):.0f} % '
                                 'from frame to frame; hold the camera still')
        return float(np.median(values)), float(np.median(metres))


def check_wall(unevenness: float) -> None:
    """Raise ScaleError where the middle of the picture is no wall; see range_points.wall_sample.

    NaN (no depth there) passes: `Gathering.single` counts these.
    """
    if unevenness > UNEVEN:
        raise ScaleError(f'depth in the middle of the picture differs by '
                         f'{100 * unevenness:.0f} % to both sides; look straight at a flat wall '
                         'that fills scale.wall_window of the picture')


class Walls:
    """Single distances, of one calibration after the other: two of them tell scale and shift."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []      # value, metres

    def fit(self, value: float, metres: float, *, is_metric: bool) -> ScaleFit:
        """Add what the model says of a distance, and fit all that is known so far.

        Raises
        ------
        ScaleError
            A relative model needs a second distance; or what is known does not fit together,
            and then only the newest is kept.
        """
        others = [(v, m) for v, m in self._seen
                  if abs(m / metres - 1.0) > SAME_DISTANCE]
        self._seen = [*others, (value, metres)]
        distances = [m for _, m in self._seen]
        if not is_metric and max(distances) < MIN_SPREAD * min(distances):
            raise ScaleError(
                f'noted {metres:.2f} m; a relative model needs a second distance: calibrate '
                f'again at {MIN_SPREAD * metres:.2f} m or farther, or at '
                f'{metres / MIN_SPREAD:.2f} m or nearer')
        try:
            return fit_scale(*np.array(self._seen).T, is_metric=is_metric, min_points=1)
        except ScaleError as error:
            self._seen = [(value, metres)]
            raise ScaleError(f'{error}; of the distances so far only {metres:.2f} m is '
                             'kept') from None
