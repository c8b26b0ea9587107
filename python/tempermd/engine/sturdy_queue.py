"""A queue between processes that a killed one cannot take with it."""

from __future__ import annotations

import os
import time
from multiprocessing import reduction
from multiprocessing.queues import Queue
from queue import Empty, Full
from typing import Any

PAUSE_S = 0.001


class SturdyQueue(Queue):
    """A queue of which workers hold the locks for no longer than a message takes."""

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Write at once in a worker; what made the queue has threads that must not wait."""
        if os.getpid() == self._opid:
            super().put(obj, block, timeout)
            return
        if not self._sem.acquire(block, timeout):
            raise Full
        message = reduction.ForkingPickler.dumps(obj)
        with self._wlock:
            self._send_bytes(message)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Wait without the lock, and take it for what is there."""
        until_s = None if timeout is None else time.monotonic() + timeout
        while block:
            left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            if not self._poll(left_s):
                raise Empty
            try:
                return super().get(block=False)
            except Empty:  # another worker was faster, or is at it
                if left_s == 0.0:
                    raise
                time.sleep(PAUSE_S)
        return super().get(block=False)
