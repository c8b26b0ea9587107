"""Datasets: labelled frames read with care, split without leaks, on one energy scale."""

from __future__ import annotations

from tempermd.dataset.building import (
    BuildSpec,
    DatasetRecord,
    build,
    build_dataset,
    read_dataset_record,
)
from tempermd.dataset.conversion import convert
from tempermd.dataset.description import Description, describe
from tempermd.dataset.description_page import describe_on_page, description_text, write_description
from tempermd.dataset.energies import fit_energies, on_one_scale, reference_energies
from tempermd.dataset.frames import (
    UNKNOWN_SOURCE,
    check_labels,
    iter_labelled,
    iter_structures,
    read_labelled,
    read_structures,
    source_of,
    write_structures,
)
from tempermd.dataset.importing import ImportSpec, LabelKeys
from tempermd.dataset.lmdb_files import LmdbFrames, LmdbWriter
from tempermd.dataset.published import fetch
from tempermd.dataset.splits import split
from tempermd.dataset.units import Units

__all__ = [
    "UNKNOWN_SOURCE",
    "BuildSpec",
    "DatasetRecord",
    "Description",
    "ImportSpec",
    "LabelKeys",
    "LmdbFrames",
    "LmdbWriter",
    "Units",
    "build",
    "build_dataset",
    "check_labels",
    "convert",
    "describe",
    "describe_on_page",
    "description_text",
    "fetch",
    "fit_energies",
    "iter_labelled",
    "iter_structures",
    "on_one_scale",
    "read_dataset_record",
    "read_labelled",
    "read_structures",
    "reference_energies",
    "source_of",
    "split",
    "write_description",
    "write_structures",
]
