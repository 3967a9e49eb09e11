"""SPT-Depth: decoder, two heads, input sizes, options, and the exported file."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from depth_perception.inference.tensorrt_builder import TensorRtBuilder, options_for
from depth_perception.model_spec import write_spec
from training.config import Config, Phase
from training.contract import model_spec
from training.export import ExportError, export_onnx, fix_size
from training.losses import SEGMENTATION_LOSSES, build_loss
from training.models import build_model
from training.models.eigen import tiny as tiny_eigen
from training.models.input_size import pad_to_multiple
from training.models.reassemble import ChannelNorm, Fusion, Reassemble
from training.models.spt import tiny
from training.models.spt_comparison import tiny_hybrid, tiny_pvt, tiny_vit
from training.task import loss_of

TINY = {'spt': tiny, 'vit16': tiny_vit, 'vit32': lambda: tiny_vit(32), 'hybrid': tiny_hybrid,
        'pvt': tiny_pvt}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=TINY)
def network(request):
    return TINY[request.param]().eval()


def on_meta(name, **options):
    with torch.device('meta'):
        return build_model(name, **options)


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(('options', 'parameters'), [
    ({'embedding': 256, 'width': 128}, 25_575_651), ({'embedding': 128, 'width': 64}, 23_001_251),
    ({'classes': 0}, 36_091_235 - 331_936 - 66), ({'classes': 5}, 36_091_235 + 3 * 33),
])
def test_the_decoders_settings_have_the_parameters_counted_by_hand(options, parameters):
    assert count(on_meta('spt_base', **options)) == parameters


@pytest.mark.parametrize('factor', [4, 2, 1, 0.5])
def test_reassemble_resamples_by_its_factor(factor):
    level = Reassemble(5, 16, 8, factor)
    assert level(torch.randn(2, 5, 8, 12)).shape == (2, 8, 8 * factor, 12 * factor)


def test_the_norm_of_the_decoder_is_over_channels_at_each_pixel():
    x = ChannelNorm(6)(3 + 2 * torch.randn(2, 6, 4, 5))
    torch.testing.assert_close(x.mean(dim=1), torch.zeros(2, 4, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.var(dim=1, unbiased=False), torch.ones(2, 4, 5),
                               atol=1e-3, rtol=0)


def test_a_fusion_adds_the_coarser_level_and_leaves_its_input_as_it_is():
    fusion, level, coarser = Fusion(8), torch.randn(1, 8, 4, 6), torch.randn(1, 8, 4, 6)
    kept = level.clone()
    expected = F.interpolate(fusion.after(fusion.before(level) + coarser), scale_factor=2,
                             mode='bilinear', align_corners=True)
    torch.testing.assert_close(fusion(level, coarser), expected)
    assert torch.equal(level, kept)


@pytest.mark.parametrize('kind', ['relative', 'log'])
def test_training_starts_from_a_nearly_constant_map(kind):
    depth = tiny(output_kind=kind)(torch.randn(2, 3, 64, 96))
    start = {'relative': 0.5, 'log': 0.4}[kind]
    assert depth.mean().item() == pytest.approx(start, abs=0.1)
    assert depth.std().item() < 0.1


# Two heads


def test_the_joint_call_gives_both_maps_and_forward_the_first_of_them(network):
    image = torch.randn(2, 3, 64, 96)
    depth, logits = network.joint(image)
    assert torch.equal(depth, network(image))
    assert logits.shape == (2, 2, 64, 96)
    assert isinstance(network.train()(image), torch.Tensor)


def test_a_joint_loss_trains_both_heads_and_a_depth_loss_only_one():
    network, image = tiny(classes=3), torch.randn(2, 3, 64, 64)
    network(image).sum().backward()
    assert all(p.grad is None for p in network.segmentation_head.parameters())
    depth, logits = network.joint(image)
    labels = torch.randint(-1, 3, (2, 64, 64))
    (depth.mean() + SEGMENTATION_LOSSES['cross_entropy']()(logits, labels)).backward()
    assert all(p.grad.any() for p in network.segmentation_head.parameters())


def test_without_classes_there_is_no_second_head_and_the_joint_call_says_so():
    network = tiny(classes=0)
    network(torch.randn(1, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    with pytest.raises(ValueError, match='classes=0, no segmentation head; give classes=2'):
        network.joint(torch.randn(1, 3, 64, 64))


def test_the_depth_losses_train_it_in_log_metres():
    network, image = tiny(output_kind='log'), torch.rand(2, 3, 64, 96)
    depth = torch.rand(2, 1, 64, 96) + 1
    loss = loss_of(build_loss('silog'), network(image), network.output_kind, depth, image)
    loss.backward()
    assert network.encoder.patch_embed.proj.weight.grad.any()


# Sizes


@pytest.mark.parametrize('size', [(64, 96), (50, 70), (33, 127), (20, 20)])
def test_a_size_that_is_no_multiple_of_32_is_padded_by_its_edge_and_cropped_back(network, size):
    height, width = size
    image = torch.randn(2, 3, height, width)
    rows = torch.arange(-(-height // 32) * 32).clamp(max=height - 1)
    columns = torch.arange(-(-width // 32) * 32).clamp(max=width - 1)
    padded = image[:, :, rows][:, :, :, columns]
    assert torch.equal(pad_to_multiple(image, 32), padded)
    with torch.inference_mode():
        expected = network(padded)[:, :, :height, :width]
        assert torch.equal(network(image), expected)
        assert network.joint(image).logits.shape == (2, 2, height, width)


# Hooks and other options


@pytest.mark.parametrize('hooks', [[2, 6, 12, 15], [2, 5, 8, 11], [3, 6, 9, 12], [5, 11, 17, 23]])
def test_the_papers_hooks_mean_the_ends_of_the_stages(hooks):
    assert count(on_meta('spt_base', hooks=hooks)) == 36_091_235


@pytest.mark.parametrize(('hooks', 'rule'), [
    ([2, 6, 12, 16], r'the encoder has blocks 0 to 15: give \[2, 6, 12, 15\]'),
    ([-1, 6, 12, 15], 'the encoder has blocks 0 to 15'),
    ([1, 6, 12, 15], 'each must be the last block of a stage'),
    ([6, 12, 15], 'each must be the last block of a stage'),
])
def test_other_hooks_are_refused_with_the_rule(hooks, rule):
    with pytest.raises(ValueError, match=rule):
        on_meta('spt_base', hooks=hooks)


def test_a_size_or_output_kind_that_does_not_exist_lists_the_choices():
    for name in ('vit16', 'vit32', 'dpt_hybrid', 'pvt', 'pvt_linear_sra'):
        with pytest.raises(ValueError, match="size is 'huge'; choose one of base, tiny"):
            on_meta(name, size='huge')
    with pytest.raises(ValueError, match="output_kind is 'metric'; choose one of relative, log"):
        on_meta('spt_tiny', output_kind='metric')


@pytest.mark.parametrize('kind', ['spt', *(
    pytest.param(kind, marks=pytest.mark.slow) for kind in TINY if kind != 'spt')])
def test_the_exported_file_computes_what_torch_computes_at_three_sizes(kind, tmp_path):
    network = TINY[kind]().eval()
    export_onnx(network, tmp_path / 'n.onnx')
    session = onnxruntime.InferenceSession(tmp_path / 'n.onnx',
                                           providers=['CPUExecutionProvider'])
    for size in ((64, 96), (160, 64), (224, 320)):
        image = torch.randn(1, 3, *size)
        with torch.inference_mode():
            expected = network(image).numpy()
        found = session.run(['depth'], {'image': image.numpy()})[0]
        np.testing.assert_allclose(found, expected, atol=1e-4)


# One size

PLAIN = {
    'Add', 'Conv', 'ConvTranspose', 'Div', 'Erf', 'LayerNormalization', 'MatMul', 'Mul', 'Relu',
    'Reshape', 'Resize', 'Sigmoid', 'Slice', 'Softmax', 'Transpose',
}


@pytest.fixture
def of_one_size(tmp_path):
    def make(size):
        network = tiny().eval()
        fix_size(network, size)
        path = tmp_path / f'{size[0]}.onnx'
        export_onnx(network, path)
        return network, path
    return make


@pytest.mark.parametrize('size', [(64, 96), (160, 64), (224, 320)])
def test_a_file_of_one_size_computes_what_torch_does_with_plain_operators(of_one_size, size):
    network, path = of_one_size(size)
    graph = onnx.load(path).graph
    assert {node.op_type for node in graph.node} <= PLAIN  # no pooling, no shape is asked for
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 3, *size]
    image = torch.randn(1, 3, *size)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    with torch.inference_mode():
        expected = network(image).numpy()
    found = session.run(['depth'], {'image': image.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_tensorrt_builds_a_file_of_one_size(of_one_size):
    pytest.importorskip('tensorrt_rtx', reason='published for Linux on x86-64 alone')
    network, path = of_one_size((64, 96))
    config = Config('spt', 'spt_tiny', (Phase(96, 128, 1, 1, 1e-4),), '')
    spec = model_spec(config, network, 'none')
    assert (spec.input_height, spec.input_width, spec.size_multiple) == (64, 96, 0)
    write_spec(path, spec)
    engine = TensorRtBuilder('tensorrt_rtx').build(
        path, options_for(spec, 'fp32'), lambda share, phase: True)
    assert len(engine) > 10_000


@pytest.mark.parametrize(('network', 'size', 'message'), [
    (tiny, (100, 96), 'size is 100x96; height and width must be multiples of 32 for SPT'),
    (tiny, (0, 96), 'must be multiples of 32'),
    (tiny_eigen, (64, 96), 'size is 64x96; .* takes 68x92 only'),
])
def test_a_size_that_a_network_does_not_take_is_refused(network, size, message):
    with pytest.raises(ExportError, match=message):
        fix_size(network(), size)
