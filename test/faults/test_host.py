"""Processes that are killed, disks that are full, caches that are damaged."""

from __future__ import annotations

import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from std_srvs.srv import Trigger

pytestmark = pytest.mark.slow
DRIVER = str(Path(__file__).with_name('driver.py'))


@pytest.fixture
def built(make_rig, models, tmp_path):
    """Start nodes whose engine is built and kept, in a cache of their own."""
    rigs = []

    def start(name, **params):
        rig = make_rig(name, {'model': models['twin'], 'backend': 'graph', **params},
                       folder='/host/', env={'XDG_CACHE_HOME': str(start.cache),
                                             'XDG_DATA_HOME': str(tmp_path / 'data')})
        rigs.append(rig)
        return rig

    start.cache = tmp_path / 'cache'
    yield start
    for rig in rigs:
        if rig.node.process.returncode != -signal.SIGKILL:
            assert rig.node.stop() == 0


def engine_state(rig, state):
    rig.graph.wait_for(lambda: rig.values.get('engine state') == state, 30.0, state)
    rig.reference = rig.good_depth()


def kill(rig):
    rig.node.process.kill()
    rig.node.process.wait()


def files_of(cache):
    """Our own files; ONNX Runtime keeps some of its own beside them."""
    folder = cache / 'depth_perception'
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_a_node_that_is_killed_and_started_again(built):
    rig = built('killed_once')
    engine_state(rig, 'serving')
    before = files_of(built.cache)
    with rig.row('node is killed by SIGKILL, started again', 'OK', restarts=True) as row:
        kill(rig)
        again = built('killed_twice')
        row.check(again.fresh_values().get('engine state') == 'serving', 'engine is built anew')
        after = files_of(built.cache)
        touched = [path.name for path, data in before.items() if after.get(path) != data]
        row.check(not touched, f'{touched} changed')
        row.check(again.reference == rig.reference, 'other depth')
        rig.node, rig.depth = again.node, again.depth


def test_a_node_that_is_killed_while_it_builds(built):
    rig = built('killed_builder')
    with rig.row('node is killed while it builds an engine', 'OK', restarts=True) as row:
        rig.graph.call(Trigger, f'{rig.node.full_name}/rebuild_engine', Trigger.Request())
        time.sleep(0.05)
        kill(rig)
        again = built('second_builder')
        engine_state(again, 'serving')
        row.check(again.reference == rig.reference, 'other depth')
        rig.node, rig.depth = again.node, again.depth


def test_a_node_that_is_killed_after_a_calibration(built):
    rig = built('calibrated', **{'scale.wall_distance': 1.5})
    before, done, wall = rig.reference, threading.Event(), np.full_like(rig.PICTURE, 200)

    def look_at_a_wall():
        while not done.wait(0.02):
            rig.send(wall)

    camera = threading.Thread(target=look_at_a_wall)
    camera.start()
    answer = rig.graph.call(Trigger, f'{rig.node.full_name}/calibrate_scale', Trigger.Request())
    done.set()
    camera.join()
    assert answer.success, answer.message
    rig.reference = rig.good_depth()
    assert rig.reference != before
    with rig.row('node is killed after a calibration', 'OK', restarts=True) as row:
        kill(rig)
        again = built('calibrated_again')
        row.check(again.reference == rig.reference, 'calibration is not whole')
        rig.node, rig.depth = again.node, again.depth


def test_an_engine_in_the_cache_that_is_damaged(built):
    rig = built('before_damage')
    engine_state(rig, 'serving')
    rig.node.stop()
    for path in built.cache.rglob('*.engine'):
        blob = bytearray(path.read_bytes())
        blob[len(blob) // 2] ^= 0xFF
        path.write_bytes(blob)
    again = built('after_damage')
    with again.row('engine in the cache is damaged', 'OK') as row:
        engine_state(again, 'serving')
        row.check(again.reference == rig.reference, 'other depth')
        row.check('fp32 verified' in again.values['engine verdict'], 'engine is not verified')


def test_a_cache_that_cannot_be_written(built):
    built.cache.mkdir()
    (built.cache / 'depth_perception').write_text('a file where a folder should be')
    rig = built('without_cache')
    with rig.row('cache folder cannot be made', 'ENGINE_WARNING', within=30.0) as row:
        row.wait()
        engine_state(rig, 'serving')
        row.check('cannot be kept' in rig.values['ENGINE_WARNING'], 'no reason')


def test_a_cache_that_is_read_only(built):
    if os.geteuid():
        built.cache.mkdir(mode=0o500)
    else:
        built.cache = Path('/sys')      # root writes into read-only folders, but not here
    rig = built('read_only_cache')
    with rig.row('cache folder is read-only', 'ENGINE_WARNING', within=30.0):
        engine_state(rig, 'serving')


def test_a_disk_that_is_full(built):
    rig = built('full_disk')
    engine_state(rig, 'serving')
    with rig.row('disk is full (no file may grow)', 'ENGINE_REFUSED', within=30.0) as row:
        pid, size = rig.node.process.pid, resource.RLIMIT_FSIZE
        limits = resource.prlimit(pid, size)
        resource.prlimit(pid, size, (512, limits[1]))
        kept = files_of(built.cache)
        rig.graph.call(Trigger, f'{rig.node.full_name}/rebuild_engine', Trigger.Request())
        row.wait()
        row.check('free some space' in rig.values['ENGINE_REFUSED'], 'no cause named')
        after = files_of(built.cache)
        row.check(all(after.get(path) == data for path, data in kept.items()
                      if path.suffix == '.engine'), 'kept engine is not whole')
        resource.prlimit(pid, size, limits)


def test_segments_of_processes_that_were_killed(rig):
    with rig.row('8 publishers are killed by SIGKILL', 'OK') as row:
        command = [sys.executable, DRIVER, '--topic', '/nobody', '--info-topic', '/nobody_info']
        for _ in range(2):
            dead = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
            for process in dead:
                process.stdout.readline()
                process.kill()
                process.wait()
                process.stdout.close()
        row.check(rig.good_depth() == rig.reference, 'other depth')
        done = subprocess.run(
            [sys.executable, '-m', 'depth_perception.tools.cli', 'doctor', '--seconds', '1.5'],
            capture_output=True, text=True, timeout=60, check=False)
        row.check('STALE_SEGMENTS' in done.stdout, 'the doctor does not see them')
    sys.modules['live_graph']._remove_dead_segments()
