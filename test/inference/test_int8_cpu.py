"""INT8 on the CPU: the shipped model, calibrated on pictures, verified and served."""

from __future__ import annotations

from dataclasses import replace

import cv2
import onnx
import pytest

from depth_perception.inference import BackendError
from depth_perception.inference.builder import BuildOptions
from depth_perception.inference.engine_cache import EngineCache
from depth_perception.inference.engine_store import EngineStore
from depth_perception.inference.graph_builder import GraphBuilder
from depth_perception.inference.int8 import Calibration
from depth_perception.inference.int8_cpu import to_int8_cpu
from depth_perception.inference.verify import INT8_LIMITS, LIMITS, PICTURES
from depth_perception.model_spec import DEFAULT_MODEL, find_model, read_spec

PATH = find_model(DEFAULT_MODEL)
SPEC = read_spec(PATH)
SIZE = (SPEC.input_height, SPEC.input_width)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """The stored pictures, mirrored and turned: 14 that are none of those that judge."""
    folder = tmp_path_factory.mktemp('images')
    for file in PICTURES.glob('*.jpg'):
        picture = cv2.imread(str(file))
        cv2.imwrite(str(folder / f'{file.stem}_mirrored.png'), picture[:, ::-1])
        cv2.imwrite(str(folder / f'{file.stem}_turned.png'), picture[::-1])
    return str(folder)


def test_the_shipped_model_in_int8_is_verified_and_runs_in_eight_bits(
        images, tmp_path, monkeypatch):
    # Versions of ONNX Runtime round in different ways: 1.6 to 2.8 % of drift, about the limit, as
    # the 0.115 of confidence are.
    monkeypatch.setitem(LIMITS, 'int8', replace(INT8_LIMITS, drift=0.04, confidence=0.15))
    options = BuildOptions('int8', SIZE, SIZE, SIZE, {'calibration': images})
    store = EngineStore(PATH, SPEC, GraphBuilder(threads=1), options, EngineCache(tmp_path))
    found = store.obtain('int8', force=False, progress=lambda *_: True, stopped=lambda: False)
    assert found.verdict.accepted, found.problem
    assert 0.001 < found.verdict.worst['median'] < 0.04     # it is INT8, and near all the same
    found.engine.close()
    [entry] = EngineCache(tmp_path).entries()
    assert entry.size < 0.4 * PATH.stat().st_size
    kinds = [node.op_type for node in onnx.load(str(entry.slot.engine)).graph.node]
    assert kinds.count('QLinearConv') >= 18 and 'Conv' not in kinds


def test_a_network_that_eight_bits_ruin_is_refused_with_the_figure(make_model, images):
    # 0.02 m + 100 m b^8: most pixels are near, and a step in 255 is 0.4 m
    path = make_model(depth=0.02, brightness=100.0)
    model = onnx.load(path)
    powers = ('b', 'b2', 'b4', 'b8')
    for i, (low, high) in enumerate(zip(powers, powers[1:])):
        model.graph.node.insert(1 + i, onnx.helper.make_node('Mul', [low, low], [high]))
    model.graph.node[4].input[0] = 'b8'
    with pytest.raises(BackendError, match='INT8 changes the depth of test by .* % .median over'):
        to_int8_cpu(model, read_spec(path), Calibration(images))


def test_without_images_it_says_what_is_missing():
    with pytest.raises(BackendError, match='int8 needs calibration images'):
        to_int8_cpu(onnx.load(str(PATH)), SPEC, Calibration(''))
