"""The camera on a live graph: what it publishes, how steadily, and what it says when it cannot."""

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image

from depth_perception.sources import SCENE_HFOV_DEG


def write_pictures(folder, colours, size=(32, 24)):
    folder.mkdir(parents=True, exist_ok=True)
    for index, colour in enumerate(colours):
        pixels = np.full((size[1], size[0], 3), colour[::-1], np.uint8)
        cv2.imwrite(str(folder / f'{index}.png'), pixels)
    return str(folder)


RED, GREEN = (255, 0, 0), (0, 255, 0)


def stamp(msg):
    return msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9


def topics(name):
    return {topic: f'{name}/{topic}' for topic in ('image', 'camera_info', 'ground_truth/depth')}


def spawn(graph, name, params, **more):
    return graph.spawn('camera_node', params, topics(name), name=name, **more)


@pytest.fixture(scope='module')
def scene(graph):
    params = {'width': 160, 'height': 120, 'rate_hz': 20.0, 'seed': 4, 'frame_id': 'eye'}
    return spawn(graph, 'scene', params)


def test_a_scene_gives_image_info_and_exact_depth_of_one_moment(graph, scene):
    boxes = {topic: graph.listen(topic, kind) for topic, kind in (
        ('scene/image', Image), ('scene/camera_info', CameraInfo),
        ('scene/ground_truth/depth', Image))}
    for box in boxes.values():
        box.wait(6)
    by_stamp = [{stamp(msg): msg for msg in box.messages} for box in boxes.values()]
    common = set(by_stamp[0]) & set(by_stamp[1]) & set(by_stamp[2])
    assert len(common) >= 4
    image, info, depth = (messages[max(common)] for messages in by_stamp)
    assert (image.encoding, image.width, image.height) == ('rgb8', 160, 120)
    assert (depth.encoding, depth.width, depth.height) == ('32FC1', 160, 120)
    assert {image.header.frame_id, info.header.frame_id, depth.header.frame_id} == {'eye'}
    assert 0.1 < np.nanmedian(np.frombuffer(depth.data, np.float32)) < 20.0
    half_width = 80 / info.k[0]
    assert 2 * np.degrees(np.arctan(half_width)) == pytest.approx(SCENE_HFOV_DEG)


def test_the_rate_can_be_changed_while_it_runs(graph, scene):
    assert graph.set_parameter(scene, 'rate_hz', 5.0).successful
    images = graph.listen('scene/image', Image)
    images.wait(4)
    periods = np.diff([stamp(msg) for msg in images.messages[1:]])
    assert np.median(periods) == pytest.approx(0.2, abs=0.05)
    assert graph.set_parameter(scene, 'rate_hz', 20).successful  # a whole number will do


@pytest.mark.parametrize(('name', 'value', 'reason'), [
    ('rate_hz', 0.0, 'out of range'), ('encoding', 'mono8', 'rgb8, bgr8'),
    ('width', 320, 'cleanup'), ('source', 'video.mp4', 'cleanup')])
def test_a_setting_that_cannot_take_effect_is_refused(graph, scene, name, value, reason):
    result = graph.set_parameter(scene, name, value)
    assert not result.successful
    assert reason in result.reason


def test_frame_and_encoding_can_be_changed_while_it_runs(graph, tmp_path):
    node = spawn(graph, 'turn', {'source': write_pictures(tmp_path, [RED]), 'rate_hz': 50.0})
    images = graph.listen('turn/image', Image)
    assert bytes(images.wait()[0].data[:3]) == bytes(RED)
    assert graph.set_parameter(node, 'encoding', 'bgr8').successful
    assert graph.set_parameter(node, 'frame_id', 'left').successful
    graph.wait_for(lambda: images.messages[-1].header.frame_id == 'left')
    assert images.messages[-1].encoding == 'bgr8'
    assert bytes(images.messages[-1].data[:3]) == bytes(RED[::-1])
    assert node.stop() == 0


