"""Networks of random weights with the interface of published ones become models that run.

Depth Anything V2 and DPT (MiDaS) are built by transformers from a small config and exported by
torch. For Depth Anything 3, Metric3D, Depth Pro, UniDepth and MoGe small graphs made by hand
stand, with the inputs and outputs of the published exports.
"""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import onnxruntime as ort
import pytest

from depth_perception.estimator import DepthEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.inference import load
from depth_perception.model_contract import ModelError
from depth_perception.model_spec import read_spec
from depth_perception.tools.cli import main
from depth_perception.tools.model_import import import_model
from depth_perception.tools.model_presets import PRESETS, find_preset

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (48, 64, 3), np.uint8)
FLOAT = TensorProto.FLOAT


def hand_made(path, nodes, inputs, outputs, weights=(), opset=17):
    """An ONNX file; inputs and outputs are (name, shape) or (name, shape, type)."""
    def values(entries):
        return [helper.make_tensor_value_info(name, kind[0] if kind else FLOAT, shape)
                for name, shape, *kind in entries]
    graph = helper.make_graph(
        nodes, 'by hand', values(inputs), values(outputs),
        [numpy_helper.from_array(np.asarray(v), name) for name, v in dict(weights).items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


def mean_network(path, image='image', depth='depth', shape=(1, 3, 48, 64), out=None, **options):
    """Depth = 2 + the mean of the channels."""
    axis = 3 if shape[-1] == 3 and len(shape) == 4 else len(shape) - 3
    nodes = [helper.make_node('ReduceMean', [image], ['mean'], axes=[axis], keepdims=1),
             helper.make_node('Add', ['mean', 'two'], [depth])]
    out = out or tuple(1 if i == axis else side for i, side in enumerate(shape))
    return hand_made(path, nodes, [(image, shape)], [(depth, out)],
                     {'two': np.float32(2)}, **options)


def imported(tmp_path, source, preset, **options):
    target = tmp_path / 'installed' / 'model.onnx'
    spec, trial = import_model(source, target, find_preset(preset), **options)
    assert read_spec(target) == read_spec(target)
    assert read_spec(target).name == spec.name == 'model'
    return target, trial


def infer(path, image):
    engine = load(str(path), backend='cpu')
    depth = engine.infer(image)[0].copy()
    engine.close()
    return depth


def original(path, image, output):
    session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    feeds = {session.get_inputs()[0].name: image}
    return session.run([output], feeds)[0]


# Networks of transformers

@pytest.fixture(scope='module')
def transformers():
    pytest.importorskip('torch')
    return pytest.importorskip('transformers')


def export(network, path, size, outputs, dynamic=False):
    """As published: torch's exporter, 'pixel_values' in."""
    import torch

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network.eval()

        def forward(self, pixel_values):
            answer = self.network(pixel_values)
            return tuple(answer[name] for name in outputs)

    torch.onnx.export(Outputs(), (torch.rand(1, 3, *size),), str(path), dynamo=False,
                      input_names=['pixel_values'], output_names=list(outputs), opset_version=17,
                      dynamic_axes={'pixel_values': {2: 'h', 3: 'w'}} if dynamic else None)
    return path


def small_dinov2(transformers, size=70):
    return transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=size,
        patch_size=14, out_features=['stage1', 'stage2', 'stage3', 'stage4'],
        reshape_hidden_states=False, apply_layernorm=True)


@pytest.fixture(scope='module')
def depth_anything(transformers, tmp_path_factory):
    """The network, and its published form as a file."""
    import torch
    torch.manual_seed(0)
    config = transformers.DepthAnythingConfig(
        backbone_config=small_dinov2(transformers), reassemble_hidden_size=32,
        neck_hidden_sizes=[16, 16, 32, 32], fusion_hidden_size=16, head_hidden_size=8)
    network = transformers.DepthAnythingForDepthEstimation(config)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')     # of the exporter
        file = tmp_path_factory.mktemp('depth_anything') / 'model.onnx'
        return network, export(network, file, (70, 98), ['predicted_depth'])


def test_depth_anything_v2_gives_what_the_published_network_gives(depth_anything, tmp_path):
    import torch
    network, source = depth_anything
    path, _ = imported(tmp_path, source, 'depth_anything_v2')
    spec = read_spec(path)
    assert (spec.output_kind, spec.input_height, spec.input_width) == ('relative', 70, 98)
    image = RNG.standard_normal((1, 3, 70, 98), np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).predicted_depth[0].numpy()
    np.testing.assert_allclose(infer(path, image), expected, atol=1e-4)


@pytest.mark.parametrize('precision', ['fp16', 'mixed'])
def test_tensorrt_builds_a_vision_transformer_in_half_precision(
        depth_anything, tmp_path, monkeypatch, precision):
    pytest.importorskip('tensorrt_rtx')
    from depth_perception.inference.tensorrt_builder import TensorRtBuilder, options_for

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    path, _ = imported(tmp_path, depth_anything[1], 'depth_anything_v2')
    options = options_for(read_spec(path), precision)
    assert TensorRtBuilder('tensorrt_rtx').build(path, options, lambda share, phase: True)


@pytest.mark.filterwarnings('ignore')
def test_a_midas_dpt_is_imported(transformers, tmp_path):
    config = transformers.DPTConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
        image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16)
    network = transformers.DPTForDepthEstimation(config)
    source = export(network, tmp_path / 'model.onnx', (64, 64), ['predicted_depth'])
    path, _ = imported(tmp_path, source, 'midas_dpt')
    spec = read_spec(path)
    assert (spec.mean, spec.std, spec.output_kind) == ((0.5,) * 3, (0.5,) * 3, 'relative')
    image = RNG.standard_normal((1, 3, 64, 64), np.float32)
    np.testing.assert_allclose(infer(path, image),
                               original(source, image, 'predicted_depth')[0], atol=1e-5)


