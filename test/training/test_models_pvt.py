"""The pyramid encoder: attention, and names of published weights."""

from __future__ import annotations

import re

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from training.models import build_model
from training.models.pvt import Attention, LinearSRA, pooling_matrix
from training.models.spt import tiny
from training.models.spt_comparison import tiny_vit


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def on_meta(name, **options):
    with torch.device('meta'):
        return build_model(name, **options)


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize('size', [(12, 16), (30, 40), (14, 7), (2, 3)])
def test_the_pooling_matrices_average_like_adaptive_pooling(size):
    x = torch.randn(2, 5, *size)
    rows, columns = (pooling_matrix(7, side, x) for side in size)
    torch.testing.assert_close(rows @ x @ columns.T, F.adaptive_avg_pool2d(x, 7))


def by_hand(q, k, v, heads):
    """Attention one head and one query at a time."""
    out = torch.zeros_like(q)
    step = q.shape[-1] // heads
    for head in range(heads):
        own = slice(head * step, (head + 1) * step)
        for i in range(q.shape[0]):
            scores = (k[:, own] @ q[i, own]) / step ** 0.5
            weight = scores.exp() / scores.exp().sum()
            out[i, own] = weight @ v[:, own]
    return out


def test_linear_sra_attends_to_the_seven_by_seven_means():
    layer = LinearSRA(6, heads=2, dropout=0.0)
    tokens = torch.randn(1, 9 * 10, 6)
    pooled = F.adaptive_avg_pool2d(tokens[0].T.reshape(1, 6, 9, 10), 7)
    context = F.gelu(layer.norm(layer.sr(pooled)[0].flatten(1).T))
    k, v = layer.kv(context)[:, :6], layer.kv(context)[:, 6:]
    expected = layer.proj(by_hand(layer.q(tokens[0]), k, v, 2))
    torch.testing.assert_close(layer(tokens, (9, 10))[0], expected)


def test_ordinary_attention_attends_to_every_token():
    layer = Attention(6, heads=3, dropout=0.0)
    tokens = torch.randn(1, 4 * 5, 6)
    kv = layer.kv(tokens[0])
    expected = layer.proj(by_hand(layer.q(tokens[0]), kv[:, :6], kv[:, 6:], 3))
    torch.testing.assert_close(layer(tokens, (4, 5))[0], expected)


def test_the_pyramid_has_the_maps_and_parameters_of_pvt_v2_b2_with_linear_sra():
    encoder = on_meta('spt_base').encoder
    shapes = [tuple(x.shape[1:]) for x in encoder(torch.empty(1, 3, 384, 384, device='meta'))]
    assert shapes == [(64, 96, 96), (128, 48, 48), (320, 24, 24), (512, 12, 12)]
    assert count(encoder) == 22_040_512


# Names and shapes as the two publish them; the rest follows by stage and block.
TIMM = {
    'patch_embed.proj.weight': (64, 3, 7, 7),
    'stages.3.downsample.proj.weight': (512, 320, 3, 3),
    'stages.0.blocks.2.attn.kv.weight': (128, 64),
    'stages.2.blocks.5.attn.sr.weight': (320, 320, 1, 1),
    'stages.1.blocks.0.attn.norm.bias': (128,),
    'stages.0.blocks.0.mlp.dwconv.weight': (512, 1, 3, 3),
    'stages.3.norm.weight': (512,),
}
AUTHORS = {
    'patch_embed1.proj.weight', 'patch_embed4.proj.weight', 'block1.2.attn.kv.weight',
    'block3.5.attn.sr.weight', 'block2.0.attn.norm.bias', 'block1.0.mlp.dwconv.dwconv.weight',
    'norm4.weight',
}


def test_the_encoder_keeps_timms_names_and_shapes():
    own = {name: tuple(x.shape) for name, x in on_meta('spt_base').encoder.state_dict().items()}
    assert TIMM.items() <= own.items()


def authors_name(name):
    # The inverse of the translation, written apart from it.
    name = re.sub(r'^patch_embed', 'patch_embed1', name)
    name = name.replace('mlp.dwconv', 'mlp.dwconv.dwconv')
    found = re.match(r'stages\.(\d)\.(downsample|blocks|norm)\.(.*)', name)
    if not found:
        return name
    stage, part, rest = found.groups()
    own = {'downsample': 'patch_embed', 'blocks': 'block', 'norm': 'norm'}[part]
    return f'{own}{int(stage) + 1}.{rest}'


def test_files_of_timm_and_of_the_authors_load_without_their_classifier(tmp_path):
    source = tiny().encoder
    assert {authors_name(name) for name in on_meta('spt_base').encoder.state_dict()} >= AUTHORS
    head = {'head.weight': torch.zeros(1000, 32), 'head.bias': torch.zeros(1000)}
    own = source.state_dict()
    torch.save({authors_name(name): x for name, x in own.items()} | head, tmp_path / 'a.pth')
    safetensors.torch.save_file(own | head, tmp_path / 'timm.safetensors')
    image = torch.randn(1, 3, 64, 96)
    for path in tmp_path.iterdir():
        target = tiny(rank=2).encoder
        target.load_imagenet(path)
        torch.testing.assert_close(target.eval()(image), source.eval()(image))


def test_a_file_of_another_architecture_is_refused(tmp_path):
    path = tmp_path / 'other.safetensors'
    safetensors.torch.save_file(tiny_vit().encoder.state_dict(), path)
    with pytest.raises(ValueError, match='does not fit this PyramidTransformer'):
        tiny().encoder.load_imagenet(path)
