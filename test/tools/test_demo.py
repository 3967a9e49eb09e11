"""The demo on a real ROS graph: three processes, real pictures, a real bag."""

import json
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import open3d
import pytest

from depth_perception.tools import cli, demo_report
from depth_perception.tools.demo import DEPTH_TOPICS, motorcycle
from depth_perception.tools.recorder import read_back

SCHEMA = json.loads((Path(__file__).parents[2] / 'docs' / 'summary.schema.json').read_text())


@pytest.fixture(scope='module')
def output(tmp_path_factory, isolated_graph):
    """Run the built-in demo once, as short as it goes."""
    folder = tmp_path_factory.mktemp('demo')
    assert cli.main(['demo', '--seconds', '2', '--output', str(folder)]) == 0
    return folder


def test_the_summary_fits_its_schema_and_every_frame_is_accounted_for(output):
    summary = json.loads((output / 'summary.json').read_text())
    jsonschema.validate(summary, SCHEMA)
    assert set(summary['sources']) == {'motorcycle', 'room'}
    for row in summary['sources'].values():
        # How many are lost is for the benchmark, on a quiet machine; here only that they add up.
        assert row['frames_in'] == sum(
            row[name] for name in ('frames_out', 'frames_dropped', 'frames_lost'))
        assert 0 < row['abs_rel'] < 2


@pytest.mark.parametrize('source', ['motorcycle', 'room'])
def test_the_bag_holds_every_topic_with_its_offered_reliability(output, source):
    topics = {topic.name: topic for topic in read_back(output / source / 'bag')}
    for name in DEPTH_TOPICS:
        topic = topics[f'/{source}/depth_node/{name}']
        assert topic.count > 0
        assert topic.reliability == 'reliable'
    assert topics[f'/{source}/depth_node/disparity'].type == 'stereo_msgs/msg/DisparityImage'


@pytest.mark.parametrize('source', ['motorcycle', 'room'])
def test_the_pictures_have_the_sizes_of_the_camera(output, source):
    height, width = cv2.imread(str(output / source / 'image.png')).shape[:2]
    sbs = cv2.imread(str(output / source / 'side_by_side.png'))
    assert sbs.shape == (height, 2 * width, 3)
    # The left half is the camera's own picture, untouched.
    np.testing.assert_array_equal(
        sbs[:, :width], cv2.imread(str(output / source / 'image.png')))
    assert cv2.imread(str(output / source / 'depth.png')).std() > 10


def test_the_ply_opens_in_open3d_with_one_point_for_each_valid_pixel(output):
    cloud = open3d.io.read_point_cloud(str(output / 'motorcycle' / 'point_cloud.ply'))
    points = np.asarray(cloud.points)
    assert len(points) == 741 * 500
    assert len(cloud.colors) == len(points)
    assert 0.3 < np.median(points[:, 2]) < 10


def test_the_motorcycles_depth_follows_its_calibration(tmp_path):
    source = motorcycle(tmp_path)
    valid = source.truth[np.isfinite(source.truth)]
    # SOURCES of the pair: 2.11 to 5.02 m over 92.7 % of the pixels.
    assert valid.min() == pytest.approx(2.11, abs=0.01)
    assert valid.max() == pytest.approx(5.02, abs=0.01)
    assert len(valid) / source.truth.size == pytest.approx(0.927, abs=0.001)


def test_another_demos_key_stays_in_the_summary(tmp_path):
    path = tmp_path / 'summary.json'
    path.write_text('{"focus": {"a": 1}}')
    demo_report.write_summary(path, 'sources', {'b': 2})
    assert json.loads(path.read_text()) == {'focus': {'a': 1}, 'sources': {'b': 2}}


def test_a_source_that_does_not_exist_says_so(tmp_path, isolated_graph, capsys):
    status = cli.main(['demo', '--source', str(tmp_path / 'no.mp4'), '--output', str(tmp_path)])
    assert status == 1
    assert 'no.mp4' in capsys.readouterr().err