# Interfaces by hand

def test_metric3d_takes_0_to_255_and_its_metres_belong_to_1000_px(tmp_path):
    source = mean_network(tmp_path / 'm.onnx', depth='pred_depth', opset=11)
    path, trial = imported(tmp_path, source, 'metric3d_v2')
    engine = load(str(path), backend='cpu')
    estimator = DepthEstimator(engine)
    camera = Intrinsics(64, 48, 500.0, 500.0, 31.5, 23.5)
    # 2 + the grey value 0..255 are metres at f = 1000 px; the camera has 500 px
    grey = np.full((48, 64, 3), 100, np.uint8)
    np.testing.assert_allclose(estimator(grey, camera).depth, (2 + 100) * 500 / 1000, rtol=1e-5)


def test_depth_anything_v3_metric_is_scaled_by_f_over_300(tmp_path):
    source = mean_network(tmp_path / 'm.onnx', shape=(1, 1, 3, 48, 64), out=(1, 1, 1, 48, 64))
    path, _ = imported(tmp_path, source, 'depth_anything_v3_metric')
    estimator = DepthEstimator(load(str(path), backend='cpu'))
    grey = np.full((48, 64, 3), 124, np.uint8)
    first = estimator(grey, Intrinsics(64, 48, 300.0, 300.0, 31.5, 23.5)).depth.copy()
    second = estimator(grey, Intrinsics(64, 48, 450.0, 450.0, 31.5, 23.5)).depth
    expected = 2 + np.mean([(124 / 255 - m) / s for m, s in zip((0.485, 0.456, 0.406),
                                                               (0.229, 0.224, 0.225))])
    np.testing.assert_allclose(first, expected, rtol=1e-4)
    np.testing.assert_allclose(second, 1.5 * expected, rtol=1e-4)


