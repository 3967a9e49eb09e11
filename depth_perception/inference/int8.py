"""INT8 for TensorRT: symmetric QDQ pairs around convolutions and products, from real images.

TensorRT takes signed values without zero points and no quantised biases. The first convolution and
the last before each output stay in floating point: at the input a step of 1/127 is visible, at the
output it is the step of the depth itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
from dataclasses import dataclass
import io
import logging
from pathlib import Path
import tempfile

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator

from depth_perception.inference import BackendError
from depth_perception.inference.bag_images import is_bag, read_bag_images
from depth_perception.inference.precision import HEAVY, head_layers
from depth_perception.model_contract import ModelSpec
from depth_perception.preprocessing import Preprocessor, place
from depth_perception.sources import SourceError, open_source

_LOG = logging.getLogger(__name__)

METHODS = {'percentile': CalibrationMethod.Percentile, 'entropy': CalibrationMethod.Entropy}
LIMIT = 0.05        # largest median relative error of depth that is accepted
_HELD_BACK = 4      # each so many-th image judges, the others calibrate
_FEWEST = 8


@dataclass(frozen=True)
class Calibration:
    """Where calibration images come from, and how ranges follow from them.

    Attributes
    ----------
    images : str
        Image folder, video or bag of the camera that the robot has.
    method : str
        ``percentile`` (99.99 % of the values fit) or ``entropy`` (least information lost). On the
        shipped network the first has a third of the second's error at the 95th percentile.
    count : int
        How many images are used at most, spread over all.
    """

    images: str
    method: str = 'percentile'
    count: int = 32


@dataclass(frozen=True)
class Accuracy:
    """Depth by INT8 against FP32 on images that did not calibrate.

    Attributes
    ----------
    median, p95 : float
        Of |d8 - d32| / d32 over all pixels.
    scale : float
        Median of d8 / d32: 1 means no drift.
    images : int
    """

    median: float
    p95: float
    scale: float
    images: int


def to_int8(model: onnx.ModelProto, spec: ModelSpec, calibration: Calibration,
            keep: Iterable[str] = ()) -> onnx.ModelProto:
    """Return `model` quantised, its accuracy checked on images held back.

    Raises
    ------
    BackendError
        If images are missing or cannot be read, or the loss of accuracy is above LIMIT.
    """
    tensors = calibration_tensors(spec, calibration)
    judges = tensors[::_HELD_BACK]
    learners = [tensor for i, tensor in enumerate(tensors) if i % _HELD_BACK]
    quantised = quantise(model, learners, calibration.method, keep)
    accuracy = compare(model, quantised, spec, judges)
    _LOG.info('INT8 differs from FP32 by %.2f %% (median), %.2f %% (95th percentile), scale %.3f, '
              'on %d images', 100 * accuracy.median, 100 * accuracy.p95, accuracy.scale,
              accuracy.images)
    if not accuracy.median <= LIMIT:
        raise BackendError(
            f'INT8 changes the depth of {spec.name} by {100 * accuracy.median:.1f} % (median over '
            f'{accuracy.images} images; at most {100 * LIMIT:.0f} % is accepted); calibrate with '
            'more images of the robot\'s own camera, keep layers with "keep", or use fp16')
    return quantised


def calibration_tensors(spec: ModelSpec, calibration: Calibration) -> list[np.ndarray]:
    """Network inputs of at most `calibration.count` images: (1, 3, h, w) float32 each.

    Raises
    ------
    BackendError
        If there are none, or too few.
    """
    if calibration.method not in METHODS:
        raise BackendError(f'calibration_method is {calibration.method!r}; it must be one of '
                           f'{", ".join(METHODS)}')
    if not calibration.images:
        raise BackendError('int8 needs calibration images; name a folder, video or bag of the '
                           'camera (calibration=FOLDER), or use fp16')
    images = _spread(_images(calibration.images), calibration.count)
    if len(images) < _FEWEST:
        raise BackendError(f'{calibration.images} has {len(images)} images; int8 needs at least '
                           f'{_FEWEST}, of what the robot will see')
    placements = {image.shape: place(*image.shape[:2], spec) for image in images}
    if spec.size_multiple:  # ranges are of values, not of sizes: one size is enough
        nominal = np.zeros((spec.input_height, spec.input_width, 3), np.uint8)
        images = [cv2.resize(image, nominal.shape[1::-1]) for image in images]
        placements = {nominal.shape: place(*nominal.shape[:2], spec)}
    makers = {shape: Preprocessor(spec, placement) for shape, placement in placements.items()}
    return [makers[image.shape](image).copy() for image in images]


def quantise(model: onnx.ModelProto, tensors: list[np.ndarray], method: str,
             keep: Iterable[str] = ()) -> onnx.ModelProto:
    """Put QDQ pairs into `model`, with ranges from `tensors`; nodes must have names."""
    plain = onnx.shape_inference.infer_shapes(model)
    heavy = [node.name for node in plain.graph.node if node.op_type in HEAVY]
    convolutions = [node.name for node in plain.graph.node if 'Conv' in node.op_type]
    spared = {*keep, *convolutions[:1], *head_layers(plain).intersection(convolutions)}
    ranges = _ranges(plain, tensors, method)
    quantiser = QDQQuantizer(
        plain, True, False, QuantType.QInt8, QuantType.QInt8, ranges,
        [name for name in heavy if name not in spared], sorted(spared), sorted(HEAVY),
        {'ActivationSymmetric': True, 'WeightSymmetric': True, 'QuantizeBias': False})
    quantiser.quantize_model()
    return quantiser.model.model


def compare(model: onnx.ModelProto, other: onnx.ModelProto, spec: ModelSpec,
            tensors: list[np.ndarray]) -> Accuracy:
    """Relative difference of the depth that `other` gives from that of `model`."""
    ratios = []
    sessions = [_session(each) for each in (model, other)]
    for tensor in tensors:
        reference, depth = (_depth(session.run(['depth'], {'image': tensor})[0], spec)
                            for session in sessions)
        with np.errstate(divide='ignore', invalid='ignore'):
            ratio = depth / reference
        ratios.append(ratio[np.isfinite(ratio)])
    ratio = np.concatenate(ratios)
    if not ratio.size:
        return Accuracy(float('nan'), float('nan'), float('nan'), len(tensors))
    error = np.abs(ratio - 1)
    return Accuracy(float(np.median(error)), float(np.percentile(error, 95)),
                    float(np.median(ratio)), len(tensors))


def _ranges(model: onnx.ModelProto, tensors: list[np.ndarray], method: str):
    with tempfile.TemporaryDirectory(prefix='depth_perception_int8_') as folder:
        file = Path(folder) / 'model.onnx'
        onnx.save_model(model, str(file), save_as_external_data=model.ByteSize() > (1 << 30))
        calibrator = create_calibrator(
            file, sorted(HEAVY), str(Path(folder) / 'augmented.onnx'),
            METHODS[method], extra_options={'symmetric': True})
        with contextlib.redirect_stdout(io.StringIO()):     # it prints its progress
            for tensor in tensors:  # one by one: it keeps the activations of what it is given
                calibrator.collect_data(_Reader(tensor))
            return calibrator.compute_data()


class _Reader(CalibrationDataReader):
    def __init__(self, tensor: np.ndarray) -> None:
        self._feeds = iter([{'image': tensor}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])


def _depth(raw: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Something proportional to depth (of a relative model: to inverse depth)."""
    return np.exp(raw.astype(np.float64)) if spec.output_kind == 'log' else raw


def _images(source: str) -> Iterator[np.ndarray]:
    """RGB images of a folder, video or bag."""
    if is_bag(Path(source)):
        yield from read_bag_images(Path(source))
        return
    try:
        frames = open_source(source)
    except SourceError as error:
        raise BackendError(f'calibration images cannot be read: {error}') from None
    try:
        yield from (frame.image for frame in frames)
    finally:
        frames.close()


def _spread(images: Iterator[np.ndarray], count: int) -> list[np.ndarray]:
    """At most `count` images, evenly over all, without holding more than twice as many."""
    kept: list[np.ndarray] = []
    step = 1
    for i, image in enumerate(images):
        if i % step:
            continue
        kept.append(image)
        if len(kept) == 2 * count:
            kept, step = kept[::2], 2 * step
    return kept[::max(1, -(-len(kept) // count))]
