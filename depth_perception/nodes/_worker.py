"""The bounded queue in front of the one thread that does the work of a node."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class FrameQueue(Generic[T]):
    """
    Hands items from the executor's thread to the worker's.

    Of size 1 it is a mailbox that always holds the newest item; larger, a FIFO. When it is
    full the oldest item goes, since a robot wants what is now.
    """

    def __init__(self, size: int) -> None:
        self._items: deque[T] = deque(maxlen=size)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> int:
        """Store ``item``; return how many older ones it pushed out (0 or 1)."""
        with self._changed:
            dropped = int(len(self._items) == self._items.maxlen)
            self._items.append(item)
            self._changed.notify()
        return dropped

    def get(self) -> T | None:
        """Wait for an item; ``None`` once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            return None if self._closed else self._items.popleft()

    def clear(self) -> int:
        """Forget all items; return how many there were."""
        with self._changed:
            count = len(self._items)
            self._items.clear()
        return count

    def close(self) -> int:
        """Let every ``get`` return ``None`` from now on; return how many items are left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return len(self._items)


class Worker(Generic[T]):
    """
    Calls ``work(item)`` for the items of a queue, in a thread of its own.

    Parameters
    ----------
    work : callable
        Called with one item at a time. What it raises ends the thread.
    queue_size : int
        1 keeps the newest item only.
    on_end : callable
        Called once when the thread has ended, for whatever reason; ``result()`` then raises
        what ended it. A node triggers a guard condition here, so that a bug in the worker
        stops the node instead of leaving a silent one.

    """

    def __init__(self, work: Callable[[T], None], queue_size: int,
                 on_end: Callable[[], None] = lambda: None) -> None:
        self._work = work
        self._queue: FrameQueue[T] = FrameQueue(queue_size)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='worker')
        self._future: Future[None] = self._pool.submit(self._run)
        self._future.add_done_callback(lambda _: on_end())

    def put(self, item: T) -> int:
        """Queue ``item``; return how many older ones were dropped for it."""
        return self._queue.put(item)

    def clear(self) -> int:
        """Drop what waits; return how many items that were."""
        return self._queue.clear()

    def stop(self) -> int:
        """Finish the item in work, end the thread; return how many items it did not get to."""
        left = self._queue.close()
        self._pool.shutdown(wait=True)
        return left

    def result(self) -> None:
        """Raise what the work raised, if it did and the thread has ended."""
        if self._future.done():
            self._future.result()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._work(item)
