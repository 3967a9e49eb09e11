"""Rooms behind a true lens: its blur against the formula, the filter, the cache."""
from __future__ import annotations

import math

import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from training.data import DataError, mitsuba, thin_lens
from training.data.focus import blur_scale
from training.data.splits import load_splits

FOCUS = (0.7, 2.0)


def test_the_lens_is_the_canonical_one_of_training():
    camera = Intrinsics.from_hfov(320, 240, 60)
    assert thin_lens.blur_scale_px_m(2.8, camera) == pytest.approx(
        blur_scale(2.8, 'canonical', camera.focal_px, 240, 320))
    assert thin_lens.aperture_m(2.8) == pytest.approx(0.01286, abs=1e-5)


def test_a_small_lamp_becomes_a_disc_of_the_formulas_diameter():
    """Mitsuba's own lens: variance of a uniform disc of diameter D is (D / 4)^2 on each axis."""
    mi = mitsuba.load_mitsuba() if _has_mitsuba() else pytest.skip('Mitsuba is not installed')
    aperture, focus, depth, size = 0.08, 1.0, 2.0, 65
    camera = Intrinsics.from_hfov(size, size, 30)
    transform = mi.ScalarTransform4f
    sensor = mi.load_dict(mitsuba.sensor(mi, np.diag([-1.0, 1, 1, 1]) @ np.eye(4), 30, size, size)
                          | {'type': 'thinlens', 'aperture_radius': aperture / 2,
                             'focus_distance': focus})
    lamp = {'type': 'rectangle', 'emitter': {'type': 'area', 'radiance': 10.0},
            'to_world': transform().translate([0, 0, depth]).rotate([0, 1, 0], 180).scale(0.004)}
    light = mitsuba.render(mi, mi.load_dict({'type': 'scene', 'lamp': lamp}), sensor, 400,
                           type='path', max_depth=2)[..., 0]
    at = np.arange(size) - (size - 1) / 2
    share = light / light.sum()
    found = math.sqrt((share * at[None, :] ** 2).sum()) * 4
    expected = aperture * camera.focal_px * abs(1 / focus - 1 / depth)
    assert expected > 4 and found == pytest.approx(expected, rel=0.06)


def _has_mitsuba():
    try:
        import mitsuba as _  # noqa: F401
    except ImportError:
        return False
    return True


def painted(share):
    """Guides of a picture of dark (share 0) and light paint that cover a share of each pixel."""
    paint = np.repeat((0.2 + 0.6 * share)[..., None], 3, axis=2)
    return paint, np.concatenate([paint, np.tile([0.0, 0, 1], (*share.shape, 1)),
                                  np.full((*share.shape, 1), 0.5)], axis=-1)


def filtered(*slices):
    """What the filter makes of a stack of one slice."""
    return thin_lens.filtered(*(x[None] for x in slices))[0]


def test_the_filter_averages_noise_but_neither_texture_nor_edges():
    rng = np.random.default_rng(0)
    share = np.zeros((40, 40))
    share[:, 20:] = 1
    paint, guides = painted(share)
    clean = 2.0 * paint
    noisy = clean * rng.uniform(0.5, 1.5, (40, 40, 1))
    found = filtered(noisy, paint, guides)
    assert np.abs(found - clean).mean() < 0.35 * np.abs(noisy - clean).mean()
    step = found[8:32, 22].mean() - found[8:32, 17].mean()
    assert step == pytest.approx(1.2, abs=0.1)


def test_an_edge_that_the_lens_blurs_does_not_crumble():
    """36 rays a pixel meet either side by chance; many more say what share of it is which."""
    rng = np.random.default_rng(0)
    share = np.tile(np.clip((np.arange(40) - 10) / 20, 0, 1), (60, 1))
    _, guides = painted(share)
    met, _ = painted(rng.binomial(36, share) / 36)
    clean, crumbled = 2.0 * guides[..., :3], 2.0 * met
    found = filtered(crumbled, met, guides)
    inside = np.s_[8:52, 12:28]  # beyond the filter's reach of the border, which wraps
    assert np.abs(found - clean)[inside].mean() < 0.2 * np.abs(crumbled - clean)[inside].mean()


def test_slices_differ_by_what_stands_out_from_noise_alone():
    """A wall in five slices: the same light on its left, a shadow in one slice on its right."""
    rng = np.random.default_rng(0)
    paint, guides = (np.stack([x] * 5) for x in painted(np.zeros((40, 60))))
    clean = 2.0 * paint
    clean[3, :, 30:] *= 0.5
    noisy = clean * rng.uniform(0.8, 1.2, (5, 40, 60, 1))
    found = thin_lens.filtered(noisy, paint, guides)
    alone = np.stack([filtered(*x) for x in zip(noisy, paint, guides)])
    left, right = np.s_[:, 8:32, 8:22], np.s_[:, 8:32, 38:52]
    assert found[left].std(axis=0).mean() < 0.1 * alone[left].std(axis=0).mean()
    levels, expected = (x[right].mean(axis=(1, 2, 3)) for x in (found, clean))
    np.testing.assert_allclose(levels, expected, rtol=0.08)


@pytest.fixture
def rendered(monkeypatch):
    calls = []

    def render_stack(archive, scene, focus_m, f_number, height, width):
        calls.append(scene)
        return np.full((len(focus_m), height, width, 3), len(calls), np.uint8)

    monkeypatch.setattr(thin_lens, 'render_stack', render_stack)
    return calls


def test_stacks_are_kept_and_made_again_where_the_file_is_damaged(rendered, tmp_path):
    entry = load_splits().entry('mitsuba_kitchen')

    def stack(focus=FOCUS, f_number=2.8):
        return thin_lens.stack_of(entry, tmp_path, focus, f_number, tmp_path)

    assert stack().shape == (2, 240, 320, 3) and (stack() == 1).all() and len(rendered) == 1
    assert (stack((0.7, 2.5)) == 2).all() and (stack(f_number=4) == 3).all()
    for path in tmp_path.glob('thin_lens/*.npz'):
        path.write_bytes(path.read_bytes()[:100])
    assert (stack() == 4).all() and (stack() == 4).all() and rendered == ['kitchen'] * 4


def test_only_test_rooms_are_rendered(rendered, tmp_path):
    with pytest.raises(DataError, match='procedural_train is a train entry'):
        thin_lens.stack_of(load_splits().entry('procedural_train'), tmp_path, FOCUS, 2.8, tmp_path)
    assert not rendered


def test_a_damaged_archive_is_named(tmp_path):
    if not _has_mitsuba():
        pytest.skip('Mitsuba is not installed')
    (tmp_path / 'kitchen.tar.xz').write_bytes(b'no archive')
    with pytest.raises(DataError, match=r'kitchen\.tar\.xz is damaged'):
        thin_lens.render_stack(tmp_path / 'kitchen.tar.xz', 'kitchen', FOCUS, 2.8, 24, 32)
