"""Loads another model beside the one that serves, in the background."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import NamedTuple

from depth_perception.inference.serving import ServingEngine
from depth_perception.model_spec import ModelError


class Loaded(NamedTuple):
    """A model's name or path, and the engine that runs it."""

    model: str
    engine: ServingEngine


class ModelLoader:
    """
    One engine at a time, from the wish to the frame between which it is taken.

    Parameters
    ----------
    on_failure : callable
        Called in the loader's thread when an engine could not be made; `refusal` then says why.

    Attributes
    ----------
    loading : str
        The model that is being loaded; '' where none is.
    refusal : str
        Why the last one could not be used; '' where it could.

    """

    def __init__(self, on_failure: Callable[[], object]) -> None:
        self.loading = self.refusal = ''
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._ready: Loaded | None = None
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> str:
        """The model that is ready and was not taken yet; '' where none is."""
        ready = self._ready     # another thread may take it meanwhile
        return '' if ready is None else ready.model

    def start(self, model: str, load: Callable[[], ServingEngine]) -> None:
        """
        Load in the background; what was ready and not taken yet is given up.

        Raises
        ------
        ModelError
            While another one is being loaded.

        """
        if self.loading:
            raise ModelError(f'model {self.loading} is being loaded; set {model} once it serves')
        self.close()
        self.loading, self.refusal = model, ''
        self._thread = threading.Thread(target=self._run, args=(model, load), name='model load')
        self._thread.start()

    def take(self) -> Loaded | None:
        """Return what is ready, once; may be asked by any thread."""
        if self._ready is None:     # at each frame: no lock
            return None
        with self._lock:
            loaded, self._ready = self._ready, None
        return loaded

    def close(self) -> None:
        """Wait for what is being loaded, and give back what nobody took."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        loaded = self.take()
        if loaded is not None:
            loaded.engine.close()

    def _run(self, model: str, load: Callable[[], ServingEngine]) -> None:
        try:
            engine = load()
        except (ValueError, OSError, MemoryError) as error:
            self._refuse(f'model {model} is refused: {error}')
            return
        except Exception as error:      # a bug shows as one, and not as endless loading
            self._refuse(f'model {model} is refused, loading it ended in a bug: '
                         f'{type(error).__name__}: {error}')
            raise
        with self._lock:
            self._ready = Loaded(model, engine)
        self.loading = ''

    def _refuse(self, reason: str) -> None:
        self.refusal, self.loading = reason, ''
        self._on_failure()
