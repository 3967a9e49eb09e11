"""The encoders of the comparison: ViT, the hybrid, the pyramid with ordinary attention."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from training.models import build_model
from training.models.vit import VisionTransformer


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def on_meta(name, **options):
    with torch.device('meta'):
        return build_model(name, **options)


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_vit_takes_the_names_of_timm_and_leaves_out_what_it_does_not_use(tmp_path):
    source = VisionTransformer(16, 24, 4, 2, (0, 1, 2, 3), dropout=0.0, grid=4)
    target = VisionTransformer(16, 24, 4, 2, (0, 1), dropout=0.0, grid=4)
    extra = {'norm.weight': torch.ones(24), 'head.weight': torch.ones(1000, 24)}
    path = tmp_path / 'vit.safetensors'
    safetensors.torch.save_file(source.state_dict() | extra, path)
    target.load_imagenet(path)
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(target.eval()(image), source.eval()(image)[:2])
    names = set(source.state_dict())
    assert {'cls_token', 'pos_embed', 'patch_embed.proj.weight', 'blocks.3.attn.qkv.bias',
            'blocks.0.mlp.fc1.weight', 'blocks.0.norm2.bias'} <= names


@pytest.mark.parametrize(('name', 'published'), [
    # timm's counts of vit_base_patch{16,32}_384 less 769,000 of the classifier and 1,536 of norm.
    ('vit16', 86_859_496 - 769_000 - 1_536), ('vit32', 88_297_192 - 769_000 - 1_536),
    # Less the convolution and norm that reduce: C^2 + 3 C in each block.
    ('pvt', 22_040_512 - sum(n * (c * c + 3 * c)
                             for n, c in ((3, 64), (4, 128), (6, 320), (3, 512)))),
])
def test_the_encoders_of_the_comparison_have_the_published_parameters(name, published):
    assert count(on_meta(name).encoder) == published


@pytest.mark.parametrize('hooks', [[2, 5, 8, 12], [-1, 5, 8, 11], [5, 2, 8, 11], [2, 2, 8, 11]])
def test_hooks_of_vit_beyond_its_depth_or_out_of_order_are_refused(hooks):
    with pytest.raises(ValueError, match='blocks 0 to 11: give some of them in ascending order'):
        on_meta('vit16', hooks=hooks)


def test_as_many_hooks_as_the_decoder_fuses_are_needed():
    with pytest.raises(ValueError, match='gives 3 maps; the decoder fuses 4: give as many hooks'):
        on_meta('vit16', hooks=[2, 5, 8])
    assert len(on_meta('vit16', hooks=[3, 5, 7, 9]).encoder.blocks) == 10
