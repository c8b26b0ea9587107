"""Station physics: is a potential right, besides being stable? Relaxed tubes, moduli, spectra."""

from tempermd.physics.bands import PhysicsCheck
from tempermd.physics.checks import PhysicsRecord, check_physics, overlaps, physics_table
from tempermd.physics.distributions import overlap, pair_distribution, vibrational_spectrum
from tempermd.physics.motion import FREE_K, Motion, free_motion
from tempermd.physics.statics import RelaxedTube, relax_tube
from tempermd.physics.strength import peak_strain
from tempermd.physics.truth import OwnFrames
from tempermd.physics.vibrations import frequencies_THz

__all__ = [
    "FREE_K",
    "Motion",
    "OwnFrames",
    "PhysicsCheck",
    "PhysicsRecord",
    "RelaxedTube",
    "check_physics",
    "free_motion",
    "frequencies_THz",
    "overlap",
    "overlaps",
    "pair_distribution",
    "peak_strain",
    "physics_table",
    "relax_tube",
    "vibrational_spectrum",
]
