"""What is to be made of a recording: which topics, which depth unit, where the depth belongs."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from training.data.bag_blocks import AUTO, check_split
from training.data.bag_depth import Unit, WrongUnit, find_unit
from training.data.bag_files import Recording
from training.data.bag_focus import NoSweep, count_slices
from training.data.bag_registration import NoTransform, StaticTransforms
from training.data.bag_topics import Candidate, Names, choose
from training.data.root import DataError

TRANSFORMS = 'tf2_msgs/msg/TFMessage'


@dataclass(frozen=True)
class Settings:
    """How bags become a data set.

    Attributes
    ----------
    split
        'auto' cuts by time; 'train', 'val' or 'test' takes whole bags.
    block_seconds, gap_seconds
        Of the blocks of time; 0 and None: as long as fits.
    tolerance
        Largest difference of two stamps that belong together, s.
    width
        Wider pictures are scaled down to it, px; 0: none is.
    max_rate
        Frames a second that are kept at most; 0: all.
    blur
        A frame this much more blurred than those before it is left out; 0: none is.
    still
        A frame that differs less from the last kept one is left out, grey levels; 0: none is.
    hfov_deg
        Horizontal field of view of bags without camera_info; 0: they are left out.
    depth_scale
        Metres of a unit of depth; 0: as its encoding says, unless that cannot be.
    registered
        Whether depth lies over the picture, whatever the frames say.
    slices
        Of a focus sweep; 0: as many as the first sweeps have.
    names
        Topics that are not for the bag to tell.
    maps
        Rules FROM:=TO for the start of topic names.
    """

    split: str = AUTO
    block_seconds: float = 0.0
    gap_seconds: float | None = None
    tolerance: float = 0.02
    width: int = 640
    max_rate: float = 0.0
    blur: float = 0.1
    still: float = 0.6
    hfov_deg: float = 0.0
    depth_scale: float = 0.0
    registered: bool = False
    slices: int = 0
    names: Names = Names()
    maps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_split(self.split)
        for name in ('block_seconds', 'tolerance', 'width', 'max_rate', 'blur', 'still',
                     'hfov_deg', 'depth_scale', 'slices'):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise DataError(f'{name} is {value}; give 0 or more')
        if self.hfov_deg >= 180:
            raise DataError(f'hfov_deg is {self.hfov_deg}; give less than 180')


@dataclass
class Plan:
    """What is made of one recording.

    Attributes
    ----------
    kind : {'depth', 'colour', 'focus'}
    names : Names
        Topics that are read.
    unit : Unit
        Of the depth.
    pose : (4, 4) array or None
        From the frame of the depth to that of the picture; None: the same.
    slices : int
        Of a focus stack.
    notes : list of str
        What is worth knowing, and what is wrong.
    """

    kind: str
    names: Names
    unit: Unit = Unit()
    pose: np.ndarray | None = None
    slices: int = 0
    notes: list[str] = field(default_factory=list)


def plan(recording: Recording, settings: Settings) -> Plan:
    """Look at a recording and say what can be made of it.

    Raises
    ------
    TopicError
        It has no topic of pictures, several, or not the one that was named.
    """
    names, images = choose(recording, settings.names)
    made = Plan('depth', names)
    if not names.info and not settings.hfov_deg:
        made.notes.append(f'no camera_info belongs to {names.image}: give --info-topic, or '
                          '--hfov-deg')
    if names.depth:
        _plan_depth(recording, settings, made, {each.name: each for each in images})
    else:
        own = [each.name for each in images if each.kind == 'depth' and each.is_own]
        made.notes.append('no depth: kept as pictures alone, for self-supervision' + (
            f' ({", ".join(own)} is a prediction of this package)' if own else ''))
    made.kind = 'depth' if made.names.depth else 'colour'
    if names.focus:
        _plan_focus(recording, settings, made)
    return made


def _plan_focus(recording: Recording, settings: Settings, made: Plan) -> None:
    try:
        made.slices = settings.slices or count_slices(_messages(recording, made.names.focus))
    except NoSweep as error:
        made.names = replace(made.names, focus='')
        made.notes.append(f'{error}')
        return
    made.kind = 'focus'
    if not made.names.depth:
        made.notes.append('focus stacks without depth cannot be trained on')


def _plan_depth(recording: Recording, settings: Settings, made: Plan,
                images: dict[str, Candidate]) -> None:
    names = made.names
    try:
        if settings.registered:
            made.names = replace(names, depth_info='')
        else:
            made.pose = _pose(recording, names, images[names.image], images[names.depth])
        made.unit = find_unit(_messages(recording, names.depth), settings.depth_scale)
    except (NoTransform, WrongUnit) as error:
        made.names = replace(made.names, depth='', depth_info='')
        made.notes.append(f'{names.depth}: {error}')
        return
    made.notes += [made.unit.note] * bool(made.unit.note)
    counts = [recording.topics[name].count for name in (names.image, names.depth)]
    if counts[0] != counts[1]:
        made.notes.append(f'{counts[0]} pictures, {counts[1]} depth images')


def _pose(recording: Recording, names: Names, image: Candidate,
          depth: Candidate) -> np.ndarray | None:
    if image.frame.lstrip('/') == depth.frame.lstrip('/'):
        return None
    where = f'depth is of frame {depth.frame!r}, the picture of {image.frame!r}'
    if not (names.info and names.depth_info):
        raise NoTransform(f'{where}, and camera_info is missing for one of them: it cannot be '
                          'brought there; --registered if it lies over the picture')
    transforms = StaticTransforms()
    for topic in recording.topics.values():
        if topic.type == TRANSFORMS and topic.name.endswith('tf_static'):
            for message in _messages(recording, topic.name):
                if message is not None:
                    transforms.add(message)
    try:
        return transforms.between(depth.frame, image.frame)
    except NoTransform as error:
        raise NoTransform(f'{where}; {error}: depth of another camera is left out; --registered '
                          'if it lies over the picture') from error


def _messages(recording: Recording, topic: str) -> Iterator[Any | None]:
    return (recording.decoded(message) for message in recording.messages([topic]))
