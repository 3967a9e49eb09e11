"""An engine that always answers: ONNX Runtime at once, the built engine once it is verified.

While an engine is built and verified in the background, ONNX Runtime serves; the change happens
between two frames. If the engine fails later, ONNX Runtime on the CPU takes over for the very
frame, and `ServingEngine.status` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
import logging
from pathlib import Path
import threading

import numpy as np

from depth_perception.estimator import Engine
from depth_perception.inference import BackendError
from depth_perception.inference.cuda_device import GpuLostError
from depth_perception.inference.engine_cache import BuildStopped
from depth_perception.inference.engine_store import EngineStore, Obtained
from depth_perception.inference.onnx_batch import Answer, plain_engine
from depth_perception.inference.verify import FALL_BACK, Verdict
from depth_perception.model_spec import ModelSpec
from depth_perception.preprocessing import ImageError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Status:
    """What a serving engine is doing.

    Attributes
    ----------
    state : str
        ``plain``: nothing is to be built; ``building``: ONNX Runtime serves meanwhile;
        ``serving``: the built engine does; ``refused``: no engine was good enough, or none could
        be built; ``failed``: the engine failed in flight. In the last two ONNX Runtime serves.
    text : str
        For people.
    verdict : Verdict or None
        Of the last engine that was verified.
    warnings : tuple of str
        A cache that cannot be written, a version known for trouble.
    gpu_lost : bool
        Whether the GPU failed in flight, in a way that does not pass.
    """

    state: str
    text: str
    verdict: Verdict | None = None
    warnings: tuple[str, ...] = ()
    gpu_lost: bool = False


class ServingEngine:
    """See the head of this module; an `depth_perception.estimator.Engine`.

    Parameters
    ----------
    path : Path
        The ONNX file.
    spec : ModelSpec
        Its contract.
    plain_backend : str
        What ONNX Runtime runs on: ``auto``, ``cpu`` or ``cuda``.
    threads : int
        CPU threads; 0: one for each core.
    store : EngineStore, optional
        Builds, verifies and keeps the engines; None: ONNX Runtime alone.
    force : bool
        Build anew, whatever the cache holds.
    batch : int
        Most images in one call, where model and engine allow more than one.
    batch_on_cpu : bool
        Whether ONNX Runtime on the CPU shall take them together as well.

    Raises
    ------
    BackendError
        If ONNX Runtime refuses the model or the backend.
    """

    def __init__(self, path: Path, spec: ModelSpec, *, plain_backend: str = 'cpu',
                 threads: int = 0, store: EngineStore | None = None,
                 force: bool = False, batch: int = 1,
                 batch_on_cpu: bool = True) -> None:
        self.spec = spec
        self._path, self._threads, self._store = path, threads, store
        self._most, self._batch_on_cpu = batch, batch_on_cpu
        self._plain: Engine = self._open_plain(plain_backend)
        self._engine = self._plain
        self._next: Engine | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._status = Status('plain', f'model runs on {self._plain.backend}')
        if store is None:
            return
        found = None if force else store.at_hand()
        if found is None:
            self._start(force)
        else:
            self._ready(found, [], list(found.warnings))
            self._swap()

    @property
    def backend(self) -> str:
        """What serves now."""
        return self._engine.backend

    @property
    def status(self) -> Status:
        """What it is doing; may be asked by any thread."""
        return self._status

    @property
    def batch(self) -> int:
        """Most images that what serves now takes in one call."""
        return getattr(self._engine, 'batch', 1)

    def infer(self, image: np.ndarray,
              **extra_inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Run the network, see `depth_perception.estimator.Engine`.

        Raises
        ------
        ImageError
            If the model does not take an input of this shape.
        BackendError
            If ONNX Runtime on the CPU fails as well.
        """
        if self._next is not None:
            self._swap()
        if self._engine is self._plain and self._on_cpu():
            return self._plain.infer(image, **extra_inputs)
        try:
            return self._engine.infer(image, **extra_inputs)
        except ImageError:
            # Another size than it was built for; what the model does not take either raises here.
            return self._plain.infer(image, **extra_inputs)
        except BackendError as error:
            self._fall_back(error)
            return self._plain.infer(image, **extra_inputs)

    def infer_batch(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """Run the network on images of one shape: at most `batch` at once, the rest in turn.

        Results are of the caller's own; errors are those of `infer`.
        """
        if self._next is not None:
            self._swap()
        answers: list[Answer] = []
        while len(answers) < len(images):
            some = images[len(answers):][:max(1, self.batch)]
            answers += [(depth.copy(), None if sure is None else sure.copy())
                        for depth, sure in self._infer_some(some)]
        return answers

    def _infer_some(self, images: Sequence[np.ndarray]) -> list[Answer]:
        if len(images) > 1:
            try:
                return self._engine.infer_batch(images)
            except ImageError:
                pass            # another size than it was built for
            except BackendError as error:
                if self._engine is self._plain and self._on_cpu():
                    raise
                self._fall_back(error)
        return [self.infer(images[0])]

    def rebuild(self) -> None:
        """Build the engine anew in the background; what serves now goes on until then.

        Raises
        ------
        BackendError
            If there is nothing to build, or a build runs already.
        """
        if self._store is None:
            raise BackendError(f'{self._plain.backend} has no engine to build; choose the backend '
                               'tensorrt or graph')
        if self._thread is not None and self._thread.is_alive():
            raise BackendError(f'a build runs already: {self._status.text}')
        self._start(force=True)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being built; return whether that is so."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def close(self) -> None:
        """Stop a build that runs and give back all memory; a second time nothing happens."""
        if self._stop.is_set():
            return
        self._stop.set()
        self.wait()
        for engine in {id(e): e for e in (self._plain, self._engine, self._next) if e}.values():
            engine.close()
        self._next = None

    def _open_plain(self, backend: str) -> Engine:
        engine, self.batch_refusal = plain_engine(
            self._path, self.spec, backend=backend, threads=self._threads, batch=self._most,
            batch_on_cpu=self._batch_on_cpu)
        return engine

    def _on_cpu(self) -> bool:
        return self._plain.backend.endswith('CPUExecutionProvider')

    def _start(self, force: bool) -> None:
        self._status = replace(self._status, state='building', text=(
            f'{self._store.name} engine is being built; {self.backend} serves meanwhile'))
        self._thread = threading.Thread(target=self._run, args=(force,), daemon=True,
                                        name='engine build')
        self._thread.start()

    def _run(self, force: bool) -> None:
        """In the background; a bug of a builder shows as one, and not as an endless build."""
        try:
            self._obtain(force)
        except Exception as error:
            self._status = Status('refused', f'ONNX Runtime serves, the build ended in a bug: '
                                  f'{type(error).__name__}: {error}')
            raise

    def _obtain(self, force: bool) -> None:
        """Try the precisions in turn until an engine is good; then it waits in ``_next``."""
        store, refusals, warnings = self._store, [], []
        verdict = None
        for precision in FALL_BACK[store.precision]:
            found = self._try(precision, force)
            if self._stop.is_set():
                if found.engine is not None:
                    found.engine.close()
                return
            warnings += found.warnings
            verdict = found.verdict or verdict
            if found.engine is not None:
                self._ready(found, refusals, warnings)
                return
            refusals.append(found.problem)
            _LOG.warning('engine refused: %s', found.problem)
        text = f'ONNX Runtime serves, no engine is good: {"; ".join(refusals)}'
        self._status = Status('refused', text, verdict, tuple(warnings))

    def _try(self, precision: str, force: bool) -> Obtained:
        def progress(share: float, what: str) -> bool:
            self._status = replace(self._status, state='building', text=(
                f'{self._store.name} engine is being built ({precision}, {what}, '
                f'{100 * share:.0f} %); {self.backend} serves meanwhile'))
            return not self._stop.is_set()

        try:
            return self._store.obtain(precision, force=force, progress=progress,
                                      stopped=self._stop.is_set)
        except BuildStopped:
            return Obtained(problem='stopped')
        except (ValueError, OSError, MemoryError) as error:
            return Obtained(problem=f'{precision} cannot be built: {error}')

    def _ready(self, found: Obtained, refusals: list[str], warnings: list[str]) -> None:
        text = f'{found.engine.backend}: {found.verdict}'
        if refusals:
            text += f' (after {"; ".join(refusals)})'
        _LOG.info('%s', text)
        with self._lock:
            self._next = found.engine
            self._status = Status('serving', text, found.verdict, tuple(warnings))

    def _swap(self) -> None:
        """Between two frames: serve by the new engine and give back the old one."""
        with self._lock:
            if self._next is None:
                return
            old, self._engine, self._next = self._engine, self._next, None
        if old is not self._plain:
            old.close()

    def _fall_back(self, error: BackendError) -> None:
        """From now on ONNX Runtime on the CPU: where the GPU failed it would fail again."""
        failed, self._engine = self._engine, self._plain
        text = f'{failed.backend} failed in flight, ONNX Runtime on the CPU took over: {error}'
        _LOG.error('%s', text)
        if not self._on_cpu():
            self._plain.close()
            self._plain = self._open_plain('cpu')
            self._engine = self._plain
        if failed is not self._plain:
            failed.close()
        self._status = replace(self._status, state='failed', text=text,
                               gpu_lost=isinstance(error, GpuLostError))
