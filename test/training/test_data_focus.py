"""Pictures as focus stacks: what is drawn, what blur it means, holes, and what is refused."""
from __future__ import annotations

from dataclasses import replace
import math

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate
import yaml

from depth_perception.optics import Lens
from training.data import DATASETS, AugmentConfig, DataConfig, DataError
from training.data.focus import FocusOptions, blur_scale, draw_focus
from training.stacks import stack_of

HEIGHT, WIDTH = 24, 32
COUNT = 22


def write_folder(root, depth_of=lambda i: 1500):
    rng = np.random.default_rng(0)
    for part in ('rgb', 'depth'):
        (root / part).mkdir()
    for i in range(COUNT):
        image = cv2.GaussianBlur(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 0.6)
        depth = np.full((HEIGHT, WIDTH), depth_of(i), np.uint16)
        depth[:, 20:] *= 2
        depth[2, 3] = 0
        cv2.imwrite(str(root / f'rgb/{i:03d}.png'), image)
        cv2.imwrite(str(root / f'depth/{i:03d}.png'), depth)
    k = {'width': WIDTH, 'height': HEIGHT, 'fx': 32.0, 'fy': 32.0, 'cx': 15.5, 'cy': 11.5}
    (root / 'dataset.yaml').write_text(yaml.safe_dump({'scale': 0.001, 'intrinsics': k}))


@pytest.fixture
def config(tmp_path):
    write_folder(tmp_path)
    return DataConfig(HEIGHT, WIDTH, 40, root=str(tmp_path), options={'source': 'folder'},
                      augmentation=AugmentConfig(zoom=(1.0, 1.5)))


def build(config, split='train', **options):
    config = replace(config, options=config.options | options)
    return DATASETS['focus'](config, split)


def test_an_item_is_a_picture_with_a_lens_and_focus_distances(config):
    item = build(config)[0]
    assert item['image'].shape == (3, HEIGHT, WIDTH) and item['image'].dtype == torch.uint8
    assert item['focus_distances'].shape == (5,) and item['depth'].isnan().any()
    assert build(config, frames=3)[0]['focus_distances'].shape == (3,)


def test_focus_is_even_in_disparity_between_the_papers_bounds(config):
    data = build(config)
    for i in range(40):
        dioptres = 1 / data[i]['focus_distances'].double()
        steps = dioptres.diff()
        assert 1 <= dioptres[0] <= 2 and 0.05 <= dioptres[-1] <= 0.25
        np.testing.assert_allclose(steps, float(steps.mean()), rtol=1e-4)
    assert len({float(data[i]['focus_distances'][0]) for i in range(40)}) == 40


def test_other_samplings_for_the_ablation():
    rng = np.random.default_rng(0)
    linear = draw_focus(rng, FocusOptions(focus='linear'))
    np.testing.assert_allclose(np.diff(linear), np.diff(linear)[0])
    assert 0.5 <= linear[0] <= 1 and 4 <= linear[-1] <= 20
    fixed = [draw_focus(rng, FocusOptions(focus='fixed')) for _ in range(2)]
    np.testing.assert_allclose(fixed[0], 1 / np.linspace(1.5, 0.15, 5))
    np.testing.assert_array_equal(*fixed)
    infinite = draw_focus(rng, FocusOptions(focus='linear', lower=[0, 0]))
    assert infinite[-1] == pytest.approx(1000)


def test_f_numbers_are_drawn_evenly_and_infinity_blurs_nothing(config):
    data = build(config, f_numbers=[10, 18, 'inf'], lens='canonical')
    drawn = [round(float(data[i]['blur_scale'] / data[i]['focal_px']), 5) for i in range(40)]
    assert set(drawn) == {round(0.036 / n, 5) for n in (10, 18, math.inf)}
    assert min(drawn.count(x) for x in set(drawn)) >= 5
    index = drawn.index(0)
    batch = default_collate([data[index]])
    stack = stack_of(batch)[0]
    np.testing.assert_array_equal(stack * 255, batch['image'].expand(5, -1, -1, -1))


def test_blur_of_a_full_frame_lens_is_that_of_its_focal_length():
    """50 mm, f/1.4, focus 1 m, a point at 2 m: 0.940 mm on the sensor, 8.35 px of 320."""
    focal_px = 0.05 / 0.036 * 320
    scale = blur_scale(1.4, 'full_frame', focal_px, 240, 320)
    assert scale == pytest.approx(Lens(0.05, 1.4, 0.036 / 320).blur_scale_px_m)
    diameter_px = scale * abs(1 / 1 - 1 / 2) / (1 - 0.05 / 1)
    assert diameter_px * 0.036 / 320 == pytest.approx(0.940e-3, rel=1e-3)


def test_a_canonical_lens_blurs_alike_in_canonical_space_whatever_the_focal_length():
    """The blur of a point that is as far in canonical metres, in pixels."""
    width = 320
    blurs = []
    for focal_px in (200.0, 320.0, 500.0):
        focus_c, depth_c = 1.0, 3.0  # metres times width / focal length
        focus, depth = (x * focal_px / width for x in (focus_c, depth_c))
        scale = blur_scale(2.8, 'canonical', focal_px, 240, width)
        blurs.append(scale * (1 / focus - 1 / depth))
    np.testing.assert_allclose(blurs, blurs[0])
    # and where the focal length is the picture's width it is the full-frame lens of 36 mm
    assert blur_scale(2.8, 'canonical', width, 240, width) == pytest.approx(
        blur_scale(2.8, 'full_frame', width, 240, width))


