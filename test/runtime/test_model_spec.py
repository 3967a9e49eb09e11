from __future__ import annotations

from dataclasses import asdict, replace
import json

import numpy as np
import onnx
from onnx import TensorProto, helper
import pytest

from depth_perception import model_spec
from depth_perception.model_spec import (
    ModelError,
    ModelSpec,
    find_model,
    read_spec,
    weights_sha256,
    write_spec,
)


def contract_of(path):
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return json.loads(metadata['depth_perception'])


def rewrite(path, **changes):
    """Change fields of the contract in the file, None removes one, without any check."""
    model, contract = onnx.load(path), contract_of(path) | changes
    text = json.dumps({key: value for key, value in contract.items() if value is not ...})
    onnx.helper.set_model_props(model, {'depth_perception': text})
    onnx.save(model, path)


def test_a_contract_comes_back_as_it_was_written(make_model):
    path = make_model()
    spec = ModelSpec(name='n', architecture='a', input_height=48, input_width=64,
                     channel_order='bgr', mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0),
                     output_kind='log', canonical_focal_px=260.0, depth_range=(0.2, 20.0),
                     training_data='rooms', licence='CC0', accuracy={'rooms': {'abs_rel': 0.1}})
    write_spec(path, spec)
    read = read_spec(path)
    assert read == replace(spec, weights_sha256=read.weights_sha256)
    assert len(read.weights_sha256) == 64


def test_what_was_measured_as_nan_is_null_in_the_file(make_model):
    path = make_model()
    write_spec(path, replace(
        read_spec(path), accuracy={'rooms': {'abs_rel': float('nan'), 'delta1': 0.5}},
        provenance={'metrics': [{'gain': float('-inf')}, 2]}))
    for entry in onnx.load(path).metadata_props:
        json.loads(entry.value, parse_constant=pytest.fail)
    read = read_spec(path)
    assert read.accuracy == {'rooms': {'abs_rel': None, 'delta1': 0.5}}
    assert read.provenance == {'metrics': [{'gain': None}, 2]}


def test_writing_keeps_other_metadata_and_leaves_no_temporary_file(make_model):
    path = make_model(contract=False)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {'author': 'somebody'})
    onnx.save(model, path)
    spec = read_spec(make_model(name='other'))
    write_spec(path, spec)
    write_spec(path, spec)
    assert [entry.key for entry in onnx.load(path).metadata_props] == ['author',
                                                                       'depth_perception']
    assert [p.name for p in path.parent.iterdir()] == ['model.onnx']


def test_a_failed_write_leaves_the_old_file(make_model):
    path = make_model()
    before = path.read_bytes()
    with pytest.raises(ModelError):
        write_spec(path, replace(read_spec(path), input_height=99))
    assert path.read_bytes() == before


def test_a_foreign_model_is_read_through_the_file_beside_it(make_model):
    path = make_model(contract=False)
    spec = read_spec(make_model(name='other'))
    sidecar = path.with_name('model.onnx.json')
    sidecar.write_text(json.dumps(asdict(replace(spec, name='foreign', weights_sha256=''))))
    assert read_spec(path).name == 'foreign'


def test_the_hash_knows_the_weights_and_nothing_else(make_model):
    first, second, other = (make_model(name='a', depth=1.0), make_model(name='b', depth=1.0),
                            make_model(name='c', depth=1.1))
    rewrite(second, name='renamed')
    hashes = [weights_sha256(onnx.load(path)) for path in (first, second, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert read_spec(first).weights_sha256 == hashes[0]


def test_weights_in_a_file_beside_the_model_belong_to_it(make_model):
    inside, outside = make_model(name='inside'), make_model(name='outside')
    spec = read_spec(inside)
    onnx.save(onnx.load(outside), outside, save_as_external_data=True, location='weights.bin',
              size_threshold=0)
    write_spec(outside, spec)
    assert read_spec(outside).weights_sha256 == spec.weights_sha256
    (outside.parent / 'weights.bin').unlink()
    with pytest.raises(ModelError, match='outside.onnx: its weights cannot be read'):
        read_spec(outside)


# What is refused, each with its own message


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(ModelError, match='none.onnx does not exist'):
        read_spec(tmp_path / 'none.onnx')


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'\x89PNG\r\n\x1a\n123'])
def test_a_file_that_is_not_onnx(tmp_path, content):
    (tmp_path / 'model.onnx').write_bytes(content)
    with pytest.raises(ModelError, match='model.onnx is not an ONNX file'):
        read_spec(tmp_path / 'model.onnx')


