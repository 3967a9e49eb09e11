from __future__ import annotations

import pytest
import torch

from training.models.eigen import eigen, tiny


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def network():
    return tiny()


@pytest.fixture
def image(network):
    return torch.randn(2, 3, *network.input_size)


def test_the_layers_have_the_sizes_of_the_papers_table():
    with torch.device('meta'):
        network = eigen()
        shapes = []
        for layer in network.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.MaxPool2d)):
                layer.register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
        network(torch.empty(1, 3, 228, 304))
    assert shapes == [
        (96, 55, 74), (96, 27, 37), (256, 27, 37), (256, 13, 18), (384, 13, 18), (384, 13, 18),
        (256, 6, 8), (4096,), (4070,),
        (63, 110, 148), (63, 55, 74), (64, 55, 74), (1, 55, 74),
    ]


def test_the_two_networks_have_the_parameters_of_the_papers_table():
    with torch.device('meta'):
        network = eigen()
    assert sum(p.numel() for p in network.coarse.parameters()) == 70_757_734
    assert sum(p.numel() for p in network.fine.parameters()) == 119_437


def trainable(network):
    return {name.partition('.')[0] for name, p in network.named_parameters() if p.requires_grad}


def test_each_stage_trains_its_own_network_alone(network):
    assert trainable(network) == {'coarse', 'fine'}
    for stage in ('fine', 'coarse', 'fine'):
        network.set_stage(stage)
        assert trainable(network) == {stage}


def test_the_coarse_stage_gives_the_coarse_map_and_the_others_the_fine_map(network, image):
    network.eval()
    fine, coarse = network(image), network.coarse(image)
    assert fine.shape == coarse.shape
    network.set_stage('coarse')
    assert torch.equal(network(image), coarse)
    network.set_stage('fine')
    assert torch.equal(network(image), fine)


def test_in_the_fine_stage_the_coarse_network_has_no_dropout_and_keeps_its_weights(
        network, image):
    network.train()
    network.set_stage('fine')
    assert torch.equal(network(image), network(image))
    before = [p.clone() for p in network.coarse.parameters()]
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    network.train()(image).sum().backward()
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, network.coarse.parameters()))
    network.set_stage('coarse')
    assert not torch.equal(network(image), network(image))


def test_the_fine_map_depends_on_the_coarse_map(network, image):
    network.eval()
    before = network(image)
    with torch.no_grad():
        network.coarse.last.bias += 1
    assert (network(image) - before).abs().mean() > 0.01


def test_one_pixel_in_a_corner_reaches_the_whole_coarse_map(network, image):
    network.set_stage('coarse')
    network.eval()
    changed = image.clone()
    changed[:, :, :8, :8] += 3
    assert (network(changed) != network(image)).all()


def test_an_unknown_stage_lists_the_stages(network):
    with pytest.raises(ValueError, match="stage 'both' is unknown; choose one of coarse, fine"):
        network.set_stage('both')


def test_training_starts_from_about_one_and_a_half_metres(network, image):
    for stage in network.stages:
        network.set_stage(stage)
        metres = network(image).exp()
        assert metres.mean().item() == pytest.approx(1.5, abs=0.3)
