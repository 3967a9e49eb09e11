"""Cameras that die, stall, lie about time or change, before a live node."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from std_srvs.srv import SetBool

DRIVER = str(Path(__file__).with_name('driver.py'))


@contextlib.contextmanager
def driver(*arguments, default_transport=False):
    """Run a driver process; SIGKILL ends it, and what it leaves in shared memory stays."""
    env = dict(os.environ)
    if default_transport:
        del env['FASTDDS_BUILTIN_TRANSPORTS']
    process = subprocess.Popen([sys.executable, DRIVER, *arguments], env=env,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == 'ready\n'
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# -- what a robot does every day, and nothing may call a fault -----------------------------------

def changed(picture, how):
    """Return a picture in another form, and what its message has to say then."""
    if how == 'bgr8':
        return {'pixels': picture[..., ::-1].copy(), 'encoding': 'bgr8'}
    if how == 'with rows padded to 256 bytes':
        padded = np.zeros((len(picture), 256), np.uint8)
        padded[:, :192] = picture.reshape(len(picture), 192)
        return {'pixels': padded, 'width': 64, 'step': 256}
    if how == 'big endian, as bytes may well be':
        return {'is_bigendian': 1}
    return {'pixels': picture[..., 0].copy(), 'encoding': 'mono8'}


SLOW = pytest.mark.slow


@pytest.mark.parametrize('how', [
    'bgr8', pytest.param('with rows padded to 256 bytes', marks=SLOW),
    pytest.param('big endian, as bytes may well be', marks=SLOW),
    pytest.param('mono8', marks=SLOW)])
def test_a_stream_that_changes_its_encoding_and_changes_back(rig, how):
    with rig.row(f'picture is {how}', 'OK') as row:
        depth = rig.good_depth(**changed(rig.PICTURE, how))
        same = depth == rig.reference
        row.check(same != (how == 'mono8') and len(depth) == len(rig.reference), 'wrong metres')


def test_a_stream_that_changes_its_resolution_and_changes_back(rig):
    with rig.row('picture is twice as large', 'OK') as row:
        depth = rig.good_depth(pixels=rig.PICTURE.repeat(2, 0).repeat(2, 1))
        row.check(len(depth) == 4 * len(rig.reference), 'depth of another size')


@SLOW
def test_the_same_stamp_again_and_again(rig):
    with rig.row('20 frames with one stamp', 'OK'):
        stamp = time.time()
        for _ in range(20):
            rig.send(stamp=stamp)
            time.sleep(0.01)


@SLOW
def test_a_burst_of_frames_at_once(rig):
    with rig.row('300 frames in a burst', 'OK'):
        for _ in range(300):
            rig.send()


# -- time ------------------------------------------------------------------------------------

@pytest.mark.parametrize('fault, offset', [
    ('stamp 100 s ago', -100.0), pytest.param('stamp before 1970', -3e9, marks=SLOW),
    pytest.param('stamp a day ahead', 86_400.0, marks=SLOW)])
def test_stamps_that_jump(rig, fault, offset):
    with rig.row(fault, 'STAMPS_JUMP_BACK'):
        rig.send(stamp=max(rig.now() + offset, -2e9))
        time.sleep(0.05)
        rig.send()      # after a day ahead this goes back
        time.sleep(0.05)


# -- cameras that are not there ------------------------------------------------------------------

def test_a_node_that_is_switched_off_says_so(rig):
    with rig.row('~/enable is called with false', 'DISABLED') as row:
        switch(rig, False)
        rig.depth.clear()
        rig.send()
        row.wait()
        row.check(not rig.depth.messages, 'depth comes all the same')
        switch(rig, True)


def switch(rig, on):
    rig.graph.call(SetBool, f'{rig.node.full_name}/enable', SetBool.Request(data=on))


def test_a_camera_that_stalls(rig):
    with rig.row('camera stalls, its publisher stays', 'SILENT_PUBLISHER'):
        time.sleep(2.0)


def test_a_driver_on_the_default_transport_is_named_with_its_cure(rig):
    with rig.row('driver with the default transport', 'TRANSPORT_TOO_SMALL') as row, driver(
            '--size', '1280x720', '--rate', '10', '--info-topic', '/other_info',
            default_transport=True) as process:
        row.wait()
        text = rig.values.get('TRANSPORT_TOO_SMALL', '')
        row.check(f'process {process.pid}' in text and 'sockets_size=8MB' in text,
                  'cause or cure not named')


# -- a node of its own, whose topics nobody else uses, with `process: every` ----------------------

@pytest.fixture(scope='module')
def late(make_rig, models):
    """A node whose camera comes and goes."""
    rig = make_rig('latecomer', {'model': models['good'], 'process': 'every', 'queue_size': 5},
                   folder='/late/')
    yield rig
    assert rig.node.stop() == 0


TOPICS = ('--topic', '/late/image', '--info-topic', '/late/other')


@SLOW
def test_a_publisher_that_goes_away(late):
    with late.row('camera node ends', 'NO_PUBLISHER'):
        late.hide()


@SLOW
def test_a_topic_of_another_type(late):
    with late.row('topic carries compressed pictures', 'WRONG_TYPE') as row:
        late.hide()
        with driver(*TOPICS, '--compressed'):
            row.wait()


@SLOW
def test_a_publisher_with_a_quality_of_service_that_cannot_be_taken(late):
    with late.row('best effort for a node that wants all', 'QOS_INCOMPATIBLE') as row:
        late.hide()
        with driver(*TOPICS, '--best-effort'):
            row.wait()
            row.check('process: newest' in late.values.get('QOS_INCOMPATIBLE', ''), 'no cure')


@SLOW
def test_a_second_publisher_that_cannot_be_heard(late):
    with late.row('second publisher, best effort', 'QOS_INCOMPATIBLE') as row, driver(
            *TOPICS, '--best-effort'):
        for _ in range(40):
            late.send()
            time.sleep(0.05)
        row.wait()
        row.check('cannot be heard' in late.values.get('QOS_INCOMPATIBLE', ''), 'who is not told')


@SLOW
def test_frames_that_are_missing(late):
    with late.row('five frames are lost', 'STAMPS_MISSING'):
        stamp = late.now() - 2.0
        for number in [*range(10), *range(15, 17)]:
            late.send(stamp=stamp + 0.05 * number)
            time.sleep(0.02)


@SLOW
def test_more_frames_than_the_queue_holds(late, models):
    with late.row('more frames than queue_size', 'QUEUE_OVERFLOW') as row:
        assert late.graph.set_parameter(late.node, 'model', models['slow']).successful
        end = time.monotonic() + 10.0
        while 'overflow' not in late.values and time.monotonic() < end:
            late.send()
            time.sleep(0.004)
        row.wait()
        assert late.graph.set_parameter(late.node, 'model', models['good']).successful


@SLOW
def test_pictures_without_camera_info(late):
    with late.row('no camera_info since the start', 'NO_CAMERA_INFO') as row:
        for transition in ('deactivate', 'activate'):
            late.graph.change_state(late.node, transition)
        end = time.monotonic() + 5.0
        while 'NO_CAMERA_INFO' not in late.values and time.monotonic() < end:
            late.publish('image', late.graph.image(late.PICTURE, 'rgb8', late.now()))
            time.sleep(0.05)
        row.wait()


@SLOW
def test_a_driver_that_is_killed_and_comes_back(late):
    """DDS knows its publisher for some time yet, which is silent."""
    with late.row('driver is killed by SIGKILL', 'SILENT_PUBLISHER') as row:
        late.hide()
        with driver('--topic', '/late/image', '--info-topic', '/late/camera_info') as process:
            time.sleep(1.0)
            os.kill(process.pid, signal.SIGKILL)
            row.wait()
