"""A network that says how sure it is: trained, exported, run."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import safetensors.torch
import torch

from depth_perception.estimator import DepthEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.inference import load
from depth_perception.model_spec import read_spec
from depth_perception.sources import Frame
from training import export as export_module
from training.checkpoint import load_init, load_into
from training.config import Config, ConfigError, Phase
from training.contract import confidence_of, model_spec, split_confidence
from training.export import export
from training.models import MODELS
from training.models.realtime_unet import tiny
from training.registry import build_loss, check
from training.task import DepthTask
from training.torch_engine import TorchEngine

CONFIG = Config(name='sure', model='realtime_unet_m', output='runs/sure',
                model_options={'confidence': True}, loss={'name': 'laplace'},
                phases=(Phase(32, 48, 2, 3, 1e-3),))


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setitem(MODELS, 'realtime_unet_m', tiny)


@pytest.fixture
def network():
    torch.manual_seed(1)
    network = tiny(confidence=True)
    torch.nn.init.normal_(network.scale.at_half.weight, std=0.02)
    return network.eval()


@pytest.mark.parametrize('scale', [0.05, 0.2, 1.0])
def test_confidence_is_the_probability_of_a_ratio_below_1_25(scale):
    draws = np.random.default_rng(0).laplace(scale=scale, size=200_000)
    share = (np.abs(draws) < math.log(1.25)).mean()
    found = confidence_of(torch.tensor(math.log(scale)))
    assert found.item() == pytest.approx(share, abs=0.005)


def test_weights_of_a_model_without_confidence_fit(tmp_path):
    plain, sure = tiny().eval(), tiny(confidence=True).eval()
    file = tmp_path / 'plain.safetensors'
    safetensors.torch.save_file(plain.state_dict(), file)
    load_init(sure, file)
    image = torch.rand(1, 3, 32, 48)
    depth, log_scale = split_confidence(sure(image))
    torch.testing.assert_close(depth, plain(image))
    assert (log_scale == math.log(0.2)).all()


@pytest.mark.parametrize('suffix', ['.safetensors', '.ckpt'])
def test_a_model_without_confidence_starts_from_one_with_it(network, tmp_path, suffix):
    plain, file = tiny(), tmp_path / f'sure{suffix}'
    if suffix == '.ckpt':
        save(file, network, CONFIG)
    else:
        safetensors.torch.save_file(network.state_dict(), file)
    load_init(plain, file)
    assert (plain.head.weight == network.head.weight).all()


def test_a_checkpoint_of_a_model_without_confidence_fits_too(tmp_path):
    plain, sure = tiny(), tiny(confidence=True)
    path = tmp_path / 'x.ckpt'
    save(path, plain, dataclasses.replace(CONFIG, model_options={}, loss={}))
    load_into(sure, path)
    assert (sure.head.weight == plain.head.weight).all()


def save(path, network, config):
    torch.save({'state_dict': {f'network.{k}': v for k, v in network.state_dict().items()},
                'hyper_parameters': dataclasses.asdict(config), 'sources': ['rooms']}, path)
    return path


def test_training_moves_the_scale_towards_the_error():
    torch.manual_seed(0)
    network = tiny(confidence=True)
    task = DepthTask(network, CONFIG, CONFIG.phases[0], ['rooms'])
    # canonical focal length: the network says exp(0.4) m of 3 m at first, off by 0.7 in log depth
    batch = {'image': torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8),
             'depth': torch.full((2, 32, 48), 3.0), 'focal_px': torch.full((2,), 260 * 48 / 320)}
    task.batch_loss(batch).backward()
    assert network.scale.at_full.bias.grad.item() < 0  # descending makes the scale larger
    assert network.head.bias.grad.item() < 0  # and depth
    task.collect(['rooms', 'rooms'], network(torch.rand(2, 3, 32, 48)), torch.rand(2, 1, 32, 48))


def test_the_exported_file_gives_confidence_as_the_contract_promises(
        network, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
    camera = Intrinsics.from_hfov(64, 48, 63)
    monkeypatch.setattr(export_module, 'frames', lambda: [Frame(picture, camera, None)])
    path = export(CONFIG, save(tmp_path / 'x.ckpt', network, CONFIG), tmp_path / 'models')
    assert read_spec(path).confidence
    engines = (load(str(path), backend='cpu'),
               TorchEngine(network, model_spec(CONFIG, network, '')))
    found, expected = (DepthEstimator(engine)(picture, camera) for engine in engines)
    assert found.confidence.shape == (48, 64)
    assert 0 < found.confidence.min() < found.confidence.max() < 1
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)
    np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-4)


@pytest.mark.parametrize(('options', 'loss'), [
    ({'confidence': True}, {'name': 'realtime_unet'}), ({}, {'name': 'laplace'})])
def test_confidence_and_its_loss_belong_together(options, loss):
    with pytest.raises(ConfigError, match='confidence=true and loss laplace together'):
        check(dataclasses.replace(CONFIG, model_options=options, loss=loss))


def test_the_loss_of_depth_has_its_own_options():
    config = dataclasses.replace(CONFIG, loss={
        'name': 'laplace', 'weight': 0.3, 'loss': {'name': 'realtime_unet', 'far': 20.0}})
    loss = build_loss(config, dataclasses.replace(CONFIG.phases[0], relative=True))
    assert loss.depth.log_far == math.log(20.0)
    assert loss.depth.weights['log_range'] > 0
    assert config.trusted_range == (0.25, 20.0)
    with pytest.raises(ConfigError, match='no option'):
        check(dataclasses.replace(CONFIG, loss={'name': 'laplace', 'loss': {
            'name': 'l1', 'farthest': 20.0}}))
