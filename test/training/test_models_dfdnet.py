"""What DfDNet claims beyond what every model must do, and its encoder's published names."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from depth_perception.focus_estimator import FocusStackEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.inference import load
from depth_perception.model_spec import read_spec, write_spec
from training.checkpoint import CheckpointError, load_init
from training.config import Config, Phase
from training.contract import focal_per_width, model_spec
from training.export import compare, export_onnx, frames
from training.models import build_model
from training.models.conv_pyramid import ConvPyramid
from training.models.dfdnet import DfDNet, SingleImageNet, tiny
from training.models.dinov2 import DinoV2
from training.models.dpt import DPTDecoder
from training.models.stack_attention import Collapse, StackAttention

STACK = (2, 3, 3, 28, 42)
FOCUS_M = torch.tensor([[0.5, 1.0, 4.0], [0.7, 2.0, 9.0]])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def narrow_pyramid(collapse_after=1, collapse='mean', canonical=True, focus_measure=False):
    """A convolutional network of few channels, with statistics other than 0 and 1."""
    encoder = ConvPyramid((8, 16), (24, 32, 48), (2, 1, 1))
    decoder = DPTDecoder((16, 24, 32, 48), (8,) * 4, 8, (1.0,) * 4, enlarges=False)
    network = DfDNet(encoder, decoder, 'log', canonical, collapse_after, collapse, 3, 4, 1,
                     focus_measure)
    for module in network.stack_attention:
        nn.init.normal_(module.proj_out.weight, std=3.0)
    network.train()(torch.randn(4, 3, 3, 32, 48), torch.rand(4, 3) + 0.5)
    return network.eval()


def narrow_transformer(collapse_after=2, collapse='attention'):
    """One on a transformer, whose stack attention is heard."""
    network = tiny(collapse_after, collapse).eval()
    for module in network.stack_attention:
        nn.init.normal_(module.proj_out.weight)
    return network


def relative_difference(a, b):
    return ((a - b).abs().max() / b.std()).item()


NETWORKS = {'transformer': narrow_transformer, 'pyramid': narrow_pyramid}


def stack_for(network, count=3):
    side = network.size_multiple
    return torch.randn(2, count, 3, 2 * side, 3 * side), torch.rand(2, count) * 4 + 0.4


@pytest.mark.parametrize(('blocks', 'expected'), [
    (1, 29_223_747), (2, 33_662_405), (4, 42_539_721), (6, 51_417_037), (12, 78_048_985)])
def test_each_block_of_stack_attention_has_the_published_size(blocks, expected):
    with torch.device('meta'):
        network = build_model('dfdnet', collapse_after=blocks)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_the_parts_have_the_published_sizes():
    with torch.device('meta'):
        network = build_model('dfdnet')
        module = StackAttention(384)
    assert sum(p.numel() for p in network.encoder.parameters()) == 22_056_576
    assert sum(p.numel() for p in network.decoder.parameters()) == 2_728_513
    assert sum(p.numel() for p in module.parameters()) == 4_438_658


@pytest.mark.parametrize('kind', NETWORKS)
@pytest.mark.parametrize('collapse', ['mean', 'max', 'attention'])
@pytest.mark.parametrize('blocks', [1, 3, 4])
def test_the_order_of_the_slices_does_not_matter(kind, collapse, blocks):
    network = NETWORKS[kind](blocks, collapse)
    for module in network.collapse.values():
        if module.score is not None:
            nn.init.normal_(module.score.weight)
    stack, focus = stack_for(network)
    order = torch.tensor([2, 0, 1])
    with torch.inference_mode():
        expected = network(stack, focus)
        assert relative_difference(network(stack[:, order], focus[:, order]), expected) < 1e-3
        # But it matters which slice is focused where.
        assert relative_difference(network(stack, focus[:, order]), expected) > 5e-3


@pytest.mark.parametrize('kind', NETWORKS)
@pytest.mark.parametrize('count', [2, 3, 7])
def test_a_stack_may_have_another_size_than_in_training(kind, count):
    network = NETWORKS[kind]()
    with torch.inference_mode():
        assert network(*stack_for(network, count)).isfinite().all()


def test_focus_at_infinity_is_as_good_as_any():
    network = narrow_transformer()
    stack, focus = stack_for(network)
    focus[:, 0] = math.inf
    with torch.inference_mode():
        assert network(stack, focus).isfinite().all()


@pytest.mark.parametrize('blocks', [1, 2, 4])
def test_fresh_stack_attention_leaves_the_mean_of_the_slices(blocks):
    # Written out again: blocks on each slice, the mean behind block `blocks`, the rest once.
    network = narrow_transformer(blocks, 'mean')
    for module in network.stack_attention:
        nn.init.zeros_(module.proj_out.weight)
    stack, focus = stack_for(network)
    encoder, size = network.encoder, stack.shape[-2:]
    collapse_at = min(blocks, 3)
    with torch.inference_mode():
        slices = [encoder.start(stack[:, n]) for n in range(3)]
        levels, mean = [], None
        for index, block in enumerate(encoder.blocks):
            if mean is not None:
                mean = block(mean)
            else:
                slices = [block(x) for x in slices]
                if index == collapse_at:
                    mean = sum(slices) / 3
            levels.append(encoder.level(sum(slices) / 3 if mean is None else mean, size))
        expected = functional.softplus(network.decoder(levels, size))
        torch.testing.assert_close(network(stack, focus), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('blocks', 'expected'), [
    (1, [3, 3, 1, 1]), (2, [3, 3, 3, 1]), (3, [3, 3, 3, 3]), (4, [3, 3, 3, 3])])
def test_blocks_behind_the_collapse_run_once(blocks, expected):
    network = narrow_transformer(blocks, 'mean')
    seen = []
    for block in network.encoder.blocks:
        block.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[0]))
    stack, focus = stack_for(network)
    network(stack[:1], focus[:1])
    assert seen == expected


def attention_by_hand(module, tokens, dioptres, n_heads):
    """Stack attention of one patch (N, C), in float64, written from the paper's description."""
    state = {k: v.double().numpy() for k, v in module.state_dict().items()}

    def linear(x, name):
        return x @ state[f'{name}.weight'].T + state.get(f'{name}.bias', 0)

    def gelu(x):
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def layer_norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-5)
        return scaled * state[f'{name}.weight'] + state[f'{name}.bias']

    # One group over all channels of the only patch: mean and deviation of the slice.
    x = tokens - tokens.mean(-1, keepdims=True)
    x = x / np.sqrt((x ** 2).mean(-1, keepdims=True) + 1e-6)
    x = linear(x * state['norm.weight'] + state['norm.bias'], 'proj_in')
    for i in range(2):
        name = f'attentions.{i}'
        focus = linear(gelu(linear(dioptres[:, None], f'{name}.focus.mlp.0')),
                       f'{name}.focus.mlp.2')
        y = layer_norm(x, f'{name}.norm') + state[f'{name}.focus.scale'] * focus
        q, k, v = np.split(linear(y, f'{name}.qkv'), 3, axis=-1)
        heads = []
        for qh, kh, vh in zip(*(np.split(a, n_heads, axis=-1) for a in (q, k, v))):
            weights = np.exp(qh @ kh.T / math.sqrt(qh.shape[-1]))
            heads.append(weights / weights.sum(-1, keepdims=True) @ vh)
        x = x + linear(np.concatenate(heads, axis=-1), f'{name}.proj')
    value, gate = np.split(linear(layer_norm(x, 'mlp.norm'), 'mlp.fc1'), 2, axis=-1)
    x = x + linear(value * gelu(gate), 'mlp.fc2')
    return tokens + linear(x, 'proj_out')


