"""The demo of depth from defocus on a real ROS graph: a sweeping lens, two depth nodes, a bag."""

import json
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from depth_perception.model_spec import DEFAULT_MODEL, ModelError
from depth_perception.tools.demo_focus import PUBLISHED, error_picture, run
from depth_perception.tools.recorder import read_back

SCHEMA = json.loads((Path(__file__).parents[2] / 'docs' / 'summary.schema.json').read_text())


@pytest.fixture(scope='module')
def output(tmp_path_factory, isolated_graph, make_model):
    """Run the demo once, as short as it goes, with a model that takes the sharpest slice."""
    folder = tmp_path_factory.mktemp('demo')
    (folder / 'summary.json').write_text('{"sources": {"a": 1}}')
    model = make_model('metric', height=240, width=320, frames=5)
    assert run(str(model), DEFAULT_MODEL, 3.0, folder) == 0
    return folder


def test_the_summary_gets_its_key_and_keeps_the_others(output):
    summary = json.loads((output / 'summary.json').read_text())
    assert summary.pop('sources') == {'a': 1}
    jsonschema.validate(summary, SCHEMA)
    assert summary['focus']['slices_per_stack'] == 5
    assert summary['focus']['images'] > summary['focus']['stacks'] >= 1


def test_the_bag_holds_slices_focus_depth_and_truth(output):
    counts = {topic.name: topic.count for topic in read_back(output / 'focus' / 'bag')}
    assert {'/focus/image', '/focus/focus', '/focus/camera_info', '/focus/ground_truth/depth',
            *(f'/focus/focus_depth_node/{name}' for name in PUBLISHED)} <= set(counts)
    assert min(counts.values()) > 0


def test_the_pictures_show_the_stack_and_what_came_of_it(output):
    stack = cv2.imread(str(output / 'focus' / 'stack.png'))
    assert stack.shape == (240, 5 * 320, 3)
    for name in ('all_in_focus', 'depth', 'truth', 'error', 'depth_single_image'):
        assert cv2.imread(str(output / 'focus' / f'{name}.png')).std() > 5
    assert (output / 'focus' / 'overview.jpg').is_file()


def test_no_error_is_dark_a_large_one_bright_and_an_unknown_one_black():
    truth = np.full((40, 300), 2.0, np.float32)
    depth = truth.copy()
    depth[:, 150:] = 3.0
    depth[:, 250:] = np.nan
    row = error_picture(depth, truth)[-1].astype(int).sum(axis=1)
    assert row[100] < 20 < 600 < row[200] and row[299] == 0


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(ModelError, match="no model is called 'dfdnet_none'; installed are:"):
        run('dfdnet_none', DEFAULT_MODEL, 1.0, tmp_path)
    assert not list(tmp_path.iterdir())
