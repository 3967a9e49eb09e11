from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from depth_perception.model_spec import read_spec
from training import export as export_module
from training import finetune as module
from training.before_after import change, summary
from training.checkpoint import CheckpointError, read_checkpoint
from training.config import Config, ConfigError, Phase, load_config
from training.data import DataError
from training.data.bag_writer import FORMAT_VERSION
from training.export import ExportError
from training.finetune_config import FineTune, Rehearsal, Stage, is_recipe, kind_of, resolve
from training.models import MODELS
from training.models.realtime_unet import tiny
from training.provenance import provenance, read_start
from training.train import main

SHIPPED = Path(__file__).parents[2] / 'training' / 'configs' / 'finetune.yaml'
BASE = Config(name='base', model='realtime_unet_m', output='runs/base',
              phases=(Phase(32, 48, 2, 3, 1e-3, relative=True),), depth_range=(0.3, 9.0))


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setitem(MODELS, 'realtime_unet_m', tiny)


@pytest.fixture
def base(tmp_path):
    """A checkpoint of an untrained network."""
    torch.manual_seed(0)
    return save(tmp_path / 'base.ckpt', tiny(), BASE)


def save(path, network, config, **more):
    state = {f'network.{key}': value for key, value in network.state_dict().items()}
    torch.save({'state_dict': state, 'hyper_parameters': dataclasses.asdict(config),
                'sources': ['rooms'], **more}, path)
    return path


@pytest.fixture
def pictures(tmp_path):
    """A folder in which all depth is 4 m, far from what the untrained network says."""
    root, rng = tmp_path / 'kitchen', np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 3), ('test', 3)):
        for kind in ('rgb', 'depth'):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            picture = cv2.resize(rng.integers(0, 256, (4, 6, 3), np.uint8), (48, 32))
            cv2.imwrite(str(root / split / 'rgb' / f'{i}.png'), picture)
            depth = np.full((32, 48), 4000, np.uint16)
            cv2.imwrite(str(root / split / 'depth' / f'{i}.png'), depth)
    (root / 'dataset.yaml').write_text('{scale: 0.001, hfov_deg: 63}\n')
    return root


def command(base, pictures, output, *more):
    return [str(SHIPPED), f'init={base}', f'data={pictures}', f'output={output}', 'batch_size=2',
            'frozen.steps=4', 'unfrozen.steps=20', 'unfrozen.learning_rate=0.03',
            'rehearsal.share=0', 'trainer.validate_every_steps=4', 'trainer.threads=1',
            'trainer.warmup_steps=1', 'trainer.ema_decay=0', 'trainer.precision=32-true',
            'trainer.decoder_rate=1.0', 'trainer.checkpoint_minutes=9', *more]


@pytest.fixture
def tuned(base, pictures, tmp_path):
    main(command(base, pictures, tmp_path / 'run'))
    return tmp_path / 'run' / 'phase1.ckpt'


def weights(path, *starts):
    return {name: value for name, value in read_checkpoint(path).weights.items()
            if name.startswith(starts)}


