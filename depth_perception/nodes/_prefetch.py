"""Frames prepared ahead in a thread, so that a slow render or a slow disk does not jitter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
import threading
from typing import NamedTuple

from rclpy.time import Time

from depth_perception.sources import Frame, SourceError

AHEAD = 4  # a 15 ms render keeps up with 30 Hz even when one in four takes 60 ms


class Ready(NamedTuple):
    """A frame and when the source gave it."""

    frame: Frame
    time: Time


class Prefetcher:
    """Takes frames from a source in a thread of its own.

    Parameters
    ----------
    frames : iterable of Frame
    live : bool
        The source sets the pace: only its newest frame is kept. Otherwise the thread waits when
        it is a few frames ahead.
    now : callable
        Clock for the time of a frame.
    notify : callable
        Called in the thread when a frame is ready, and when the source has ended.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        live: bool,
        now: Callable[[], Time],
        notify: Callable[[], None],
    ) -> None:
        self._frames, self._now, self._notify = frames, now, notify
        self._ahead = 1 if live else AHEAD
        self._live = live
        self._ready: deque[Ready] = deque(maxlen=self._ahead)
        self._changed = threading.Condition()
        self._closed = False
        self._end = ''
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='prefetch')
        self._future = self._pool.submit(self._run)
        self._future.add_done_callback(lambda _: notify())

    def take(self) -> Ready | None:
        """Return the next frame, or None when the source is late or has ended.

        An exception that the source did not announce is raised here, so that it is seen.
        """
        with self._changed:
            if self._ready:
                self._changed.notify()
                return self._ready.popleft()
        if self._future.done():
            self._future.result()
        return None

    @property
    def end(self) -> str:
        """Why no frame will come any more; empty while there are some."""
        with self._changed:
            return '' if self._ready else self._end

    def close(self) -> None:
        """End the thread; a frame in the making is finished first."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        try:
            for frame in self._frames:
                if not self._offer(Ready(frame, self._now())):
                    return
            self._end = 'it is at its end'
        except SourceError as error:
            self._end = str(error)

    def _offer(self, item: Ready) -> bool:
        """Store a frame as soon as there is room; False when no more are wanted."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._live or len(self._ready) < self._ahead
            )
            if self._closed:
                return False
            self._ready.append(item)  # in a full deque it pushes out the oldest
        self._notify()
        return True
