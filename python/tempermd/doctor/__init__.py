"""The doctor: what this environment lacks, and whether an engine's jobs come back."""

from tempermd.doctor.cluster import examine_cluster
from tempermd.doctor.environment import RENDERER_LIBRARIES, examine
from tempermd.doctor.finding import Finding

__all__ = ["RENDERER_LIBRARIES", "Finding", "examine", "examine_cluster"]
