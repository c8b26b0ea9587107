"""Seconds until `tempermd --help` has answered: python tests/bench/startup.py"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [str(Path(sys.executable).parent / "tempermd"), "--help"]
BARE = [sys.executable, "-c", "pass"]


def seconds(command: list[str]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    pairs = [(seconds(COMMAND), seconds(BARE)) for _ in range(11)]
    ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"tempermd --help {ours:.3f} s, python itself {bare:.3f} s (medians of 11 pairs)")
