from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from training.export import export_onnx
from training.models import build_model
from training.models.realtime_unet import realtime_unet


def test_an_unknown_width_set_lists_the_choices():
    with pytest.raises(ValueError, match="'X' is unknown; choose one of R, A, M"):
        realtime_unet('X')


def test_the_decoder_has_no_batch_norm_and_the_encoder_has_ten():
    network = build_model('realtime_unet_m')
    norms = [name for name, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 10
    assert not any(name.startswith(('decoder', 'head')) for name in norms)


def test_every_pixel_of_the_output_sees_at_least_100_px_to_each_side():
    # A view narrower than that cannot hold the vanishing lines of a room.
    network = build_model('realtime_unet_m').eval()
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    network(image)[0, 0, 128, 128].backward()
    columns = image.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    assert columns.min() <= 28
    assert columns.max() >= 228


def test_a_fresh_decoder_has_no_silent_channel():
    torch.manual_seed(0)
    network = build_model('realtime_unet_m')
    silent = []
    for module in network.decoder.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(
                lambda _, __, out: silent.append(int((out.amax(dim=(0, 2, 3)) == 0).sum())))
    network(torch.randn(4, 3, 64, 64))
    assert silent == [0] * 8


def test_training_starts_from_a_nearly_constant_depth_of_about_one_and_a_half_metres():
    torch.manual_seed(0)
    metres = build_model('realtime_unet_m')(torch.randn(2, 3, 64, 64)).exp()
    assert metres.mean().item() == pytest.approx(1.5, abs=0.2)
    assert metres.std().item() < 0.2


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp('onnx') / 'm.onnx'
    network = build_model('realtime_unet_m')
    network.train()(torch.rand(4, 3, 64, 64))  # batch norm with statistics other than 0 and 1
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        export_onnx(network, path)
    return network, path


@pytest.mark.parametrize('size', [(64, 96), (240, 320)])
def test_the_onnx_file_computes_what_torch_computes_at_any_size(exported, size):
    network, path = exported
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        expected = network(image).numpy()
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    np.testing.assert_allclose(session.run(['depth'], {'image': image.numpy()})[0], expected,
                               atol=1e-4)


def test_the_onnx_graph_holds_nothing_but_five_plain_operators(exported):
    graph = onnx.load(exported[1]).graph
    kinds = {node.op_type for node in graph.node}
    assert kinds == {'Conv', 'Relu', 'MaxPool', 'Resize', 'Concat'}


def test_the_onnx_graph_upsamples_by_a_constant_factor(exported):
    # Sizes computed in the graph would stop TensorRT from fusing.
    graph = onnx.load(exported[1]).graph
    scales = {i.name: onnx.numpy_helper.to_array(i).tolist() for i in graph.initializer}
    resizes = [node for node in graph.node if node.op_type == 'Resize']
    assert [scales[node.input[2]] for node in resizes] == [[1.0, 1.0, 2.0, 2.0]] * 4
