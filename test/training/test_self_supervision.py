"""Pictures without depth: how the camera moved, what a model says, what neighbours show."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depth_perception.geometry import Intrinsics
from depth_perception.scenes import Room
from training import before_after, finetune
from training.before_after import compare_pictures
from training.checkpoint import read_checkpoint
from training.config import Config, ConfigError, Phase
from training.data import DATASETS, AugmentConfig, DataConfig, DataError
from training.data.bag_plan import Settings as PrepareSettings
from training.data.prepare import prepare
from training.data.rehearsed import Rehearsed
from training.data.relative_pose import features, motion
from training.data.self_labelled import build_self_labelled
from training.finetune_config import FineTune, Rehearsal, Stage
from training.losses.photometric import (
    Neighbours,
    photometric_errors,
    photometric_loss,
    photometric_residual,
    ssim,
    warp,
)
from training.models import MODELS
from training.models.realtime_unet import tiny
from training.provenance import read_start
from training.self_label import _Seen, fused, label, stored_size, transferred
from training.self_task import metres_of, neighbours_of

CAMERA = Intrinsics.from_hfov(240, 180, 63)
DRIVE = {'name': 'drive', 'manifest_sha256': '12'}


@pytest.fixture(scope='module')
def walk():
    """Pictures, true depth and poses (camera to world) of a walk through a room."""
    room = Room.random(3)
    poses = room.camera_path(90)[:6]
    views = [room.render(CAMERA, pose) for pose in poses]
    return [view.rgb for view in views], [view.depth for view in views], poses


class Walk:
    """The walk as training.data.bag gives it, with a gap in time after the fourth picture."""

    runs = np.array([0, 0, 0, 0, 1, 1])
    stamps = np.arange(6) * 100_000_000
    names = np.array([f'drive_1/{i}' for i in range(6)])

    def __init__(self, images):
        self._images = images

    def load(self, number):
        return self._images[number], CAMERA


class Nothing:
    names = runs = stamps = np.zeros(0)


class Oracle:
    """An engine that knows the true depth of the pictures that it is given, in turn."""

    backend = 'truth'

    def __init__(self, depths, spec):
        self.spec, self._depths, self.calls = spec, list(depths), 0

    def infer(self, image):
        depth = self._depths[self.calls % len(self._depths)]
        self.calls += 1
        return np.log(depth), None

    def close(self):
        pass


@pytest.fixture(scope='module')
def spec():
    from depth_perception.model_spec import ModelSpec
    return ModelSpec(name='oracle', architecture='', input_height=180, input_width=240,
                     output_kind='log', canonical_focal_px=None, depth_range=(0.1, 20.0),
                     training_data='', licence='', weights_sha256='abc')


def between(poses, a, b):
    """Points of camera `a` into camera `b`."""
    return np.linalg.inv(poses[b]) @ poses[a]


@pytest.fixture(scope='module')
def labelled(walk, spec, tmp_path_factory):
    images, depths, _ = walk
    folder = tmp_path_factory.mktemp('labels')
    told = label({'train': Walk(images), 'val': Walk(images), 'test': Nothing()},
                 Oracle(depths, spec), folder, DRIVE)
    return folder, told


def seen(walk, i):
    images, depths, _ = walk
    return _Seen(images[i], CAMERA, depths[i], features(images[i]))


def test_the_motion_between_pictures_follows_from_features_and_depth(walk):
    images, depths, poses = walk
    found = motion(features(images[0]), depths[0], features(images[3]), CAMERA, CAMERA)
    true = between(poses, 0, 3)
    assert np.linalg.norm(true[:3, 3]) > 0.05
    np.testing.assert_allclose(found.matrix[:3, 3], true[:3, 3], atol=0.02)
    turn = found.matrix[:3, :3] @ true[:3, :3].T
    assert math.degrees(math.acos(min(1.0, (np.trace(turn) - 1) / 2))) < 1.0
    assert 20 <= found.inliers <= found.matches
    assert found.parallax_px > 1


def test_the_scale_of_the_motion_is_that_of_the_depth(walk):
    images, depths, poses = walk
    pair = [features(images[i]) for i in (0, 3)]
    plain = motion(pair[0], depths[0], pair[1], CAMERA, CAMERA)
    double = motion(pair[0], 2 * depths[0], pair[1], CAMERA, CAMERA)
    np.testing.assert_allclose(double.matrix[:3, 3], 2 * plain.matrix[:3, 3], atol=0.02)
    np.testing.assert_allclose(double.matrix[:3, :3], plain.matrix[:3, :3], atol=0.01)


def test_a_camera_that_stands_has_no_parallax_and_plain_pictures_have_no_motion(walk):
    images, depths, _ = walk
    first = features(images[0])
    assert motion(first, depths[0], first, CAMERA, CAMERA).parallax_px < 0.1
    blank = features(np.full((180, 240, 3), 128, np.uint8))
    assert motion(first, depths[0], blank, CAMERA, CAMERA) is None
    assert motion(first, np.full_like(depths[0], np.nan), first, CAMERA, CAMERA) is None


def test_what_another_picture_says_of_depth_is_zero_where_both_are_right(walk):
    _, _, poses = walk
    ratio = transferred(seen(walk, 0), seen(walk, 2), between(poses, 0, 2))
    assert np.isfinite(ratio).mean() > 0.5
    assert abs(np.nanmedian(ratio)) < 0.005
    assert np.nanmedian(np.abs(ratio)) < 0.02


def test_labels_are_averaged_where_neighbours_agree_and_left_out_where_all_contradict():
    depth = np.full((1, 4), 2.0, np.float32)
    agree, doubt, unseen = 0.2, 0.5, math.nan
    said = [np.array([[agree, doubt, unseen, agree]], np.float32),
            np.array([[-agree, doubt, unseen, doubt]], np.float32)]
    found = fused(depth, said)
    # (0.2 - 0.2) / 3; contradicted twice; seen by nobody; 0.2 / 2, one of two contradicts
    np.testing.assert_allclose(found, [[2.0, math.nan, 2.0, 2 * math.exp(0.1)]], rtol=1e-6)
    np.testing.assert_array_equal(fused(depth, []), depth)


def test_labels_say_what_they_are_and_neighbours_stay_within_a_stretch_of_time(labelled, spec):
    folder, told = labelled
    assert told['labels'].startswith('estimated by oracle, not measured')
    assert told['teacher'] == {'name': 'oracle', 'weights_sha256': 'abc'}
    assert told['counts'] == {'train': 6, 'val': 6, 'test': 0}
    assert json.loads((folder / 'labels.json').read_text()) == told
    records = np.load(folder / 'train.npy')
    assert list(records['name']) == [f'drive_1/{i}' for i in range(6)]
    assert records['rows'][0][0] == -1  # nothing before the first
    assert set(records['rows'][:4].ravel()) <= {-1, 0, 1, 2, 3}
    assert set(records['rows'][4:].ravel()) <= {-1, 4, 5}
    assert (records['rows'] >= 0).any(axis=1).sum() >= 4
    assert told['with_neighbours']['train'] == (records['rows'] >= 0).any(axis=1).sum()
    without = records['rows'] < 0
    assert (records['motions'][without] == 0).all()
    # made already: the engine is not asked again
    engine = Oracle([], spec)
    assert label({}, engine, folder, DRIVE) == told
    for other in ({'name': 'another drive'}, {'manifest_sha256': 'more pictures'}):
        with pytest.raises(DataError, match='labels of other pictures'):
            label({}, engine, folder, DRIVE | other)
    with pytest.raises(DataError, match='drive has no picture'):
        label({'train': Nothing()}, engine, folder / 'new', DRIVE)
    with pytest.raises(DataError, match='relative depth'):
        label({}, Oracle([], dataclasses.replace(spec, output_kind='relative')), folder, DRIVE)


def test_large_pictures_are_shrunk_with_their_camera():
    large = Intrinsics.from_hfov(640, 480, 63)
    image, camera = stored_size(np.zeros((480, 640, 3), np.uint8), large)
    assert image.shape == (240, 320, 3)
    assert camera == large.resized(320, 240)
    small = np.zeros((180, 240, 3), np.uint8)
    assert stored_size(small, CAMERA) == (small, CAMERA)


def config(folder, **changes):
    return DataConfig(root=str(folder), **({'height': 48, 'width': 64, 'samples_per_epoch': 12}
                                           | changes))


@pytest.mark.parametrize('augment', [False, True])
def test_true_depth_explains_the_neighbours_however_a_picture_is_cut(labelled, augment):
    folder, _ = labelled
    turned = AugmentConfig(zoom=(1.0, 1.6), flip=0.5, roll=1.0, roll_deg=5.0)
    data = build_self_labelled(config(folder, augmentation=turned, height=96, width=128), 'train',
                               augment=augment)
    items = [data[i] for i in range(12)]
    batch = torch.utils.data.default_collate(items)
    depth, plain = batch['depth'].unsqueeze(1), batch['plain'].float() / 255
    known = torch.where(depth > 0, depth, torch.ones_like(depth))
    found = {factor: photometric_residual(factor * known, plain, neighbours_of(batch))
             for factor in (1.0, 1.4, 0.7)}
    good = found[1.0].isfinite()
    assert good.sum() >= 6
    assert found[1.0][good].mean() < 0.8 * found[1.4][good].mean()
    assert found[1.0][good].mean() < 0.8 * found[0.7][good].mean()
    assert batch['image'].shape == batch['plain'].shape == (12, 3, 96, 128)
    if not augment:
        assert (batch['image'] == batch['plain']).all()


def test_a_split_without_pictures_and_a_folder_without_labels_are_told(labelled, tmp_path):
    folder, _ = labelled
    with pytest.raises(DataError, match="no picture for split 'test'"):
        build_self_labelled(config(folder), 'test')
    with pytest.raises(DataError, match='no data set of training.self_label'):
        build_self_labelled(config(tmp_path), 'train')


def test_rehearsed_pictures_get_neighbours_that_do_not_count(labelled):
    folder, _ = labelled
    new = build_self_labelled(config(folder), 'train')
    old = [{key: value for key, value in new[i].items() if key in (
        'image', 'depth', 'focal_px', 'source', 'name')} | {'source': 'old'} for i in range(12)]

    class Old(list):
        sources = ['old']

    data = Rehearsed(new, Old(old), config(folder), 0.5)
    batch = torch.utils.data.default_collate([data[i] for i in range(12)])
    assert {'old', 'self_labelled'} == set(batch['source'])
    rehearsed = torch.tensor([source == 'old' for source in batch['source']])
    found = photometric_residual(torch.ones(12, 1, 48, 64), batch['plain'].float() / 255,
                                 neighbours_of(batch))
    assert found[rehearsed].isnan().all()


def test_a_shift_of_the_camera_shifts_the_picture_by_focal_length_over_depth():
    # 10 px focal length, 2 m, 0.4 m to the right: points move 2 px to the left
    image = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    k = torch.tensor([[[10.0, 0, 3.5], [0, 10.0, 2.5], [0, 0, 1]]])
    motion_ = torch.eye(3, 4)[None].clone()
    motion_[0, 0, 3] = -0.4
    warped, shown = warp(torch.full((1, 1, 6, 8), 2.0), image, k.inverse(), motion_, k)
    torch.testing.assert_close(warped[..., 2:], image[..., :-2], atol=1e-5, rtol=0)
    assert shown[0, :, 2:].all()
    assert not shown[0, :, :2].any()


def neighbours(images, shift=-0.4):
    k = torch.tensor([[10.0, 0, 3.5], [0, 10.0, 2.5], [0, 0, 1]], dtype=images.dtype)
    motions = torch.eye(3, 4, dtype=images.dtype).repeat(1, 1, 1, 1)
    motions[..., 0, 3] = shift
    return Neighbours(images[:, None], k.inverse()[None], motions, k[None])


def test_the_gradient_of_the_photometric_loss_is_the_numerical_one():
    grid = torch.linspace(0, 3, 8, dtype=torch.float64)
    rows = torch.linspace(0, 2, 6, dtype=torch.float64)[:, None]
    picture = torch.stack([torch.sin(grid + rows + c) * 0.4 + 0.5 for c in range(3)])[None]
    other = torch.stack([torch.sin(grid - 0.5 + rows + c) * 0.4 + 0.5 for c in range(3)])[None]
    generator = torch.Generator().manual_seed(0)
    # depth that puts samples between pixels, where bilinear lookup has a derivative
    metres = 2.3 + 0.1 * torch.rand(1, 1, 6, 8, generator=generator, dtype=torch.float64)
    moved, unmoved = photometric_errors(metres, picture, neighbours(other))
    counts = moved < unmoved
    assert 0 < counts.sum() < counts.numel()
    found = photometric_loss(metres, picture, neighbours(other))
    assert found.item() == pytest.approx(moved[counts].mean().item())
    assert torch.autograd.gradcheck(
        lambda z: photometric_errors(z, picture, neighbours(other))[0][..., 3:],
        (metres.requires_grad_(),))


def test_pixels_that_fit_as_well_without_a_motion_do_not_count():
    picture = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    # the neighbour shows the same: the camera stood, whatever the motion says
    assert photometric_loss(torch.full((1, 1, 6, 8), 2.0), picture, neighbours(picture)) == 0
    # all motions 0: there is no neighbour
    none = neighbours(picture)._replace(motions=torch.zeros(1, 1, 3, 4))
    assert photometric_loss(torch.full((1, 1, 6, 8), 2.0), picture, none) == 0
    assert photometric_residual(torch.full((1, 1, 6, 8), 2.0), picture, none).isnan().all()


def test_the_similarity_of_equal_pictures_is_one():
    picture = torch.rand(1, 3, 6, 8)
    torch.testing.assert_close(ssim(picture, picture), torch.ones(1, 3, 6, 8))
    # flat 0.2 against flat 0.6: (2 * 0.12 + C1) / (0.04 + 0.36 + C1)
    flat = ssim(torch.full((1, 1, 4, 4), 0.2), torch.full((1, 1, 4, 4), 0.6))
    torch.testing.assert_close(flat, torch.full((1, 1, 4, 4), 0.2401 / 0.4001),
                               atol=1e-4, rtol=0)


def test_metres_are_those_of_the_camera_that_took_the_picture():
    network = tiny()
    batch = {'image': torch.zeros(1, 3, 32, 48), 'focal_px': torch.tensor([2 * 260 * 48 / 320])}
    # twice the canonical focal length: the same picture means twice the depth
    found = metres_of(network, torch.full((1, 1, 32, 48), math.log(1.5)), batch)
    assert found.unique().tolist() == pytest.approx([3.0])


def test_only_such_data_have_neighbours():
    with pytest.raises(ConfigError, match='no neighbours'):
        neighbours_of({'image': torch.zeros(1)})


@pytest.fixture
def drive(walk, tmp_path):
    """A data set made of bags that hold the walk's pictures without depth."""
    images, _, _ = walk
    made = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name('made_bags.py'))))
    for hour, split in enumerate(('train', 'val')):
        # pictures that prepare has seen already are left out
        shown = [np.minimum(picture, 250) + np.uint8(hour) for picture in images]
        bag = made.robot_bag(
            tmp_path / f'{split}_bag', count=6, rate=10.0, deep=None,
            start=made.START + 3600 * hour * made.SECOND,
            rgb=lambda i, stamp, shown=shown: made.image(stamp, shown[i], 'rgb8'),
            camera=lambda i, stamp: made.info(stamp, 240, 180, CAMERA.fx))
        prepare([bag], tmp_path / 'drive', PrepareSettings(split=split, still=0.0, blur=0.0))
    return tmp_path / 'drive'


