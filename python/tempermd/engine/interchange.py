"""Parsl's interchange, as a process that ends with the one that started it, however that ends.

``python -m tempermd.engine.interchange``: by itself it would outlive a killed driver and keep
the workers of all blocks waiting until their walltime.
"""

from __future__ import annotations

import os
import runpy
import threading
import time

WATCH_EVERY_S = 1.0


def main() -> None:
    """Become the interchange, away from the terminal's Ctrl-C, with an eye on the parent."""
    parent = os.getppid()
    os.setsid()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_EVERY_S)
    os._exit(1)


if __name__ == "__main__":
    main()
