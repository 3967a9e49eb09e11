"""From a model to an engine that may serve: out of the cache or built, verified in either case."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
import os
from pathlib import Path
import sys
import threading
import time
from typing import Any

import numpy as np

from depth_perception.estimator import Engine
from depth_perception.folders import expanded
from depth_perception.inference import BackendError
from depth_perception.inference.builder import Builder, BuildOptions, Progress, Size
from depth_perception.inference.engine_cache import (
    CacheError,
    EngineCache,
    EngineKey,
    Slot,
    judged,
    model_sha256,
)
from depth_perception.inference.onnx_engine import OnnxEngine
from depth_perception.inference.verification_pictures import Picture, verification_pictures
from depth_perception.inference.verify import Verdict, verify, version_warnings
from depth_perception.model_spec import ModelSpec
from depth_perception.preprocessing import place

_PACE = 2.0         # a verification rests so many times as long as it computes
_NICE = 10
# Height and width of camera images from 21:9 to 9:16: an engine is built for all of them.
_CAMERAS = ((1080, 2560), (1080, 1920), (480, 640), (1024, 1280), (640, 640), (640, 480),
            (1280, 720))
_AT_LOAD = slice(None, None, 4)     # pictures that verify an engine out of the cache once more


@dataclass(frozen=True)
class Obtained:
    """An engine with its verdict, or the problem why there is none."""

    engine: Engine | None = None
    verdict: Verdict | None = None
    problem: str = ''
    warnings: tuple[str, ...] = ()


def build_sizes(spec: ModelSpec) -> tuple[Size, Size, Size]:
    """Smallest, typical and largest (height, width) of the input for the usual cameras."""
    nominal = (spec.input_height, spec.input_width)
    places = [place(height, width, spec) for height, width in _CAMERAS]
    heights, widths = zip(nominal, *((p.input_height, p.input_width) for p in places))
    return (min(heights), min(widths)), nominal, (max(heights), max(widths))


class EngineStore:
    """Engines of one model by one builder.

    Parameters
    ----------
    path : Path
        The ONNX file.
    spec : ModelSpec
        Its contract.
    builder : Builder
    options : BuildOptions
        Its precision is the one asked for; others follow if that is refused.
    cache : EngineCache
    engine_file : str
        Where the engine lies instead of in the cache, or shall lie; '': in the cache. An engine
        that is there and was never verified (of another tool, or built ahead of time where its
        GPU is not) is used if it passes here.

    Raises
    ------
    BackendError
        If `engine_file` is a folder.
    """

    def __init__(self, path: Path, spec: ModelSpec, builder: Builder, options: BuildOptions,
                 cache: EngineCache, engine_file: str = '') -> None:
        self._path, self._spec, self._builder = path, spec, builder
        self._options, self._cache = options, cache
        self._sha256 = model_sha256(path)   # once, and not while frames are served
        self._file = expanded(engine_file) if engine_file else None
        if self._file is not None and self._file.is_dir():
            raise BackendError(f'engine_file_path {self._file} is a folder; give the path of a '
                               'file, which is written if it does not exist')
        self._foreign = self._file is not None and self._file.exists() and not judged(
            Slot(self._file))

    @property
    def name(self) -> str:
        """Of the builder."""
        return self._builder.name

    @property
    def precision(self) -> str:
        """The precision that was asked for."""
        return self._options.precision

    def key(self, precision: str) -> EngineKey:
        """What the engine of a precision is built for."""
        flags = {name: text for name, text in self._options.flags.items()
                 if precision == 'int8' or not name.startswith('calibration')}
        return EngineKey.of(self._path, self._builder,
                            replace(self._options, precision=precision, flags=flags),
                            self._sha256)

    def slot(self, key: EngineKey) -> Slot:
        """Where the engine lies: a foreign file is never written over."""
        own = self._file is not None and not self._foreign
        return Slot(self._file) if own and key.options.precision == self.precision else (
            self._cache.slot(key))

    def at_hand(self) -> Obtained | None:
        """The engine asked for, out of the cache and verified; None where it needs a build."""
        key = self.key(self.precision)
        found = None if self._foreign else self._from_cache(self.slot(key), key, hurry=True)
        return found if found is not None and found.engine is not None else None

    def judge(self) -> Verdict:
        """Verify the engine that is there on all pictures and keep the verdict beside it.

        Raises
        ------
        BackendError
            If it is not there, or not loadable here.
        """
        if self._foreign:
            found = self._from_file(self.precision)
            if found.verdict is None:
                raise BackendError(found.problem)
            if found.engine is not None:
                found.engine.close()
            return found.verdict
        key = self.key(self.precision)
        slot = self.slot(key)
        kept = self._cache.read(slot, key)
        if kept is None:
            raise BackendError(f'{slot.engine} is stale, damaged or missing; it will be built '
                               'again when it is needed')
        blob, record = kept
        if not blob:    # one that was refused is not kept
            return Verdict.from_json(record['verdict'])
        found = self._judged(self._builder.load(blob, self._spec), self.precision, slice(None))
        if found.engine is not None:
            found.engine.close()
        self._cache.write(slot, key, blob, found.verdict.as_json())
        return found.verdict

    def obtain(self, precision: str, *, force: bool, progress: Progress,
               stopped: Callable[[], bool]) -> Obtained:
        """Give a verified engine, built if need be; only one process builds it at a time.

        Raises
        ------
        BackendError
            If it cannot be built.
        BuildStopped
            If `progress` returned False.
        """
        warnings: tuple[str, ...] = ()
        if self._foreign and not force and precision == self.precision:
            found = self._from_file(precision)
            if found.engine is not None:
                return found
            warnings = (f'engine_file_path is not used: {found.problem}',)
        key = self.key(precision)
        slot = self.slot(key)
        if self._file is not None and force and precision == self.precision:
            slot = Slot(self._file)
        with self._cache.lock(slot, stopped) as held:
            if not held:
                return Obtained(problem='stopped')
            found = None if force else self._from_cache(slot, key)
            if found is None:
                found = self._built(slot, key, progress)
        return replace(found, warnings=warnings + found.warnings)

    def _from_file(self, precision: str) -> Obtained:
        try:
            engine = self._builder.load(self._file.read_bytes(), self._spec)
        except (BackendError, OSError) as error:
            return Obtained(problem=f'{self._file}: {error}')
        return self._judged(engine, precision, slice(None))

    def _from_cache(self, slot: Slot, key: EngineKey, hurry: bool = False) -> Obtained | None:
        """The cached engine; None where it has to be built. A refusal counts for good."""
        try:
            found = self._cache.read(slot, key)
            if found is None:
                return None
            blob, record = found
            verdict = Verdict.from_json(record['verdict'])
            if not verdict.accepted:
                return Obtained(verdict=verdict, problem=str(verdict))
            engine = self._builder.load(blob, self._spec)
        except ValueError:      # it cannot be read, or not be used here: built anew
            return None
        found = self._judged(engine, key.options.precision, _AT_LOAD, hurry)
        return found if found.engine is not None else None

    def _built(self, slot: Slot, key: EngineKey, progress: Progress) -> Obtained:
        options = key.options
        blob = _at_low_priority(lambda: self._builder.build(self._path, options, progress))
        progress(1.0, 'comparing it with ONNX Runtime')
        found = self._judged(self._builder.load(blob, self._spec), options.precision,
                             slice(None))
        kept = blob if found.engine is not None else b''    # a refused one is only remembered
        try:
            self._cache.write(slot, key, kept, found.verdict.as_json())
        except CacheError as error:
            return replace(found, warnings=(*found.warnings, str(error)))
        return found

    def _judged(self, engine: Engine, precision: str, which: slice,
                hurry: bool = False) -> Obtained:
        """Verify on some of the pictures; an engine that is refused is closed.

        In a `hurry` nothing serves yet; else what serves meanwhile goes first.
        """
        fixed = self._options.smallest == self._options.largest
        pictures = verification_pictures(
            self._spec, self._options.typical if fixed else None)[which]
        known = version_warnings(self._builder.name, self._builder.version, precision)
        if hurry:
            reference = _Remembered(self._path, self._spec, pictures, threads=0)
        else:
            reference = _at_low_priority(
                lambda: _Remembered(self._path, self._spec, pictures, threads=1))
        verdict = verify(engine if hurry else _Paced(engine), reference, precision,
                         pictures=pictures, warnings=known)
        if verdict.accepted:
            return Obtained(engine, verdict, '', verdict.warnings)
        engine.close()
        return Obtained(verdict=verdict, problem=str(verdict), warnings=verdict.warnings)


class _Paced:
    """Rests after each answer, so that the engine which serves meanwhile gets its time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.spec, self.backend = engine.spec, engine.backend

    def infer(self, image: np.ndarray, **extra: np.ndarray) -> Any:
        start = time.perf_counter()
        answer = self._engine.infer(image, **extra)
        time.sleep(_PACE * (time.perf_counter() - start))
        return answer


class _Remembered:
    """The answers of ONNX Runtime in FP32, computed beforehand."""

    def __init__(self, path: Path, spec: ModelSpec, pictures: list[Picture],
                 threads: int) -> None:
        engine = OnnxEngine(path, spec, backend='cpu', threads=threads)
        self.spec, self.backend = spec, engine.backend
        self._answers = {}
        for picture in pictures:
            depth, sure = engine.infer(picture.image, **picture.extra)
            self._answers[id(picture.image)] = (
                depth.copy(), None if sure is None else sure.copy())
        engine.close()

    def infer(self, image: np.ndarray, **extra: np.ndarray) -> Any:
        return self._answers[id(image)]


def _at_low_priority(work: Callable[[], Any]) -> Any:
    """Do `work` in a thread of low priority, so that the frames go first; raise what it raises.

    A thread of its own: the priority of a thread can be lowered, but not raised again, and the
    threads that it starts inherit it.
    """
    with ThreadPoolExecutor(1, 'engine build', initializer=_lower_priority) as pool:
        return pool.submit(work).result()


def _lower_priority() -> None:
    if sys.platform == 'linux':     # elsewhere this would lower the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
