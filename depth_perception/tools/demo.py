"""The demo: a camera node, the depth node and a listener, each a process on real ROS 2.

A photograph with known depth and a procedural room with a moving camera are streamed; what
comes out is measured, recorded into a bag and drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import os
from pathlib import Path
import shutil

import cv2
import numpy as np
import rclpy
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sensor_msgs.msg import Image, PointCloud2
import yaml

from depth_perception.geometry import Intrinsics
from depth_perception.model_spec import DEFAULT_MODEL, find_model
from depth_perception.nodes._messages import to_depth
from depth_perception.tools import demo_report
from depth_perception.tools.observer import Observer, Watch
from depth_perception.tools.processes import (
    NodeProcess,
    graph_environment,
    interrupted_by_sigterm,
)
from depth_perception.tools.recorder import BagRecorder, read_back

#: Every topic the depth node offers for a metric model, below the node's own name.
DEPTH_TOPICS = (
    'depth/image_rect', 'depth/camera_info', 'depth/image_colored', 'points', 'disparity',
    'left/image_rect', 'left/camera_info', 'right/image_rect', 'right/camera_info',
    'stereo/side_by_side', 'stereo/anaglyph', 'stereo/rgbd',
)
START_TIMEOUT_S = 60.0
RECORDED_MESSAGES = 10  # of each topic; an organised cloud takes 5 MB


@dataclass(frozen=True)
class Source:
    """One stream of the demo: the camera node's parameters, and the true depth if known."""

    name: str
    camera: dict[str, object]
    truth: np.ndarray | None = None  # (H, W) float32 metres for a still picture
    simulated: bool = False  # the camera node publishes the true depth
    notes: list[str] = field(default_factory=list)


def motorcycle(folder: Path) -> Source:
    """Write the Middlebury motorcycle of scikit-image as a camera would see it.

    Depth is ``f * B / (disparity + doffs)`` with the calibration that scikit-image's
    ``stereo_motorcycle`` documents; unknown disparities become NaN.
    """
    from skimage.data import stereo_motorcycle

    left, _, disparity = stereo_motorcycle()
    height, width = disparity.shape
    intrinsics = Intrinsics(width, height, 994.978, 994.978, 311.193, 254.877)
    with np.errstate(invalid='ignore'):
        depth = 0.193001 * intrinsics.fx / (disparity + 31.086)
    depth[~np.isfinite(disparity)] = np.nan
    folder.mkdir(parents=True, exist_ok=True)
    image_file, info_file = folder / 'left.png', folder / 'camera_info.yaml'
    cv2.imwrite(str(image_file), cv2.cvtColor(left, cv2.COLOR_RGB2BGR))
    info_file.write_text(yaml.safe_dump(calibration(intrinsics, 'motorcycle')))
    camera = {'source': str(image_file), 'camera_info_file': str(info_file), 'loop': True,
              'rate_hz': 15.0}
    return Source('motorcycle', camera, truth=depth.astype(np.float32))


def calibration(intrinsics: Intrinsics, name: str) -> dict:
    """Return undistorted intrinsics in the layout that camera_calibration writes."""
    k = intrinsics.matrix()
    p = np.hstack([k, np.zeros((3, 1))])
    return {
        'image_width': intrinsics.width,
        'image_height': intrinsics.height,
        'camera_name': name,
        'camera_matrix': _matrix(k),
        'distortion_model': 'plumb_bob',
        'distortion_coefficients': _matrix(np.zeros((1, 5))),
        'rectification_matrix': _matrix(np.eye(3)),
        'projection_matrix': _matrix(p),
    }


def _matrix(values: np.ndarray) -> dict:
    rows, cols = values.shape
    return {'rows': rows, 'cols': cols, 'data': [float(v) for v in values.ravel()]}


def room() -> Source:
    """A furnished procedural room that a camera moves through, with exact depth."""
    return Source('room', {'source': 'scene', 'rate_hz': 10.0, 'seed': 200_000}, simulated=True)


def own(source: str, hfov_deg: float) -> Source:
    """Stream a user's own video, picture, folder or webcam."""
    if Path(source).exists():  # the nodes run in another folder
        source = str(Path(source).resolve())
    return Source(
        'own',
        {'source': source, 'loop': True, 'rate_hz': 15.0, 'hfov_deg': hfov_deg},
        notes=[f'metres assume a horizontal field of view of {hfov_deg:g} degrees'],
    )


@interrupted_by_sigterm()
def run(source: str | None, hfov_deg: float, seconds: float, output: Path) -> int:
    """Run the demo and return the exit status.

    Parameters
    ----------
    source : str or None
        The user's own source instead of the two built in.
    hfov_deg : float
        Horizontal field of view of the user's source, degrees.
    seconds : float
        How long each stream is measured.
    output : Path
        Folder for pictures, bags, point clouds and ``summary.json``.
    """
    # A terminal narrower than the table, or none, would fold every column.
    console = Console(width=max(124, Console().width))
    output = output.resolve()  # the nodes run in another folder
    output.mkdir(parents=True, exist_ok=True)
    sources = [own(source, hfov_deg)] if source else [motorcycle(output / 'motorcycle'), room()]
    adopt(graph_environment())
    rclpy.init()
    results = {}
    try:
        for item in sources:
            results[item.name] = run_source(item, seconds, output / item.name, console)
    finally:
        rclpy.try_shutdown()
    demo_report.write_summary(output / 'summary.json', 'sources', results)
    demo_report.print_table(console, results)
    console.print(f'Pictures, point clouds and bags: [bold]{output}/[/]')
    for item in sources:
        for note in item.notes:
            console.print(f'{item.name}: {note}')
    return 0