def test_a_recording_without_depth_is_labelled_and_judged_by_its_neighbours(
        drive, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(MODELS, 'realtime_unet_m', tiny)
    torch.manual_seed(0)
    base = Config(name='base', model='realtime_unet_m', output='', depth_range=(0.3, 9.0),
                  phases=(Phase(32, 48, 2, 3, 1e-3),))
    start = tmp_path / 'base.ckpt'
    network = tiny()
    torch.save({'state_dict': {f'network.{k}': v for k, v in network.state_dict().items()},
                'hyper_parameters': dataclasses.asdict(base), 'sources': ['rooms']}, start)
    settings = FineTune(
        recipe='finetune', init=str(start), data=str(drive),
        output=str(tmp_path / 'run'), frozen=Stage(2, 1e-3), unfrozen=Stage(3, 1e-3),
        batch_size=2, rehearsal=Rehearsal(share=0), trainer={
            'validate_every_steps': 2, 'threads': 1, 'warmup_steps': 1, 'patience': 3})
    checkpoint = finetune.finetune(settings, 'finetune.yaml')
    found = read_checkpoint(checkpoint).comparison
    assert found['photometric']['frames'] > 0
    assert 'photometric error' in found['reason']
    assert found['worse'] == (found['photometric']['after']['photometric']
                              > found['photometric']['before']['photometric'])
    told = read_checkpoint(checkpoint).config['provenance']['data']
    assert told['labels'].startswith('estimated by base, not measured')
    assert [bag['name'] for bag in told['bags']] == ['train_bag', 'val_bag']
    assert told['frames']['colour']['train'] == told['counts']['train'] == 6
    assert told['with_neighbours']['train'] >= 4
    labels = json.loads((tmp_path / 'run' / 'labels' / 'labels.json').read_text())
    assert labels['source'] == {'name': 'drive', 'manifest_sha256': told['manifest_sha256']}
    assert labels['teacher']['weights_sha256'] == hashlib.sha256(start.read_bytes()).hexdigest()
    again = read_start(str(checkpoint)).told  # what is estimated stays so
    assert again['training_data'] == 'rooms; then drive (depth estimated, not measured)'
    assert again['started_from']['name'] == 'base'
    assert 'the labels of the model itself' in capsys.readouterr().out


def test_without_neighbours_nothing_is_called_better(labelled):
    folder, _ = labelled
    data = build_self_labelled(config(folder), 'val')
    data.records = np.array(data.records)
    data.records['motions'] = 0
    network = tiny()
    found = compare_pictures({'before': network, 'after': network}, data)
    assert found == {'frames': 0}
    assert finetune.judge({'held_out': {}, 'photometric': found})['worse']


def test_a_network_that_gives_no_number_has_no_prediction_for_its_pictures(labelled):
    folder, _ = labelled
    data = build_self_labelled(config(folder), 'val')
    good, broken = tiny(), tiny()
    torch.nn.init.constant_(broken.head.bias, math.nan)
    found = compare_pictures({'before': good, 'after': broken}, data)
    assert found['without_prediction'] == {'before': 0, 'after': found['frames']}
    assert found['frames'] >= 4
    assert finetune.judge({'held_out': {}, 'photometric': found})['worse']


def test_pictures_go_to_the_device_of_the_network(labelled, monkeypatch):
    folder, _ = labelled
    data = build_self_labelled(config(folder), 'val')
    devices = set()

    def residuals(network, prediction, batch):
        devices.update(x.device.type for x in (prediction, batch['neighbours'], batch['motions']))
        return torch.zeros(1)

    monkeypatch.setattr(before_after, 'residuals', residuals)
    network = tiny().to('meta')  # stands for a GPU: it computes with nothing from elsewhere
    assert compare_pictures({'before': network, 'after': network}, data)['frames'] == len(data)
    assert devices == {'meta'}


def test_the_data_set_is_registered():
    assert DATASETS['self_labelled'] is build_self_labelled
