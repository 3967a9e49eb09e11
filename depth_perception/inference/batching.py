"""One engine for several cameras, each of which asks in a thread of its own.

Images that come at about the same time are run together where that pays. A camera is waited for
only while it is due: its usual period tells when its next image comes, and one that is late by
half a period has stopped. So a dead camera holds nobody up, and no wait is longer than
`Batcher.wait_s`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median
import threading
import time

import numpy as np

from depth_perception.inference import BackendError
from depth_perception.inference.onnx_batch import NO_GAIN, Answer
from depth_perception.inference.serving import ServingEngine
from depth_perception.model_spec import ModelSpec


class Rhythm:
    """Knows when the next image of a camera is due, from its last eight periods."""

    def __init__(self) -> None:
        self._last = float('-inf')
        self._periods: deque[float] = deque(maxlen=8)

    def note(self, now: float) -> None:
        """Take the time [s] at which an image came."""
        if self._last > float('-inf'):
            self._periods.append(now - self._last)
        self._last = now

    def is_due(self, now: float, until: float) -> bool:
        """Whether an image should come before `until` and is not late by half a period yet."""
        if len(self._periods) < 3:
            return False
        period = median(self._periods)
        return self._last + period <= until and now <= self._last + 1.5 * period


class _Request:
    """An image that waits for its depth."""

    def __init__(self, client: BatchClient, image: np.ndarray, now: float) -> None:
        self.client, self.image, self.since = client, image, now
        self.answer: Answer | None = None
        self.error: ValueError | None = None

    @property
    def is_done(self) -> bool:
        return self.answer is not None or self.error is not None


class Batcher:
    """Shares an engine between threads; each gets an Engine of its own by `client`.

    Parameters
    ----------
    engine : ServingEngine
        It is not closed here.
    max_batch : int
        Most images in one call; 0: as many as the engine takes where it runs on a GPU, and one
        on the CPU, which gains nothing by more.
    wait_s : float
        Longest time that an image waits for those of other cameras.
    now : callable
        Steady clock [s].

    Attributes
    ----------
    sizes : deque of int
        Images in each of the last 100 calls.
    """

    def __init__(self, engine: ServingEngine, *, max_batch: int = 0, wait_s: float = 0.005,
                 now: Callable[[], float] = time.monotonic) -> None:
        self.wait_s = wait_s
        self.sizes: deque[int] = deque(maxlen=100)
        self._engine, self._max_batch, self._now = engine, max_batch, now
        self._clients: list[BatchClient] = []
        self._waiting: list[_Request] = []
        self._busy = False
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Most images in one call, at the moment: the engine may be exchanged for a built one."""
        if self._max_batch:
            return min(self._max_batch, self._engine.batch)
        on_cpu = self._engine.backend.endswith('CPUExecutionProvider')
        return 1 if on_cpu else self._engine.batch

    def describe(self) -> str:
        """Say how images are run, and why not together where they are not."""
        if self.limit > 1:
            mean = sum(self.sizes) / max(1, len(self.sizes))
            return f'up to {self.limit} images in one call, {mean:.2f} of late'
        if self._engine.batch_refusal:
            return f'one image after the other: {self._engine.batch_refusal}'
        if self._engine.batch > 1 and not self._max_batch:
            return f'one image after the other: {NO_GAIN}'
        return 'one image after the other'

    def client(self) -> BatchClient:
        """Return an engine for one more thread."""
        client = BatchClient(self, self._engine)
        with self._changed:
            self._clients.append(client)
        return client

    def leave(self, client: BatchClient) -> None:
        """Wait for this client no longer."""
        with self._changed:
            self._clients = [each for each in self._clients if each is not client]

    def run(self, client: BatchClient, image: np.ndarray) -> Answer:
        """Return the depth of an image; whoever's turn it is runs the engine for all that wait."""
        with self._changed:
            request = _Request(client, image, self._now())
            client.rhythm.note(request.since)
            self._waiting.append(request)
            self._changed.notify_all()
            while not request.is_done:
                if self._busy:
                    self._changed.wait()
                elif (patience := self._patience()) > 0.0:
                    self._changed.wait(patience)
                else:
                    self._run_some()
        if request.error is not None:
            raise request.error
        return request.answer

    def _patience(self) -> float:
        """How long [s] it is worth to wait for more images; 0: run what is there."""
        now, limit = self._now(), self.limit
        if limit < 2 or len(self._waiting) >= limit:
            return 0.0
        until = self._waiting[0].since + self.wait_s
        here = {request.client for request in self._waiting}
        if any(client not in here and client.rhythm.is_due(now, until)
               for client in self._clients):
            return max(0.0, until - now)
        return 0.0

    def _run_some(self) -> None:
        """Run the first image that waits, with others of its shape; others may queue meanwhile."""
        shape = self._waiting[0].image.shape
        batch = [request for request in self._waiting if request.image.shape == shape]
        batch = batch[:self.limit]
        self._waiting = [request for request in self._waiting if request not in batch]
        self._busy = True
        self._changed.release()
        answers: list[Answer] = []
        error: ValueError = BackendError('the engine ended in a bug, in the thread of another '
                                         'camera')
        try:
            answers = self._engine.infer_batch([request.image for request in batch])
        except ValueError as caught:
            error = caught
        finally:
            # whatever was raised: the other threads wait for this
            self._changed.acquire()
            self._busy = False
            self.sizes.append(len(batch))
            for number, request in enumerate(batch):
                if answers:
                    request.answer = answers[number]
                else:
                    request.error = error
            self._changed.notify_all()


class BatchClient:
    """What one thread sees of a shared engine; see `depth_perception.estimator.Engine`."""

    def __init__(self, batcher: Batcher, engine: ServingEngine) -> None:
        self.rhythm = Rhythm()
        self._batcher, self._engine = batcher, engine

    @property
    def spec(self) -> ModelSpec:
        """Contract of the model."""
        return self._engine.spec

    @property
    def backend(self) -> str:
        """What serves now."""
        return self._engine.backend

    def infer(self, image: np.ndarray) -> Answer:
        """Run the network; errors are those of `ServingEngine.infer`."""
        return self._batcher.run(self, image)

    def close(self) -> None:
        """Leave the others alone; the engine goes on."""
        self._batcher.leave(self)
