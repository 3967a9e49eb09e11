"""What the demo leaves behind: summary.json, the table and the pictures."""

from __future__ import annotations

from collections.abc import Iterable
import json
import os
from pathlib import Path

import cv2
import numpy as np
from rclpy.serialization import deserialize_message
from rich.console import Console
from rich.table import Table
from rosbags.rosbag2 import Reader

from depth_perception.colorize import annotate, colorize
from depth_perception.metrics import depth_metrics
from depth_perception.nodes._messages import camera_model, to_depth, to_rgb
from depth_perception.point_cloud import render_cloud, write_ply
from depth_perception.tools.recorder import RecordingError, message_class

#: Limits of the colour scale in metres, equal for prediction and truth.
NEAR_M, FAR_M = 0.5, 8.0
#: What the pictures show, below the depth node's name.
DRAWN = ('depth/image_rect', 'depth/camera_info', 'points', 'stereo/side_by_side',
         'stereo/anaglyph')
OVERVIEW_HEIGHT = 300  # px; four pictures then fit the width of a page


def accuracy(pairs: Iterable[tuple[np.ndarray, np.ndarray]], model: Path) -> dict:
    """Score predictions and the two baselines against true depth.

    Parameters
    ----------
    pairs : iterable of ((H, W), (H, W)) float32
        Predicted and true depth, metres, NaN where unknown.
    model : Path
        The model's ONNX file; the training set's mean and median depth lie beside it.

    Returns
    -------
    dict
        ``abs_rel``, ``delta1`` and the AbsRel of predicting the training set's mean depth of
        each pixel and its median; empty without truth.
    """
    pairs = list(pairs)
    if not pairs:
        return {}
    with np.load(model.with_suffix('.baselines.npz')) as stored:
        mean, median = stored['mean'].astype(np.float32), float(stored['median'])
    scores = [depth_metrics(depth, truth) for depth, truth in pairs]
    return {
        'abs_rel': _mean(score['abs_rel'] for score in scores),
        'delta1': _mean(score['delta1'] for score in scores),
        'abs_rel_mean_depth': _mean(
            depth_metrics(cv2.resize(mean, truth.shape[::-1]), truth)['abs_rel']
            for _, truth in pairs
        ),
        'abs_rel_median_depth': _mean(
            depth_metrics(np.full_like(truth, median), truth)['abs_rel'] for _, truth in pairs
        ),
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def write_summary(path: Path, key: str, value: dict) -> None:
    """Replace one top-level key of the summary; other demos' keys stay."""
    summary = json.loads(path.read_text()) if path.exists() else {}
    summary[key] = value
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps(summary, indent=2) + '\n')
    os.replace(temporary, path)


def print_table(console: Console, results: dict[str, dict]) -> None:
    """Print one row a source; '-' where the true depth is unknown."""
    table = Table(title='depth_perception demo')
    for column in ('source', 'frames\nin', '\nout', '\ndropped', '\nlost', 'Hz',
                   'latency\np50 ms', '\np99 ms', 'AbsRel', 'delta1', 'AbsRel of\nmean depth',
                   'AbsRel of\nmedian'):
        table.add_column(column, justify='right', no_wrap=True)
    for name, row in results.items():
        table.add_row(
            name, str(row['frames_in']), str(row['frames_out']),
            str(row['frames_dropped']), str(row['frames_lost']), f'{row["rate_hz"]:.1f}',
            f'{row["latency_ms"]["p50"]:.1f}',
            f'{row["latency_ms"]["p99"]:.1f}',
            *(f'{row[key]:.3f}' if key in row else '-'
              for key in ('abs_rel', 'delta1', 'abs_rel_mean_depth', 'abs_rel_median_depth')),
        )
    console.print(table)


def draw(bag: Path, namespace: str, folder: Path, truth: np.ndarray | None) -> None:
    """Draw the last moment that all topics of the bag hold: PNG pictures and a .ply."""
    node = f'{namespace}/depth_node'
    topics = last_moment(bag, [f'{namespace}/image', *(f'{node}/{name}' for name in DRAWN)],
                         [f'{namespace}/ground_truth/depth'])
    image = bgr(topics[f'{namespace}/image'])
    depth = to_depth(topics[f'{node}/depth/image_rect'])
    if f'{namespace}/ground_truth/depth' in topics:
        truth = to_depth(topics[f'{namespace}/ground_truth/depth'])
    points = topics[f'{node}/points']
    cloud = np.frombuffer(points.data, np.float32).reshape(points.height, points.width, 4)
    intrinsics = camera_model(topics[f'{node}/depth/camera_info']).rectified_intrinsics()
    pictures = {
        'image': image,
        'depth': legend(depth),
        'truth': None if truth is None else legend(truth),
        'point_cloud': render_cloud(cloud, intrinsics),
        'side_by_side': bgr(topics[f'{node}/stereo/side_by_side']),
        'anaglyph': bgr(topics[f'{node}/stereo/anaglyph']),
    }
    for name, picture in pictures.items():
        if picture is not None:
            cv2.imwrite(str(folder / f'{name}.png'), picture)
    write_ply(folder / 'point_cloud.ply', cloud)
    row = [pictures[name] for name in ('image', 'depth', 'point_cloud', 'anaglyph')]
    cv2.imwrite(str(folder / 'overview.jpg'), side_by_side_at_height(row, OVERVIEW_HEIGHT))


def side_by_side_at_height(pictures: list[np.ndarray], height: int) -> np.ndarray:
    """Scale (H, W, 3) pictures to one height and join them."""
    return np.hstack([
        cv2.resize(picture, (round(picture.shape[1] * height / picture.shape[0]), height),
                   interpolation=cv2.INTER_AREA)
        for picture in pictures
    ])


def last_moment(bag: Path, topics: list[str], if_present: list[str]) -> dict[str, object]:
    """Return the messages with the last stamp that all topics share, decoded by rclpy.

    Raises
    ------
    RecordingError
        There is no such stamp.
    """
    by_topic = messages_by_stamp(bag, [*topics, *if_present])
    shared = set.intersection(*(set(moments) for moments in by_topic.values()))
    if not shared:
        raise RecordingError(f'{bag}: no moment is in all topics; is the machine overloaded?')
    return {topic: moments[max(shared)] for topic, moments in by_topic.items()}


def messages_by_stamp(bag: Path, topics: list[str]) -> dict[str, dict[int, object]]:
    """Return the messages of each of these topics that a bag has, by their stamp [ns]."""
    by_topic: dict[str, dict[int, object]] = {}
    with Reader(bag) as reader:
        drawn = [c for c in reader.connections if c.topic in topics]
        for connection, _, data in reader.messages(connections=drawn):
            message = deserialize_message(bytes(data), message_class(connection.msgtype))
            stamp = message.header.stamp
            moments = by_topic.setdefault(connection.topic, {})
            moments[stamp.sec * 1_000_000_000 + stamp.nanosec] = message
    return by_topic


def legend(depth: np.ndarray) -> np.ndarray:
    """Draw depth (H, W) metres in colours, with their scale: (H, W, 3) uint8 BGR."""
    return annotate(colorize(depth, NEAR_M, FAR_M), NEAR_M, FAR_M)


def bgr(message) -> np.ndarray:
    """Read an image message as (H, W, 3) uint8 BGR, as OpenCV writes it."""
    image, order = to_rgb(message)
    return image if order == 'bgr' else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
