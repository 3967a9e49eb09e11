"""Which readings of a range sensor are kept until their image has its turn."""

from __future__ import annotations

import numpy as np

from depth_perception.nodes._range import Reading, Readings


def kept(count, added, points=1):
    """Stamps that are kept of so many readings, one a nanosecond."""
    readings = Readings(count)
    some = np.broadcast_to(np.float32(0.0), (points, 3))
    for stamp in range(added):
        readings.add(Reading(stamp, '', some))
    return [stamp for stamp in range(added) if readings.nearest(stamp).stamp == stamp]


def test_of_small_readings_as_many_are_kept_as_images_may_need():
    assert kept(90, 100) == list(range(10, 100))


def test_of_large_readings_fewer_are_kept_but_fifty():
    assert kept(90, 100, 50_000) == list(range(20, 100))        # 80 of them are 4 million points
    assert kept(90, 100, 200_000) == list(range(50, 100))


def test_time_that_is_set_back_begins_anew():
    readings = Readings(90)
    assert readings.nearest(5) is None
    for stamp in (100, 200, 50):
        readings.add(Reading(stamp, '', np.zeros((1, 3), np.float32)))
    assert readings.nearest(200).stamp == 50
