"""Pictures of people in the layouts that Inria and PoseTrack publish; tiny copies of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from training.data import DataError
from training.data.people import inria, posetrack, read_mask
from training.data.root import UnreadableFile

HEIGHT, WIDTH = 24, 40
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def write_jpeg(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode('.jpg', PICTURE)
    path.write_bytes(data.tobytes())


def two_people():
    people = np.zeros((HEIGHT, WIDTH, 2), np.uint8)
    people[2:20, 3:10, 0] = 1
    people[5:22, 8:30, 1] = 1
    return people


@pytest.fixture
def movie(tmp_path):
    """A train part with flat frames and boxes, a test part with sequences and masks."""
    root = tmp_path / 'inria'
    for number in (1, 2):
        frame = root / f'person_detection/train/frames/{number:08d}.jpg'
        write_jpeg(frame)
        write_jpeg(frame.with_name(frame.name + '.right'))
    (root / 'person_detection/train/labels').mkdir()
    savemat(root / 'person_detection/train/labels/00000001.jpg.mat', {'pos': np.ones(3)})
    for sequence in (1, 12):
        write_jpeg(root / f'segmentation/test/frames/{sequence}/00000007.jpg')
    (root / 'segmentation/test/labels/12').mkdir(parents=True)
    savemat(root / 'segmentation/test/labels/12/00000007.jpg.mat', {'det_gt': two_people()})
    return root


def test_the_left_pictures_of_every_part_are_found_with_their_masks(movie):
    found = {x.name: x for x in inria(movie)}
    assert sorted(found) == [
        'person_detection/train/00000001', 'person_detection/train/00000002',
        'segmentation/test/1/00000007', 'segmentation/test/12/00000007']
    assert found['segmentation/test/12/00000007'].mask.name == '00000007.jpg.mat'
    assert found['segmentation/test/1/00000007'].mask is None
    assert {x.image.suffix for x in found.values()} == {'.jpg'}


def test_a_part_of_the_data_set_may_be_given(movie):
    assert [x.name for x in inria(movie / 'segmentation/test')] == ['1/00000007', '12/00000007']
    assert [x.name for x in inria(movie / 'segmentation/test/frames')] == [
        '1/00000007', '12/00000007']


def test_a_mask_is_the_union_of_all_people(movie):
    mask = read_mask(movie / 'segmentation/test/labels/12/00000007.jpg.mat', (HEIGHT, WIDTH))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, two_people().any(axis=2))


def test_labels_without_masks_are_none(movie):
    path = movie / 'person_detection/train/labels/00000001.jpg.mat'
    assert read_mask(path, (HEIGHT, WIDTH)) is None


def test_a_damaged_mask_or_one_of_another_size_is_named(movie, tmp_path):
    path = movie / 'segmentation/test/labels/12/00000007.jpg.mat'
    with pytest.raises(UnreadableFile, match=r'is \(24, 40\), its picture \(24, 41\)'):
        read_mask(path, (HEIGHT, WIDTH + 1))
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(UnreadableFile, match='00000007.jpg.mat'):
        read_mask(path, (HEIGHT, WIDTH))


@pytest.fixture
def tracked(tmp_path):
    root = tmp_path / 'posetrack'
    for name in ('train/000001_bonn_train/000000', 'train/000001_bonn_train/000001',
                 'val/000342_mpii_test/000000'):
        write_jpeg(root / f'images/{name}.jpg')
    (root / 'annotations/val').mkdir(parents=True)
    (root / 'annotations/val/000342_mpii_test.json').write_text('{}')
    return root


def test_the_pictures_of_posetrack_have_their_sequence_in_their_names(tracked):
    assert [x.name for x in posetrack(tracked)] == [
        'train/000001_bonn_train/000000', 'train/000001_bonn_train/000001',
        'val/000342_mpii_test/000000']


def test_masks_from_elsewhere_are_found_by_name(tracked, tmp_path):
    folder = tmp_path / 'masks'
    path = folder / 'val/000342_mpii_test/000000.png'
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), np.pad(np.full((4, 4), 7, np.uint8), ((0, 20), (0, 36))))
    found = posetrack(tracked, str(folder))
    assert [x.mask for x in found] == [None, None, path]
    assert read_mask(path, (HEIGHT, WIDTH)).sum() == 16
    with pytest.raises(DataError, match='has no mask for any of 3 pictures'):
        posetrack(tracked, str(tmp_path / 'nowhere'))


def test_another_layout_is_refused_with_the_right_one(tmp_path, movie):
    with pytest.raises(DataError, match=r'has no PART/frames/NAME.jpg, as Inria'):
        inria(tmp_path / 'empty')
    with pytest.raises(DataError, match='has no images/PART/SEQUENCE/NUMBER.jpg, as PoseTrack'):
        posetrack(movie)
    with pytest.raises(DataError, match='has its own in labels/'):
        inria(movie, 'masks')
