"""Structures: melts, random cells, crystals, tubes, fullerenes, each from a spec and a seed."""

from __future__ import annotations

from tempermd.structures.cells import random_cell, write_data
from tempermd.structures.crystals import LATTICES, crystal
from tempermd.structures.defects import rattled, strained, with_stone_wales, with_vacancies
from tempermd.structures.fingerprints import fingerprints, near_duplicates
from tempermd.structures.making import Made, make
from tempermd.structures.picture import survey_sections, write_survey
from tempermd.structures.specs import (
    CrystalSpec,
    FullereneSpec,
    MeltQuenchSpec,
    RandomSpec,
    RattleRelaxSpec,
    StructureSpec,
    TubeSpec,
)
from tempermd.structures.tubes import fullerene, nanotube

__all__ = [
    "LATTICES",
    "CrystalSpec",
    "FullereneSpec",
    "Made",
    "MeltQuenchSpec",
    "RandomSpec",
    "RattleRelaxSpec",
    "StructureSpec",
    "TubeSpec",
    "crystal",
    "fingerprints",
    "fullerene",
    "make",
    "nanotube",
    "near_duplicates",
    "random_cell",
    "rattled",
    "strained",
    "survey_sections",
    "with_stone_wales",
    "with_vacancies",
    "write_data",
    "write_survey",
]