def adopt(environment: dict[str, str]) -> None:
    """Give this process the transport of the nodes; it must precede ``rclpy.init``."""
    os.environ.update(environment)


def run_source(source: Source, seconds: float, folder: Path, console: Console) -> dict:
    """Stream one source through real nodes; measure, record and draw.

    Raises
    ------
    RuntimeError
        When a node ends, or no depth comes out; the message says what the node reported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    namespace = f'/{source.name}'
    observer = Observer()
    columns = (SpinnerColumn(), TextColumn(f'{source.name}: {{task.description}}'),
               TimeElapsedColumn())
    try:
        with NodeProcess('camera_node', source.name, source.camera) as camera, \
                NodeProcess('depth_node', source.name, {'model': DEFAULT_MODEL}) as node, \
                Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task('starting the nodes')
            wait_for_depth(observer, namespace, (camera, node))
            progress.update(task, description=f'measuring for {seconds:g} s')
            result = _measure(observer, namespace, source, seconds)
            progress.update(task, description='recording every topic into a bag')
            bag = _record(observer, namespace, source, folder / 'bag')
    finally:
        observer.close()
    result['bag'] = {topic.name: topic.count for topic in read_back(bag)}
    demo_report.draw(bag, namespace, folder, source.truth)
    return result


def wait_for_depth(observer: Observer, namespace: str, nodes: tuple[NodeProcess, ...],
                   count: int = 4) -> None:
    """Wait until the last of the nodes has published some depth.

    Raises
    ------
    RuntimeError
        When a node ends or cannot be configured, or no depth comes; with what it says.
    """
    name = nodes[-1].name
    watch = observer.watch(f'{namespace}/{name}/depth/image_rect', Image)

    def arrived() -> bool:
        for node in nodes:
            node.check_alive()
            why, _ = observer.status_of(f'{namespace[1:]}/{node.name}')
            if why.startswith('not configured: '):
                raise RuntimeError(f'{node.name} is {why}')
        return len(watch.stamps_ns) >= count

    if not observer.spin(START_TIMEOUT_S, arrived):
        why, _ = observer.status_of(f'{namespace[1:]}/{name}')
        raise RuntimeError(f'no depth after {START_TIMEOUT_S:g} s; {name} says: {why}')


def _measure(observer: Observer, namespace: str, source: Source, seconds: float) -> dict:
    node = f'{namespace}/depth_node'
    observer.spin(2.0)  # the first frames pay for buffers and page faults
    _, values = observer.status_of(f'{source.name}/depth_node')
    dropped_before = int(values.get('overwritten', 0))
    images = observer.watch(f'{namespace}/image', Image)
    depths = observer.watch(f'{node}/depth/image_rect', Image, keep=200)
    clouds = observer.watch(f'{node}/points', PointCloud2)
    truths = observer.watch(f'{namespace}/ground_truth/depth', Image, keep=200)
    observer.spin(seconds + 1.0)
    # A frame whose image arrived before the other subscriptions matched, or whose depth is
    # still under way, is no loss: only stamps inside what every watch saw are counted.
    if not (images.stamps_ns and depths.stamps_ns and clouds.stamps_ns):
        why, _ = observer.status_of(f'{source.name}/depth_node')
        raise RuntimeError(f'images, depth or points stopped; depth_node says: {why}')
    first = max(images.stamps_ns[0], depths.stamps_ns[0])
    last = min(images.stamps_ns[-1], depths.stamps_ns[-1])
    frames_in, frames_out = (
        sum(first <= stamp <= last for stamp in watch.stamps_ns) for watch in (images, depths))
    _, values = observer.status_of(f'{source.name}/depth_node')
    dropped = min(int(values.get('overwritten', 0)) - dropped_before, frames_in - frames_out)
    latency = depths.latencies_ms()
    span = (depths.arrivals_ns[-1] - depths.arrivals_ns[0]) / 1e9
    return {
        'frames_in': frames_in,
        'frames_out': frames_out,
        'frames_dropped': dropped,
        'frames_lost': frames_in - frames_out - dropped,
        'rate_hz': (len(depths.stamps_ns) - 1) / span if span > 0 else 0.0,
        'latency_ms': {
            'p50': float(np.percentile(latency, 50)),
            'p99': float(np.percentile(latency, 99)),
        },
        **_accuracy(depths, truths, source),
    }


def _accuracy(depths: Watch, truths: Watch, source: Source) -> dict:
    """Compare what came out with the true depth; averages over frames."""
    if source.truth is not None:
        pairs = [(depths.decode(stamp), source.truth) for stamp in list(depths.messages)[:1]]
        pairs = [(to_depth(message), truth) for message, truth in pairs]
    else:
        pairs = [
            (to_depth(depths.decode(stamp)), to_depth(truths.decode(stamp)))
            for stamp in depths.messages
            if stamp in truths.messages
        ]
    return demo_report.accuracy(pairs, find_model(DEFAULT_MODEL))


def _record(observer: Observer, namespace: str, source: Source, bag: Path) -> Path:
    """Record every topic of the graph until each holds some messages."""
    if bag.exists():
        shutil.rmtree(bag)
    topics = [f'{namespace}/image', f'{namespace}/camera_info', '/diagnostics']
    if source.simulated:
        topics.append(f'{namespace}/ground_truth/depth')
    topics += [f'{namespace}/depth_node/{name}' for name in DEPTH_TOPICS]
    recorder = BagRecorder(observer.node, bag, topics, RECORDED_MESSAGES)
    try:
        done = observer.spin(START_TIMEOUT_S, recorder.done)
    finally:
        recorder.close()
    if not done:
        short = [t for t, count in recorder.counts.items() if count < RECORDED_MESSAGES]
        raise RuntimeError(f'too little to record on {", ".join(short)}')
    return bag