def test_a_fine_tuned_model_is_compared_on_the_test_frames_and_exported(
        tuned, base, tmp_path, monkeypatch, caplog):
    stages = [weights(path, 'stem.', 'encoder.') for path in (
        base, tuned.with_name('phase0.ckpt'), tuned)]
    torch.testing.assert_close(stages[0], stages[1], rtol=0, atol=0)
    assert any((stages[2][name] != value).any() for name, value in stages[0].items())
    means = [name for name in stages[0] if 'running_' in name]
    assert means  # statistics of batch norms stay in both stages
    assert all((stages[2][name] == stages[0][name]).all() for name in means)
    heads = [weights(path, 'head.') for path in (base, tuned.with_name('phase0.ckpt'))]
    assert heads[0]['head.bias'] != heads[1]['head.bias']

    found = json.loads((tuned.parent / 'before_after.json').read_text())
    assert found == read_checkpoint(tuned).comparison
    assert (found['split'], found['held_out']['frames'], found['worse']) == ('test', 3, False)
    # 63 degrees are the canonical camera: the network's first answer, exp(0.4) m, of 4 m
    assert found['held_out']['before']['abs_rel'] == pytest.approx(1 - np.exp(0.4) / 4, abs=0.02)
    assert found['held_out']['after']['abs_rel'] < 0.55
    assert found['gain'] == pytest.approx(1 - found['held_out']['after']['abs_rel']
                                          / found['held_out']['before']['abs_rel'])
    assert found['held_out']['median_depth']['abs_rel'] == pytest.approx(0, abs=0.002)
    assert 'rehearsal' not in found

    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path / 'home'))
    monkeypatch.setattr(export_module, 'frames', two_frames)
    with caplog.at_level(logging.WARNING):
        export_module.main([str(tuned), '--install', 'kitchen', 'seed=0'])
    path = tmp_path / 'home' / 'depth_perception' / 'models' / 'kitchen.onnx'
    spec = read_spec(path)
    assert (spec.name, spec.depth_range) == ('kitchen', (0.3, 9.0))
    assert spec.training_data == 'rooms; then kitchen'
    assert spec.accuracy == {'kitchen, held out': pytest.approx(
        found['held_out']['after'], abs=6e-5)}
    told = spec.provenance
    assert told['started_from'] == {
        'name': 'base', 'training_data': 'rooms',
        'weights_sha256': hashlib.sha256(base.read_bytes()).hexdigest()}
    assert told['data'] == {'name': 'kitchen', 'kind': 'folder', 'labels': 'measured'}
    assert told['metrics']['gain'] == round(found['gain'], 4)
    assert told['recipe'] == 'finetune.yaml'
    assert told['config']['loss']['relative'] is True
    assert str(tmp_path) not in json.dumps(told)
    # it can be started from again, and its checkpoint, too
    again, checkpoint = read_start(str(path)), read_start(str(tuned))
    assert again.weights == str(path.with_suffix('.safetensors'))
    for start in (again, checkpoint):
        assert start.told['started_from'] == told['started_from']
        assert start.told['training_data'] == 'rooms; then kitchen'
    assert checkpoint.told['weights_sha256'] == hashlib.sha256(tuned.read_bytes()).hexdigest()


def test_a_run_goes_on_with_its_own_model_and_data_alone(tuned, base, pictures, tmp_path):
    run = tuned.parent
    before = (run / 'before_after.json').read_text()
    main(command(base, pictures, run, 'resume=true'))  # nothing is left to do but compare
    assert (run / 'before_after.json').read_text() == before
    hall = pictures.rename(tmp_path / 'hall')
    with pytest.raises(SystemExit, match='phase0.ckpt was not begun with the data as it is now'):
        main(command(base, hall, run, 'resume=true'))
    other = save(tmp_path / 'other.ckpt', tiny(), BASE)
    with pytest.raises(SystemExit, match=f'was not begun with init={other}'):
        main(command(other, hall, run, 'resume=true'))
    assert (run / 'before_after.json').read_text() == before


def two_frames():
    from depth_perception.geometry import Intrinsics
    from depth_perception.sources import Frame
    rng = np.random.default_rng(0)
    return [Frame(rng.integers(0, 256, (48, 64, 3), np.uint8), Intrinsics.from_hfov(64, 48, 63),
                  None)]


