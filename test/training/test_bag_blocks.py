"""Blocks of time, jumping clocks, blur and stillness: what holds whatever the recording."""
from __future__ import annotations

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from skimage.measure import blur_effect

from training.data import DataError
from training.data.bag_blocks import PATTERN, Blocks, Clock
from training.data.bag_filters import Blur, Stillness, blur_of, thumbnail
from training.data.bag_pairs import NS_PER_S

BLOCKS = st.tuples(st.floats(0.5, 90), st.floats(0, 0.99)).map(lambda x: Blocks(x[0], x[0] * x[1]))


@given(BLOCKS, st.integers(0, 10**19 // 8), st.lists(st.floats(0, 400), max_size=60))
def test_frames_of_different_splits_are_never_nearer_than_the_gap(blocks, start, times):
    stamps = sorted(start + round(each * NS_PER_S) for each in times)
    kept = [(stamp, blocks.split_of(stamp)) for stamp in stamps if blocks.split_of(stamp)]
    for (first, one), (second, other) in zip(kept, kept[1:]):
        if one != other:
            assert second - first >= blocks.gap_s * NS_PER_S - 2  # rounding of either half


@given(BLOCKS, st.integers(0, 10**18))
def test_ten_blocks_hold_all_splits_in_their_shares(blocks, start):
    step = round(blocks.block_s * NS_PER_S / 40)
    splits = [blocks.split_of(start + i * step) for i in range(400)]
    most = {'train': 320, 'val': 40, 'test': 40}
    for split, count in most.items():
        lost = 4 * 40 * blocks.gap_s / blocks.block_s  # four changes of split
        assert count - lost - 8 <= splits.count(split) <= count + 1


def test_blocks_fit_the_longest_recording():
    assert Blocks.fitting([30.0, 100.0]) == Blocks(10.0, 2.0)
    assert Blocks.fitting([4.0]) == Blocks(2.0, 0.5) and Blocks.fitting([]) == Blocks(2.0, 0.5)
    assert Blocks.fitting([36_000.0]) == Blocks(60.0, 2.0)
    assert Blocks.fitting([100.0], 5.0, 0.0) == Blocks(5.0, 0.0)
    assert sorted(set(PATTERN)) == ['test', 'train', 'val']
    with pytest.raises(DataError, match='must be shorter'):
        Blocks(2.0, 2.0)


def near(clock, *moments):
    """What a clock says of (stamp, log) in seconds."""
    return [clock.near_jump(round(stamp * NS_PER_S), round(log * NS_PER_S))
            for stamp, log in moments]


def test_a_pause_is_no_jump_and_a_jump_lasts_for_the_gap():
    clock = Clock(1.0)
    assert not any(near(clock, (0, 100), (0.1, 100.1), (50, 150), (50.1, 150.2)))
    back = [(20 + i / 4, 150.4 + i / 4) for i in range(6)]
    assert near(clock, *back) == [True, True, True, True, False, False] and clock.jumps == 1
    assert near(clock, (90.0, 152.0)) == [True]  # forward, while hardly any time passed
    assert clock.jumps == 2


def test_another_recording_begins_anew_unless_it_follows_at_once():
    clock = Clock(1.0)
    near(clock, (10, 10), (11, 11))
    clock.next_bag(round(11.5 * NS_PER_S))
    assert near(clock, (0, 11.5)) == [True]
    clock.next_bag(500 * NS_PER_S)
    assert near(clock, (0, 500)) == [False]


def scene(seed):
    rng = np.random.default_rng(seed)
    small = rng.integers(20, 236, (60, 80, 3), np.uint8)
    return cv2.resize(small, (320, 240), interpolation=cv2.INTER_NEAREST)


@settings(max_examples=15)
@given(st.integers(0, 99), st.booleans(), st.floats(0.4, 1.0))
def test_blur_grows_with_the_motion_in_any_direction_and_not_with_contrast(seed, upright, share):
    values = [blur_of(cv2.blur(scene(seed), (1, length) if upright else (length, 1)))
              for length in (1, 3, 5, 8, 25)]
    assert values[:4] == sorted(values[:4]) and min(values[3:]) - values[0] > 0.2
    pale = (scene(seed) * share).astype(np.uint8)
    assert blur_of(pale) == pytest.approx(values[0], abs=0.03)


def test_blur_orders_pictures_as_scikit_image_does():
    pictures = [cv2.GaussianBlur(scene(5), (0, 0), sigma) for sigma in (0.5, 1, 2, 4)]
    reference = [blur_effect(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY)) for each in pictures]
    assert np.argsort([blur_of(each) for each in pictures]).tolist() == np.argsort(
        reference).tolist()


def test_a_flat_picture_has_no_blur_and_is_kept():
    flat = blur_of(np.full((48, 64, 3), 90, np.uint8))
    assert np.isnan(flat) and not Blur(0.1).is_blurred(flat)


def test_a_frame_is_blurred_beside_those_before_it_alone():
    blur = Blur(0.1)
    assert not any(blur.is_blurred(value) for value in (0.3, 0.31, 0.6, 0.3, 0.29, 0.33))
    assert blur.is_blurred(0.45) and not blur.is_blurred(0.35)
    assert not any(Blur(0.0).is_blurred(value) for value in (0.1,) * 9 + (0.9,))


def test_noise_is_no_movement_and_a_third_of_a_pixel_is():
    rng = np.random.default_rng(0)
    view = cv2.GaussianBlur(scene(3), (0, 0), 1.0)

    def seen(shift):
        matrix = np.float32([[1, 0, shift], [0, 1, 0]])
        moved = cv2.warpAffine(view, matrix, (320, 240), borderMode=cv2.BORDER_REPLICATE)
        return thumbnail(np.clip(moved + rng.normal(0, 2, moved.shape), 0, 255).astype(np.uint8))

    still = Stillness(1.0)
    assert not still.is_still(seen(0.0))  # the first one is always new
    still.keep(seen(0.0))
    assert still.is_still(seen(0.0)) and not still.is_still(seen(0.35))
