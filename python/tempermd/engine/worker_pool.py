"""Parsl's pool of workers on a node, whose queues outlive a worker that is killed.

``python -m tempermd.engine.worker_pool``: multiprocessing's queues write in a thread and wait with
a lock held. A worker that is killed for want of memory while its last result is still being
written, or while it waits for a task, would take the lock with it, and no task of its node would
ever come back.
"""

from __future__ import annotations

import runpy


def main() -> None:
    """Become the pool."""
    from parsl.multiprocessing import SpawnContext

    from tempermd.engine.sturdy_queue import SturdyQueue

    SpawnContext.Queue = lambda maxsize=0: SturdyQueue(maxsize, ctx=SpawnContext)
    # its workers look for their code in the main module, which must be Parsl's
    pool = "parsl.executors.high_throughput.process_worker_pool"
    runpy.run_module(pool, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
