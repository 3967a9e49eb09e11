"""What tests of several folders need: tiny ONNX models with known answers, and DDS domains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
import fcntl
from pathlib import Path
import random
import tempfile

from hypothesis import settings
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import pytest

from depth_perception.model_spec import ModelSpec, write_spec

# No deadline: on a busy machine the first call of a function may take any time. The same examples
# in each run: a failure is somebody's change, not luck.
settings.register_profile('repository', deadline=None, derandomize=True)
settings.load_profile('repository')

# ONNX Runtime of ROS Humble's time reads these; the onnx package's newest are too new for it.
OPSET, IR_VERSION = 17, 8


@pytest.fixture(scope='session')
def domain_ids() -> Iterator[Callable[[], int]]:
    """Give out DDS domains that no other test run on this machine uses."""
    held = []

    def take() -> int:
        for number in random.sample(range(1, 101), 100):
            handle = (Path(tempfile.gettempdir()) / f'depth_perception_domain_{number}').open('w')
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.close()
                continue
            held.append(handle)
            return number
        raise RuntimeError('no free DDS domain')

    yield take
    for handle in held:
        handle.close()


@pytest.fixture(scope='session')
def make_model(tmp_path_factory) -> Callable[..., Path]:
    """A factory of ONNX files, each in a folder of its own; see `build_model` for the options."""
    def make(kind: str = 'metric', *, name: str = 'model', **options) -> Path:
        return build_model(tmp_path_factory.mktemp('model') / f'{name}.onnx', kind, **options)
    return make


def build_model(path: Path, kind: str = 'metric', *, depth: float = 2.0, brightness: float = 0.0,
                nan: str = '', confidence: float | None = None, contract: bool = True,
                work: int = 0, fails: bool = False, height: int = 48, width: int = 64,
                size_multiple: int = 0, canonical_focal_px: float | None = None,
                frames: int = 1, frames_range: tuple[int, ...] = (), **spec) -> Path:
    """Write a network whose output follows from its input by hand.

    The output is ``depth + brightness * b`` where b is the mean of the normalised channels
    (the normalisation is x / 255, so b is 0..1), in the unit of `kind`: a model of kind ``log``
    with depth=0.5 says exp(0.5) m.

    With more than one frame it is a model for focus stacks instead, whose output is, in each
    pixel, the (canonical) focus distance of the slice that is sharpest about it.

    Parameters
    ----------
    kind : str
        output_kind of the contract.
    depth, brightness : float
        See above.
    nan : str
        '' none, 'all' everywhere, 'dark' where b < 0.5.
    confidence : float or None
        Value of the second output; None: there is none.
    contract : bool
        Whether to write the contract into the file.
    work : int
        How many 256 x 256 matrices are multiplied in a row before the answer: makes it slow,
        about 0.3 ms each.
    fails : bool
        Whether the network ends in an error at run time for a white image.
    height, width, size_multiple, canonical_focal_px, frames, frames_range, **spec
        Fields of the contract.
    """
    shape = ('h', 'w') if size_multiple else (height, width)
    if frames > 1:
        _save_stack_model(path, 'n' if frames_range else frames, shape)
        write_spec(path, replace(
            spec_of(kind), input_height=height, input_width=width, size_multiple=size_multiple,
            canonical_focal_px=canonical_focal_px, frames=frames, frames_range=frames_range,
            extra_inputs=('focus_distances',), **spec))
        return path
    outputs = ['depth'] if confidence is None else ['depth', 'confidence']
    nodes, weights = _network(depth, brightness, nan, confidence, work)
    if fails:
        _fail_for_white(nodes, weights)
    graph = helper.make_graph(
        nodes, 'test', [helper.make_tensor_value_info('image', TensorProto.FLOAT, (1, 3, *shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1, *shape))
         for name in outputs], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)],
                              ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    if contract:
        write_spec(path, replace(spec_of(kind), input_height=height, input_width=width,
                                 size_multiple=size_multiple, confidence=confidence is not None,
                                 canonical_focal_px=canonical_focal_px, **spec))
    return path


def _save_stack_model(path: Path, frames: int | str, shape: tuple) -> None:
    """Write a network that picks the focus distance of the sharpest slice, over 15 x 15 pixels."""
    laplacian = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32).reshape(1, 1, 3, 3)
    weights = [numpy_helper.from_array(laplacian, 'laplacian'),
               numpy_helper.from_array(np.array([-1], np.int64), 'flat'),
               numpy_helper.from_array(np.array([0], np.int64), 'first')]
    nodes = [helper.make_node('Squeeze', ['image', 'first'], ['slices']),
             helper.make_node('ReduceMean', ['slices'], ['grey'], axes=[1], keepdims=1),
             helper.make_node('Conv', ['grey', 'laplacian'], ['edges'], pads=[1, 1, 1, 1]),
             helper.make_node('Abs', ['edges'], ['contrast']),
             helper.make_node('AveragePool', ['contrast'], ['sharpness'],
                              kernel_shape=[15, 15], pads=[7, 7, 7, 7]),
             helper.make_node('ArgMax', ['sharpness'], ['sharpest'], axis=0, keepdims=1),
             helper.make_node('Reshape', ['focus_distances', 'flat'], ['distances']),
             helper.make_node('Gather', ['distances', 'sharpest'], ['depth'])]
    inputs = {'image': (1, frames, 3, *shape), 'focus_distances': (1, frames)}
    graph = helper.make_graph(
        nodes, 'test',
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
         for name, dims in inputs.items()],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, (1, 1, *shape))], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)],
                              ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def spec_of(kind: str) -> ModelSpec:
    """A contract with the normalisation x / 255."""
    return ModelSpec(name='test', architecture='by hand', input_height=48, input_width=64,
                     mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), output_kind=kind,
                     canonical_focal_px=None, depth_range=(0.1, 100.0), training_data='none',
                     licence='Apache-2.0')


def _network(depth, brightness, nan, confidence, work):
    """Nodes and weights: image -> b -> depth, NaN mask and confidence where asked for."""
    weights = [_weight('gain', brightness), _weight('offset', depth), _weight('half', 0.5),
               _weight('nan', np.nan), _weight('zero', 0.0)]
    nodes = [helper.make_node('ReduceMean', ['image'], ['b'], axes=[1], keepdims=1),
             helper.make_node('Mul', ['b', 'gain'], ['scaled']),
             helper.make_node('Add', ['scaled', 'offset'], ['value'])]
    last = 'value'
    if nan:
        dark = ['b', 'half'] if nan == 'dark' else ['zero', 'half']
        nodes += [helper.make_node('Less', dark, ['is_bad']),
                  helper.make_node('Where', ['is_bad', 'nan', last], ['holed'])]
        last = 'holed'
    if work:
        last = _slow_down(nodes, weights, last, work)
    nodes.append(helper.make_node('Identity', [last], ['depth']))
    if confidence is not None:
        weights.append(_weight('sure', confidence))
        nodes += [helper.make_node('Mul', ['b', 'zero'], ['none']),
                  helper.make_node('Add', ['none', 'sure'], ['confidence'])]
    return nodes, weights


def _slow_down(nodes, weights, last, work):
    """Add matrix products to the answer, times 0; they depend on the image: none is folded."""
    weights += [numpy_helper.from_array(np.full((256, 256), 1 / 256, np.float32), 'matrix')]
    nodes += [helper.make_node('ReduceMean', ['image'], ['m'], axes=[0, 1, 2, 3], keepdims=0),
              helper.make_node('Add', ['matrix', 'm'], ['product0'])]
    nodes += [helper.make_node('MatMul', [f'product{i}', 'matrix'], [f'product{i + 1}'])
              for i in range(work)]
    nodes += [helper.make_node('ReduceMean', [f'product{work}'], ['p'], keepdims=0),
              helper.make_node('Mul', ['p', 'zero'], ['nothing']),
              helper.make_node('Add', [last, 'nothing'], ['late'])]
    return 'late'


def _fail_for_white(nodes, weights):
    """Add 0, looked up in a list of one by an index that is 1 for a white image."""
    weights += [numpy_helper.from_array(np.zeros(1, np.float32), 'list'), _weight('edge', 1.1)]
    nodes[-1].input[0], last = 'checked', nodes[-1].input[0]
    nodes[-1:-1] = [
        helper.make_node('ReduceMean', ['image'], ['light'], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node('Mul', ['light', 'edge'], ['place']),
        helper.make_node('Cast', ['place'], ['index'], to=TensorProto.INT64),
        helper.make_node('Gather', ['list', 'index'], ['found']),
        helper.make_node('Add', [last, 'found'], ['checked'])]


def _weight(name, value):
    return numpy_helper.from_array(np.array(value, np.float32), name)
