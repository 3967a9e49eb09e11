from __future__ import annotations

import pytest

from training.data_module import Share, thinned


def test_processes_share_an_epoch_without_a_rest_or_an_overlap():
    shares = [list(Share(11, rank, 3)) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_an_epoch_that_was_begun_keeps_its_length_and_gives_the_rest_once():
    share = Share(8, 1, 2)
    share.start = 2
    assert (len(share), list(share)) == (4, [5, 7])
    assert list(share) == [1, 3, 5, 7]


@pytest.mark.parametrize(
    ('count', 'expected'), [(2, [0, 5]), (10, list(range(10))), (3, [0, 3, 6])])
def test_thinning_keeps_evenly_spaced_items(count, expected):
    data = list(range(10))
    kept = thinned(data, count)
    assert [kept[i] for i in range(len(kept))] == expected
