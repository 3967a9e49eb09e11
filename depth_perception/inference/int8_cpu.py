"""INT8 for ONNX Runtime on the CPU: QDQ around every operator, so that all of it runs in 8 bits.

TensorRT wants signed symmetric values around convolutions alone (`int8`); of that ONNX Runtime
makes a network that goes back to floating point after each convolution. Here activations are
unsigned with a zero point, weights have a scale for each channel, and pooling, resizing and
joining stay in 8 bits as well.
"""

from __future__ import annotations

from collections.abc import Iterator
import logging
from pathlib import Path
import tempfile

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader

from depth_perception.inference import BackendError
from depth_perception.inference.int8 import LIMIT, Calibration, calibration_tensors, compare
from depth_perception.model_contract import ModelSpec

_LOG = logging.getLogger(__name__)
_HELD_BACK = 4      # each so many-th image judges, the others calibrate


def to_int8_cpu(model: onnx.ModelProto, spec: ModelSpec,
                calibration: Calibration) -> onnx.ModelProto:
    """Return `model` quantised, its accuracy checked on images held back.

    Raises
    ------
    BackendError
        If images are missing or cannot be read, the loss of accuracy is above
        `depth_perception.inference.int8.LIMIT`, or the model takes more than one image.
    """
    if spec.frames != 1 or spec.extra_inputs:
        raise BackendError(f'model {spec.name} takes focus stacks; int8 is calibrated with single '
                           'images: use fp32')
    tensors = calibration_tensors(spec, calibration)
    learners = [tensor for i, tensor in enumerate(tensors) if i % _HELD_BACK]
    quantised = quantise_everywhere(model, learners)
    accuracy = compare(model, quantised, spec, tensors[::_HELD_BACK])
    _LOG.info('INT8 differs from FP32 by %.2f %% (median), %.2f %% (95th percentile)',
              100 * accuracy.median, 100 * accuracy.p95)
    if not accuracy.median <= LIMIT:
        raise BackendError(
            f'INT8 changes the depth of {spec.name} by {100 * accuracy.median:.1f} % (median over '
            f'{accuracy.images} images; at most {100 * LIMIT:.0f} % is accepted); calibrate with '
            'more images of the robot\'s own camera, or use fp32')
    return quantised


def quantise_everywhere(model: onnx.ModelProto, tensors: list[np.ndarray]) -> onnx.ModelProto:
    """Put QDQ pairs around all operators that have an 8-bit kernel; ranges from `tensors`."""
    with tempfile.TemporaryDirectory(prefix='depth_perception_int8_') as folder:
        file = Path(folder) / 'quantised.onnx'
        quantize_static(onnx.shape_inference.infer_shapes(model), file, _Reader(tensors),
                        per_channel=True, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8)
        return onnx.load(str(file))


class _Reader(CalibrationDataReader):
    def __init__(self, tensors: list[np.ndarray]) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = iter([{'image': x} for x in tensors])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)
