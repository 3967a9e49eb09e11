"""Where the topics of several cameras come from."""

from __future__ import annotations

import pytest

from depth_perception.tools.topic_styles import of_cameras


def test_without_topics_each_camera_has_those_under_its_name():
    assert of_cameras(['front', 'rear']) == [
        ('front/image', 'front/image'), ('front/camera_info', 'front/camera_info'),
        ('rear/image', 'rear/image'), ('rear/camera_info', 'rear/camera_info')]


def test_the_calibration_lies_beside_each_image():
    assert of_cameras(['a', 'b'], ['/cam0/image_raw', '/robot/cam1/color/image']) == [
        ('a/image', '/cam0/image_raw'), ('a/camera_info', '/cam0/camera_info'),
        ('b/image', '/robot/cam1/color/image'), ('b/camera_info', '/robot/cam1/color/camera_info')]


@pytest.mark.parametrize(('names', 'topics', 'text'), [
    (['a', 'b'], ['/cam0/image_raw'], r'1 image_topics for 2 cameras \(a, b\)'),
    (['a'], ['/x', '/y'], '2 image_topics for 1 cameras'), ([], [], 'cameras is empty')])
def test_each_camera_needs_one_topic(names, topics, text):
    with pytest.raises(ValueError, match=text):
        of_cameras(names, topics)
