"""Depth beside the range source: how much it drifts, and the factor that takes the drift back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header

from depth_perception.geometry import Intrinsics
from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._range import RangeError, RangeInput
from depth_perception.range_points import samples
from depth_perception.scale import MIN_POINTS, Scale, ScaleError
from depth_perception.scale_apply import Alignment

MUCH_DRIFT = 0.1        # share of the depth that is worth a warning


class RangeFollower:
    """
    Compares the depth of one camera with its range source, from frame to frame.

    Parameters
    ----------
    node : Node
        Subscribes.

    Attributes
    ----------
    input : RangeInput or None
        The range source, while there is one.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.input: RangeInput | None = None
        self._min_points = MIN_POINTS
        self._corrects = False
        self.forget()

    def forget(self) -> None:
        """Begin anew: another model, or another place."""
        self._base: Scale | None = None
        self._restart()

    def _restart(self) -> None:
        self._alignment = Alignment(min_points=self._min_points)
        self._last_reading = 0
        self._fault = ''

    def open(self, config: Any, health: Health) -> None:
        """Subscribe to the range source, if there is one."""
        if config.range_source == 'none':
            return
        # a sensor on one axis has no more than one
        self._min_points = 1 if config.range_source == 'range' else MIN_POINTS
        self._restart()
        self.input = RangeInput(self._node, config, health)

    def close(self) -> None:
        """Unsubscribe; it may be so already."""
        if self.input is not None:
            self.input.close()
            self.input = None

    def stand_on(self, base: Scale | None) -> None:
        """Take the calibrated scale that is in use; beside another one the drift is another."""
        if base != self._base:
            self._base = base
            self._restart()

    @property
    def known(self) -> bool:
        """Whether the range source said enough."""
        return self._alignment.known

    @property
    def scale(self) -> Scale:
        """The scale of the moment, on top of the calibrated one."""
        return (self._base or Scale()).times(self._alignment.factor)

    def look(self, header: Header, depth: np.ndarray, config: Any,
             intrinsics: Intrinsics, *, is_metric: bool) -> None:
        """Look at what the model said of a frame, before it is corrected."""
        if self.input is None or (self._base is None and not is_metric):
            return
        self._corrects = config.scale_continuous
        self._alignment.weight = config.scale_smoothing
        try:
            reading = self.input.reading(header, config)
            if reading.stamp == self._last_reading:
                return
            self._last_reading = reading.stamp
            self._alignment.add(*samples(reading.points, depth, intrinsics, is_metric=is_metric),
                                self._base or Scale())
        except (RangeError, ScaleError) as error:
            self._fault = str(error)
        else:
            self._fault = ''

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the range source, or with depth beside it."""
        if self.input is None:
            return
        if self._fault:
            yield Finding(Level.WARN, self._fault, 'RANGE_UNUSABLE')
        complaint = self.input.complaint()
        if complaint is not None:       # there is depth without it
            yield complaint._replace(level=Level.WARN)
        drift = self._alignment.drift
        if abs(drift) > MUCH_DRIFT:
            done = 'corrected' if self._corrects else (
                'call ~/calibrate_scale, or set scale.continuous')
            yield Finding(Level.WARN, (f'depth is {100 * abs(drift):.0f} % too '
                                       f'{"far" if drift > 0 else "near"} beside the range '
                                       f'source: {done}'), 'SCALE_DRIFT')

    def values(self) -> dict[str, object]:
        """Give the drift, where there is a range source."""
        if self.input is None:
            return {}
        return {'scale drift [%]':
                f'{100.0 * self._alignment.drift:+.2f}' if self.known else 'unknown'}
