"""Station events: what no healthy run shows, found in a run or in any LAMMPS trajectory.

Every detector has one shape: construct it with its limits, ``update`` it with each frame
(or with the log), ``finish`` it to get its events.
"""

from tempermd.events.analysis import analyse_run, analyse_trajectory, label_of, write_events
from tempermd.events.classes import (
    EVENT_CLASSES,
    FAILURE_CLASSES,
    EventClass,
    FailureClass,
    class_of,
)
from tempermd.events.limits import Thresholds, read_thresholds
from tempermd.events.products import Analysis, Event, RunLabel, Series

__all__ = [
    "EVENT_CLASSES",
    "FAILURE_CLASSES",
    "Analysis",
    "Event",
    "EventClass",
    "FailureClass",
    "RunLabel",
    "Series",
    "Thresholds",
    "analyse_run",
    "analyse_trajectory",
    "class_of",
    "label_of",
    "read_thresholds",
    "write_events",
]
