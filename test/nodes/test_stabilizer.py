"""Steady depth of a node: what is no flicker is not averaged."""

from __future__ import annotations

from types import SimpleNamespace

from builtin_interfaces.msg import Time
import numpy as np
import pytest
from std_msgs.msg import Header

from depth_perception.nodes._temporal import Stabilizer
from depth_perception.nodes.depth_node import DepthConfig
from depth_perception.timing import StageClock

STEADY = DepthConfig(temporal_enable=True)
PICTURE = np.full((48, 64, 3), 128, np.uint8)


@pytest.mark.parametrize('origin, expected', [
    # a tenth of the change of all depth comes through, as a logarithm
    (('model', 1.0), 2.0 * 1.1 ** 0.1), (('model', 0.9), 2.2), (('another', 1.0), 2.2)])
def test_depth_of_another_model_or_scale_is_no_flicker(origin, expected):
    stabilizer = Stabilizer()
    health = SimpleNamespace(clock=StageClock(), count=lambda name: None)
    for i, (metres, whose) in enumerate([(2.0, ('model', 1.0)), (2.2, origin)]):
        depth = np.full((48, 64), metres, np.float32)
        header = Header(stamp=Time(nanosec=i * 50_000_000))
        stabilizer.stabilize(header, depth, PICTURE, STEADY, health, whose)
    np.testing.assert_allclose(depth, expected, rtol=1e-5)