def test_a_name_or_a_file_that_the_system_refuses_is_one_clear_error(make_model, monkeypatch):
    with pytest.raises(ModelError, match="'xxx.* cannot be looked for: .*too long"):
        find_model('x' * 5000)

    def refuse(path):
        raise PermissionError(13, 'Permission denied')

    path = make_model()
    monkeypatch.setattr(type(path), 'is_file', refuse)      # as of a folder of somebody else
    for read in (find_model, read_spec):
        with pytest.raises(ModelError, match='Permission denied'):
            read(path)


def test_a_file_that_is_cut_off(make_model):
    path = make_model()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match='is damaged or cut off'):
        read_spec(path)


def test_a_file_without_a_network(tmp_path):
    (tmp_path / 'model.onnx').write_bytes(b'\x08\x08')
    with pytest.raises(ModelError, match='holds no network'):
        read_spec(tmp_path / 'model.onnx')


def test_changed_weights(make_model):
    path = make_model()
    model = onnx.load(path)
    model.graph.initializer[1].CopyFrom(
        onnx.numpy_helper.from_array(np.float32(3.0), model.graph.initializer[1].name))
    onnx.save(model, path)
    with pytest.raises(ModelError, match='weights are not the ones .* SHA-256 differs'):
        read_spec(path)


def test_a_model_without_contract(make_model):
    with pytest.raises(ModelError, match=r'no model contract: neither .* nor model\.onnx\.json'):
        read_spec(make_model(contract=False))


@pytest.mark.parametrize('text', ['{', 'depth', '[' * 100_000])
def test_a_contract_that_is_not_json(make_model, text):
    path = make_model(contract=False)
    path.with_name('model.onnx.json').write_text(text)
    with pytest.raises(ModelError, match='model.onnx: model contract: it is not JSON'):
        read_spec(path)


def test_a_contract_that_is_a_list(make_model):
    path = make_model(contract=False)
    path.with_name('model.onnx.json').write_text('[]')
    with pytest.raises(ModelError, match='it is a list; it must be a JSON object'):
        read_spec(path)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'format_version': 2, 'new_field': 1},
     'format_version is 2, this software reads 1; update the software'),
    ({'output_kind': 'disparity'},
     "output_kind is 'disparity'; it must be one of metric, inverse, log, relative"),
    ({'chanel_order': 'rgb'}, "unknown field 'chanel_order'; did you mean 'channel_order'"),
    ({'xyz': 1}, "unknown field 'xyz'; known are name, architecture"),
    ({'output_kind': ..., 'licence': ...}, 'missing are output_kind, licence'),
    ({'channel_order': 'gbr'}, "channel_order is 'gbr'; it must be one of rgb, bgr"),
    ({'mean': [0.5, 0.5]}, r'mean is \(0.5, 0.5\); it must be three numbers'),
    ({'std': [1, 1, 0]}, 'std is .* three numbers above 0'),
    ({'mean': ['1e-4', 0, 0]}, 'mean is .* three numbers'),
    ({'canonical_focal_px': 0}, 'canonical_focal_px is 0; .* above 0, or null'),
    ({'depth_range': [5, 1]}, 'depth_range is .* the nearer one first'),
    ({'frames': 0}, 'frames is 0'),
    ({'frames_range': [2]}, r'frames_range is \(2,\); it must be two whole numbers of at least 2'),
    ({'frames_range': [1, 5]}, r'frames_range is \(1, 5\)'),
    ({'frames': 3, 'frames_range': [5, 9]}, r'frames is 3, .* not within frames_range = \[5, 9\]'),
    ({'blur_scale_range': [-1, 2]}, 'blur_scale_range is .* two numbers of at least 0'),
    ({'blur_scale_range': [2, 2]}, 'blur_scale_range is .* the smaller one first, or null'),
    ({'input_width': 64.0}, 'input_width is 64.0; it must be a whole number'),
    ({'confidence': 'yes'}, "confidence is 'yes'; it must be true or false"),
    ({'size_multiple': 32}, 'nominal input 64x48 is not a multiple of size_multiple = 32'),
])
def test_a_wrong_contract(make_model, changes, message):
    path = make_model()
    rewrite(path, **changes)
    with pytest.raises(ModelError, match=f'model.onnx: model contract: {message}'):
        read_spec(path)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'input_height': 64}, r"input 'image' has the shape \[1, 3, 48, 64\].*\[1, 3, 64, 64\]"),
    ({'size_multiple': 16}, r"'image' has the shape .* must be \[1, 3, 'any', 'any'\]"),
    ({'confidence': True}, 'its outputs are depth; by its contract they must be depth, conf'),
    ({'extra_inputs': ['focus']}, 'its inputs are image; .* they must be image, focus'),
    ({'frames': 5}, r'must be \[1, 5, 3, 48, 64\]'),
])
def test_a_graph_that_contradicts_its_contract(make_model, changes, message):
    path = make_model()
    rewrite(path, **changes)
    with pytest.raises(ModelError, match=message):
        read_spec(path)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'frames': 4}, r"input 'image' .* must be \[1, 4, 3, 48, 64\]"),
    ({'frames_range': [2, 5]}, r"must be \[1, 'any', 3, 48, 64\]"),
    ({'extra_inputs': []}, 'its inputs are image, focus_distances; by .* must be image$'),
])
def test_a_graph_for_stacks_that_contradicts_its_contract(make_model, changes, message):
    path = make_model(frames=3)
    rewrite(path, **changes)
    with pytest.raises(ModelError, match=message):
        read_spec(path)


