"""Station trajectory: what LAMMPS wrote, as arrays: dumps frame by frame, thermo by run."""

from tempermd.trajectory.dump import Frame, FrameReader, iter_frames
from tempermd.trajectory.thermo import Thermo, ThermoRun, read_thermo

__all__ = ["Frame", "FrameReader", "Thermo", "ThermoRun", "iter_frames", "read_thermo"]
