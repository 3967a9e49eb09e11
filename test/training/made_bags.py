"""Bags for tests: a room of boxes seen by a camera that moves, written by rosbags' writer."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
import sys
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.LATEST)
TYPES = STORE.types
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
WIDTH, HEIGHT, FOCAL = 64, 48, 50.0
STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}


def kind(name: str) -> type:
    return TYPES[f'{name.split("/")[0]}/msg/{name.split("/")[1]}']


def header(stamp: int, frame: str = 'camera') -> Any:
    time = kind('builtin_interfaces/Time')(sec=stamp // SECOND, nanosec=stamp % SECOND)
    return kind('std_msgs/Header')(stamp=time, frame_id=frame)


def image(stamp: int, pixels: np.ndarray, encoding: str, frame: str = 'camera') -> Any:
    pixels = np.ascontiguousarray(pixels)
    return kind('sensor_msgs/Image')(
        header=header(stamp, frame), height=pixels.shape[0], width=pixels.shape[1],
        encoding=encoding, is_bigendian=int(sys.byteorder == 'big'), step=pixels.strides[0],
        data=pixels.view(np.uint8).ravel())


def compressed(stamp: int, form: str, data: bytes, frame: str = 'camera') -> Any:
    return kind('sensor_msgs/CompressedImage')(
        header=header(stamp, frame), format=form, data=np.frombuffer(data, np.uint8))


def info(stamp: int, width: int = WIDTH, height: int = HEIGHT, focal: float = FOCAL,
         frame: str = 'camera', d: tuple = (), **more: Any) -> Any:
    k = [focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1]
    p = [*k[:3], 0, *k[3:6], 0, *k[6:], 0]
    roi = kind('sensor_msgs/RegionOfInterest')(x_offset=0, y_offset=0, height=0, width=0,
                                              do_rectify=False)
    return kind('sensor_msgs/CameraInfo')(
        header=header(stamp, frame), height=height, width=width, distortion_model='plumb_bob',
        d=np.array(d, float), k=np.array(k, float), r=np.eye(3).ravel(), p=np.array(p, float),
        binning_x=0, binning_y=0, roi=roi)


def focus(stamp: int, distance: float) -> Any:
    empty = np.zeros(0)
    return kind('sensor_msgs/JointState')(
        header=header(stamp), name=['focus_distance'], position=np.array([distance]),
        velocity=empty, effort=empty)


def transforms(stamp: int, parent: str, child: str, t=(0, 0, 0), q=(0, 0, 0, 1)) -> Any:
    pose = kind('geometry_msgs/Transform')(
        translation=kind('geometry_msgs/Vector3')(**dict(zip('xyz', map(float, t)))),
        rotation=kind('geometry_msgs/Quaternion')(**dict(zip('xyzw', map(float, q)))))
    one = kind('geometry_msgs/TransformStamped')(
        header=header(stamp, parent), child_frame_id=child, transform=pose)
    return kind('tf2_msgs/TFMessage')(transforms=[one])


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A picture with edges, of which no two numbers are alike; RGB."""
    rng = np.random.default_rng(number)
    small = rng.integers(20, 236, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def depth(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Metres: a slope that starts at a distance of its own, with one hole."""
    metres = np.full((height, width), 1 + 0.01 * number, np.float32)
    metres += np.linspace(0, 1, width, dtype=np.float32)
    metres[5, 7] = np.nan
    return metres


def millimetres(metres: np.ndarray) -> np.ndarray:
    return np.rint(np.nan_to_num(metres) * 1000).astype(np.uint16)


def jpeg(rgb: np.ndarray, ending: str = '.jpg') -> bytes:
    return cv2.imencode(ending, rgb[..., ::-1])[1].tobytes()


def robot(count: int = 40, rate: float = 2.0, start: int = START,
          rgb: Callable | None = lambda i, t: image(t, picture(i), 'rgb8'),
          deep: Callable | None = lambda i, t: image(t, millimetres(depth(i)), '16UC1'),
          camera: Callable | None = lambda i, t: info(t),
          rgb_topic: str = '/camera/image_raw', deep_topic: str = '/camera/depth/image_raw',
          more: Sequence[tuple[str, Callable]] = ()) -> Iterator[tuple[str, int, Any]]:
    """Yield (topic, log time, message) of a simple robot: `count` pictures at `rate` Hz.

    A part is a function of (number, stamp) that gives a message or None; None: there is none.
    """
    folder = rgb_topic.removesuffix('/compressed').rpartition('/')[0]
    parts = [(f'{folder}/camera_info', camera), (rgb_topic, rgb), (deep_topic, deep), *more]
    for i in range(count):
        stamp = start + round(i * SECOND / rate)
        for topic, make in parts:
            message = make(i, stamp) if make else None
            if message is not None:
                yield topic, stamp, message


def write(path: Path, messages, storage: str = 'mcap',
          compression: CompressionMode = CompressionMode.NONE) -> Path:
    """Write (topic, log time, message) as a bag; returns its folder."""
    writer = Writer(path, version=8, storage_plugin=STORAGES[storage])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for topic, log, message in messages:
            name = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, name, typestore=STORE)
            writer.write(connections[topic], log, STORE.serialize_cdr(message, name))
    return path


def robot_bag(path: Path, storage: str = 'mcap',
              compression: CompressionMode = CompressionMode.NONE, **changes: Any) -> Path:
    return write(path, robot(**changes), storage, compression)


FOCUS_M = [0.5, 1.0, 2.0, 4.0]


def sweep_bag(path: Path, sweeps: int = 10, rate: float = 10.0, start: int = START) -> Path:
    """Sweeps of a lens over four distances; the scene is sharpest at the first."""
    def rgb(i, t):
        blurred = cv2.GaussianBlur(picture(1), (0, 0), 0.6 + 0.2 * (i % 4))
        return image(t, np.clip(blurred + i // 4 * 2.0, 0, 255).astype(np.uint8), 'rgb8')

    return robot_bag(path, count=4 * sweeps, rate=rate, start=start, rgb=rgb,
                     more=[('/camera/focus', lambda i, t: focus(t, FOCUS_M[i % 4]))])
