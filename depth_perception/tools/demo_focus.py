"""The demo of depth from defocus: a lens that sweeps its focus in a simulated room, on real ROS 2.

The focus depth node makes depth of each sweep; beside it the depth node makes depth of the same
views as a pinhole sees them, which is the best that a single image can be. Both are scored
against the true depth.
"""

from __future__ import annotations

from pathlib import Path
import shutil

import cv2
import numpy as np
import rclpy
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from sensor_msgs.msg import Image

from depth_perception.focus_camera import DEFAULT_FOCAL_LENGTH_M
from depth_perception.metrics import depth_metrics
from depth_perception.model_spec import DEFAULT_MODEL, ModelError, find_model
from depth_perception.nodes._focus import focus_reading
from depth_perception.nodes._messages import to_depth
from depth_perception.tools.demo import adopt, wait_for_depth
from depth_perception.tools.demo_report import (
    bgr,
    last_moment,
    legend,
    messages_by_stamp,
    side_by_side_at_height,
    write_summary,
)
from depth_perception.tools.observer import Observer, Watch
from depth_perception.tools.processes import (
    NodeProcess,
    graph_environment,
    interrupted_by_sigterm,
)
from depth_perception.tools.recorder import BagRecorder, read_back

NAMESPACE = 'focus'
CAMERA = {'width': 320, 'height': 240, 'rate_hz': 10.0, 'settle_time': 0.05, 'seed': 200_001,
          'sweeps_per_pose': 2}
PUBLISHED = ('depth/image_rect', 'depth/camera_info', 'depth/image_colored', 'points')
TRUTH, SHARP = 'ground_truth/depth', 'ground_truth/image'
RECORDED_STACKS = 8
RECORDED_MESSAGES = 200     # of each topic at most, however slow the network is
RECORD_TIMEOUT_S = 90.0
WORST_ERROR = 0.5           # relative error with the warmest colour
STRIP_HEIGHT = 240


@interrupted_by_sigterm()
def run(model: str, single_image_model: str, seconds: float, output: Path) -> int:
    """Run the demo and return the exit status.

    Parameters
    ----------
    model : str
        Name or path of a model for focus stacks.
    single_image_model : str
        Name or path of the model that it is compared with; empty: `single_image_peer`.
    seconds : float
        How long is measured.
    output : Path
        Folder for ``summary.json`` and a folder ``focus`` with pictures and a bag.

    Raises
    ------
    ModelError
        A model is not installed.
    RuntimeError
        A node ends, or no depth comes out.
    """
    find_model(model)       # says what is missing before anything is started
    single_image_model = single_image_model or single_image_peer(model)
    find_model(single_image_model)
    console = Console(width=max(124, Console().width))
    folder = output.resolve() / NAMESPACE
    folder.mkdir(parents=True, exist_ok=True)
    adopt(graph_environment())
    rclpy.init()
    try:
        result = _stream(model, single_image_model, seconds, folder, console)
    finally:
        rclpy.try_shutdown()
    write_summary(folder.parent / 'summary.json', 'focus', result)
    _print_table(console, result)
    console.print(f'Pictures and bag: [bold]{folder}/[/]')
    return 0


def single_image_peer(model: str) -> str:
    """Return ``<model>_single``, of the same size and training, where it is; else the default."""
    try:
        find_model(f'{model}_single')
    except ModelError:
        return DEFAULT_MODEL
    return f'{model}_single'


