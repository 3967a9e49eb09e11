"""Stable depth as an option of a node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from std_msgs.msg import Header

from depth_perception.nodes._diagnostics import Health
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._stamps import NS_PER_S, stamp_ns
from depth_perception.temporal import TemporalFilter


@dataclass(frozen=True)
class TemporalParameters:
    """How depth is kept from flickering."""

    temporal_enable: bool = parameter(
        False, 'average the depth of what does not move over time; for cameras that stand still',
        name='temporal_filter.enable')
    temporal_smoothing: float = parameter(
        0.9, 'weight of the past', name='temporal_filter.smoothing', limits=(0.0, 0.99))
    temporal_threshold: float = parameter(
        0.08, 'a surface has moved when its depth changes by more than this share at once',
        name='temporal_filter.threshold', limits=(0.001, 1.0))


class Stabilizer:
    """The temporal filter of one camera, as its parameters say."""

    def __init__(self) -> None:
        self._filter: TemporalFilter | None = None
        self._origin: object = None

    def forget(self) -> None:
        """Begin anew."""
        self._filter = None

    def stabilize(self, header: Header, depth: np.ndarray, image: np.ndarray,
                  config: TemporalParameters, health: Health, origin: object) -> None:
        """
        Steady ``depth`` (H, W) float32 metres in place, if that is asked for.

        What the metres came from is ``origin``: of something else than before they are no
        flicker, and it begins anew.
        """
        if not config.temporal_enable:
            self._filter = None
            return
        if origin != self._origin:
            self._filter, self._origin = None, origin
        if self._filter is None:
            self._filter = TemporalFilter()
        current = self._filter
        current.smoothing, current.threshold = config.temporal_smoothing, config.temporal_threshold
        before = current.resets
        with health.clock.stage('temporal'):
            current(depth, image, stamp_ns(header) / NS_PER_S)
        if current.resets > before:
            health.count('temporal resets')