def test_a_worse_model_is_exported_by_force_alone(base, pictures, tmp_path, monkeypatch, capsys):
    # learning to say far is worse than exp(0.4) m for 0.5 m
    for file in (pictures / 'test' / 'depth').iterdir():
        cv2.imwrite(str(file), np.full((32, 48), 500, np.uint16))
    main(command(base, pictures, tmp_path / 'run', 'confidence=true'))
    tuned = tmp_path / 'run' / 'phase1.ckpt'
    found = read_checkpoint(tuned).comparison
    assert found['worse']
    monkeypatch.setattr(export_module, 'frames', two_frames)
    with pytest.raises(SystemExit, match='is worse than base.*AbsRel on 3 held-out.*force=true'):
        export_module.main([str(tuned), f'folder={tmp_path / "models"}'])
    assert not (tmp_path / 'models').exists()
    export_module.main([str(tuned), f'folder={tmp_path / "models"}', 'force=true'])
    spec = read_spec(tmp_path / 'models' / 'base_finetuned.onnx')
    assert spec.confidence  # which the model that it started from does not have
    assert spec.provenance['metrics']['worse']


def test_a_fine_tuning_that_did_not_end_is_not_exported(tmp_path):
    config = dataclasses.replace(BASE, provenance={'started_from': {'name': 'base'}})
    path = save(tmp_path / 'x.ckpt', tiny(), config)
    with pytest.raises(ExportError, match='not yet compared with base.*resume=true'):
        export_module.export(config, path, tmp_path)