def test_stack_attention_is_what_the_paper_describes():
    module = StackAttention(8, heads=2, groups=1).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    tokens, dioptres = torch.randn(3, 1, 8, dtype=torch.float64), torch.tensor([2.0, 0.5, 0.0])
    found = module(tokens, dioptres.double()[None])
    expected = attention_by_hand(module, tokens[:, 0].numpy(), dioptres.double().numpy(), 2)
    np.testing.assert_allclose(found[:, 0].detach().numpy(), expected, rtol=1e-9)


def test_patches_do_not_attend_to_one_another():
    module = StackAttention(8, heads=2, groups=1)
    nn.init.normal_(module.proj_out.weight)
    module.norm = nn.Identity()  # the norm is over the whole slice
    tokens = torch.randn(3, 6, 8, requires_grad=True)
    module(tokens, torch.ones(1, 3))[:, 2].square().sum().backward()
    reached = tokens.grad.abs().sum((0, 2)) > 0
    assert reached.tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize('axis', [-1, 1])
def test_the_kinds_of_collapse(axis):
    x = torch.randn(6, 8, 8, 8)  # two stacks of three
    stacks = x.unflatten(0, (2, 3))
    assert torch.equal(Collapse('mean', 8, axis)(x, 3), stacks.mean(1))
    assert torch.equal(Collapse('max', 8, axis)(x, 3), stacks.amax(1))
    attention = Collapse('attention', 8, axis)
    torch.testing.assert_close(attention(x, 3), stacks.mean(1))
    # A loud score of the first channel picks, for the first two of eight, the slice where it is
    # largest; the other heads keep the mean.
    with torch.no_grad():
        attention.score.weight[0, 0] = 1e4
    found, channels = attention(x, 3).movedim(axis, -1), stacks.movedim(axis + (axis > 0), -1)
    best = channels[..., :1].argmax(1, keepdim=True).expand(-1, 1, *channels.shape[2:-1], 2)
    torch.testing.assert_close(found[..., :2], channels[..., :2].gather(1, best).squeeze(1))
    torch.testing.assert_close(found[..., 2:], channels[..., 2:].mean(1))


