"""Missing folders, damaged files and wrong units: named, counted, and stopped in time."""
from __future__ import annotations

import logging
import multiprocessing

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from training.data.faults import Faults, check_unit, require_root, unit_factor
from training.data.root import DataError, UnreadableFile, sentence

NAMES = np.array([f'scene/{i:03d}' for i in range(100)])
REASON = UnreadableFile('the file is damaged')


@pytest.mark.parametrize('root, message', [
    ('', 'folder needs data.root, which is not set'),
    ('nowhere', 'nowhere.*is not a folder'),
    ('file', 'file.*is not a folder'),
    ('empty', 'empty.*is empty; copy folder into it'),
])
def test_a_root_that_is_missing_or_empty_is_refused(root, message, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').touch()
    with pytest.raises(DataError, match=message):
        require_root(str(tmp_path / root) if root else '', 'folder')


def test_damaged_pictures_are_named_once_and_counted(caplog):
    faults = Faults('toy', NAMES)
    for number in (7, 3, 7):
        faults.add(number, REASON)
    assert faults.names == ['scene/003', 'scene/007'] and len(faults) == 2
    assert 7 in faults and 8 not in faults
    assert [r.getMessage() for r in caplog.records] == [
        'toy: left out scene/007 (1 of 100 so far): the file is damaged',
        'toy: left out scene/003 (2 of 100 so far): the file is damaged']


def test_five_in_a_hundred_go_on_and_six_stop_with_the_list():
    faults = Faults('toy', NAMES)
    for number in range(5):
        faults.add(number, REASON)
    with pytest.raises(DataError, match='6 of 100 pictures cannot be read, more than 5%.*'
                                        'scene/000, scene/001, .*scene/050$'):
        faults.add(50, REASON)


def test_a_long_list_is_cut_in_the_error_and_complete_in_the_log(caplog, tmp_path):
    faults = Faults('toy', NAMES)
    with pytest.raises(DataError, match='100 of 100 .*scene/049, and 50 more'):
        faults.add_missing(lambda number: (tmp_path / f'{number}.png',))
    assert len(caplog.records) == 100 and 'scene/099' in caplog.text


def test_missing_and_empty_files_are_found_without_reading(tmp_path):
    for number in range(100):
        (tmp_path / f'{number}.png').write_bytes(b'any' if number != 4 else b'')
    (tmp_path / '60.png').unlink()
    faults = Faults('toy', NAMES)
    faults.add_missing(lambda number: (tmp_path / f'{number}.png',))
    assert faults.names == ['scene/004', 'scene/060']


def test_what_another_process_finds_is_known_here():
    faults = Faults('toy', NAMES)
    worker = multiprocessing.get_context('fork').Process(target=faults.add, args=(9, REASON))
    worker.start(), worker.join()
    assert worker.exitcode == 0 and faults.names == ['scene/009']


@pytest.mark.parametrize('median, factor', [
    (2000.0, 0.001), (0.002, 1000.0), (250.0, 0.01), (2.0, 1.0), (0.4, 1.0), (60.0, 1.0)])
def test_the_factor_brings_a_median_to_metres(median, factor):
    assert unit_factor(median) == pytest.approx(factor)


def test_a_wrong_unit_is_warned_about_with_its_factor(caplog):
    depths = [np.full((4, 5), value, np.float32) for value in (1900, 2000, 2600)]
    depths[0][0] = np.nan
    check_unit('toy', depths)
    assert 'toy: the median depth is 2,000 m' in caplog.text
    assert 'multiply the scale of depth by 0.001' in caplog.text


def test_metres_are_not_warned_about_and_depth_that_is_all_holes_is_refused(caplog):
    with caplog.at_level(logging.WARNING):
        check_unit('toy', [np.full((4, 5), 3.0, np.float32), np.zeros((4, 5), np.float32)])
    assert not caplog.records
    with pytest.raises(DataError, match='2 pictures were looked at and none has a valid depth'):
        check_unit('toy', [np.zeros((4, 5)), np.full((4, 5), np.nan)])


class _Damaged(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise UnreadableFile('depth.png: it is damaged; copy it again')


@pytest.mark.parametrize('workers', [0, 1])
def test_what_a_loader_worker_says_is_told_without_its_traceback(workers):
    with pytest.raises(UnreadableFile) as caught:
        next(iter(DataLoader(_Damaged(), num_workers=workers)))
    assert sentence(caught.value) == 'depth.png: it is damaged; copy it again'
