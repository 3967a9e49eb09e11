"""The engine cache on a real file system, with real processes that compete for it."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import resource
import subprocess
import sys
import time

import onnx
import pytest

from depth_perception.inference.builder import BuildOptions
from depth_perception.inference.engine_cache import CacheError, EngineCache, EngineKey

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = BuildOptions('fp16', (48, 64), (48, 64), (48, 64), {'workspace_mb': '64'})
KEY = EngineKey('model', 'ab' * 32, 'tensorrt', '10.3.0', 'Orin sm_87', OPTIONS)
VERDICT = {'accepted': True}
NOWHERE = Path('/proc/self/engines')    # nobody, not even root, can make a folder there


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / 'engines')


def kept(cache, key=KEY, blob=b'engine'):
    slot = cache.slot(key)
    cache.write(slot, key, blob, VERDICT)
    return slot


def test_what_is_kept_comes_back_with_its_verdict(cache):
    slot = kept(cache)
    blob, record = cache.read(slot, KEY)
    assert blob == b'engine'
    assert record['verdict'] == VERDICT
    assert record['key']['device'] == 'Orin sm_87'


@pytest.mark.parametrize('change', [
    {'model_sha256': 'cd' * 32}, {'version': '10.16.1'}, {'device': 'Thor sm_110'},
    {'builder': 'tensorrt_rtx'}, {'options': replace(OPTIONS, precision='fp32')},
    {'options': replace(OPTIONS, largest=(96, 128))}, {'options': replace(OPTIONS, flags={})}])
def test_an_engine_is_never_used_for_what_it_was_not_built_for(cache, change):
    slot = kept(cache)
    other = replace(KEY, **change)
    assert cache.slot(other) != slot
    assert cache.read(cache.slot(other), other) is None
    assert cache.read(slot, other) is None      # a file given by its path is stale


def test_the_key_follows_the_bytes_of_the_model_and_of_its_weights(make_model):
    path = make_model(depth=1.0)

    class Builder:
        name, version, device = 'tensorrt', '10.3.0', 'GPU'

    before = EngineKey.of(path, Builder(), OPTIONS)
    assert EngineKey.of(path, Builder(), OPTIONS) == before
    onnx.save(onnx.load(path), path, save_as_external_data=True, location='weights.bin',
              size_threshold=0)
    apart = EngineKey.of(path, Builder(), OPTIONS)
    weights = path.with_name('weights.bin')
    weights.write_bytes(weights.read_bytes()[:-1] + b'\x01')
    changed = EngineKey.of(path, Builder(), OPTIONS)
    assert len({before.digest, apart.digest, changed.digest}) == 3


@pytest.mark.parametrize('damage', [
    lambda slot: slot.engine.write_bytes(b'eng'),           # truncated
    lambda slot: slot.engine.write_bytes(b'enginX'),        # of the same size
    lambda slot: slot.engine.unlink(),
    lambda slot: slot.record.unlink(),
    lambda slot: slot.record.write_text('{"key":'),
    lambda slot: slot.record.write_text('[]'),
    lambda slot: slot.record.write_text(json.dumps({'key': 1, 'size': 6}))])
def test_a_damaged_entry_counts_as_absent_and_can_be_written_again(cache, damage):
    slot = kept(cache)
    damage(slot)
    assert cache.read(slot, KEY) is None
    kept(cache)
    assert cache.read(slot, KEY)[0] == b'engine'


def test_a_path_that_is_a_folder_is_named(cache):
    slot = cache.slot(KEY)
    slot.engine.mkdir(parents=True)
    with pytest.raises(CacheError, match='cannot be kept .Is a directory.'):
        kept(cache)
    slot.record.write_text(json.dumps({
        'key': KEY.as_json(), 'sha256': '', 'size': slot.engine.stat().st_size, 'verdict': {}}))
    with pytest.raises(CacheError, match='cannot be read .Is a directory.'):
        cache.read(slot, KEY)


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out():
    cache = EngineCache(NOWHERE)
    with pytest.raises(CacheError, match='/proc/self/engines/.* cannot be kept .*XDG_CACHE_HOME'):
        kept(cache)
    with cache.lock(cache.slot(KEY)) as held:   # everyone builds for himself
        assert held


def test_a_full_disk_leaves_no_half_engine(cache):
    cache.folder.mkdir(parents=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(CacheError, match='cannot be kept .*free some space'):
            kept(cache, blob=bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(cache.folder.iterdir()) == []


def test_above_the_limit_the_engine_that_was_not_used_for_longest_goes(tmp_path):
    cache = EngineCache(tmp_path, limit_bytes=2500)
    keys = [replace(KEY, model=name) for name in ('first', 'second', 'third')]
    for key in keys[:2]:
        kept(cache, key, bytes(1000))
        time.sleep(0.02)
    assert cache.read(cache.slot(keys[0]), keys[0])     # used last now
    time.sleep(0.02)
    kept(cache, keys[2], bytes(1000))
    assert [entry.record['key']['model'] for entry in cache.entries()] == ['third', 'first']
    assert not cache.slot(keys[1]).engine.exists()


def test_an_engine_larger_than_the_limit_is_kept_alone(tmp_path):
    cache = EngineCache(tmp_path, limit_bytes=100)
    kept(cache, replace(KEY, model='other'), bytes(50))
    kept(cache, KEY, bytes(1000))
    assert [entry.size for entry in cache.entries()] == [1000]


def test_clearing_removes_one_model_or_all_with_damaged_ones(cache):
    kept(cache, replace(KEY, model='other'))
    slot = kept(cache)
    slot.record.unlink()
    assert cache.clear('other') > 6
    assert not cache.slot(replace(KEY, model='other')).engine.exists()
    assert slot.engine.exists()
    cache.clear()
    assert list(cache.folder.iterdir()) == []


HOLD = '''
import sys, time
from pathlib import Path
from depth_perception.inference.engine_cache import EngineCache, Slot
with EngineCache(Path(sys.argv[1]).parent).lock(Slot(Path(sys.argv[1]))):
    print('held', flush=True)
    time.sleep(60)
'''


def test_the_lock_of_a_process_that_dies_is_free(cache):
    slot = cache.slot(KEY)
    holder = subprocess.Popen([sys.executable, '-c', HOLD, str(slot.engine)], cwd=ROOT,
                              stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == 'held\n'
        with cache.lock(slot, lambda: True) as held:
            assert not held
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with cache.lock(slot) as held:
        assert held


BUILD = '''
import sys, time
from pathlib import Path
from depth_perception.inference.builder import BuildOptions
from depth_perception.inference.engine_cache import EngineCache
from depth_perception.inference.engine_store import EngineStore
from depth_perception.inference.graph_builder import GraphBuilder
from depth_perception.model_spec import read_spec
model, folder = map(Path, sys.argv[1:])
class Noted(GraphBuilder):
    def build(self, *args):
        with (folder / 'builds').open('a') as file:
            file.write('built\\n')
        time.sleep(1.0)
        return super().build(*args)
store = EngineStore(model, read_spec(model), Noted(threads=1),
                    BuildOptions('fp32', (48, 64), (48, 64), (48, 64)), EngineCache(folder))
print('ready', flush=True)
sys.stdin.readline()
found = store.obtain('fp32', force=False, progress=lambda *_: True, stopped=lambda: False)
print(found.engine.backend, found.verdict.accepted)
'''


def test_two_processes_that_start_at_once_build_an_engine_once(make_model, tmp_path):
    command = [sys.executable, '-c', BUILD, str(make_model()), str(tmp_path)]
    pair = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True) for _ in range(2)]
    for process in pair:
        assert process.stdout.readline() == 'ready\n'
    for process in pair:    # the locks follow within a moment, the build takes a second
        process.stdin.write('\n')
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in pair]
    assert answers == 2 * ['onnxruntime CPUExecutionProvider (optimised graph) True\n']
    assert (tmp_path / 'builds').read_text() == 'built\n'
