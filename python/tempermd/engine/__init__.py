"""Run many independent tasks, here or on a cluster, with progress, failures and Ctrl-C."""

from tempermd.engine.array_script import MORE_TO_DO
from tempermd.engine.crew import GRACE_S, AnyCrew, Outcome, available_cores
from tempermd.engine.crews import EngineOptions, check_takes_tasks, open_crew
from tempermd.engine.graph import GraphResult, GraphTask, run_graph
from tempermd.engine.job_lines import END_VARIABLE
from tempermd.engine.profile import EngineProfile, Resources, profile_names, read_profile
from tempermd.engine.progress import Meter
from tempermd.engine.slots import Slot, take_slot
from tempermd.engine.stream import stream_tasks
from tempermd.engine.tasks import TaskFailureError, run_tasks

__all__ = [
    "END_VARIABLE",
    "GRACE_S",
    "MORE_TO_DO",
    "AnyCrew",
    "EngineOptions",
    "EngineProfile",
    "GraphResult",
    "GraphTask",
    "Meter",
    "Outcome",
    "Resources",
    "Slot",
    "TaskFailureError",
    "available_cores",
    "check_takes_tasks",
    "open_crew",
    "profile_names",
    "read_profile",
    "run_graph",
    "run_tasks",
    "stream_tasks",
    "take_slot",
]
