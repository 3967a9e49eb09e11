"""A depth node at work takes another model: how long that takes, and what a subscriber sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
import time

import cv2
import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rich.console import Console
from sensor_msgs.msg import Image

from depth_perception import inference
from depth_perception.estimator import DepthEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.model_spec import find_model
from depth_perception.nodes._messages import to_depth, to_rgb
from depth_perception.sources import SCENE_HFOV_DEG
from depth_perception.tools.demo import wait_for_depth
from depth_perception.tools.demo_report import legend, side_by_side_at_height
from depth_perception.tools.observer import Observer, Watch
from depth_perception.tools.processes import NodeProcess

CAMERA = {'width': 320, 'height': 240, 'rate_hz': 10.0}
SECONDS = 4.0                # measured before and after
SWAP_TIMEOUT_S = 60.0
DRAWN, ROW_HEIGHT = 4, 180   # frames in the picture, px


@dataclass
class Swap:
    """What was seen of it.

    Attributes
    ----------
    seconds : float
        From the parameter's change until the node says that the new model serves.
    usual_gap_ms, longest_gap_ms : float
        Longest time between two depth images: before the change, and from then on.
    difference : float
        Of the last depth that the node published from that of the new model for the same image:
        the median of the relative error.
    frames : list
        (image (H, W, 3) uint8 RGB, truth (H, W) metres) of the drive.
    """

    seconds: float
    usual_gap_ms: float
    longest_gap_ms: float
    difference: float
    frames: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)


def swap(before: Path, after: str, style: str, seed: int, namespace: str,
         console: Console) -> Swap:
    """Let a depth node work with one model in a room, and set its parameter ``model``.

    Raises
    ------
    RuntimeError
        A node ends, no depth comes, or the node does not take the model.
    """
    observer = Observer('retrain_observer')
    camera = CAMERA | {'source': f'scene:{style}', 'seed': seed}
    try:
        with NodeProcess('camera_node', namespace, camera) as source, \
                NodeProcess('depth_node', namespace, {'model': str(before)}) as node:
            wait_for_depth(observer, f'/{namespace}', (source, node))
            topic = f'/{namespace}/depth_node/depth/image_rect'
            images = observer.watch(f'/{namespace}/image', Image, keep=1000)
            depths = observer.watch(topic, Image, keep=1000)
            truths = observer.watch(f'/{namespace}/ground_truth/depth', Image, keep=1000)
            observer.spin(SECONDS)
            changed_ns = time.time_ns()
            console.print(f'[dim]ros2 param set /{namespace}/depth_node model {after}[/]')
            set_model(observer, f'/{namespace}/depth_node', after)
            taken_ns = _wait_until_taken(observer, namespace, after, node)
            observer.spin(SECONDS)
    finally:
        observer.close()
    return _measured(images, depths, truths, changed_ns, taken_ns, find_model(after))


def set_model(observer: Observer, node: str, model: str) -> None:
    """Do what ``ros2 param set NODE model MODEL`` does; RuntimeError where it is refused."""
    client = observer.node.create_client(SetParameters, f'{node}/set_parameters')
    if not client.wait_for_service(10.0):
        raise RuntimeError(f'{node} has no service set_parameters')
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=model)
    answer = client.call_async(
        SetParameters.Request(parameters=[Parameter(name='model', value=value)]))
    if not observer.spin(SWAP_TIMEOUT_S, answer.done):
        raise RuntimeError(f'{node} does not answer')
    result = answer.result().results[0]
    if not result.successful:
        raise RuntimeError(f'{node} refuses model {model}: {result.reason}')


def _wait_until_taken(observer: Observer, namespace: str, model: str, node: NodeProcess) -> int:
    """Wait until the node says that the model serves; return the time, ns."""
    def serves() -> bool:
        node.check_alive()
        return observer.status_of(f'{namespace}/depth_node')[1].get('model') == model

    if not observer.spin(SWAP_TIMEOUT_S, serves):
        why, _ = observer.status_of(f'{namespace}/depth_node')
        raise RuntimeError(f'the depth node did not take {model}; it says: {why}')
    return time.time_ns()


def _measured(images: Watch, depths: Watch, truths: Watch, changed_ns: int, taken_ns: int,
              model: Path) -> Swap:
    newest = max((stamp for stamp in depths.messages if stamp in images.messages), default=0)
    if newest < taken_ns:
        raise RuntimeError('no depth came after the change of the model')
    gaps_ms = np.diff(depths.arrivals_ns) / 1e6
    earlier = np.array(depths.arrivals_ns[1:]) < changed_ns
    if earlier.all() or not earlier.any():
        raise RuntimeError(f'{len(depths.arrivals_ns)} depth images came, too few before or after '
                           'the change of the model to see how long it took; is the machine '
                           'overloaded?')
    shared = [stamp for stamp in images.messages if stamp in truths.messages]
    if not shared:
        raise RuntimeError('no image came with its true depth; is the machine overloaded?')
    shown = shared[::max(1, len(shared) // DRAWN)][:DRAWN]
    expected = _estimate(model, to_rgb(images.decode(newest)).array)
    published = to_depth(depths.decode(newest))
    return Swap(
        seconds=(taken_ns - changed_ns) / 1e9,
        usual_gap_ms=float(gaps_ms[earlier].max()), longest_gap_ms=float(gaps_ms[~earlier].max()),
        difference=float(np.nanmedian(np.abs(published / expected - 1))),
        frames=[(to_rgb(images.decode(stamp)).array.copy(),
                 to_depth(truths.decode(stamp)).copy()) for stamp in shown])


def _estimate(model: Path, image: np.ndarray) -> np.ndarray:
    camera = Intrinsics.from_hfov(*image.shape[1::-1], SCENE_HFOV_DEG)
    return DepthEstimator(inference.load(str(model), backend='cpu'))(image, camera).depth


def draw(taken: Swap, before: Path, after: Path, path: Path) -> None:
    """Draw frames of the drive: image, true depth, depth by the old and by the new model."""
    rows = []
    for image, truth in taken.frames:
        depths = [_estimate(model, image) for model in (before, after)]
        panels = [np.ascontiguousarray(image[..., ::-1]), *map(legend, (truth, *depths))]
        rows.append(side_by_side_at_height(panels, ROW_HEIGHT))
    cv2.imwrite(str(path), np.vstack(rows))