def test_the_stack_is_sharp_where_it_is_focused(config):
    """Half of the picture lies at 1.5 m, half at 3 m; a slice focused there is the picture."""
    item = build(config, 'val', f_numbers=[0.1], lens='canonical')[0]
    item['focus_distances'] = torch.tensor([1.5, 3.0])
    stack = stack_of(default_collate([item]))[0] * 255
    error = (stack - item['image']).abs().mean(dim=1)  # (2, H, W)
    left, right = (slice(None), slice(4, 14)), (slice(None), slice(25, 32))
    assert error[0][left].mean() < 1 and error[1][right].mean() < 1
    assert error[0][right].mean() > 5 and error[1][left].mean() > 5


def test_light_can_be_blurred_and_near_things_hide_far_ones(config):
    # focused at each half: were all blurs as large as the picture, nothing could hide the other
    focus = {'focus_distances': torch.tensor([1.5, 3.0])}
    plain, light, hidden = (
        stack_of(default_collate([build(config, 'val', f_numbers=[0.1], lens='canonical',
                                        **options)[0] | focus]))
        for options in ({}, {'gamma': 2.2}, {'occlusion': True}))
    # The power mean of exponent 2.2 is above the plain mean.
    assert float((light - plain).mean()) > 0.003
    assert float((hidden - plain).abs().mean()) > 1e-3


def test_noise_is_drawn_and_differs_between_slices(config):
    data = build(config, noise=0.05, f_numbers=[math.inf])
    drawn = [float(data[i]['noise']) for i in range(40)]
    assert 0 <= min(drawn) < 0.01 and 0.04 < max(drawn) <= 0.05
    item = data[int(np.argmax(drawn))] | {'image': torch.full((3, HEIGHT, WIDTH), 128).byte()}
    torch.manual_seed(0)
    stack = stack_of(default_collate([item]))[0]
    assert float(stack.std()) == pytest.approx(max(drawn), rel=0.05)
    assert abs(np.corrcoef(stack[0].ravel(), stack[1].ravel())[0, 1]) < 0.1


def test_items_depend_on_seed_epoch_and_number_alone(config):
    def drawn(seed, epoch=0, split='train'):
        data = build(replace(config, seed=seed), split)
        if split == 'train':
            data.set_epoch(epoch)
        return data[1]['focus_distances'].tolist()
    assert drawn(3) == drawn(3) and len({drawn(3)[0], drawn(4)[0], drawn(3, 1)[0]}) == 3
    assert drawn(3, split='val') == drawn(4, split='val')  # scores of all seeds are of one set


def test_only_what_happens_before_the_lens_changes_a_picture(config):
    augmentation = build(config).inner.config.augmentation
    assert (augmentation.zoom, augmentation.flip, augmentation.colour) == ((1.0, 1.5), 0.5, 1.0)
    assert (augmentation.blur, augmentation.jpeg, augmentation.noise, augmentation.roll) == (
        0, 0, 0, 0)


def test_a_picture_of_holes_alone_is_rendered_as_far_away(tmp_path):
    write_folder(tmp_path, lambda i: 0 if i % 2 else 1500)
    data = build(DataConfig(HEIGHT, WIDTH, 40, root=str(tmp_path), options={'source': 'folder'}))
    item = next(item for item in (data[i] for i in range(40)) if item['depth'].isnan().all())
    stack = stack_of(default_collate([item]))
    assert stack.isfinite().all()
    far = stack_of(default_collate([item | {'depth': torch.full((HEIGHT, WIDTH), 1000.0)}]))
    torch.testing.assert_close(stack, far)


def test_damaged_pictures_of_the_source_are_left_out_and_counted(config, tmp_path):
    path = tmp_path / 'depth/004.png'
    path.write_bytes(path.read_bytes()[:-20])
    data = build(config)
    assert '004' not in {data[i]['name'] for i in range(40)}
    assert data.faults.names == ['004'] and data.sources == ['folder']


def test_rendered_rooms_are_a_source_as_well(tmp_path):
    config = DataConfig(HEIGHT, WIDTH, 2, views={'procedural_train': 4},
                        weights={'procedural_train': 1.0}, view_size=(HEIGHT, WIDTH), workers=0,
                        cache=tmp_path)
    data = DATASETS['focus'](config)
    assert data.sources == ['procedural_train'] and len(data.views) >= 4
    assert stack_of(default_collate([data[0], data[1]])).shape == (2, 5, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize(('wrong', 'told'), [
    ({'source': 'ddff'}, 'source'), ({'source': 'focus'}, 'source'), ({'frames': 1}, 'at least 2'),
    ({'f_numbers': []}, 'f_numbers'), ({'f_numbers': [0]}, 'above 0'),
    ({'f_numbers': 2.8}, 'list of numbers'), ({'f_numbers': [math.nan]}, 'f_numbers'),
    ({'f_numbers': ['wide']}, 'must be a number'),
    ({'lens': 'thick'}, 'full_frame, canonical'), ({'focus': 'log'}, 'disparity, linear, fixed'),
    ({'psf': 'box'}, 'gaussian, disc'), ({'noise': -1}, 'noise'), ({'gamma': 0}, 'gamma'),
    ({'lower': [0.2]}, 'lower'),
    ({'lower': [0.3, 1.5]}, 'below every upper'), ({'upper': [1, math.inf]}, 'upper'),
    ({'zoom': 2}, "unknown option 'zoom'"), ({'source_options': {'val': 1}}, 'val_share')])
def test_options_that_cannot_work_are_told(wrong, told, config):
    with pytest.raises(DataError, match=told):
        build(config, **wrong)
