"""What every registered model must do; each model's own claims are in test_models_NAME.py."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from training.models import MODELS, build_model

PARAMETERS = {
    'realtime_unet': 1_215_878,
    'realtime_unet_a': 1_222_286,
    'realtime_unet_m': 1_131_457,
    'realtime_unet_l': 2_543_905,
    'unet': 17_262_977,
    'unetpp18': 15_970_449,
    'unetpp34': 26_078_609,
    'unetpp50': 48_985_745,
    'eigen': 70_877_171,
    'spt_base': 36_091_235,
    'spt_large': 36_616_547,
    'spt_tiny': 4_032_067,
    'vit16': 103_023_779,
    'vit32': 108_656_035,
    'dpt_hybrid': 113_214_179,
    'pvt': 34_600_099,
    'pvt_linear_sra': 36_091_235,
    'dfdnet': 42_539_721,
    'dfdnet_base': 168_369_481,
    'dfdnet_small': 3_330_512,
    'dfdnet_single': 24_785_089,
    'dfdnet_base_single': 97_470_785,
    'dfdnet_small_single': 3_079_401,
}
TINY = {build.__module__.rpartition('.')[2]: sys.modules[build.__module__].tiny
        for build in MODELS.values()}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=TINY)
def tiny(request):
    return TINY[request.param]()


def inputs(network, size, batch=1, device=None):
    """Noise of `size`: images, or stacks and their focus distances."""
    if getattr(network, 'frames', 1) == 1:
        return (torch.randn(batch, 3, *size, device=device),)
    n = network.frames
    distances = torch.linspace(0.5, 4, n, device=device).expand(batch, n)
    return torch.randn(batch, n, 3, *size, device=device), distances


def small_inputs(network, batch=2):
    """Noise of the smallest size that is not square."""
    multiple = getattr(network, 'size_multiple', 0)
    size = getattr(network, 'input_size', (2 * multiple, 3 * multiple))
    return inputs(network, size, batch)


def in_each_stage(network):
    for stage in getattr(network, 'stages', ('',)):
        if stage:
            network.set_stage(stage)
        yield


def export(network, given, path):
    names = ['image', *getattr(network, 'extra_inputs', ())]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        torch.onnx.export(network, given, path, input_names=names, output_names=['depth'],
                          dynamo=True, external_data=False, verbose=False)
    return names


def assert_onnx_computes_the_same(network, given, path):
    names = export(network, given, path)
    with torch.inference_mode():
        expected = network(*given).numpy()
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    got = session.run(['depth'], {name: x.numpy() for name, x in zip(names, given)})[0]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_every_registered_model_has_its_count_here():
    assert set(PARAMETERS) == set(MODELS)


@pytest.mark.parametrize('name', MODELS)
def test_the_default_has_exactly_the_published_number_of_parameters(name):
    with torch.device('meta'):
        network = build_model(name)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize('name', MODELS)
def test_the_default_says_what_it_takes_and_gives_and_keeps_to_it(name):
    with torch.device('meta'):
        network = build_model(name).eval()
        multiple = getattr(network, 'size_multiple', 1)
        size = getattr(network, 'input_size', (480 // multiple * multiple, 20 * multiple))
        depth = network(*inputs(network, size, 2, 'meta'))
    assert network.output_kind in ('log', 'metric', 'relative')
    assert hasattr(network, 'input_size') != hasattr(network, 'size_multiple')
    assert depth.shape[:2] == (2, 1)
    if not hasattr(network, 'input_size'):
        assert depth.shape[2] in (size[0], size[0] // 2)  # what is smaller is enlarged for it
        assert depth.shape[3] * size[0] == depth.shape[2] * size[1]


def test_the_output_is_one_finite_map_in_train_and_eval_mode(tiny):
    given = small_inputs(tiny)
    for _ in in_each_stage(tiny):
        trained, evaluated = tiny.train()(*given), tiny.eval()(*given)
        assert trained.shape == evaluated.shape
        assert evaluated.shape[:2] == (2, 1)
        assert evaluated.dtype == torch.float32
        assert evaluated.isfinite().all()
        if tiny.output_kind != 'log':
            assert (evaluated > 0).all()
        if tiny.output_kind == 'relative':
            assert (evaluated < 1).all()


@pytest.mark.parametrize('more', [(1, 0), (0, 8), (-3, 5)])
def test_a_size_that_does_not_fit_is_padded_or_refused_with_the_rule(tiny, more):
    height, width = (a + b for a, b in zip(small_inputs(tiny)[0].shape[-2:], more))
    given = inputs(tiny, (height, width))
    if getattr(tiny, 'pads', False):
        assert tiny(*given).shape == (1, 1, height, width)
        return
    if hasattr(tiny, 'input_size'):
        rule = '{}x{}'.format(*tiny.input_size)
    else:
        rule = f'multiples of {tiny.size_multiple}'
    with pytest.raises(ValueError, match=f'image is {height}x{width}; .*{rule}'):
        tiny(*given)


def test_a_gradient_reaches_every_parameter(tiny):
    missing = {name for name, p in tiny.named_parameters() if p.requires_grad}
    for _ in in_each_stage(tiny):
        given = small_inputs(tiny, batch=4)
        maps = tiny.train().joint(*given) if hasattr(tiny, 'joint') else [tiny.train()(*given)]
        sum(x.square().sum() for x in maps).backward()
        missing -= {name for name, p in tiny.named_parameters()
                    if p.grad is not None and p.grad.isfinite().all() and p.grad.any()}
    assert not missing


def test_eval_mode_is_deterministic_and_leaves_the_network_as_it_is(tiny):
    given = small_inputs(tiny)
    tiny.train()(*given)
    before = {name: value.clone() for name, value in tiny.eval().state_dict().items()}
    with torch.inference_mode():
        assert torch.equal(tiny(*given), tiny(*given))
    for name, value in tiny.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_each_picture_of_a_batch_is_computed_alone_in_eval_mode(tiny):
    given = small_inputs(tiny, batch=3)
    second = [x[1:2] for x in given]
    with torch.inference_mode():
        torch.testing.assert_close(tiny.eval()(*given)[1:2], tiny(*second), atol=1e-5, rtol=0)


def test_the_weights_survive_saving_and_strict_loading(tiny, request, tmp_path):
    tiny.train()(*small_inputs(tiny))
    torch.save(tiny.state_dict(), tmp_path / 'w.pt')
    twin = TINY[request.node.callspec.params['tiny']]()
    twin.load_state_dict(torch.load(tmp_path / 'w.pt', weights_only=True))
    given = small_inputs(tiny)
    assert torch.equal(twin.eval()(*given), tiny.eval()(*given))


def test_the_onnx_file_computes_what_torch_computes(tiny, tmp_path):
    tiny.train()(*small_inputs(tiny, batch=4))  # batch norm with statistics other than 0 and 1
    assert_onnx_computes_the_same(tiny.eval(), small_inputs(tiny, 1), tmp_path / 'tiny.onnx')


def train(network, given, target, steps=120, peak=4e-3):
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=peak)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.02, total_iters=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        (network(*given) - target).abs().mean().backward()
        nn.utils.clip_grad_norm_(parameters, 1)
        optimiser.step()
        schedule.step()


def test_it_learns_two_pictures_by_heart(tiny):
    given = small_inputs(tiny)
    height, width = tiny.eval()(*given).shape[2:]
    across = torch.linspace(0.5, 1.5, width).expand(1, height, width)
    down = torch.linspace(1.5, 0.5, height)[:, None].expand(1, height, width)
    share = 0.5 if tiny.output_kind == 'relative' else 1  # of the range, to stay below 1
    target = share * torch.stack([across, down])
    for _ in in_each_stage(tiny):
        train(tiny.train(), given, target)
    with torch.inference_mode():
        error = (tiny.eval()(*given) - target).abs().mean().item()
    # 0.25 for the best constant, 0.17 for the best map that is the same for both pictures.
    assert error < 0.08 * share


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_the_full_size_network_runs_and_exports(name, tmp_path):
    network = build_model(name).eval()
    multiple = getattr(network, 'size_multiple', 1)
    size = getattr(network, 'input_size', (224, 320 // multiple * multiple))
    assert_onnx_computes_the_same(network, inputs(network, size), tmp_path / f'{name}.onnx')


def test_an_unknown_model_name_lists_the_choices():
    with pytest.raises(ValueError, match=r"'resnet' is unknown; .*realtime_unet_m.*eigen"):
        build_model('resnet')


def test_an_unknown_option_lists_those_of_the_model():
    with pytest.raises(ValueError, match="'unetpp18' has no option 'depth'; .*deep_supervision"):
        build_model('unetpp18', depth=3)
    with pytest.raises(ValueError, match='it has none'):
        build_model('unet', width=3)


def test_options_reach_the_builder():
    counts = {build_model('realtime_unet', width_set=s).head.in_channels for s in 'RAM'}
    assert counts == {16, 21}
