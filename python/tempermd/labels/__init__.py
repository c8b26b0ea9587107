"""Labels: energies, forces and stresses for structures, from any source, with provenance."""

from tempermd.labels.convergence import GATE_LIMIT_EV_PER_A, force_change
from tempermd.labels.labelling import compare, label
from tempermd.labels.sources import SourceSpec, compute, open_source, sources_text

__all__ = [
    "GATE_LIMIT_EV_PER_A",
    "SourceSpec",
    "compare",
    "compute",
    "force_change",
    "label",
    "open_source",
    "sources_text",
]