def test_depth_anything_v3_without_a_scale_becomes_inverse_depth(tmp_path):
    path, _ = imported(tmp_path, mean_network(tmp_path / 'm.onnx'), 'depth_anything_v3')
    image = RNG.random((1, 3, 48, 64), np.float32)
    np.testing.assert_allclose(infer(path, image), 1 / (2 + image[0].mean(0)), rtol=1e-5)


def test_depth_pro_gives_metres_by_the_camera_s_focal_length(tmp_path):
    """canonical inverse depth times width / f is 1 / metres, by apple/ml-depth-pro."""
    side = 1536
    nodes = [helper.make_node('ReduceMean', ['pixel_values'], ['m'], axes=[1], keepdims=0),
             helper.make_node('Add', ['m', 'half'], ['predicted_depth']),
             helper.make_node('ReduceMean', ['m'], ['field_of_view'], axes=[1, 2], keepdims=0)]
    source = hand_made(tmp_path / 'm.onnx', nodes, [('pixel_values', (1, 3, side, side))],
                       [('predicted_depth', (1, side, side)), ('field_of_view', (1,))],
                       {'half': np.float32(0.5)})
    path, _ = imported(tmp_path, source, 'depth_pro')
    estimator = DepthEstimator(load(str(path), backend='cpu'))
    grey = np.full((64, 64, 3), 153, np.uint8)      # 153 / 255 = 0.6 -> 0.2 -> 0.7
    camera = Intrinsics(64, 64, 80.0, 80.0, 31.5, 31.5)
    np.testing.assert_allclose(estimator(grey, camera).depth, 80 / 64 / 0.7, rtol=1e-4)


def test_metres_of_an_assumed_focal_length_follow_the_true_one(tmp_path):
    nodes = [helper.make_node('ReduceMean', ['image'], ['m'], axes=[1], keepdims=1),
             helper.make_node('Add', ['m', 'two'], ['predicted_depth']),
             helper.make_node('Identity', ['focal'], ['focallength_px'])]
    source = hand_made(tmp_path / 'm.onnx', nodes, [('image', (1, 3, 48, 64))],
                       [('predicted_depth', (1, 1, 48, 64)), ('focallength_px', (1,))],
                       {'two': np.float32(2), 'focal': np.array([40], np.float32)})
    path, _ = imported(tmp_path, source, 'depth_pro_focal')
    estimator = DepthEstimator(load(str(path), backend='cpu'))
    grey = np.full((48, 64, 3), 153, np.uint8)
    camera = Intrinsics(64, 48, 60.0, 60.0, 31.5, 23.5)
    np.testing.assert_allclose(estimator(grey, camera).depth, 2.2 * 60 / 40, rtol=1e-4)


def test_unidepth_is_imported_without_its_other_outputs(tmp_path):
    nodes = [helper.make_node('ReduceMean', ['image'], ['m'], axes=[1], keepdims=1),
             helper.make_node('Add', ['m', 'two'], ['depth']),
             helper.make_node('Neg', ['depth'], ['depth_ssi']),
             helper.make_node('Identity', ['eye'], ['out_K']),
             helper.make_node('Exp', ['depth'], ['confidence'])]
    shape = ('batch', 1, 42, 56)
    source = hand_made(
        tmp_path / 'm.onnx', nodes, [('image', ('batch', 3, 42, 56))],
        [('out_K', (1, 3, 3)), ('depth', shape), ('depth_ssi', shape), ('confidence', shape)],
        {'two': np.float32(2), 'eye': np.eye(3, dtype=np.float32)[None]})
    path, _ = imported(tmp_path, source, 'unidepth')
    assert [o.name for o in onnx.load(str(path)).graph.output] == ['depth']
    assert {n.op_type for n in onnx.load(str(path)).graph.node} == {
        'ReduceMean', 'Add', 'Identity', 'Cast'}
    image = RNG.random((1, 3, 42, 56), np.float32)
    np.testing.assert_allclose(infer(path, image), 2 + image[0].mean(0), rtol=1e-5)