def _stream(model: str, single_image_model: str, seconds: float, folder: Path,
            console: Console) -> dict:
    columns = (SpinnerColumn(), TextColumn('focus: {task.description}'), TimeElapsedColumn())
    observer = Observer()
    single = {'model': single_image_model}
    stack = {'model': model, 'lens.focal_length': DEFAULT_FOCAL_LENGTH_M}
    try:
        with NodeProcess('focus_camera_node', NAMESPACE, CAMERA) as camera, \
                NodeProcess('depth_node', NAMESPACE, single, {'image': SHARP}) as depth, \
                NodeProcess('focus_depth_node', NAMESPACE, stack) as focus, \
                Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task('starting the nodes')
            wait_for_depth(observer, f'/{NAMESPACE}', (camera, depth), 1)
            wait_for_depth(observer, f'/{NAMESPACE}', (camera, depth, focus), 2)
            progress.update(task, description=f'measuring for {seconds:g} s')
            result = _measure(observer, seconds)
            progress.update(task, description='recording every topic into a bag')
            bag = _record(observer, folder / 'bag')
    finally:
        observer.close()
    result |= {'model': model, 'single_image_model': single_image_model,
               'bag': {topic.name: topic.count for topic in read_back(bag)}}
    draw(bag, folder)
    return result


def _topic(name: str) -> str:
    return f'/{NAMESPACE}/{name}'


def _measure(observer: Observer, seconds: float) -> dict:
    images = observer.watch(_topic('image'), Image)
    truths = observer.watch(_topic(TRUTH), Image, keep=1000)
    singles = observer.watch(_topic('depth_node/depth/image_rect'), Image, keep=1000)
    stacks = observer.watch(_topic('focus_depth_node/depth/image_rect'), Image, keep=1000)
    observer.spin(seconds)
    # Each on its own frames: both see the same views, and a slow network leaves some out.
    of_stack, of_single = (
        _scores(observer, watch, truths, name)
        for name, watch in (('focus_depth_node', stacks), ('depth_node', singles)))
    _, values = observer.status_of(f'{NAMESPACE}/focus_depth_node')
    latency = stacks.latencies_ms()
    span = (stacks.arrivals_ns[-1] - stacks.arrivals_ns[0]) / 1e9
    return {
        'images': len(images.stamps_ns),
        'stacks': len(stacks.stamps_ns),
        'slices_per_stack': len(values.get('focus distances [m]', '').split()),
        'rate_hz': (len(stacks.stamps_ns) - 1) / span if span > 0 else 0.0,
        'latency_ms': {'p50': float(np.percentile(latency, 50)),
                       'p99': float(np.percentile(latency, 99))},
        'defocus_cues': values.get('defocus cues', 'unknown'),
        'frames_scored': of_stack['frames'],
        'abs_rel': of_stack['abs_rel'], 'delta1': of_stack['delta1'],
        'frames_scored_single_image': of_single['frames'],
        'abs_rel_single_image': of_single['abs_rel'],
        'delta1_single_image': of_single['delta1'],
    }


def _scores(observer: Observer, depths: Watch, truths: Watch, node: str) -> dict[str, float]:
    """Average over the frames of a node whose truth is known."""
    stamps = sorted(set(depths.messages) & set(truths.messages))
    if not stamps:
        why, _ = observer.status_of(f'{NAMESPACE}/{node}')
        raise RuntimeError(f'no depth came while it was measured; {node} says: {why}')
    scores = [depth_metrics(to_depth(depths.decode(stamp)), to_depth(truths.decode(stamp)))
              for stamp in stamps]
    return {'frames': len(stamps), **{key: float(np.mean([score[key] for score in scores]))
                                      for key in ('abs_rel', 'delta1')}}


def _record(observer: Observer, bag: Path) -> Path:
    if bag.exists():
        shutil.rmtree(bag)
    names = ('image', 'camera_info', 'focus', TRUTH, SHARP, 'depth_node/depth/image_rect',
             *(f'focus_depth_node/{name}' for name in PUBLISHED))
    recorder = BagRecorder(observer.node, bag, ['/diagnostics', *map(_topic, names)],
                           RECORDED_MESSAGES)
    try:
        done = observer.spin(RECORD_TIMEOUT_S, lambda: (
            recorder.done() or min(recorder.counts.values()) >= RECORDED_STACKS))
    finally:
        recorder.close()
    if not done:
        short = [t for t, count in recorder.counts.items() if count < RECORDED_STACKS]
        raise RuntimeError(f'too little to record on {", ".join(short)}')
    return bag


