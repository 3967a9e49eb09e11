"""Training on focus stacks: holes, range of blur, and ablations scored on the same stacks."""
from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
import yaml

from training.checkpoint import read_checkpoint
from training.comparison_runs import config_of
from training.comparisons import COMPARISONS
from training.config import Config, Data, Phase, Trainer
from training.evaluate import main
from training.registry import build_data
from training.reproduce import read_setup
from training.train import train

HEIGHT, WIDTH = 32, 48


@pytest.fixture
def folder(tmp_path):
    """Twenty-two pictures, of which every other one has no depth at all."""
    rng = np.random.default_rng(0)
    for part in ('rgb', 'depth'):
        (tmp_path / part).mkdir()
    for i in range(22):
        depth = np.full((HEIGHT, WIDTH), 0 if i % 2 else 1500, np.uint16)
        cv2.imwrite(str(tmp_path / f'rgb/{i:03d}.png'),
                    rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f'depth/{i:03d}.png'), depth)
    k = {'width': WIDTH, 'height': HEIGHT, 'fx': 48.0, 'fy': 48.0, 'cx': 23.5, 'cy': 15.5}
    (tmp_path / 'dataset.yaml').write_text(yaml.safe_dump({'scale': 0.001, 'intrinsics': k}))
    return tmp_path


def config_for(folder, output, **changed):
    options = {'source': 'folder', 'frames': 3, 'f_numbers': [2.0, 4.0], 'lens': 'canonical'}
    return Config(
        name='holes', model='dfdnet_small', output=str(output), model_options={'frames': 3},
        phases=(Phase(HEIGHT, WIDTH, 1, 6, 1e-3, max_zoom=1.5),),
        loss={'name': 'weighted', 'terms': {'silog': 0.1, 'gradient_matching': 1.0}},
        data=Data(dataset='focus', root=str(folder), options=options, workers=0),
        trainer=Trainer(accelerator='cpu', ema_decay=0.0, warmup_steps=1,
                        validate_every_steps=6), **changed)


def test_pictures_of_holes_alone_change_nothing_and_training_goes_on(folder, tmp_path):
    path = train(config_for(folder, tmp_path / 'run'))
    checkpoint = read_checkpoint(path)
    assert all(torch.isfinite(x).all() for x in checkpoint.weights.values())
    assert checkpoint.sources == ['folder']


def test_the_checkpoint_keeps_the_range_of_blur_that_was_seen(folder, tmp_path):
    """In canonical pixel metres, where f is one width: 36 mm * 48 px over the f-number."""
    lo, hi = read_checkpoint(train(config_for(folder, tmp_path / 'run'))).blur_scale_range
    assert (lo, hi) == pytest.approx((0.036 * WIDTH / 4, 0.036 * WIDTH / 2), rel=1e-4)


def test_a_checkpoint_is_scored_on_stacks_and_refuses_single_images(folder, tmp_path, capsys):
    path = train(config_for(folder, tmp_path / 'run'))
    main([str(path), 'split=val', f'folder={tmp_path}'])
    told = json.loads((tmp_path / 'focus_val.json').read_text())['all']
    assert told['images'] + told['without_truth'] == 2
    with pytest.raises(SystemExit, match='takes focus stacks; choose data=focus'):
        main([str(path), 'data=folder', f'root={folder}', 'split=val'])


def test_cells_of_the_ablations_differ_in_training_and_are_scored_on_the_same_stacks(
    folder, tmp_path
):
    setup, seeds = read_setup('dfdnet', [f'output={tmp_path}/cells', f'data.root={folder}'])
    assert seeds == 3 and {len(setup.cells), len(COMPARISONS['dfdnet'].cells)} == {11}
    scored, trained = {}, {}
    for cell in setup.cells:
        config = config_of(setup, cell, seed=0)
        options = {**config.data.options, 'source': 'folder'}
        config = dataclasses.replace(config, data=dataclasses.replace(
            config.data, options=options, views={}, weights={}))
        for split, found in (('val', scored), ('train', trained)):
            item = build_data(config, config.phases[0], split)[0]
            found[cell.name] = (*item['focus_distances'].tolist(), float(item['blur_scale']))
    assert len(set(scored.values())) == 1
    # f-number, and both samplings of focus
    assert len(set(trained.values())) == 4
    assert trained['dfdnet'] == trained['max'] == trained['single']