def test_unidepth_with_a_camera_input_says_to_export_without(tmp_path):
    nodes = [helper.make_node('ReduceMean', ['image'], ['m'], axes=[1], keepdims=1),
             helper.make_node('ReduceMean', ['K'], ['k'], keepdims=0),
             helper.make_node('Add', ['m', 'k'], ['depth'])]
    source = hand_made(tmp_path / 'm.onnx', nodes,
                       [('image', (1, 3, 42, 56)), ('K', (1, 3, 3))], [('depth', (1, 1, 42, 56))])
    with pytest.raises(ModelError, match='takes K, which nobody fills here; .* without camera'):
        imported(tmp_path, source, 'unidepth')


def moge(path, depth, focal, shift, scale, masked):
    """Points of a true depth map, shifted along z, as MoGe-2 gives them."""
    height, width = depth.shape
    diagonal = np.hypot(height, width)
    u = np.linspace(-1, 1, width) * width / diagonal * (width - 1) / width
    v = np.linspace(-1, 1, height) * height / diagonal * (height - 1) / height
    points = np.stack([u[None] * depth / focal, v[:, None] * depth / focal, depth - shift], -1)
    mask = np.ones(depth.shape, np.float32)
    mask[:, :masked] = 0
    points[:, :masked] = 7
    nodes = [helper.make_node('ReduceMean', ['image'], ['m'], keepdims=0),
             helper.make_node('Mul', ['m', 'zero'], ['n']),
             helper.make_node('Cast', ['num_tokens'], ['tokens'], to=FLOAT),
             helper.make_node('Mul', ['tokens', 'zero'], ['t']),
             helper.make_node('Add', ['n', 't'], ['nothing']),
             helper.make_node('Add', ['true_points', 'nothing'], ['points']),
             helper.make_node('Add', ['true_mask', 'nothing'], ['mask']),
             helper.make_node('Add', ['true_scale', 'nothing'], ['metric_scale']),
             helper.make_node('Neg', ['points'], ['normal'])]
    side = (1, 'height', 'width')
    return hand_made(
        path, nodes,
        [('image', (1, 3, 'height', 'width')), ('num_tokens', (), TensorProto.INT64)],
        [('points', (*side, 3)), ('normal', (*side, 3)), ('mask', side), ('metric_scale', (1,))],
        {'zero': np.float32(0), 'true_points': points[None].astype(np.float32),
         'true_mask': mask[None], 'true_scale': np.array([scale], np.float32)})


def test_moge_s_points_become_depth_with_their_shift_recovered(tmp_path):
    depth = 1 + 4 * RNG.random((518, 518)).astype(np.float32)
    source = moge(tmp_path / 'm.onnx', depth, focal=0.9, shift=0.6, scale=1.7, masked=40)
    path, trial = imported(tmp_path, source, 'moge')
    got = infer(path, np.zeros((1, 3, 518, 518), np.float32))
    np.testing.assert_allclose(got[:, 40:], 1.7 * depth[:, 40:], rtol=2e-3)
    assert np.isnan(got[:, :40]).all()
    assert '8 % of the pixels have no depth' in trial.doubts


# Inspection

def test_a_free_size_that_works_stays_free_and_another_becomes_fixed(tmp_path):
    source = mean_network(tmp_path / 'a.onnx', 'pixel_values', shape=(1, 3, 'h', 'w'))
    spec = read_spec(imported(tmp_path / 'a', source, 'midas')[0])
    assert (spec.size_multiple, spec.input_height, spec.input_width) == (32, 256, 256)
    nodes = [helper.make_node('Reshape', ['image', 'flat'], ['x']),
             helper.make_node('ReduceMean', ['x'], ['depth'], axes=[1], keepdims=1)]
    source = hand_made(tmp_path / 'b.onnx', nodes, [('image', (1, 3, 'h', 'w'))],
                       [('depth', (1, 1, 'h', 'w'))], {'flat': np.array([1, 3, 256, 256])})
    assert read_spec(imported(tmp_path / 'b', source, 'midas')[0]).size_multiple == 0


