"""What a recording tells of the focus of its lens: where it stood, and the stops of a sweep."""
from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from depth_perception.focus_stack import FocusError, check_distance, same_focus
from training.data.bag_camera import Unusable
from training.data.bag_topics import FOCUS_NAME
from training.data.root import DataError

LOOKED_AT = 200  # focus messages in which the distances of a sweep are counted
MOST_SLICES = 30


class NoSweep(DataError):
    """The lens does not stop at a few distances again and again."""


def focus_of(message: Any) -> float:
    """Return the focus distance of a JointState, metres; Unusable where it tells none."""
    values = dict(zip(message.name, message.position))
    try:
        distance = float(values.get(FOCUS_NAME, 0.0))
        check_distance(distance)
    except FocusError as error:
        raise Unusable('focus message without a distance') from error
    return distance


def count_slices(messages: Iterable[Any]) -> int:
    """Return how many focus distances the first messages of a sweep have.

    Parameters
    ----------
    messages
        Decoded JointStates; None for those that cannot be.

    Raises
    ------
    NoSweep
        Fewer than 2, or so many that the lens seems to move all the time.
    """
    distances: list[float] = []
    for message in islice((each for each in messages if each is not None), LOOKED_AT):
        try:
            distance = focus_of(message)
        except Unusable:
            continue
        if not any(same_focus(distance, each) for each in distances):
            distances.append(distance)
    if not 2 <= len(distances) <= MOST_SLICES:
        raise NoSweep(f'the lens has {len(distances)} focus distances and a sweep has 2 to '
                      f'{MOST_SLICES}: kept as single pictures, or give --slices')
    return len(distances)
