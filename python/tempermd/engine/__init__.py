"""Run many independent tasks on this machine's cores, with progress, failures and Ctrl-C."""

from tempermd.engine.crew import GRACE_S, available_cores
from tempermd.engine.graph import GraphResult, GraphTask, run_graph
from tempermd.engine.progress import Meter
from tempermd.engine.stream import stream_tasks
from tempermd.engine.tasks import TaskFailureError, run_tasks

__all__ = [
    "GRACE_S",
    "GraphResult",
    "GraphTask",
    "Meter",
    "TaskFailureError",
    "available_cores",
    "run_graph",
    "run_tasks",
    "stream_tasks",
]