@pytest.mark.parametrize('shape, out', [((1, 48, 64, 3), (1, 48, 64, 1)),
                                        ((1, 3, 48, 64), (1, 1, 48, 64))])
def test_channels_may_come_last(tmp_path, shape, out):
    source = mean_network(tmp_path / 'm.onnx', shape=shape, out=out)
    path, _ = imported(tmp_path, source, 'midas')
    image = RNG.random((1, 3, 48, 64), np.float32)
    np.testing.assert_allclose(infer(path, image), 2 + image[0].mean(0), rtol=1e-5)


def test_half_precision_and_a_smaller_map_are_turned_into_ours(tmp_path):
    nodes = [helper.make_node('AveragePool', ['image'], ['s'], kernel_shape=[4, 4],
                              strides=[4, 4]),
             helper.make_node('ReduceMean', ['s'], ['m'], axes=[1], keepdims=0),
             helper.make_node('Add', ['m', 'two'], ['output'])]
    half = TensorProto.FLOAT16
    source = hand_made(tmp_path / 'm.onnx', nodes, [('image', (1, 3, 48, 64), half)],
                       [('output', (1, 12, 16), half)], {'two': np.float16(2)})
    path, _ = imported(tmp_path, source, 'midas')
    got = infer(path, np.full((1, 3, 48, 64), 0.5, np.float32))
    assert got.shape == (48, 64)
    np.testing.assert_allclose(got, 2.5, rtol=2e-3)


@pytest.mark.parametrize('change, message', [
    ({'image': 'features', 'shape': (1, 7, 48, 64)}, 'exactly one has to be an image'),
    ({'opset': 10}, 'opset 10; export it with opset 11 or newer'),
])
def test_a_network_that_cannot_be_adapted_says_why(tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        imported(tmp_path, mean_network(tmp_path / 'm.onnx', **change), 'midas')


def test_several_outputs_have_to_be_told_apart(tmp_path):
    nodes = [helper.make_node('ReduceMean', ['image'], ['a'], axes=[1], keepdims=1),
             helper.make_node('Neg', ['a'], ['b'])]
    side = (1, 1, 48, 64)
    source = hand_made(tmp_path / 'm.onnx', nodes, [('image', (1, 3, 48, 64))],
                       [('a', side), ('b', side)])
    with pytest.raises(ModelError, match='outputs are a, b; name the one with the depth'):
        imported(tmp_path, source, 'midas')
    path, _ = imported(tmp_path, source, 'midas', output_name='b')
    assert (infer(path, np.ones((1, 3, 48, 64), np.float32)) == -1).all()


def test_an_output_that_is_no_map_is_refused(tmp_path):
    nodes = [helper.make_node('Neg', ['image'], ['depth'])]
    source = hand_made(tmp_path / 'm.onnx', nodes, [('image', (1, 3, 48, 64))],
                       [('depth', (1, 3, 48, 64))])
    with pytest.raises(ModelError, match=r'shape \[1, 3, 48, 64\]; it must be one map'):
        imported(tmp_path, source, 'midas')


def test_a_model_that_gives_nan_alone_is_not_installed(tmp_path):
    nodes = [helper.make_node('ReduceMean', ['image'], ['m'], axes=[1], keepdims=1),
             helper.make_node('Add', ['m', 'nan'], ['depth'])]
    source = hand_made(tmp_path / 'm.onnx', nodes, [('image', (1, 3, 48, 64))],
                       [('depth', (1, 1, 48, 64))], {'nan': np.float32(np.nan)})
    with pytest.raises(ModelError, match='no depth for a photograph'):
        imported(tmp_path, source, 'midas')
    assert not list((tmp_path / 'installed').iterdir())


def test_weights_outside_of_the_folder_are_refused(tmp_path):
    source = mean_network(tmp_path / 'm.onnx')
    model = onnx.load(str(source))
    tensor = model.graph.initializer[0]
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='../secret')
    onnx.save(model, str(source))
    with pytest.raises(ModelError, match='outside of its folder'):
        imported(tmp_path, source, 'midas')


