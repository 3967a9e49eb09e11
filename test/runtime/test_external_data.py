"""Weights beside a model are read, weights elsewhere are not."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper
import pytest

from depth_perception.external_data import external_files
from depth_perception.model_spec import ModelError, read_spec


@pytest.fixture
def apart(make_model):
    """A model whose weights lie in weights.bin beside it."""
    path = make_model()
    onnx.save(onnx.load(path), path, save_as_external_data=True, location='weights.bin',
              size_threshold=0)
    return path


def point_to(path, location):
    """Let the file say that its weights lie elsewhere."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == 'location':
                entry.value = str(location)
    path.write_bytes(model.SerializeToString())


def test_weights_beside_the_model_are_found(apart):
    model = onnx.load(apart, load_external_data=False)
    assert external_files(model, apart) == [apart.with_name('weights.bin').resolve()]
    read_spec(apart)


@pytest.mark.parametrize('location', ['../weights.bin', 'a/../../weights.bin', '/etc/passwd'])
def test_weights_outside_of_the_folder_are_refused(apart, location):
    apart.with_name('weights.bin').rename(apart.parent.parent / 'weights.bin')
    point_to(apart, location)
    with pytest.raises(ModelError, match='outside of its folder, and are not read'):
        read_spec(apart)


def test_a_link_out_of_the_folder_is_refused(apart, tmp_path):
    weights = apart.with_name('weights.bin')
    weights.rename(tmp_path / 'weights.bin')
    weights.symlink_to(tmp_path / 'weights.bin')
    with pytest.raises(ModelError, match='outside of its folder'):
        read_spec(apart)


def test_weights_in_a_folder_below_are_taken(apart):
    below = apart.parent / 'weights'
    below.mkdir()
    apart.with_name('weights.bin').rename(below / 'weights.bin')
    point_to(apart, 'weights/weights.bin')
    read_spec(apart)


def test_a_tensor_inside_of_a_branch_counts_as_well(make_model):
    path = make_model()
    hidden = numpy_helper.from_array(numpy_helper.to_array(onnx.load(path).graph.initializer[0]))
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key='location', value='../secret')
    constant = helper.make_node('Constant', [], ['c'], value=hidden)
    branch = helper.make_graph([constant], 'branch', [], [])
    model = onnx.load(path)
    model.graph.node.append(helper.make_node('If', ['zero'], ['unused'], then_branch=branch,
                                             else_branch=branch))
    with pytest.raises(ModelError, match="'../secret', outside"):
        external_files(model, path)
