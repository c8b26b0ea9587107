"""Curves of a run for the report, thinned so that no spike is lost."""

from __future__ import annotations

import numpy as np

from tempermd.events.products import Series
from tempermd.trajectory import Thermo

MOST_POINTS = 400


def frame_curve(unit: str, times: list[float], values: list[float]) -> Series:
    """Return a thinned curve of one value per frame."""
    return thinned(unit, np.array(times, dtype=float), np.array(values, dtype=float))


def thermo_curves(
    thermo: Thermo, band: np.ndarray, n_atoms: int, timestep_fs: float
) -> dict[str, Series]:
    """Return temperature with its band, potential energy and conserved energy per atom.

    Parameters
    ----------
    thermo : Thermo
    band : (m, 4) array
        Time (ps), target, low and high (K).
    n_atoms : int
    timestep_fs : float

    Returns
    -------
    dict of str to Series
    """
    table = thermo.table(["Temp", "PotEng"])
    times = table[:, 0] * timestep_fs / 1000
    curves = {"temperature": thinned("K", times, table[:, 1])}
    energy = table[:, 2] / n_atoms
    finite = energy[np.isfinite(energy)]
    if finite.size:
        curves["potential_energy"] = thinned("eV/atom", times, energy - finite[0])
    conserved_times, conserved = _conserved(thermo, n_atoms, timestep_fs)
    if conserved.size:
        curves["conserved_energy"] = thinned("eV/atom", conserved_times, conserved)
    known = band[np.isfinite(band).all(axis=1)]
    known = known[:: max(1, len(known) // (MOST_POINTS // 4))]
    if len(known):
        for column, name in enumerate(("target", "band_low", "band_high"), start=1):
            curves[name] = _series("K", known[:, 0], known[:, column])
    return curves


def thinned(
    unit: str, times: np.ndarray, values: np.ndarray, most_points: int = MOST_POINTS
) -> Series:
    """Keep the lowest and the highest value of each of many equal spans.

    Parameters
    ----------
    unit : str
    times : (m,) array, ps
    values : (m,) array
        NaN and Inf become gaps.
    most_points : int
        Curves of more are thinned to at most so many.

    Returns
    -------
    Series
    """
    if len(times) <= most_points:
        return _series(unit, times, values)
    keep = []
    for rows in np.array_split(np.arange(len(times)), most_points // 2):
        finite = rows[np.isfinite(values[rows])]
        ends = (
            {rows[0]}
            if not finite.size
            else {
                finite[np.argmin(values[finite])],
                finite[np.argmax(values[finite])],
            }
        )
        keep += sorted(ends)
    return _series(unit, times[keep], values[keep])


def _conserved(thermo: Thermo, n_atoms: int, timestep_fs: float) -> tuple[np.ndarray, np.ndarray]:
    """Return times and Econserve per atom, each run command from zero: a new fix resets it."""
    times, values = [np.empty(0)], [np.empty(0)]
    for run in thermo.runs:
        conserved = run.columns.get("Econserve")
        if run.minimised or conserved is None or not np.isfinite(conserved).any():
            continue
        start = conserved[np.isfinite(conserved)][0]
        times.append(run.columns["Step"] * timestep_fs / 1000)
        values.append((conserved - start) / n_atoms)
    return np.concatenate(times), np.concatenate(values)


def _series(unit: str, times: np.ndarray, values: np.ndarray) -> Series:
    """Round to what a screen can show; what is not finite becomes a gap."""
    return Series(
        unit=unit,
        time_ps=[float(f"{time:.6g}") for time in times],
        value=[float(f"{value:.5g}") if np.isfinite(value) else None for value in values],
    )
