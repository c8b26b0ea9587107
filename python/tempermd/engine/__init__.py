"""Run many independent tasks on this machine's cores, with progress, failures and Ctrl-C."""

from tempermd.engine.crew import GRACE_S, available_cores
from tempermd.engine.progress import Meter
from tempermd.engine.stream import stream_tasks
from tempermd.engine.tasks import TaskFailureError, run_tasks

__all__ = [
    "GRACE_S",
    "Meter",
    "TaskFailureError",
    "available_cores",
    "run_tasks",
    "stream_tasks",
]
