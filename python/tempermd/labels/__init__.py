"""Labels: energies, forces and stresses for structures, from any source, with provenance."""

from tempermd.labels.comparison import IN_FILE, compare
from tempermd.labels.convergence import GATE_LIMIT_EV_PER_A, GateSpec, force_change
from tempermd.labels.failures import LabelFailureError
from tempermd.labels.frames import FrameFiles
from tempermd.labels.isolated import IsolatedAtoms, isolated_atoms, isolated_energies
from tempermd.labels.labelling import LabelOptions, LabelRecord, label
from tempermd.labels.sources import SourceSpec, compute, open_source, sources_text

__all__ = [
    "GATE_LIMIT_EV_PER_A",
    "IN_FILE",
    "FrameFiles",
    "GateSpec",
    "IsolatedAtoms",
    "LabelFailureError",
    "LabelOptions",
    "LabelRecord",
    "SourceSpec",
    "compare",
    "compute",
    "force_change",
    "isolated_atoms",
    "isolated_energies",
    "label",
    "open_source",
    "sources_text",
]