def test_weights_beside_the_file_come_into_the_model(tmp_path):
    (tmp_path / 'theirs').mkdir()
    source = mean_network(tmp_path / 'theirs' / 'm.onnx')
    model = onnx.load(str(source))
    onnx.save_model(model, str(source), save_as_external_data=True, location='m.data',
                    size_threshold=0)
    path, _ = imported(tmp_path, source, 'midas')
    assert [p.name for p in path.parent.iterdir()] == ['model.onnx']
    assert (infer(path, np.ones((1, 3, 48, 64), np.float32)) == 3).all()


@pytest.mark.parametrize('content', [b'', b'no network', b'\x08\x08' + bytes(100)])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    source = tmp_path / 'm.onnx'
    source.write_bytes(content)
    with pytest.raises(ModelError, match='is no ONNX file'):
        imported(tmp_path, source, 'midas')


def test_an_improbable_distance_is_doubted(tmp_path):
    source = mean_network(tmp_path / 'm.onnx')
    model = onnx.load(str(source))
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.float32(1e6), 'two'))
    onnx.save(model, str(source))
    _, trial = imported(tmp_path, source, 'unidepth')
    assert any('no distance in a photograph' in doubt for doubt in trial.doubts)


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_has_a_size_that_it_allows(name):
    preset = PRESETS[name]
    assert not preset.multiple or not any(side % preset.multiple for side in preset.size)
    assert preset.kind in ('metric', 'inverse', 'relative')


# The command

@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path / 'data'))
    return tmp_path / 'data' / 'depth_perception' / 'models'


def test_the_command_imports_lists_and_shows(tmp_path, data_folder, capsys):
    source = mean_network(tmp_path / 'their_net.onnx')
    assert main(['models', 'import', str(source), '--kind', 'metric', '--mean', '0,0,0',
                 '--std', '1,1,1', '--canonical-focal-px', '50', '--name', 'mine',
                 '--licence', 'MIT', '--depth-range', '0.5,20']) == 0
    assert 'trial on a photograph' in capsys.readouterr().out
    spec = read_spec(data_folder / 'mine.onnx')
    assert (spec.output_kind, spec.canonical_focal_px, spec.licence) == ('metric', 50.0, 'MIT')
    assert spec.depth_range == (0.5, 20.0)
    assert main(['models', 'list']) == 0
    listed = capsys.readouterr().out
    assert 'mine' in listed and 'realtime_unet_m' in listed
    assert main(['models', 'info', 'mine']) == 0
    assert 'canonical_focal_px   50.0' in capsys.readouterr().out


@pytest.mark.parametrize('options, message', [
    ([], 'Give --preset, or --kind'),
    (['--preset', 'midass'], "no preset is called 'midass'; there are depth_anything_v2"),
    (['--kind', 'metric', '--output-name', 'b'], "has no output 'b'"),
])
def test_the_command_says_what_is_missing(tmp_path, data_folder, capsys, options, message):
    source = mean_network(tmp_path / 'm.onnx')
    assert main(['models', 'import', str(source), *options]) == 1
    assert message in capsys.readouterr().err


def test_a_model_is_never_written_over_its_source(tmp_path, capsys):
    source = mean_network(tmp_path / 'm.onnx')
    before = source.read_bytes()
    assert main(['models', 'import', str(source), '--preset', 'midas', '--output',
                 str(source)]) == 1
    assert 'written over itself' in capsys.readouterr().err
    assert source.read_bytes() == before
