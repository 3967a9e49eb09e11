"""Points that the model is not sure of, in the message of the cloud; no frames travel."""

from __future__ import annotations

import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from depth_perception.nodes._outputs import CloudOutput, DepthFrame
from depth_perception.nodes._parameter_groups import CloudParameters

CAMERA = Intrinsics.from_hfov(4, 2, 60)
CONFIDENCE = np.array([[0.2, 0.5, 0.9, 1.0], [1.0, 0.4, 0.6, 0.0]], np.float32)


@pytest.mark.parametrize(('least', 'confidence', 'points'), [
    (0.5, CONFIDENCE, 5), (0.0, CONFIDENCE, 8), (0.5, None, 8)])
def test_points_below_min_confidence_are_dropped_where_the_model_says(
        graph, least, confidence, points):
    output = CloudOutput(graph.probe)
    frame = DepthFrame(graph.header(), np.zeros((2, 4, 3), np.uint8), 'rgb',
                       np.full((2, 4), 2.0, np.float32), CAMERA, confidence)
    config = CloudParameters(cloud_min_confidence=least, cloud_organized=False)
    [(_, message)] = output.messages(frame, config)
    assert message.width == points
    for publisher in output.publishers:
        graph.probe.destroy_publisher(publisher)