def test_a_folder_is_streamed_in_order_and_its_end_is_told(graph, tmp_path):
    colours = [(number, 0, 0) for number in range(1, 9)]
    params = {'source': write_pictures(tmp_path, colours), 'loop': False, 'hfov_deg': 90.0,
              'rate_hz': 40.0, 'autostart': False}
    node = spawn(graph, 'folder', params, state='unconfigured')
    assert graph.change_state(node, 'configure')
    images = graph.listen('folder/image', Image)
    infos = graph.listen('folder/camera_info', CameraInfo)
    assert graph.change_state(node, 'activate')
    images.wait(8)
    assert [msg.data[0] for msg in images.messages] == list(range(1, 9))
    periods = np.diff([stamp(msg) for msg in images.messages])
    assert np.median(periods) == pytest.approx(1 / 40, abs=0.01)    # one frame may be held up
    assert infos.wait(8)[0].k[0] == pytest.approx(16.0)  # 32 px wide at 90 degrees
    level, text, values = graph.wait_for_diagnostics(node, lambda level, text, _: 'end' in text)
    assert (level, values['processed']) == (1, '8')
    assert 'no more frames from' in text
    assert graph.state(node) == 'active'
    assert node.log.count('no more frames') == 1
    assert node.stop() == 0


def test_without_calibration_and_field_of_view_there_is_no_camera_info(graph, tmp_path):
    node = spawn(graph, 'blind', {'source': write_pictures(tmp_path, [RED]), 'rate_hz': 50.0})
    images = graph.listen('blind/image', Image)
    infos = graph.listen('blind/camera_info', CameraInfo)
    images.wait(10)
    assert infos.messages == []
    level, text, _ = graph.wait_for_diagnostics(node, lambda level, text, _: 'hfov_deg' in text)
    assert level == 1
    assert node.stop() == 0


def test_an_unreadable_picture_is_skipped_and_told(graph, tmp_path):
    folder = write_pictures(tmp_path, [RED, GREEN])
    (tmp_path / '00.png').write_bytes(b'damaged')
    node = spawn(graph, 'torn', {'source': folder, 'rate_hz': 50.0, 'hfov_deg': 60.0})
    graph.listen('torn/image', Image).wait(4)
    level, text, values = graph.wait_for_diagnostics(node, lambda level, text, _: '00.png' in text)
    assert (level, values['unreadable files']) == (1, '1')
    assert node.stop() == 0


CALIBRATION = """\
image_width: 32
image_height: 24
distortion_model: plumb_bob
camera_matrix: {rows: 3, cols: 3, data: [30, 0, 15.5, 0, 31, 11.5, 0, 0, 1]}
distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0.02, 0, 0, 0]}
"""


def test_a_calibration_file_is_published_with_its_distortion(graph, tmp_path):
    (tmp_path / 'camera.yaml').write_text(CALIBRATION)
    params = {'source': write_pictures(tmp_path / 'in', [RED]),
              'camera_info_file': str(tmp_path / 'camera.yaml')}
    node = spawn(graph, 'known', params)
    info = graph.listen('known/camera_info', CameraInfo).wait()[0]
    assert (info.k[0], info.k[4], list(info.d)) == (30.0, 31.0, [-0.2, 0.02, 0.0, 0.0, 0.0])
    assert (info.width, info.height, info.distortion_model) == (32, 24, 'plumb_bob')
    assert node.stop() == 0


def test_a_calibration_of_another_size_is_refused_with_both_sizes(graph, tmp_path):
    (tmp_path / 'camera.yaml').write_text(CALIBRATION)
    params = {'source': write_pictures(tmp_path / 'in', [RED], (64, 48)),
              'camera_info_file': str(tmp_path / 'camera.yaml')}
    node = spawn(graph, 'unfit', params, state='failed')
    assert 'the frame is 64x48 and the calibration is for 32x24' in node.log
    assert node.stop() == 0