@pytest.mark.parametrize(('options', 'message'), [
    ({'collapse': 'sum'}, "collapse is 'sum'; choose one of mean, max, attention"),
    ({'collapse_after': 0}, 'collapse_after is 0; the encoder has 7 blocks: give 1 to 7'),
    ({'collapse_after': 8}, 'collapse_after is 8'),
    ({'frames': 1}, 'frames is 1; a stack has 2 to 16'),
])
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_model('dfdnet_small', **options)


def test_canonical_space_can_be_left_out():
    for name in ('dfdnet_small', 'dfdnet_small_single'):
        assert focal_per_width(build_model(name)) == 1.0
        assert focal_per_width(build_model(name, canonical=False)) is None


def test_the_single_image_network_has_the_same_parts():
    stack, single = build_model('dfdnet_small'), build_model('dfdnet_small_single')
    kept = {name: w.shape for name, w in stack.state_dict().items()
            if not name.startswith(('stack_attention.', 'collapse.', 'focus_measure.'))}
    assert kept == {name: w.shape for name, w in single.state_dict().items()}


def test_the_single_image_network_is_the_stack_network_of_equal_slices():
    network = narrow_pyramid()
    for module in network.stack_attention:
        nn.init.zeros_(module.proj_out.weight)
    single = SingleImageNet(network.encoder, network.decoder, 'log', True).eval()
    image = torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        expected = network(image[:, None].expand(-1, 3, -1, -1, -1), FOCUS_M[:1])
        torch.testing.assert_close(single(image), expected, atol=1e-5, rtol=1e-5)


def contract_of(network, size, name='m'):
    config = Config(name=name, model=name, output='', phases=(Phase(*size, 1, 1, 1e-3),))
    return model_spec(config, network, 'none', (1.0, 9.0))


@pytest.fixture(scope='module', params=['pyramid', 'transformer', 'sharpness'])
def exported(request, tmp_path_factory):
    """A network and its ONNX file, with contract."""
    torch.manual_seed(0)
    # Collapses that the shared tests do not export.
    network = {'pyramid': lambda: narrow_pyramid(2, 'max'),
               'transformer': lambda: narrow_transformer(2, 'mean'),
               'sharpness': lambda: narrow_pyramid(focus_measure=True)}[request.param]()
    path = tmp_path_factory.mktemp('onnx') / 'm.onnx'
    export_onnx(network, path)
    multiple = network.size_multiple
    write_spec(path, contract_of(network, (4 * multiple, 5 * multiple)))
    return network, path


def test_the_contract_says_what_the_network_takes(exported):
    network, path = exported
    spec = read_spec(path)
    assert (spec.frames, spec.frames_range) == (3, (2, 16))
    assert spec.extra_inputs == ('focus_distances',)
    assert spec.canonical_focal_px == spec.input_width == 5 * network.size_multiple
    assert spec.blur_scale_range == (1.0, 9.0)


def test_the_exported_file_takes_any_stack_and_size_and_agrees_with_torch(exported):
    network, path = exported
    assert compare(network, path, frames(1)) < 1e-4
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for count, size in ((2, (2, 3)), (5, (3, 2))):
        stack = torch.randn(1, count, 3, *(network.size_multiple * side for side in size))
        focus = torch.rand(1, count) + 0.5
        given = {'image': stack.numpy(), 'focus_distances': focus.numpy()}
        with torch.inference_mode():
            expected = network(stack, focus)
        found = torch.from_numpy(session.run(None, given)[0])
        expected = functional.interpolate(expected, found.shape[-2:], mode='bilinear')
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_scene_twice_as_large_through_a_lens_twice_as_long_is_the_same_picture(exported):
    estimate = FocusStackEstimator(load(str(exported[1]), backend='cpu'))
    images = np.random.default_rng(0).integers(0, 255, (4, 48, 64, 3), np.uint8)
    focus_m = np.array([0.5, 1.0, 2.0, 8.0])
    once = estimate(images, focus_m, Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)).depth.copy()
    twice = estimate(images, 2 * focus_m, Intrinsics(64, 48, 100.0, 100.0, 31.5, 23.5)).depth
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-4)


