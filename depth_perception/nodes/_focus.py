"""What is said of focus between nodes: where the lens stands, and where it shall sweep."""

from __future__ import annotations

from typing import NamedTuple

from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from depth_perception.focus_stack import FocusError, check_distance, check_f_number
from depth_perception.image_encodings import MessageError
from depth_perception.nodes._messages import copy_header

FOCUS, F_NUMBER = 'focus_distance', 'f_number'
# JointState as well, so that nobody needs another package of messages to command a sweep.
NEAREST, FARTHEST = 'focus_nearest', 'focus_farthest'


class FocusReading(NamedTuple):
    """Where a lens stood: focus distance in metres, and the f-number where it is known."""

    distance_m: float
    f_number: float | None


def focus_reading(message: JointState, focal_length_m: float = 0.0) -> FocusReading:
    """
    Read a ``focus`` message: ``focus_distance`` [m], optional ``f_number``.

    Raises
    ------
    MessageError
        A name or a position is missing.
    FocusError
        The distance or the f-number is none that a lens of this focal length can have.

    """
    values = _named(message)
    if FOCUS not in values:
        raise MessageError(
            f'a focus message names {", ".join(message.name) or "nothing"}; it must name '
            f'{FOCUS} [m], and may name {F_NUMBER}')
    reading = FocusReading(values[FOCUS], values.get(F_NUMBER))
    check_distance(reading.distance_m, focal_length_m)
    check_f_number(reading.f_number)
    return reading


def focus_message(header: Header, distance_m: float, f_number: float | None) -> JointState:
    """Return the message that says how the lens stood for the image with this header."""
    values = {FOCUS: distance_m}
    if f_number is not None:
        values[F_NUMBER] = f_number
    return _message(header, values)


def sweep_range(message: JointState) -> tuple[float, float]:
    """
    Read a ``sweep_command``: the nearest and the farthest focus distance wanted, metres.

    Raises
    ------
    MessageError
        A name or a position is missing.
    FocusError
        One is no distance, or the first is not the nearer one.

    """
    values = _named(message)
    if not {NEAREST, FARTHEST} <= set(values):
        raise MessageError(
            f'a sweep_command names {", ".join(message.name) or "nothing"}; it must name '
            f'{NEAREST} and {FARTHEST} [m]')
    nearest, farthest = values[NEAREST], values[FARTHEST]
    check_distance(nearest)
    check_distance(farthest)
    if not nearest < farthest:
        raise FocusError(f'a sweep_command asks for {nearest:g} to {farthest:g} m; '
                         f'{NEAREST} must be below {FARTHEST}')
    return nearest, farthest


def sweep_command(header: Header, nearest_m: float, farthest_m: float) -> JointState:
    """Return the message that asks a camera to sweep over another range."""
    return _message(header, {NEAREST: nearest_m, FARTHEST: farthest_m})


def _named(message: JointState) -> dict[str, float]:
    if len(message.name) != len(message.position):
        raise MessageError(
            f'a JointState has {len(message.name)} names and {len(message.position)} positions; '
            'it must have one position for each name')
    return dict(zip(message.name, message.position))


def _message(header: Header, values: dict[str, float]) -> JointState:
    message = JointState(name=list(values), position=list(map(float, values.values())))
    copy_header(header, message.header)
    return message
