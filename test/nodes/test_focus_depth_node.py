"""The focus depth node in a process of its own: stacks in, depth out, and every bad stack."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image, JointState, PointCloud2
from std_srvs.srv import Trigger

from depth_perception.nodes.focus_depth_node import FocusDepthConfig

HEIGHT, WIDTH, FOCAL_PX = 96, 128, 100.0
DISTANCES = (0.5, 1.0, 2.0)
LENS = {'lens.focal_length': 0.025}


def structure(rng, size: float, contrast: float) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH, 3)), (0, 0), size)
    return contrast * noise / noise.std()


def picture() -> np.ndarray:
    """Large shapes with fine texture, as pictures have."""
    rng = np.random.default_rng(1)
    grey = 128 + structure(rng, 6.0, 35) + structure(rng, 0.6, 10)
    return np.clip(grey, 0, 255).astype(np.uint8)


PICTURE = picture()


def blurred(distance: float) -> np.ndarray:
    """The picture, its left half 0.5 m away, its right half 2 m, blurred by the defocus."""
    halves = []
    for depth, half in ((0.5, PICTURE[:, :64]), (2.0, PICTURE[:, 64:])):
        sigma = 0.8 * abs(1 / distance - 1 / depth)
        halves.append(cv2.GaussianBlur(half, (0, 0), sigma) if sigma else half)
    return np.hstack(halves)


class Sweeper:
    """Publishes slices as a camera does: image, camera_info and focus with one stamp."""

    def __init__(self, graph, node):
        self._graph = graph
        self.prefix = node.name
        self.stamp = 1000.0

    def send(self, distance, pixels=None, *, focus=True, image=True, step=0.1, f_number=2.8,
             names=None):
        self.stamp += step
        header = self._graph.header(self.stamp)
        pixels = blurred(distance if distance > 0 else 1.0) if pixels is None else pixels
        height, width = pixels.shape[:2]
        if focus:
            values = {'focus_distance': distance, 'f_number': f_number} if names is None else names
            self._publish('focus', JointState(header=header, name=list(values),
                                              position=list(map(float, values.values()))))
        if image:
            self._publish('camera_info', self._graph.camera_info(
                width, height, FOCAL_PX, self.stamp))
            self._publish('image', self._graph.image(pixels, 'rgb8', self.stamp))
        time.sleep(0.02)

    def _publish(self, topic, message):
        self._graph.publish(f'{self.prefix}/{topic}', message)

    def sweep(self, distances=DISTANCES, **more):
        for distance in distances:
            self.send(distance, **more)

    def sweep_until(self, inbox, timeout=15.0, **more):
        inbox.clear()
        end = time.monotonic() + timeout
        while not inbox.messages:
            assert time.monotonic() < end, 'swept in vain'
            self.sweep(**more)
            time.sleep(0.05)
        return inbox.messages[-1]


def topics(name):
    return {topic: f'{name}/{topic}'
            for topic in ('image', 'focus', 'camera_info', 'sweep_command')}


def spawn(graph, name, model, **params):
    more = {'state': params.pop('state')} if 'state' in params else {}
    return graph.spawn('focus_depth_node', {'model': str(model), **params}, topics(name),
                       name=name, **more)


@pytest.fixture(scope='module')
def model(make_model):
    return make_model('metric', height=HEIGHT, width=WIDTH, frames=3,
                      blur_scale_range=(0.3, 1.0))


@pytest.fixture(scope='module')
def node(graph, model):
    # f^2/(N pitch) = f fx / N = 0.025 * 100 / 2.8 = 0.893 px m
    return spawn(graph, 'live', model, **LENS, **{'stack.missing_slice': 'discard'})


@pytest.fixture(scope='module')
def depth(graph, node):
    return graph.listen('live/depth/image_rect', Image)


@pytest.fixture(scope='module')
def camera(graph, node):
    return Sweeper(graph, node)


def pixels(message):
    kind = {'32FC1': '<f4', 'rgb8': 'u1'}[message.encoding]
    return np.frombuffer(bytes(message.data), kind).reshape(message.height, message.width, -1)


def seconds(message):
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def newer(inbox, stamp):
    """Messages of images that were sent after this stamp; older ones may still be under way."""
    return [each for each in inbox.messages if seconds(each) > stamp + 1e-6]


def test_a_sweep_gives_the_depth_at_which_each_part_is_sharp(graph, camera, depth):
    message = camera.sweep_until(depth)
    assert (message.encoding, message.height, message.width) == ('32FC1', HEIGHT, WIDTH)
    metres = pixels(message)[..., 0]
    assert np.median(metres[:, :48]) == pytest.approx(0.5)
    assert np.median(metres[:, 80:]) == pytest.approx(2.0)
    camera.sweep()
    graph.wait_for(lambda: seconds(depth.messages[-1]) == pytest.approx(camera.stamp, abs=1e-6),
                   what='depth with the stamp of the newest slice')
    camera.sweep(DISTANCES[::-1])     # the other way round the stack is the same
    graph.wait_for(lambda: seconds(depth.messages[-1]) == pytest.approx(camera.stamp, abs=1e-6))
    np.testing.assert_array_equal(pixels(depth.messages[-1])[..., 0], metres)


def test_diagnostics_tell_of_the_stack_and_its_cues(graph, node, camera, depth):
    camera.sweep_until(depth)
    _, _, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: values.get('focus distances [m]'))
    assert values['focus distances [m]'] == '0.5 1 2'
    assert values['model'] == 'test'
    assert values['defocus cues'] in ('enough', 'all sharp', 'all blurred', 'no texture')


def test_the_cloud_takes_each_colour_from_where_it_is_sharp(graph, camera, depth):
    cloud = graph.listen('live/points', PointCloud2)
    colour = np.frombuffer(bytes(camera.sweep_until(cloud).data), '<f4')[3::4]
    b, g, r, _ = np.moveaxis(colour.copy().view('u1').reshape(HEIGHT, WIDTH, 4), -1, 0)
    cloud.close()
    error = np.abs(np.dstack((r, g, b)).astype(int) - PICTURE)
    assert np.median(error[:, :48]) == 0 and np.median(error[:, 80:]) == 0


def refused(graph, node, camera, depth, send, counter, *texts):
    """Check that something bad is counted, said, and that depth comes again."""
    camera.sweep_until(depth)
    before = int(graph.diagnostics(node)[2].get(counter, 0))
    send()
    _, text, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: int(values.get(counter, 0)) > before
        and all(part in text for part in texts))
    camera.sweep_until(depth)


@pytest.mark.parametrize(('distance', 'text'), [
    (0.0, 'must be above 0'), (-1.0, 'must be above 0'), (float('nan'), 'must be above 0'),
    (0.02, 'beyond the focal length of 0.025 m')])
def test_a_focus_that_no_lens_can_have_is_refused(graph, node, camera, depth, distance, text):
    refused(graph, node, camera, depth, lambda: camera.send(distance), 'rejected.focus', text)


def test_an_f_number_that_no_lens_can_have_is_refused(graph, node, camera, depth):
    refused(graph, node, camera, depth, lambda: camera.send(0.5, f_number=0.0),
            'rejected.focus', 'f-number is 0')


def test_a_focus_message_without_a_distance_is_refused(graph, node, camera, depth):
    refused(graph, node, camera, depth, lambda: camera.send(0.5, names={'zoom': 2.0}),
            'rejected.message', 'zoom', 'focus_distance')


def test_focus_without_image_and_image_without_focus_are_left_out_and_told(
        graph, node, camera, depth):
    refused(graph, node, camera, depth,
            lambda: (camera.send(0.7, image=False), camera.sweep()),
            'focus without image', 'come without image')
    refused(graph, node, camera, depth,
            lambda: (camera.send(0.7, focus=False), camera.sweep()),
            'image without focus', 'come without focus')


def test_images_of_differing_size_make_no_stack(graph, node, camera, depth):
    small = np.ascontiguousarray(PICTURE[::2, ::2])
    refused(graph, node, camera, depth,
            lambda: (camera.send(0.5), camera.send(1.0, small), camera.sweep()),
            'restart.size', 'images of one stack must be of one size', '64x48')


def test_a_changed_aperture_starts_the_stack_anew(graph, node, camera, depth):
    refused(graph, node, camera, depth,
            lambda: (camera.send(0.5, f_number=2.0), camera.sweep()),
            'restart.settings', 'f-number changed from 2.0 to 2.8')


def test_a_camera_that_moved_starts_the_stack_anew(graph, node, camera, depth):
    moved = np.roll(blurred(1.0), 4, axis=1)
    refused(graph, node, camera, depth,
            lambda: (camera.send(0.5), camera.send(1.0, moved), camera.sweep()),
            'restart.moved', 'the camera moved')


def test_a_sweep_with_a_slice_missing_is_discarded_if_asked_so(graph, node, camera, depth):
    refused(graph, node, camera, depth,
            lambda: (camera.send(0.5), camera.send(2.0), camera.sweep()),
            'restart.sweep incomplete', '2 of 3 slices')


def test_slices_that_are_too_old_do_not_count(graph, node, camera, depth):
    refused(graph, node, camera, depth,
            lambda: (camera.send(0.5), camera.send(1.0, step=9.0), camera.sweep()),
            'restart.timeout', 'older than 5 s')


def test_a_sweep_over_more_distances_than_the_model_takes_is_refused(graph, node, camera, depth):
    long = (0.4, 0.5, 0.7, 1.0, 2.0)
    camera.sweep_until(depth)
    camera.sweep(long)
    told = camera.stamp
    camera.sweep(long)
    camera.sweep(long)
    graph.wait_for_diagnostics(
        node, lambda level, text, values: 'sweeps over at least 5 focus distances' in text)
    assert not newer(depth, told)
    camera.sweep_until(depth)


def test_a_camera_outside_of_the_trained_blur_is_refused_with_the_numbers(
        graph, node, camera, depth):
    camera.sweep_until(depth)
    camera.sweep(f_number=11.0)
    camera.sweep(f_number=11.0)
    _, text, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: level == 2 and 'blur scale' in text)
    assert int(values['rejected.focus stack']) >= 1
    # 0.025 * 100 / 11
    assert '0.227 px m' in text and '0.3 to 1 px m' in text
    camera.sweep_until(depth)
    graph.wait_for_diagnostics(node, lambda level, text, values: level < 2)


def test_one_focus_distance_alone_makes_no_stack_and_that_is_said(graph, node, camera, depth):
    camera.sweep_until(depth)
    told = camera.stamp
    end = time.monotonic() + 7.0
    while time.monotonic() < end:
        camera.send(1.0)
        time.sleep(0.1)
    _, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: '1 of 3 slices at 1 m' in text)
    assert 'does the camera sweep' in text and not newer(depth, told)
    camera.sweep_until(depth)


def test_a_stack_that_is_all_sharp_is_told_and_another_sweep_asked_for(graph, node, camera):
    commands = graph.listen('live/sweep_command', JointState)
    depth = graph.listen('live/depth/image_rect', Image)
    assert graph.set_parameter(node, 'adaptive_sweep', True).successful
    for _ in range(4):
        camera.sweep(pixels=PICTURE)
    command = commands.wait(1)[0]
    graph.set_parameter(node, 'adaptive_sweep', False)
    # both ends 1.5 times farther out in dioptres
    values = dict(zip(command.name, command.position))
    assert values == {'focus_nearest': pytest.approx(0.5 / 1.5),
                      'focus_farthest': pytest.approx(2.0 * 1.5)}
    _, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: 'all slices are sharp' in text)
    assert '0.333 to 3 m' in text
    camera.sweep_until(depth)


def test_a_camera_is_asked_for_wider_sweeps_until_its_stacks_have_cues(graph, node, depth):
    camera = graph.spawn('focus_camera_node', {
        'width': WIDTH, 'height': HEIGHT, 'rate_hz': 10.0, 'seed': 200_001, 'lens.f_number': 4.0,
        'sweep.slices': 3, 'sweep.nearest': 1.9, 'sweep.farthest': 2.2}, topics('live'),
        name='sweeping')
    assert graph.set_parameter(node, 'adaptive_sweep', True).successful
    graph.wait_for_diagnostics(
        camera, lambda level, text, values: values.get('sweep [m]', '1.9 to 2.2') != '1.9 to 2.2')
    graph.wait_for_diagnostics(
        node, lambda level, text, values: values.get('defocus cues') == 'enough', 20.0)
    graph.set_parameter(node, 'adaptive_sweep', False)
    nearest, _, farthest = graph.diagnostics(camera)[2]['sweep [m]'].split()
    assert float(nearest) < 1.9 and float(farthest) > 2.2
    assert camera.stop() == 0


def test_a_sliding_stack_gives_depth_for_each_image(graph, make_model):
    model = make_model('metric', height=HEIGHT, width=WIDTH, frames=3, frames_range=(2, 5))
    node = spawn(graph, 'sliding', model, **{
        'stack.assembly': 'sliding', 'stack.slices': 4, 'breathing': 'none', 'max_motion': 0.0})
    depth, camera = graph.listen('sliding/depth/image_rect', Image), Sweeper(graph, node)
    four = (0.5, 0.7, 1.0, 2.0)
    camera.sweep_until(depth, distances=four)
    time.sleep(0.3)
    depth.clear()
    for distance in four:
        camera.send(distance)
        time.sleep(0.1)
    assert len(depth.wait(4)) == 4
    assert node.stop() == 0


def test_a_fixed_sweep_stops_at_a_gap_until_it_is_restarted(graph, model):
    node = spawn(graph, 'fixed', model, process='every', focus_distances=list(DISTANCES),
                 breathing='none', max_motion=0.0)
    depth, camera = graph.listen('fixed/depth/image_rect', Image), Sweeper(graph, node)
    for _ in range(3):
        camera.sweep(focus=False)
    first = depth.wait(3)[0]        # every image counts: nothing may be under way
    assert np.median(pixels(first)[:, :48]) == pytest.approx(0.5)
    camera.send(0.5, focus=False)
    camera.send(2.0, focus=False, step=0.2)      # the slice at 1 m is missing
    level, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: level == 2 and '~/restart_sweep' in text)
    assert '0.200 s lie between' in text
    camera.sweep(focus=False)
    time.sleep(0.3)
    assert len(depth.messages) == 3
    answer = graph.call(Trigger, 'fixed/restart_sweep', Trigger.Request())
    assert answer.success and '0.5 m' in answer.message
    camera.sweep(focus=False)
    assert np.median(pixels(depth.wait(4)[3])[:, 80:]) == pytest.approx(2.0)
    assert node.stop() == 0


@pytest.mark.parametrize(('params', 'text'), [
    ({'focus_distances': (0.5, 1.0)}, 'set process to every'),
    ({'focus_distances': (0.5, 0.501), 'process': 'every'}, 'one and the same focus distance'),
    ({'focus_distances': (0.5, 1.0), 'process': 'every', 'adaptive_sweep': True}, 'unset one'),
    ({'sweep_nearest': 30.0}, 'sweep.nearest must be below sweep.farthest'),
    ({'breathing': 'thin_lens'}, 'lens.focal_length is 0')])
def test_parameters_that_do_not_fit_together_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        FocusDepthConfig(**params)


def test_a_stack_size_that_the_model_does_not_take_fails_at_configure(graph, model):
    node = spawn(graph, 'seven', model, state='failed', **{'stack.slices': 7})
    assert 'stack.slices is 7; model test takes stacks of 3 slices' in node.log
    assert node.stop() == 0


@pytest.mark.parametrize(('params', 'told', 'expected'), [
    ({'lens_focal_length': 0.025}, 2.8, 0.025 * 500 / 2.8),
    ({'lens_pixel_pitch': 5e-5}, 2.8, 0.025 * 500 / 2.8),      # 500 px of 50 um are 25 mm
    ({'lens_focal_length': 0.03, 'lens_pixel_pitch': 5e-5, 'lens_f_number': 2.0}, None,
     0.03 ** 2 / 2.0 / 5e-5),
    ({'lens_focal_length': 0.025}, None, None), ({}, 2.8, None)])
def test_the_blur_scale_needs_aperture_and_focal_length_or_pixel_pitch(params, told, expected):
    blur_scale = FocusDepthConfig(**params).blur_scale(500.0, told)
    assert blur_scale == (None if expected is None else pytest.approx(expected))


def test_a_model_for_single_images_is_refused(graph, make_model):
    node = spawn(graph, 'single', make_model('metric'), state='failed')
    assert 'focus stack' in node.log
    assert node.stop() == 0