def small_dinov2(depth=2):
    return DinoV2(16, 2, depth=depth, hooks=(0, 1), grid=4)


def test_the_encoder_has_the_published_names():
    with torch.device('meta'):
        names = build_model('dfdnet_single').encoder.state_dict()
    assert names['pos_embed'].shape == (1, 1370, 384)
    assert names['patch_embed.proj.weight'].shape == (384, 3, 14, 14)
    block = {'norm1.weight', 'norm1.bias', 'attn.qkv.weight', 'attn.qkv.bias', 'attn.proj.weight',
             'attn.proj.bias', 'ls1.gamma', 'norm2.weight', 'norm2.bias', 'mlp.fc1.weight',
             'mlp.fc1.bias', 'mlp.fc2.weight', 'mlp.fc2.bias', 'ls2.gamma'}
    expected = {f'blocks.{i}.{name}' for i in range(12) for name in block}
    expected |= {'cls_token', 'pos_embed', 'mask_token', 'patch_embed.proj.weight',
                 'patch_embed.proj.bias', 'norm.weight', 'norm.bias'}
    assert set(names) == expected


def test_an_encoder_block_is_attention_and_mlp_with_scales():
    encoder = small_dinov2().double().eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    block, x = encoder.blocks[0], torch.randn(1, 5, 16, dtype=torch.float64)
    y = functional.layer_norm(x, (16,), block.norm1.weight, block.norm1.bias, 1e-6)
    q, k, v = functional.linear(y, block.attn.qkv.weight, block.attn.qkv.bias).chunk(3, -1)
    heads = [(q[..., s] @ k[..., s].mT / math.sqrt(8)).softmax(-1) @ v[..., s]
             for s in (slice(0, 8), slice(8, 16))]
    z = x + block.ls1.gamma * block.attn.proj(torch.cat(heads, -1))
    y = functional.layer_norm(z, (16,), block.norm2.weight, block.norm2.bias, 1e-6)
    z = z + block.ls2.gamma * block.mlp.fc2(functional.gelu(block.mlp.fc1(y)))
    torch.testing.assert_close(block(x), z)


def test_position_embeddings_stay_as_they_are_on_their_own_grid():
    encoder = small_dinov2()
    nn.init.zeros_(encoder.patch_embed.proj.weight)
    nn.init.zeros_(encoder.patch_embed.proj.bias)
    tokens = encoder.start(torch.randn(1, 3, 56, 56))
    torch.testing.assert_close(tokens[:, 1:], encoder.pos_embed[:, 1:])
    assert encoder.start(torch.randn(1, 3, 28, 70)).shape == (1, 1 + 2 * 5, 16)


@pytest.mark.parametrize('style', ['dinov2', 'timm', 'depth_anything'])
def test_published_files_load(style, tmp_path):
    network = SingleImageNet(small_dinov2(), DPTDecoder((16,) * 4, (8,) * 4, 8), 'metric', True)
    twin = SingleImageNet(small_dinov2(), DPTDecoder((16,) * 4, (8,) * 4, 8), 'metric', True)
    for parameter in twin.parameters():
        nn.init.normal_(parameter)
    weights = twin.encoder.state_dict()
    if style == 'timm':
        del weights['mask_token']
    if style == 'depth_anything':
        weights = {f'pretrained.{k}': v for k, v in weights.items()}
        weights |= {f'depth_head.{k}': v for k, v in twin.decoder.state_dict().items()}
    torch.save(weights, tmp_path / 'file.pth')
    before = network.decoder.state_dict()['projects.0.weight'].clone()
    load_init(network, tmp_path / 'file.pth')
    assert torch.equal(network.encoder.blocks[1].mlp.fc2.weight,
                       twin.encoder.blocks[1].mlp.fc2.weight)
    expected = twin.decoder.projects[0].weight if style == 'depth_anything' else before
    assert torch.equal(network.decoder.projects[0].weight, expected)


def test_a_file_of_another_architecture_is_refused(tmp_path):
    torch.save(small_dinov2(depth=3).state_dict(), tmp_path / 'deep.pth')
    network = SingleImageNet(small_dinov2(), DPTDecoder((16,) * 4, (8,) * 4, 8), 'metric', True)
    with pytest.raises(CheckpointError, match='does not fit this DinoV2'):
        load_init(network, tmp_path / 'deep.pth')
    with pytest.raises(CheckpointError, match='whose encoder is its own'):
        load_init(narrow_pyramid(), tmp_path / 'deep.pth')
