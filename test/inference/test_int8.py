from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest

from depth_perception.inference import BackendError, int8
from depth_perception.inference.int8 import (
    Calibration,
    calibration_tensors,
    compare,
    quantise,
    to_int8,
)
from depth_perception.inference.precision import named
from depth_perception.model_spec import DEFAULT_MODEL, find_model, read_spec
from depth_perception.sources import open_source

COUNT = 12


@pytest.fixture(scope='module')
def shipped():
    path = find_model(DEFAULT_MODEL)
    return named(onnx.load(str(path))), read_spec(path)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Views of a rendered room, as a camera would give them."""
    folder = tmp_path_factory.mktemp('pictures')
    source = open_source('scene', width=192, height=144)
    for i, frame in zip(range(COUNT), source):
        cv2.imwrite(str(folder / f'{i:02}.png'), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    source.close()
    return folder


@pytest.fixture(scope='module')
def tensors(shipped, pictures):
    return calibration_tensors(shipped[1], Calibration(str(pictures)))


@pytest.fixture(scope='module')
def quantised(shipped, tensors):
    return quantise(shipped[0], tensors[::3], 'percentile')


def of_kind(model, kind):
    return [node for node in model.graph.node if node.op_type == kind]


def test_all_but_the_first_convolution_and_the_last_of_each_output_are_quantised(quantised):
    makers = {output: node for node in quantised.graph.node for output in node.output}
    spared = [number for number, node in enumerate(of_kind(quantised, 'Conv'))
              if makers.get(node.input[1]) is None
              or makers[node.input[1]].op_type != 'DequantizeLinear']
    # the first; that of depth; of how sure it is one at half of the size and one at all of it
    assert spared == [0, 18, 23, 24]


def test_values_are_signed_and_symmetric_as_tensorrt_takes_them(quantised):
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in quantised.graph.initializer}
    pairs = of_kind(quantised, 'QuantizeLinear') + of_kind(quantised, 'DequantizeLinear')
    assert len(pairs) > 30
    zeros = [weights[node.input[2]] for node in pairs if len(node.input) > 2]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert not [t for t in weights.values() if t.dtype == np.int32]     # no quantised biases


def test_layers_that_are_named_stay_in_floating_point(shipped, tensors):
    model, _ = shipped
    third = of_kind(model, 'Conv')[2].name
    kept = quantise(model, tensors[:1], 'entropy', keep=[third])
    node, = (node for node in kept.graph.node if node.name == third)
    assert not node.input[1].endswith('DequantizeLinear_Output')


@pytest.fixture
def calibrated_before(quantised, monkeypatch):
    """Calibration takes seconds: what it gave is used again."""
    monkeypatch.setattr(int8, 'quantise', lambda *_: quantised)


def test_the_loss_of_accuracy_is_small_and_told(
        shipped, pictures, tensors, quantised, calibrated_before, caplog):
    caplog.set_level('INFO')
    model, spec = shipped
    assert to_int8(model, spec, Calibration(str(pictures))) is quantised
    accuracy = compare(model, quantised, spec, tensors)
    assert 0 < accuracy.median < 0.05
    assert abs(accuracy.scale - 1) < 0.05
    assert 'INT8 differs from FP32 by' in caplog.text


def test_tensorrt_builds_it(shipped, pictures, calibrated_before, tmp_path, monkeypatch):
    pytest.importorskip('tensorrt_rtx')
    from depth_perception.inference.tensorrt_builder import TensorRtBuilder, options_for

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    options = options_for(shipped[1], 'int8', calibration=str(pictures))
    blob = TensorRtBuilder('tensorrt_rtx').build(
        find_model(DEFAULT_MODEL), options, lambda share, phase: True)
    assert len(blob) > 10_000


def test_without_images_int8_says_what_it_needs(shipped):
    with pytest.raises(BackendError, match='int8 needs calibration images; name a folder'):
        calibration_tensors(shipped[1], Calibration(''))


def test_too_few_images_are_refused(shipped, pictures, tmp_path):
    for file in sorted(pictures.iterdir())[:3]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BackendError, match='has 3 images; int8 needs at least 8'):
        calibration_tensors(shipped[1], Calibration(str(tmp_path)))


def test_a_folder_that_is_not_there_is_named(shipped):
    with pytest.raises(BackendError, match='calibration images cannot be read.*nowhere'):
        calibration_tensors(shipped[1], Calibration('/nowhere'))


def test_an_unknown_method_lists_those_that_exist(shipped, pictures):
    with pytest.raises(BackendError, match='one of percentile, entropy'):
        calibration_tensors(shipped[1], Calibration(str(pictures), 'minmax'))


def test_a_network_that_int8_ruins_is_refused(
        shipped, pictures, calibrated_before, monkeypatch):
    monkeypatch.setattr(int8, 'LIMIT', 1e-6)
    with pytest.raises(BackendError, match='INT8 changes the depth of realtime_unet_m by'):
        to_int8(*shipped, Calibration(str(pictures)))


def test_images_are_spread_over_the_whole_source(shipped):
    images = [np.full((2, 2, 3), i, np.uint8) for i in range(100)]
    taken = [int(image[0, 0, 0]) for image in int8._spread(iter(images), 10)]
    assert len(taken) <= 10
    assert taken[0] == 0 and taken[-1] >= 80
    assert np.diff(taken).max() <= 2 * np.diff(taken).min()


def test_images_come_from_a_bag(shipped, tmp_path):
    bag = write_bag(tmp_path / 'bag')
    tensors = calibration_tensors(shipped[1], Calibration(str(bag)))
    # grey values 20, 40, … in all channels, normalised by hand
    means = [float((tensor[0, 0] * 0.229 + 0.485).mean() * 255) for tensor in tensors]
    np.testing.assert_allclose(means, [20 * (i + 1) for i in range(9)], atol=1)


def test_a_bag_without_color_images_says_so(shipped, tmp_path):
    with pytest.raises(BackendError, match='holds no color images'):
        calibration_tensors(shipped[1], Calibration(str(write_bag(tmp_path / 'bag', '32FC1'))))


def test_a_damaged_bag_is_named(shipped, tmp_path):
    bag = write_bag(tmp_path / 'bag')
    (bag / 'metadata.yaml').write_text('rosbag2_bagfile_information: {')
    with pytest.raises(BackendError, match='bag .* cannot be read'):
        calibration_tensors(shipped[1], Calibration(str(bag)))


def write_bag(path, encoding='bgr8'):
    """Nine images of one grey value each."""
    pytest.importorskip('rosbags', reason='the second environment has none')
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    kinds = store.types
    header = kinds['std_msgs/msg/Header'](
        stamp=kinds['builtin_interfaces/msg/Time'](sec=0, nanosec=0), frame_id='camera')
    size = {'bgr8': 3, '32FC1': 4}[encoding]
    with Writer(path, version=9) as writer:
        topic = writer.add_connection('/image', 'sensor_msgs/msg/Image', typestore=store)
        for i in range(9):
            data = np.full(48 * 64 * size, 20 * (i + 1), np.uint8)
            message = kinds['sensor_msgs/msg/Image'](
                header=header, height=48, width=64, encoding=encoding, is_bigendian=0,
                step=64 * size, data=data)
            writer.write(topic, i, store.serialize_cdr(message, 'sensor_msgs/msg/Image'))
    return path
