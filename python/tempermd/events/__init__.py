"""Station events: what no healthy run shows, found in a run or in any LAMMPS trajectory.

Every detector has one shape: construct it with its limits, ``update`` it with each frame
(or with the log), ``finish`` it to get its events.
"""

from tempermd.events.analysis import analyse_run, analyse_trajectory, label_of, write_events
from tempermd.events.limits import Thresholds, read_thresholds
from tempermd.events.products import Analysis, Event, RunLabel, Series

__all__ = [
    "Analysis",
    "Event",
    "RunLabel",
    "Series",
    "Thresholds",
    "analyse_run",
    "analyse_trajectory",
    "label_of",
    "read_thresholds",
    "write_events",
]
