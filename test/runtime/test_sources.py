"""Sources give RGB frames in order, name what they cannot read, and end when they are done."""

import contextlib
import itertools

import cv2
import numpy as np
import pytest

from depth_perception.sources import SourceError, open_source

RED = (255, 0, 0)


def write_picture(path, colour=RED, size=(8, 6)):
    """Write one colour (RGB) as a picture of `size` (width, height)."""
    pixels = np.full((size[1], size[0], 3), colour[::-1], np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_video(path, colours, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 30, size)
    for colour in colours:
        writer.write(np.full((size[1], size[0], 3), colour[::-1], np.uint8))
    writer.release()
    return path


def test_a_picture_is_one_frame_in_rgb(tmp_path):
    frames = list(open_source(str(write_picture(tmp_path / 'red.png'))))
    assert len(frames) == 1
    assert frames[0].image.shape == (6, 8, 3)
    assert (frames[0].image == RED).all()
    assert frames[0].intrinsics is None and frames[0].depth is None


def test_a_grey_picture_becomes_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((4, 5), 77, np.uint8))
    assert (next(open_source(str(tmp_path / 'grey.png'))).image == 77).all()


def test_a_looped_picture_never_ends(tmp_path):
    source = open_source(str(write_picture(tmp_path / 'red.png')), loop=True)
    assert len(list(itertools.islice(source, 50))) == 50


def test_a_folder_is_read_by_number_and_each_picture_keeps_its_size(tmp_path):
    for number in (10, 9, 1):
        write_picture(tmp_path / f'frame{number}.png', (number, 0, 0), (number, 4))
    (tmp_path / 'notes.txt').write_text('no picture')
    frames = list(open_source(str(tmp_path)))
    assert [frame.image.shape[1] for frame in frames] == [1, 9, 10]


def test_a_looped_folder_starts_again(tmp_path):
    for number in (1, 2):
        write_picture(tmp_path / f'{number}.png', (number, 0, 0))
    source = open_source(str(tmp_path), loop=True)
    reds = [frame.image[0, 0, 0] for frame in itertools.islice(source, 5)]
    assert reds == [1, 2, 1, 2, 1]


@pytest.mark.parametrize('loop', [False, True])
def test_files_that_cannot_be_read_are_named_and_skipped(tmp_path, loop):
    write_picture(tmp_path / '2.png')
    (tmp_path / '1.png').write_bytes(b'\x89PNG damaged')
    (tmp_path / '3.png').write_bytes(b'')
    (tmp_path / '4.png').mkdir()
    source = open_source(str(tmp_path), loop=loop)
    assert len(list(itertools.islice(source, 3))) == (3 if loop else 1)
    assert [name.rpartition('/')[2] for name in source.skipped] == ['1.png', '3.png', '4.png']
    assert 'damaged' in source.skipped[str(tmp_path / '1.png')]


@pytest.mark.parametrize('loop', [False, True])
def test_a_folder_of_damaged_pictures_is_an_error_and_no_endless_search(tmp_path, loop):
    (tmp_path / '1.png').write_bytes(b'damaged')
    with pytest.raises(SourceError, match=r'none of 1 .*1\.png: not a picture'):
        next(open_source(str(tmp_path), loop=loop))


def test_a_video_gives_its_frames_and_ends(tmp_path):
    path = write_video(tmp_path / 'clip.avi', [RED, (0, 255, 0), (0, 0, 255)])
    with contextlib.closing(open_source(str(path))) as source:
        means = [frame.image.reshape(-1, 3).mean(0).argmax() for frame in source]
    assert means == [0, 1, 2]


def test_a_looped_video_starts_again(tmp_path):
    path = write_video(tmp_path / 'clip.avi', [RED, (0, 0, 255)])
    with contextlib.closing(open_source(str(path), loop=True)) as source:
        frames = itertools.islice(source, 5)
        assert [frame.image.reshape(-1, 3).mean(0).argmax() for frame in frames] == [0, 2, 0, 2, 0]


@pytest.mark.parametrize(('name', 'words'), [
    ('nothing.mp4', ["no '", '/dev/video0']),
    ('empty', ['has no images', '.png']),
    ('text.mp4', ['no video', 'convert']),
])
def test_what_is_no_source_is_refused_with_a_way_out(tmp_path, name, words):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(SourceError) as caught:
        open_source(str(tmp_path / name))
    for word in words:
        assert word in str(caught.value)


def test_a_webcam_that_is_not_there_is_refused():
    with pytest.raises(SourceError, match='/dev/video63 cannot be opened.*group video'):
        open_source('/dev/video63')


def test_a_scene_knows_its_camera_and_its_depth():
    frame = next(open_source('scene', width=64, height=48, seed=3))
    assert frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8
    assert (frame.intrinsics.width, frame.intrinsics.height) == (64, 48)
    assert frame.depth.shape == (48, 64) and frame.depth.dtype == np.float32
    assert 0.1 < np.nanmedian(frame.depth) < 20.0


def test_a_scene_is_the_same_for_the_same_seed():
    first, again = (next(open_source('scene', width=32, height=24, seed=5)) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)


def test_a_walk_through_a_scene_ends_unless_it_loops():
    ending = open_source('scene', width=16, height=16)
    count = sum(1 for _ in ending)
    looping = open_source('scene', width=16, height=16, loop=True)
    assert len(list(itertools.islice(looping, count + 2))) == count + 2
