"""The focus camera on a live graph: what it says of its lens, and who tells it where to sweep."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Header

from depth_perception.image_encodings import MessageError
from depth_perception.nodes._focus import (
    focus_message,
    focus_reading,
    sweep_command,
    sweep_range,
)
from depth_perception.nodes.focus_camera_node import FocusCameraConfig

TOPICS = {'image': Image, 'camera_info': CameraInfo, 'focus': JointState,
          'ground_truth/depth': Image, 'ground_truth/image': Image}
# no settle time of the lens: what is focused is exactly what is said
PARAMS = {'width': 96, 'height': 72, 'rate_hz': 15.0, 'seed': 4, 'sweep.slices': 3,
          'sweep.nearest': 0.6, 'sweep.farthest': 6.0, 'lens.settle_time': 0.0, 'frame_id': 'eye'}


def spawn(graph, name, params, **more):
    topics = {topic: f'{name}/{topic}' for topic in (*TOPICS, 'sweep_command')}
    return graph.spawn('focus_camera_node', params, topics, name=name, **more)


@pytest.fixture(scope='module')
def node(graph):
    return spawn(graph, 'lens', PARAMS)


@pytest.fixture(scope='module')
def boxes(graph, node):
    return {topic: graph.listen(f'lens/{topic}', kind) for topic, kind in TOPICS.items()}


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def focus(message):
    return dict(zip(message.name, message.position))


def test_all_topics_of_a_slice_have_one_stamp_and_agree(boxes):
    by_stamp = {topic: {stamp(each): each for each in box.wait(9)} for topic, box in boxes.items()}
    moments = sorted(set.intersection(*(set(each) for each in by_stamp.values())))
    assert len(moments) >= 6
    for moment in moments:
        slices = {topic: each[moment] for topic, each in by_stamp.items()}
        assert {each.header.frame_id for each in slices.values()} == {'eye'}
        told = focus(slices['focus'])
        assert told['f_number'] == 2.8
        # the thin lens: f = 36 mm before a sensor of 36 mm and 96 pixels
        focal_px = 1 / (1 / 0.036 - 1 / told['focus_distance']) / 0.036 * 96
        assert slices['camera_info'].k[0] == pytest.approx(focal_px, rel=1e-3)
        assert slices['image'].width == slices['ground_truth/depth'].width == 96
    distances = [focus(by_stamp['focus'][each])['focus_distance'] for each in moments]
    assert sorted(set(np.round(distances, 2))) == [0.6, 1.09, 6.0]


def test_a_command_moves_the_sweep_and_a_wrong_one_is_refused_in_one_sentence(graph, node, boxes):
    def command(**values):
        graph.publish('lens/sweep_command', JointState(
            name=list(values), position=list(map(float, values.values()))))

    command(focus_nearest=0.4, focus_farthest=9.0)
    boxes['focus'].clear()
    graph.wait_for(lambda: {0.4, 9.0} <= {
        round(focus(each)['focus_distance'], 3) for each in boxes['focus'].messages})
    _, _, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: values.get('sweep [m]') == '0.4 to 9')
    command(focus_nearest=2.0, focus_farthest=1.0)
    graph.wait_for_diagnostics(node, lambda level, text, values: (
        'sweep_command refused' in text and 'must be below' in text))
    command(focus_nearest=0.6, focus_farthest=6.0)
    graph.wait_for_diagnostics(node, lambda level, text, values: 'refused' not in text)


def test_the_aperture_can_be_closed_while_it_runs(graph, node, boxes):
    assert graph.set_parameter(node, 'lens.f_number', 1000.0).successful
    boxes['focus'].clear()
    graph.wait_for(lambda: any(focus(each)['f_number'] == 1000.0
                               for each in boxes['focus'].messages))
    for topic in ('image', 'ground_truth/image'):
        boxes[topic].clear()
    image, sharp = ({stamp(each): each for each in boxes[topic].wait(4)}
                    for topic in ('image', 'ground_truth/image'))
    moment = max(set(image) & set(sharp))
    assert bytes(image[moment].data) == bytes(sharp[moment].data)


def test_a_sweep_that_is_none_is_refused(graph, node):
    answer = graph.set_parameter(node, 'sweep.nearest', 7.0)
    assert not answer.successful
    assert 'sweep.nearest must be below sweep.farthest' in answer.reason


def test_a_real_camera_without_a_focus_table_fails_at_configure_in_one_sentence(graph):
    node = spawn(graph, 'bad', {'source': '/dev/video0'}, state='failed')
    assert 'focus_table is empty' in node.log
    assert node.stop() == 0


def test_a_camera_cannot_be_faster_than_its_lens_settles():
    with pytest.raises(ValueError, match='lower rate_hz to 2$'):
        FocusCameraConfig(rate_hz=30.0, settle_time=0.5)


@pytest.mark.parametrize(('values', 'text'), [
    ({'focus_nearest': 2.0, 'focus_farthest': 1.0}, 'must be below'),
    ({'focus_nearest': 0.0, 'focus_farthest': 1.0}, 'above 0'),
    ({'zoom': 1.0}, 'must name focus_nearest')])
def test_a_command_that_is_none_says_what_is_wrong(values, text):
    with pytest.raises(ValueError, match=text):
        sweep_range(JointState(name=list(values), position=list(values.values())))


def test_a_command_can_be_read_back():
    header = Header(frame_id='eye')
    assert sweep_range(sweep_command(header, 0.5, 4.0)) == (0.5, 4.0)
    assert focus_reading(focus_message(header, 0.5, None)) == (0.5, None)


def test_a_message_with_names_but_no_positions_is_refused():
    with pytest.raises(MessageError, match='1 names and 0 positions'):
        focus_reading(JointState(name=['focus_distance']))