def test_a_picture_of_another_size_amid_a_calibrated_stream_is_left_out(graph, tmp_path):
    (tmp_path / 'camera.yaml').write_text(CALIBRATION)
    folder = write_pictures(tmp_path / 'in', [RED])
    cv2.imwrite(f'{folder}/1.png', np.zeros((48, 64, 3), np.uint8))
    params = {'source': folder, 'camera_info_file': str(tmp_path / 'camera.yaml'),
              'rate_hz': 50.0}
    node = spawn(graph, 'mixed', params)
    images = graph.listen('mixed/image', Image).wait(5)
    assert {msg.width for msg in images} == {32}
    graph.wait_for_diagnostics(
        node, lambda level, text, values: int(values.get('rejected.size', 0)) and '64x48' in text)
    assert node.stop() == 0


def test_pictures_of_many_sizes_pass_when_only_the_field_of_view_is_known(graph, tmp_path):
    folder = write_pictures(tmp_path, [RED])
    cv2.imwrite(f'{folder}/1.png', np.zeros((48, 64, 3), np.uint8))
    node = spawn(graph, 'sizes', {'source': folder, 'hfov_deg': 90.0, 'rate_hz': 50.0})
    infos = graph.listen('sizes/camera_info', CameraInfo).wait(6)
    assert {(msg.width, round(msg.k[0], 9)) for msg in infos} == {(32, 16.0), (64, 32.0)}
    assert node.stop() == 0


# -- parameters from files, on a real node -------------------------------------------------------


def test_a_misspelt_name_in_the_nodes_own_file_fails_configure(graph, tmp_path):
    params = {'source': write_pictures(tmp_path, [RED]), 'rate': 5.0}
    node = spawn(graph, 'misspelt', params, state='failed')
    assert "unknown parameter 'rate'; the nearest known one is 'rate_hz'" in node.log
    assert node.log.count('[ERROR]') == 1 and 'Traceback' not in node.log
    graph.wait_for_diagnostics(node, lambda level, text, _: level == 2 and 'rate_hz' in text)
    assert node.stop() == 0


def test_a_misspelt_name_for_all_nodes_is_a_warning(graph, tmp_path):
    source = write_pictures(tmp_path, [RED])
    text = f'/**: {{ros__parameters: {{rate: 5.0, source: {source}, use_sim_time: true}}}}'
    node = spawn(graph, 'shared', {}, yaml_text=text)
    assert "unknown parameter 'rate'" in node.log and '[WARN]' in node.log
    graph.listen('shared/image', Image).wait(2)  # also: simulated time may stand still
    assert node.stop() == 0


def test_a_value_out_of_range_fails_configure_and_can_be_put_right(graph, tmp_path):
    params = {'source': write_pictures(tmp_path, [RED]), 'rate_hz': 1000, 'hfov_deg': 60}
    node = spawn(graph, 'hasty', params, state='failed')
    assert 'rate_hz is 1000.0; it must lie between 0.1 and 240.0 Hz' in node.log
    assert graph.set_parameter(node, 'rate_hz', 30.0).successful
    assert graph.change_state(node, 'configure') and graph.change_state(node, 'activate')
    graph.listen('hasty/image', Image).wait()
    assert node.stop() == 0


def test_qos_can_be_overridden_from_outside(graph, tmp_path):
    params = {'source': write_pictures(tmp_path, [RED]),
              'qos_overrides': {'/soft/image': {'publisher': {'reliability': 'best_effort'}}}}
    node = spawn(graph, 'soft', params)
    info = graph.wait_for(lambda: graph.probe.get_publishers_info_by_topic('/soft/image'))
    assert info[0].qos_profile.reliability.name == 'BEST_EFFORT'
    graph.listen('soft/image', Image, reliable=False).wait()
    assert node.stop() == 0


def test_a_wrong_qos_override_is_one_readable_error(graph, tmp_path):
    params = {'source': write_pictures(tmp_path, [RED]),
              'qos_overrides': {'/odd/image': {'publisher': {'reliability': 'mostly'}}}}
    node = spawn(graph, 'odd', params, state='failed')
    assert node.log.count('[ERROR]') == 1 and 'Traceback' not in node.log
    assert "reliability is 'mostly'; choose one of: reliable, best_effort" in node.log
    assert node.stop() == 0


def test_param_describe_is_the_manual(graph, scene):
    described = graph.describe_parameter(scene, 'rate_hz')
    assert 'Hz' in described.description
    assert described.floating_point_range[0].to_value == 240.0
