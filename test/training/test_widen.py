"""A wider network that starts where a narrower one stands."""

from __future__ import annotations

import pytest
import torch

from training.checkpoint import CheckpointError, load_init
from training.models.realtime_unet import RealtimeUNet, realtime_unet_l, realtime_unet_m
from training.models.unet import tiny as tiny_unet
from training.models.widen import is_narrower

NARROW, WIDE = (8, 8, 12, 12, 16), (12, 16, 12, 30, 32)


def network(widths, mids=(12, 12, 8, 8), confidence=False, seed=0):
    """A network with statistics and biases of a trained one: nothing is 0 or 1."""
    torch.manual_seed(seed)
    made = RealtimeUNet(widths, mids, True, confidence).eval()
    for name, value in made.state_dict().items():
        if value.ndim and not name.endswith('weight'):
            value.copy_(torch.rand_like(value) + 0.5)
    last = [made.head, *((made.scale.at_half, made.scale.at_full) if confidence else ())]
    for conv in last:
        torch.nn.init.normal_(conv.weight)
    return made


@pytest.mark.parametrize('confidence', [False, True])
def test_a_wider_network_computes_what_the_narrower_one_does(confidence):
    narrow = network(NARROW, confidence=confidence)
    wide = network(WIDE, mids=(20, 13, 8, 16), confidence=confidence, seed=1)
    image = torch.randn(2, 3, 48, 64)
    assert is_narrower(narrow.state_dict(), wide)
    wide.load_state_dict(wide.widened(narrow.state_dict(), noise=0.0))
    with torch.inference_mode():
        torch.testing.assert_close(wide(image), narrow(image), rtol=1e-4, atol=1e-4)
        wide.load_state_dict(wide.widened(narrow.state_dict()))
        assert (wide(image) - narrow(image)).std() < 0.2 * narrow(image).std()


def test_copies_of_a_channel_part_in_training():
    narrow, wide = network(NARROW), network(WIDE, mids=(20, 13, 8, 16))
    for noise, apart in ((0.0, False), (0.02, True)):
        wide.load_state_dict(wide.widened(narrow.state_dict(), noise))
        wide.zero_grad()
        wide(torch.randn(2, 3, 32, 32)).square().sum().backward()
        gradient = wide.stem[0].weight.grad  # channel 8 is a copy of channel 0
        assert torch.allclose(gradient[0], gradient[8], rtol=1e-3, atol=1e-6) != apart


def test_the_large_network_starts_from_the_shipped_one():
    large = realtime_unet_l()
    load_init(large, 'realtime_unet_m')
    shipped = realtime_unet_m()
    load_init(shipped, 'realtime_unet_m')
    image = torch.rand(1, 3, 48, 64)
    with torch.inference_mode():
        ratio = (large.eval()(image) - shipped.eval()(image)).exp()
    assert ((ratio > 0.8) & (ratio < 1.25)).float().mean() > 0.9


def test_neither_wider_nor_other_networks_are_taken_for_narrower_ones(tmp_path):
    narrow, wide = network(NARROW), network(WIDE)
    assert not is_narrower(wide.state_dict(), narrow)
    assert not is_narrower(narrow.state_dict(), network(NARROW, seed=1))
    assert not is_narrower(tiny_unet().state_dict(), wide)
    torch.save(wide.state_dict(), tmp_path / 'wide.pth')
    with pytest.raises(CheckpointError, match='size mismatch'):
        load_init(narrow, tmp_path / 'wide.pth')