@pytest.mark.parametrize(('given', 'message'), [
    ([], 'data is empty.*training.data.prepare'),
    (['data=/nowhere'], 'data=/nowhere is no folder'),
    (['data={tmp}'], 'has none of dataset.json.*prepare BAG'),
    (['init=nobody'], "no model is called 'nobody'"),
    (["init=''"], 'init is empty'),
    (['rehearsal.share=1.5'], 'rehearsal.share is 1.5'),
    (['recipe=other'], "recipe is 'other'"),
    (['photometric=0'], 'photometric is 0'),
    (['learning_rate=1'], 'unknown key learning_rate'),
])
def test_what_is_wrong_is_said_before_anything_is_trained(given, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        main([str(SHIPPED), *(x.format(tmp=tmp_path) for x in given)])


def test_an_export_without_its_weights_or_config_cannot_be_started_from(make_model):
    with pytest.raises(CheckpointError, match='model.safetensors is missing'):
        read_start(str(make_model()))


def test_a_recipe_is_told_from_a_config_and_other_commands_refuse_it(capsys):
    assert is_recipe(str(SHIPPED))
    assert not is_recipe(str(SHIPPED.with_name('realtime_unet_m.yaml')))
    assert not is_recipe('/nowhere.yaml')
    with pytest.raises(SystemExit):
        export_module.main([str(SHIPPED)])
    assert 'phase1.ckpt' in capsys.readouterr().err


def test_the_shipped_models_recipe_is_taken_over():
    start = read_start('realtime_unet_m')
    settings = load_config(SHIPPED, ['data=d'], FineTune)
    config = resolve(settings, start, 'bag', 'd', {})
    assert (config.name, config.model) == ('realtime_unet_m_finetuned', 'realtime_unet_m')
    last = start.config.phases[-1]
    assert {(p.height, p.width) for p in config.phases} == {(last.height, last.width)}
    assert [p.frozen for p in config.phases] == [('stem.', 'encoder.'), ()]
    assert config.loss == {
        'name': 'laplace', 'weight': 0.01,
        'loss': start.config.loss['loss'] | {'relative': last.relative}}
    assert config.model_options == {'confidence': True}
    assert config.trusted_range == start.config.trusted_range
    assert config.data.options == {'dataset': 'bag', 'share': 0.3}
    assert config.trainer.patience == 6
    assert config.trainer.decoder_rate == start.config.trainer.decoder_rate
    assert start.told['weights_sha256']


@pytest.mark.parametrize(('model', 'message'), [
    ('dfdnet_small', 'is a model for focus stacks'),
    ('spt_tiny', 'is a model for relative depth'),
    ('eigen', 'no part called stem. or encoder.'),
])
def test_models_of_other_kinds_are_refused(model, message):
    start = read_start('realtime_unet_m')
    start = start._replace(config=dataclasses.replace(
        start.config, model=model, model_options={}, loss={'name': 'realtime_unet'}))
    settings = FineTune(recipe='finetune', frozen=Stage(1, 1e-3), unfrozen=Stage(1, 1e-3))
    with pytest.raises(ConfigError, match=message):
        resolve(settings, start, 'bag', 'd', {})


def test_without_rehearsal_the_data_set_is_read_as_it_is():
    settings = FineTune(recipe='finetune', frozen=Stage(1, 1e-3), unfrozen=Stage(1, 1e-3),
                        data='d', rehearsal=Rehearsal(share=0))
    assert resolve(
        settings, read_start('realtime_unet_m'), 'bag', 'd', {}).data.dataset == 'bag'


def test_the_kind_of_a_folder_is_told_by_its_file(tmp_path):
    (tmp_path / 'dataset.json').write_text('{}')
    assert kind_of(str(tmp_path)) == 'bag'
    with pytest.raises(DataError, match='data is empty'):
        kind_of('')


def test_bags_and_their_manifest_are_told(tmp_path):
    bag = {'name': 'drive_1', 'fingerprint': 'ab', 'kind': 'depth', 'topics': ['/image'],
           'pictures': 7}
    (tmp_path / 'dataset.json').write_text(json.dumps({
        'format_version': FORMAT_VERSION, 'kinds': ['depth'], 'counts': {'depth': {'train': 7}},
        'settings': {}, 'bags': {'drive_1-ab': bag | {'finished': True, 'notes': []}}}))
    (tmp_path / 'manifest.jsonl').write_bytes(b'')
    told = module.describe(str(tmp_path), 'bag', str(tmp_path))
    assert told['bags'] == [bag]
    assert told['frames'] == {'depth': {'train': 7}}
    # of no bytes at all
    assert told['manifest_sha256'].startswith('e3b0c44298fc1c14')


def test_the_difference_is_that_of_pairs():
    rows = {'before': [{'abs_rel': 0.4}, {'abs_rel': 0.2}],
            'after': [{'abs_rel': 0.3}, {'abs_rel': 0.1}]}
    found = summary(rows)
    assert found['frames'] == 2
    assert found['without_prediction'] == {'before': 0, 'after': 0}
    assert found['difference'] == pytest.approx({'abs_rel': -0.1, 'lo': -0.1, 'hi': -0.1})
    assert change(found) == pytest.approx(0.2 / 0.3 - 1)
    assert summary({}) == {'frames': 0}
    assert change({'frames': 0}) is None


@pytest.mark.parametrize('after, reason', [
    # better where it says anything
    ([0.1, math.nan], '1 of 2 held-out frames get no prediction, of what it started from 0'),
    ([math.nan, math.nan], '2 of 2 held-out frames get no prediction'),
    ([0.5, 0.5], 'AbsRel on 2 held-out frames is 0.5000, was 0.3000')])
def test_a_model_that_says_nothing_is_worse(after, reason):
    found = summary({'before': [{'abs_rel': 0.4}, {'abs_rel': 0.2}],
                     'after': [{'abs_rel': x} for x in after]})
    verdict = module.judge({'held_out': found})
    assert verdict['worse'] and verdict['reason'].startswith(reason)


def test_pictures_that_neither_model_says_anything_of_do_not_decide():
    rows = {who: [{'abs_rel': x}, {'abs_rel': math.nan}]
            for who, x in (('before', 0.4), ('after', 0.3))}
    assert not module.judge({'held_out': summary(rows)})['worse']
    nothing = summary({who: [{'abs_rel': math.nan}] for who in rows})
    assert module.judge({'held_out': nothing})['worse']


def test_provenance_keeps_no_folder_of_the_machine():
    config = dataclasses.asdict(dataclasses.replace(BASE, init='/home/me/base.ckpt'))
    config['data']['root'] = '/home/me/drive'
    told = provenance(config, None)
    assert '/home/me' not in json.dumps(told)
    assert told['config']['phases'][0]['height'] == 32
    assert yaml.safe_load(yaml.safe_dump(told)) == told
