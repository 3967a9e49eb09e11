"""The frames of a recording: pictures, with the depth or the sweep of focus that is theirs."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
import hashlib
import struct
from typing import Any, NamedTuple

import numpy as np

from training.data.bag_camera import Cameras, PictureMaker, Unusable, View
from training.data.bag_depth import DepthMaker
from training.data.bag_files import Recording
from training.data.bag_pairs import NS_PER_S, Pairer
from training.data.bag_plan import Plan, Settings
from training.data.bag_salvage import Stored
from training.data.bag_writer import record_type

STAMP = 4  # bytes of a serialised message before the header's stamp
# Messages that wait for their camera_info: many drivers send it right after the picture.
MOST_HELD = 6
HALF_MAX_M = 65504.0  # what lies beyond counts as missing when it is read


class Frame(NamedTuple):
    """One picture of a recording, not decoded, and its depth; None where it has none."""

    stamp_ns: int
    image: Stored
    depth: Stored | None


def stamp_in(data: bytes) -> int | None:
    """Return the stamp of a serialised message that begins with a header, ns; None: cut off."""
    if len(data) < STAMP + 8:
        return None
    sec, nanosec = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, STAMP)
    return sec * NS_PER_S + nanosec


class FrameReader:
    """Reads the frames of a recording in one pass, and makes records of them.

    Attributes
    ----------
    unread : int
        Messages without a stamp.
    """

    def __init__(self, recording: Recording, made: Plan, settings: Settings) -> None:
        self.recording, self.plan = recording, made
        self.unread = 0
        self._tolerance_ns = round(settings.tolerance * NS_PER_S)
        self._pairer = Pairer(self._tolerance_ns)
        self._cameras = {name: Cameras() for name in (made.names.info, made.names.depth_info)}
        self._picture = PictureMaker(made.names.image, settings.width, settings.hfov_deg)
        self._depth = DepthMaker(made.names.depth, made.unit.factor, made.pose)
        for name, cameras in self._cameras.items():
            first = recording.first(name) if name else None
            if first is not None:
                cameras.add(first)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the cameras, and with the stamps of the depth."""
        found = sorted({each.problem for each in self._cameras.values() if each.problem})
        alone, jumps = self._pairer.alone[1], self._pairer.jumps[1]
        if alone:
            found.append(f'{alone} depth images have no picture of their time')
        if jumps:
            found.append(f'the stamps of the depth went back {jumps} times')
        return found

    def __iter__(self) -> Iterator[Frame]:
        names = self.plan.names
        for stamp_ns, message in self.stamped([names.image, names.depth]):
            if not names.depth:
                yield Frame(stamp_ns, message, None)
                continue
            side = int(message.topic == names.depth)
            pairs = self._pairer.add(side, stamp_ns, (stamp_ns, message), len(message.data))
            yield from map(_frame, pairs)
        yield from map(_frame, self._pairer.finish())

    def stamped(self, topics: list[str]) -> Iterator[tuple[int, Stored]]:
        """Yield the messages of some topics with their stamps; take in the cameras on the way.

        A message waits until the camera_info of its time came, or so many others.
        """
        infos = [name for name in self._cameras if name]
        held: deque[tuple[int, Stored]] = deque()
        for message in self.recording.messages([*filter(None, topics), *infos]):
            if message.topic in infos:
                info = self.recording.decoded(message)
                if info is not None:
                    self._cameras[message.topic].add(info)
            else:
                stamp_ns = stamp_in(message.data)
                if stamp_ns is None:
                    self.unread += 1
                else:
                    held.append((stamp_ns, message))
            while held and (len(held) > MOST_HELD or self._has_camera(*held[0])):
                yield held.popleft()
        yield from held

    def _has_camera(self, stamp_ns: int, message: Stored) -> bool:
        """Whether the camera_info of a message came, if it is to have any."""
        names = self.plan.names
        info = {names.image: names.info, names.depth: names.depth_info}.get(message.topic, '')
        return not info or self._cameras[info].newest_ns >= stamp_ns

    def picture(self, stamp_ns: int, message: Stored) -> tuple[View, str]:
        """Return the view of a picture and the checksum of what it was made of.

        Raises
        ------
        Unusable
            It cannot be read, or its camera is not known.
        """
        decoded = self._decoded(message, 'picture')
        camera = self._cameras[self.plan.names.info].at(stamp_ns, self._tolerance_ns)
        return self._picture(decoded, camera), checksum_of(decoded)

    def checksum(self, message: Stored) -> str:
        """Return the checksum of a picture; Unusable where it cannot be read."""
        return checksum_of(self._decoded(message, 'picture'))

    def depth(self, stamp_ns: int, message: Stored, view: View) -> np.ndarray:
        """Return the depth in the pixels of a view; Unusable where there is none."""
        decoded = self._decoded(message, 'depth')
        camera = self._cameras[self.plan.names.depth_info].at(stamp_ns, self._tolerance_ns)
        return self._depth(decoded, camera, view)

    def _decoded(self, message: Stored, what: str) -> Any:
        decoded = self.recording.decoded(message)
        if decoded is None:
            raise Unusable(f'unreadable {what}: not a message of its type')
        return decoded


def _frame(pair: tuple[tuple[int, Stored], tuple[int, Stored] | None]) -> Frame:
    (stamp_ns, image), depth = pair
    return Frame(stamp_ns, image, depth[1] if depth else None)


def checksum_of(decoded: Any) -> str:
    """Return the SHA-256 of a message's pixels, as they came."""
    return hashlib.sha256(decoded.data).hexdigest()


def record_of(name: str, stamp_ns: int, view: View, depth: np.ndarray | None) -> np.ndarray:
    """Return what is stored of a frame, a () record; without depth one of kind colour."""
    kind = 'colour' if depth is None else 'depth'
    record = np.zeros((), record_type(kind, *view.image.shape[:2]))
    _fill(record, name, stamp_ns, view)
    record['image'] = view.image
    if depth is not None:
        record['depth'] = np.minimum(depth, HALF_MAX_M)
    return record


def stack_of(name: str, stamp_ns: int, views: list[View], focus_m: list[float],
             depth: np.ndarray | None) -> np.ndarray:
    """Return what is stored of a focus stack, a () record; depth is NaN where there is none."""
    record = np.zeros((), record_type('focus', *views[0].image.shape[:2], len(views)))
    _fill(record, name, stamp_ns, views[0])
    record['images'] = [view.image for view in views]
    record['focus_m'] = focus_m
    record['depth'] = np.nan if depth is None else np.minimum(depth, HALF_MAX_M)
    return record


def _fill(record: np.ndarray, name: str, stamp_ns: int, view: View) -> None:
    k = view.intrinsics
    record['name'], record['stamp'] = name, stamp_ns
    record['camera'] = k.fx, k.fy, k.cx, k.cy
