"""The stereo view node on a live graph: two eyes' views of any image with depth."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from stereo_msgs.msg import DisparityImage

from depth_perception.stereo_formats import FORMATS

HEIGHT, WIDTH, FOCAL_PX, BASELINE_M = 48, 64, 50.0, 0.08
PICTURE = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
DEPTH = np.full((HEIGHT, WIDTH), 2.0, np.float32)       # two pixels of disparity


@pytest.fixture(scope='module')
def node(graph):
    return graph.spawn('stereo_view_node', params={'stereo.baseline': BASELINE_M})


def pixels(msg):
    assert msg.encoding == 'rgb8' and msg.step == 3 * msg.width
    return np.frombuffer(bytes(msg.data), np.uint8).reshape(msg.height, msg.width, 3)


def test_every_stereo_topic_shows_the_picture_moved_by_its_disparity(graph, camera, node):
    names = ('left/image_rect', 'right/image_rect', 'stereo/side_by_side', 'stereo/anaglyph',
             'stereo/rgbd', 'stereo/image')
    topics = [graph.listen(f'stereo_view_node/{name}', Image) for name in names]
    left, right, pair, anaglyph, rgbd, half = map(
        pixels, camera.send_until(topics, PICTURE[..., ::-1], 'bgr8', depth=DEPTH))
    np.testing.assert_array_equal(left, PICTURE)
    np.testing.assert_array_equal(right[:, :-2], PICTURE[:, 2:])
    np.testing.assert_array_equal(pair, np.hstack((left, right)))
    assert anaglyph.shape == half.shape == PICTURE.shape
    assert rgbd.shape == (HEIGHT, 2 * WIDTH, 3)
    for topic in topics:
        topic.close()


def test_camera_infos_and_disparity_give_the_depth_back(graph, camera, node):
    topics = [graph.listen(f'stereo_view_node/{name}', kind) for name, kind in (
        ('left/camera_info', CameraInfo), ('right/camera_info', CameraInfo),
        ('disparity', DisparityImage))]
    left, right, disparity = camera.send_until(topics, PICTURE, depth=DEPTH)
    baseline = (left.p[3] - right.p[3]) / right.p[0]
    values = np.frombuffer(bytes(disparity.image.data), '<f4')
    np.testing.assert_allclose(left.p[0] * baseline / values, 2.0, rtol=1e-5)
    for topic in topics:
        topic.close()


def test_pixels_without_depth_have_no_disparity(graph, camera, node):
    topic = graph.listen('stereo_view_node/disparity', DisparityImage)
    holed = DEPTH.copy()
    holed[5] = np.nan
    [msg] = camera.send_until([topic], PICTURE, depth=holed)
    values = np.frombuffer(bytes(msg.image.data), '<f4').reshape(HEIGHT, WIDTH)
    assert np.isnan(values[5]).all() and np.isfinite(np.delete(values, 5, axis=0)).all()
    topic.close()


def test_near_must_be_nearer_than_far(graph, node):
    answer = graph.set_parameter(node, 'stereo.near', 20.0)
    assert not answer.successful and 'stereo.near must be below stereo.far' in answer.reason


@pytest.fixture
def change(graph, node):
    """Sets parameters, and sets them back afterwards."""
    before = {}

    def apply(**values):
        for name, value in values.items():
            name = name.replace('__', '.')
            before.setdefault(name, graph.get_parameter(node, name))
            answer = graph.set_parameter(node, name, value)
            assert answer.successful, answer.reason

    yield apply
    for name, value in before.items():
        graph.set_parameter(node, name, value)


def masks(msg):
    assert msg.encoding == 'mono8'
    return np.frombuffer(bytes(msg.data), np.uint8).reshape(msg.height, msg.width)


def seen(graph, camera, *topics, depth=DEPTH):
    """The last message of each (name, kind), sent after the parameters were set."""
    inboxes = [graph.listen(f'stereo_view_node/{name}', kind) for name, kind in topics]
    camera.send_until(inboxes, PICTURE, depth=depth)
    messages = camera.send_until(inboxes, PICTURE, depth=depth)
    for inbox in inboxes:
        inbox.close()
    return messages


def test_hole_masks_tell_which_pixels_are_made_up(graph, camera, node):
    depth = DEPTH.copy()
    depth[:, 20:40] = 0.5           # 8 px in front of 2: six are uncovered, and two mixed
    left, right = seen(graph, camera, ('left/holes', Image), ('right/holes', Image), depth=depth)
    assert not masks(left).any()
    # the object ends at 39 + 1 - 8, grown by one pixel; from 43 - 2 on the wall is seen
    expected = [*range(33, 41), WIDTH - 2, WIDTH - 1]
    assert np.flatnonzero(masks(right)[5] == 255).tolist() == expected


def test_both_views_are_drawn_around_the_picture_when_asked(graph, camera, node, change):
    change(stereo__views='both')
    left, right, left_info, right_info, holes = seen(
        graph, camera, ('left/image_rect', Image), ('right/image_rect', Image),
        ('left/camera_info', CameraInfo), ('right/camera_info', CameraInfo),
        ('left/holes', Image))
    np.testing.assert_array_equal(pixels(left)[:, 1:], PICTURE[:, :-1])
    np.testing.assert_array_equal(pixels(right)[:, :-1], PICTURE[:, 1:])
    assert masks(holes)[:, 0].all() and not masks(holes)[:, 1:].any()
    assert left_info.p[3] == 0.0
    assert right_info.p[3] == pytest.approx(-FOCAL_PX * BASELINE_M)


def test_a_comfort_limit_is_told_by_the_right_cameras_baseline(graph, camera, node, change):
    change(stereo__max_disparity=1.5625)        # one of 64 pixels
    right, info, disparity = seen(graph, camera, ('right/image_rect', Image),
                                  ('right/camera_info', CameraInfo), ('disparity', DisparityImage))
    np.testing.assert_array_equal(pixels(right)[:, :-1], PICTURE[:, 1:])
    assert info.p[3] == pytest.approx(-FOCAL_PX * BASELINE_M / 2)
    assert disparity.t == pytest.approx(BASELINE_M / 2)


def test_the_nearest_surface_comes_onto_the_screen_when_asked(graph, camera, node, change):
    change(stereo__auto_convergence='nearest')
    right, info = seen(graph, camera, ('right/image_rect', Image),
                       ('right/camera_info', CameraInfo))
    np.testing.assert_array_equal(pixels(right), PICTURE)
    assert info.p[2] == pytest.approx((WIDTH - 1) / 2 + 2.0)


def test_n_views_come_as_a_quilt_with_its_layout(graph, camera, node, change):
    change(views__count=3, stereo__edge_dilation=0)
    quilt, layout = seen(graph, camera, ('views/image', Image), ('views/layout', String))
    told = json.loads(layout.data)
    assert (told['columns'], told['rows'], told['count']) == (3, 1, 3)
    assert (told['first'], told['baseline_m']) == ('bottom_left', BASELINE_M)
    views = np.hsplit(pixels(quilt), 3)
    np.testing.assert_array_equal(views[1], PICTURE)
    np.testing.assert_array_equal(views[0][:, 1:], PICTURE[:, :-1])
    np.testing.assert_array_equal(views[2][:, :-1], PICTURE[:, 1:])
    change(views__layout='tile', views__count=4)
    tile, layout = seen(graph, camera, ('views/image', Image), ('views/layout', String))
    assert json.loads(layout.data)['first'] == 'top_left'
    assert pixels(tile).shape == (2 * HEIGHT, 2 * WIDTH, 3)


def test_every_format_comes_out_on_the_image_topic_live(graph, camera, node, change):
    inbox = graph.listen('stereo_view_node/stereo/image', Image)
    shapes = {}
    for name in FORMATS:
        change(stereo__format=name, views__count=4, views__layout='tile')
        camera.send_until([inbox], PICTURE, depth=DEPTH)
        [msg] = camera.send_until([inbox], PICTURE, depth=DEPTH)
        shapes[name] = pixels(msg).shape[:2]
    inbox.close()
    wide, tall = (HEIGHT, 2 * WIDTH), (2 * HEIGHT, WIDTH)
    expected = dict.fromkeys(FORMATS, (HEIGHT, WIDTH)) | {
        'side_by_side': wide, 'cross_eyed': wide, 'rgbd': wide, 'top_bottom': tall,
        'quilt': (2 * HEIGHT, 2 * WIDTH), 'tile': (2 * HEIGHT, 2 * WIDTH)}
    assert shapes == expected


@pytest.mark.parametrize('fill', ['inpaint', 'temporal'])
def test_every_way_to_fill_holes_draws(graph, camera, node, change, fill):
    change(stereo__fill=fill, stereo__smoothing=0.5)
    depth = DEPTH.copy()
    depth[:, 20:40] = 0.5
    [right] = seen(graph, camera, ('right/image_rect', Image), depth=depth)
    assert pixels(right).shape == PICTURE.shape


@pytest.mark.parametrize('name, value, part', [
    ('stereo.format', 'hologram', 'choose one of: side_by_side'),
    ('stereo.fill', 'magic', 'background, inpaint, temporal'),
    ('stereo.baseline', 0.0, '0.001'), ('views.count', 1, '2'), ('lenticular.pitch', 0.0, '0.01'),
    ('stereo.smoothing', 1.0, '0.99')])
def test_impossible_wishes_are_refused_with_the_rule(graph, node, name, value, part):
    answer = graph.set_parameter(node, name, value)
    assert not answer.successful and part in answer.reason


def test_frames_without_depth_are_shown_flat_and_do_not_end_the_node(graph, camera, node):
    for bad in (np.nan, 0.0, -1.0):
        [right] = seen(graph, camera, ('right/image_rect', Image),
                       depth=np.full((HEIGHT, WIDTH), bad, np.float32))
        np.testing.assert_array_equal(pixels(right), PICTURE)


def test_a_picture_of_one_column_is_named_and_the_next_one_drawn(graph, camera, node):
    right = graph.listen('stereo_view_node/right/image_rect', Image)
    camera.send_until([right], PICTURE, depth=DEPTH)

    def named(level, text, values):
        camera.send(PICTURE[:, :1], depth=DEPTH[:, :1])
        return 'it must be at least 2x1' in text

    graph.wait_for_diagnostics(node, named)
    camera.send_until([right], PICTURE, depth=DEPTH)
    right.close()