def draw(bag: Path, folder: Path) -> None:
    """Draw the last stack of a bag: its slices, its depth, the truth and the error."""
    stack, single = (_topic(f'{node}/depth/image_rect')
                     for node in ('focus_depth_node', 'depth_node'))
    last = last_moment(bag, [_topic('image'), _topic(TRUTH), _topic(SHARP), stack], [])
    pictures = {'stack': strip(bag, last[stack].header.stamp)}
    # of a slow network the last depth is of another moment
    for suffix, topic in (('', stack), ('_single_image', single)):
        moment = last_moment(bag, [_topic(TRUTH), _topic(SHARP), topic], [])
        depth, truth = to_depth(moment[topic]), to_depth(moment[_topic(TRUTH)])
        pictures |= {f'all_in_focus{suffix}': bgr(moment[_topic(SHARP)]),
                     f'truth{suffix}': legend(truth), f'depth{suffix}': legend(depth),
                     f'error{suffix}': error_picture(depth, truth)}
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / f'{name}.png'), picture)
    rows = [[pictures[f'{name}{suffix}'] for name in ('all_in_focus', 'truth', 'depth', 'error')]
            for suffix in ('', '_single_image')]
    cv2.imwrite(str(folder / 'overview.jpg'), np.vstack([
        side_by_side_at_height(each, STRIP_HEIGHT) for each in rows]))


def strip(bag: Path, until) -> np.ndarray:
    """Join the slices of the stack that ends with the image of this stamp, near to far."""
    topics = [_topic('image'), _topic('focus')]
    messages = messages_by_stamp(bag, topics)
    end = until.sec * 1_000_000_000 + until.nanosec
    slices: dict[float, np.ndarray] = {}
    for stamp, focus in sorted(messages[topics[1]].items(), reverse=True):
        distance = round(focus_reading(focus).distance_m, 3)
        if stamp > end or stamp not in messages[topics[0]]:
            continue
        if distance in slices:
            break
        slices[distance] = bgr(messages[topics[0]][stamp])
    return np.hstack([_captioned(slices[each], f'{each:.2f} m') for each in sorted(slices)])


def _captioned(picture: np.ndarray, text: str) -> np.ndarray:
    picture = picture.copy()
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(picture, text, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, width,
                    cv2.LINE_AA)
    return picture


def error_picture(depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Draw |depth - truth| / truth, from dark (none) to bright (half or more); black: unknown."""
    share = np.abs(depth - truth) / truth
    grey = np.nan_to_num(np.clip(share / WORST_ERROR, 0.0, 1.0) * 254.0 + 1.0).astype(np.uint8)
    picture = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
    picture[~np.isfinite(share)] = 0
    return _captioned(picture, f'mean {100 * np.nanmean(share):.0f} %')


def _print_table(console: Console, result: dict) -> None:
    table = Table(title='depth from defocus: a simulated sweep, live')
    for column in ('depth from', 'model', 'frames\nscored', 'Hz', 'latency\np50 ms', '\np99 ms',
                   'AbsRel', 'delta1'):
        table.add_column(column, justify='right', no_wrap=True)
    latency = result['latency_ms']
    table.add_row(f'{result["slices_per_stack"]} slices', result['model'],
                  str(result['frames_scored']), f'{result["rate_hz"]:.1f}',
                  f'{latency["p50"]:.0f}', f'{latency["p99"]:.0f}', f'{result["abs_rel"]:.3f}',
                  f'{result["delta1"]:.3f}')
    table.add_row('one sharp image', result['single_image_model'],
                  str(result['frames_scored_single_image']),
                  '-', '-', '-', f'{result["abs_rel_single_image"]:.3f}',
                  f'{result["delta1_single_image"]:.3f}')
    console.print(table)
    console.print(f'{result["stacks"]} stacks of {result["images"]} images; defocus cues: '
                  f'{result["defocus_cues"]}')
