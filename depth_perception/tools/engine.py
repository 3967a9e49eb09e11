"""``depth-perception engine list|clear|verify``: what the cache holds, and if it is right."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
import time

from depth_perception.inference import BUILT, BackendError, EngineSettings, make_store
from depth_perception.inference.builder import build_options
from depth_perception.inference.engine_cache import EngineCache, Entry
from depth_perception.inference.verify import Verdict
from depth_perception.model_spec import DEFAULT_MODEL


def add_to(actions: argparse._SubParsersAction) -> None:
    """Add ``list``, ``clear`` and ``verify`` to ``depth-perception engine``."""
    listing = actions.add_parser('list', help='what is in the cache')
    listing.set_defaults(run=show)
    clear = actions.add_parser('clear', help='remove what is in the cache')
    clear.add_argument('model', nargs='?', default='', help='of this model only')
    clear.set_defaults(run=clear_cache)
    check = actions.add_parser(
        'verify', help='compare engines with ONNX Runtime in FP32; status 1 if one is wrong')
    check.add_argument('file', nargs='?', default='', help='an engine file; without: the cache')
    check.add_argument('--model', default=DEFAULT_MODEL,
                       help='name or path of the model that FILE was built from '
                       '(default: %(default)s)')
    check.add_argument('--backend', default='tensorrt', choices=BUILT,
                       help='what runs FILE (default: %(default)s)')
    check.add_argument('--precision', default='auto', help='of FILE (default: %(default)s)')
    check.set_defaults(run=verify_engines)


def show() -> int:
    """Print the cache, a line for each engine and its verdict below."""
    cache = EngineCache()
    entries = cache.entries()
    for entry in entries:
        key = entry.record['key']
        used = time.strftime('%Y-%m-%d %H:%M', time.localtime(entry.used))
        print(f'{key["model"]}  {key["options"]["precision"]}  {key["builder"]} {key["version"]}  '
              f'{key["device"]}  {entry.size / 1e6:.1f} MB  used {used}\n'
              f'    {entry.slot.engine.name}\n    {_verdict_text(entry)}')
    print(f'{len(entries)} engines, {sum(e.size for e in entries) / 1e6:.1f} MB of at most '
          f'{cache.limit_bytes / 1e6:.0f} in {cache.folder}')
    return 0


def clear_cache(model: str) -> int:
    """Remove all engines, or those of one model."""
    freed = EngineCache().clear(model)
    print(f'{freed / 1e6:.1f} MB are free again')
    return 0


def verify_engines(file: str, model: str, backend: str, precision: str) -> int:
    """Verify one file, or all in the cache; 1 if one is refused or cannot be judged."""
    if file:
        if not Path(file).is_file():
            raise BackendError(f'engine {file} does not exist; give the path of an engine file')
        store = make_store(model, EngineSettings(backend, precision, engine_file=file))
        return _told(file, store.judge)
    entries = EngineCache().entries()
    if not entries:
        print(f'no engine in {EngineCache().folder}')
    return max([_told(entry.slot.engine.name, partial(_judged, entry)) for entry in entries],
               default=0)


def _verdict_text(entry: Entry) -> str:
    verdict = entry.record['verdict']
    return str(Verdict.from_json(verdict)) if verdict else 'not verified: built without its GPU'


def _judged(entry: Entry) -> Verdict:
    key = entry.record['key']
    backend = key['builder'].removeprefix('onnxruntime ')
    backend = backend if backend in BUILT else 'tensorrt'
    options = build_options(key['options'])
    store = make_store(key['model'], EngineSettings(backend, options.precision), options)
    if store.key(options.precision).as_json() != key:
        raise BackendError('stale: it was built for another model file, version or device, and '
                           'is not used here')
    return store.judge()


def _told(name: str, judge: Callable[[], Verdict]) -> int:
    """Print one verdict; 0 if the engine is accepted."""
    try:
        verdict = judge()
    except ValueError as error:
        print(f'{name}: {error}')
        return 1
    print(f'{name}: {verdict}')
    return 0 if verdict.accepted else 1
