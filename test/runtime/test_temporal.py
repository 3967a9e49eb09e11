"""Stable depth: less noise at rest, nothing dragged along by what moves, nothing across a cut."""

from __future__ import annotations

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.sources import open_source
from depth_perception.temporal import TemporalFilter

RATE_HZ = 30.0
HEIGHT, WIDTH = 96, 128


def flickering(depth, image, rng):
    """A frame as a network sees it: scale and blotches that change, grain, and sensor noise."""
    height, width = depth.shape
    blotches = cv2.resize(rng.normal(0.0, 0.02, (5, 7)), (width, height),
                          interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0.0, 0.03) + blotches + rng.normal(0.0, 0.01, depth.shape)
    seen = np.clip(image + rng.normal(0.0, 3.0, image.shape), 0, 255).astype(np.uint8)
    return (depth * np.exp(noise)).astype(np.float32), seen


def textured(seed, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (height // 8, width // 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def run(steady, frames, start=0):
    return [steady(depth, image, (start + i) / RATE_HZ) for i, (depth, image) in enumerate(frames)]


@pytest.fixture(scope='module')
def room():
    pytest.importorskip('open3d')
    frame = next(open_source('scene', width=160, height=120, seed=3))
    return frame.depth, frame.image


def test_in_a_still_room_the_standard_deviation_falls_to_a_third_and_metres_stay(room):
    depth, image = room
    rng = np.random.default_rng(0)
    before, after, steady = [], [], TemporalFilter()
    for i in range(130):
        noisy, seen = flickering(depth, image, rng)
        before.append(noisy.copy())
        after.append(steady(noisy, seen, i / RATE_HZ).copy())
    before, after = np.array(before[40:]), np.array(after[40:])
    assert np.sqrt(before.var(axis=0).mean() / after.var(axis=0).mean()) >= 3.0
    ratio = before.std(axis=0) / after.std(axis=0)
    assert np.percentile(ratio, 5) >= 3.0       # in nearly each pixel
    assert np.median(after / depth) == pytest.approx(1.0, abs=0.01)
    assert steady.resets == 0


def test_noise_falls_by_the_factor_of_the_formula():
    rng = np.random.default_rng(1)
    image = textured(0)
    frames = [(rng.normal(2.0, 0.01, (HEIGHT, WIDTH)).astype(np.float32), image)
              for _ in range(200)]
    out = np.array([each.copy() for each in run(TemporalFilter(0.8), frames)][60:])
    # sqrt((1 + 0.8) / (1 - 0.8)) = 3
    assert 0.01 / out.std(axis=0).mean() == pytest.approx(3.0, rel=0.1)


def test_the_first_frame_after_a_cut_is_as_it_came():
    rng = np.random.default_rng(2)
    steady = TemporalFilter()
    run(steady, [flickering(np.full((HEIGHT, WIDTH), 2.0), textured(0), rng) for _ in range(20)])
    # of a like depth, so that only the picture tells
    depth, image = flickering(np.full((HEIGHT, WIDTH), 2.05), textured(1), rng)
    np.testing.assert_array_equal(steady(depth.copy(), image, 20 / RATE_HZ), depth)
    assert steady.resets == 1
    # of a like picture, so that only depth tells
    depth = np.full((HEIGHT, WIDTH), 4.0, np.float32)
    np.testing.assert_array_equal(steady(depth.copy(), image, 21 / RATE_HZ), depth)
    assert steady.resets == 2


@pytest.mark.parametrize('stamp_s', [0.5, 3.0])
def test_a_gap_and_a_jump_back_start_anew(stamp_s):
    steady = TemporalFilter()
    depth, image = np.full((HEIGHT, WIDTH), 2.0, np.float32), textured(0)
    steady(depth.copy(), image, 1.0)
    np.testing.assert_array_equal(steady(1.05 * depth, image, stamp_s), 1.05 * depth)
    assert steady.resets == 1


def test_a_slow_camera_has_no_gaps_but_where_frames_are_missing():
    steady, resets = TemporalFilter(), []
    # a frame in 2 s, of which the first cannot be known to be usual; then 9 s, more than 4 * 2 s
    for stamp_s in (0.0, 2.0, 4.0, 6.0, 8.0, 17.0, 19.0):
        steady(np.full((HEIGHT, WIDTH), 2.0, np.float32), textured(0), stamp_s)
        resets.append(steady.resets)
    assert resets == [0, 1, 1, 1, 1, 2, 2]
    # at 30 Hz a second stays a gap, whatever gap was before
    steady, resets = TemporalFilter(), []
    for stamp_s in (0.0, 9.0, 9.03, 9.06, 11.0):
        steady(np.full((HEIGHT, WIDTH), 2.0, np.float32), textured(0), stamp_s)
        resets.append(steady.resets)
    assert resets == [0, 1, 1, 1, 2]


def test_a_box_that_moves_is_not_dragged_and_leaves_nothing_behind():
    background, box = textured(3), textured(4)
    steady = TemporalFilter()
    for i in range(40):
        depth, image = np.full((HEIGHT, WIDTH), 4.0, np.float32), background.copy()
        x = 2 * i       # 60 pixels a second
        depth[30:70, x:x + 40] = 2.0
        image[30:70, x:x + 40] = box[30:70, :40]
        out = steady(depth.copy(), image, i / RATE_HZ)
        wrong = np.abs(out / depth - 1.0) > 0.02
        assert wrong.mean() < 0.002, f'frame {i}'
    assert steady.resets == 0


def test_a_wall_without_texture_that_comes_near_is_followed():
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    image[:, :WIDTH // 2] = textured(5)[:, :WIDTH // 2]     # this half stands still
    steady = TemporalFilter()
    late = []
    for i in range(90):
        wall_m = 3.0 - max(0, i - 30) / RATE_HZ             # a metre a second
        depth = np.full((HEIGHT, WIDTH), 4.0, np.float32)
        depth[:, WIDTH // 2:] = wall_m
        out = steady(depth.copy(), image, i / RATE_HZ)
        late.append(float(np.median(out[:, 3 * WIDTH // 4:])) / wall_m - 1.0)
        assert np.abs(out[:, :WIDTH // 4] / 4.0 - 1.0).max() < 0.03
    # an average of this weight alone would be late by nine frames: 0.3 m,
    # and 30 % too far in the end; this is late by two
    assert max(late) < 0.08


def test_nan_stays_nan_and_comes_back_as_it_is():
    steady, image = TemporalFilter(), textured(6)
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    holed = depth.copy()
    holed[10:20, 10:20] = np.nan
    run(steady, [(depth.copy(), image), (depth.copy(), image)])
    out = steady(holed.copy(), image, 2 / RATE_HZ)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(holed))
    new = depth.copy()
    new[10:20, 10:20] = 2.1
    out = steady(new, image, 3 / RATE_HZ)
    np.testing.assert_allclose(out[10:20, 10:20], 2.1, rtol=1e-6)


def test_an_exposure_that_changes_is_no_movement():
    rng = np.random.default_rng(7)
    steady, image = TemporalFilter(), textured(8) // 2
    depth = np.full((HEIGHT, WIDTH), 2.0)
    run(steady, [flickering(depth, image, rng) for _ in range(20)])
    out = run(steady, [flickering(depth, image + 40, rng) for _ in range(20)], start=20)
    assert steady.resets == 0
    assert np.std([each.mean() for each in out]) < 0.02


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_any_size_and_any_holes_pass(height, width, seed):
    rng = np.random.default_rng(seed)
    steady = TemporalFilter()
    for i in range(3):
        depth = rng.uniform(0.5, 9.0, (height, width)).astype(np.float32)
        depth[rng.random((height, width)) < 0.3] = np.nan
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        out = steady(depth.copy(), image, i / RATE_HZ)
        np.testing.assert_array_equal(np.isnan(out), np.isnan(depth))
        assert np.nanmin(np.append(out, 9.0)) >= 0.2 and np.nanmax(np.append(out, 1.0)) <= 20.0


def test_a_new_size_starts_anew():
    steady = TemporalFilter()
    steady(np.full((40, 60), 2.0, np.float32), textured(0, 40, 60), 0.0)
    depth = np.full((80, 120), 2.1, np.float32)
    np.testing.assert_array_equal(steady(depth.copy(), textured(0, 80, 120), 0.1), depth)


def test_no_memory_as_large_as_a_frame_is_taken_for_a_frame():
    import tracemalloc

    steady, image = TemporalFilter(), textured(0, 480, 640)
    depth = np.full((480, 640), 2.0, np.float32)
    run(steady, [(depth, image)] * 3)
    tracemalloc.start()
    run(steady, [(depth, image)] * 3, start=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < depth.nbytes / 2