def test_the_contract_of_a_focus_stack_survives_writing_and_reading(make_model):
    spec = read_spec(make_model(frames=3, frames_range=(2, 5), blur_scale_range=(0.5, 8.0)))
    assert (spec.frames, spec.frames_range) == (3, (2, 5))
    assert spec.extra_inputs == ('focus_distances',)
    assert spec.blur_scale_range == (0.5, 8.0)
    assert spec.input_shape == (1, 3, 3, 48, 64)


def test_a_free_size_in_the_graph_allows_a_fixed_one_in_the_contract(make_model):
    path = make_model(size_multiple=16)
    rewrite(path, size_multiple=0)
    assert read_spec(path).size_multiple == 0


def save_graph(path, input_type=TensorProto.FLOAT, output='depth', shape=(1, 1, 48, 64)):
    graph = helper.make_graph(
        [helper.make_node('Constant', [], [output], value_float=1.0)], 'g',
        [helper.make_tensor_value_info('image', input_type, (1, 3, 48, 64))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)])
    onnx.save(helper.make_model(graph), path)


@pytest.mark.parametrize(('graph', 'message'), [
    ({'input_type': TensorProto.UINT8}, "input 'image' is of type uint8; it must be float32"),
    ({'output': 'disp'}, 'its outputs are disp; by its contract they must be depth'),
    ({'shape': (1, 48, 64)}, r"output 'depth' has the shape \[1, 48, 64\].*\[1, 1, 48, 64\]"),
])
def test_a_graph_of_the_wrong_form(make_model, graph, message):
    path = make_model()
    spec = read_spec(path)
    save_graph(path, **graph)
    with pytest.raises(ModelError, match=message):
        write_spec(path, spec)


# Looking models up by name


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The user's data folder and the package's, both empty."""
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path / 'data'))
    package = tmp_path / 'package'
    monkeypatch.setattr(model_spec, '__file__', str(package / 'model_spec.py'))
    found = [tmp_path / 'data' / 'depth_perception' / 'models', package / 'models']
    for folder in found:
        folder.mkdir(parents=True)
    return found


def test_a_path_is_taken_as_it_is(tmp_path, folders):
    file = tmp_path / 'any.onnx'
    file.touch()
    assert find_model(file) == find_model(str(file)) == file


def test_the_users_model_hides_the_packages(folders):
    users, packages = folders
    (packages / 'unet.onnx').touch()
    assert find_model('unet') == packages / 'unet.onnx'
    (users / 'unet.onnx').touch()
    assert find_model('unet') == users / 'unet.onnx'


def test_an_unknown_name_lists_those_that_exist(folders):
    (folders[0] / 'mine.onnx').touch()
    (folders[1] / 'unet.onnx').touch()
    with pytest.raises(ModelError, match="no model is called 'unett'; installed are: mine, unet"):
        find_model('unett')


def test_no_name_at_all_lists_the_names(folders):
    with pytest.raises(ModelError, match='model is empty; give a path .* models: none'):
        find_model('')


def test_a_path_that_does_not_exist_lists_the_names_as_well(folders):
    with pytest.raises(ModelError, match='model file .*x.onnx does not exist; .* models: none'):
        find_model('somewhere/x.onnx')
