"""Physics of tubes against closed forms, stresses and other ways to the same number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from made_sources import Unconverged
from made_trajectories import frame_of, tube_atoms
from tempermd import lmp
from tempermd.labels import SourceSpec, open_source
from tempermd.physics import (
    OwnFrames,
    PhysicsRecord,
    check_physics,
    free_motion,
    frequencies_THz,
    overlap,
    overlaps,
    pair_distribution,
    peak_strain,
    relax_tube,
    vibrational_spectrum,
)
from tempermd.physics.bands import CURVATURE_A2, check_of, radius_band
from tempermd.physics.checks import physics_table
from tempermd.physics.truth import errors_in
from tempermd.records import UserError
from tempermd.structures import nanotube

EV_PER_A3_IN_GPA = 160.2176634


@pytest.fixture(scope="module")
def lcbop():
    return open_source(SourceSpec(name="lcbop"))[1]


@pytest.fixture(scope="module")
def tube():
    atoms = nanotube(5, 5, 7.0)
    atoms.center(vacuum=8.0, axis=(0, 1))
    atoms.pbc = True
    return atoms


@pytest.fixture(scope="module")
def relaxed(tube, lcbop):
    return relax_tube(tube, lcbop)


def test_relaxed_tube_has_no_axial_stress_and_its_stiffness_is_the_stress_of_strain(
    relaxed, lcbop
) -> None:
    """The curvature of energies against the virial's slope, clamped atoms relaxed at each end."""
    from ase.optimize import FIRE

    stresses = []
    for strain in (-0.004, 0.0, 0.004):
        atoms = relaxed.atoms.copy()
        cell = atoms.cell[:].copy()
        cell[2] *= 1 + strain
        atoms.set_cell(cell, scale_atoms=True)
        atoms.calc = lcbop
        FIRE(atoms, logfile=None).run(fmax=0.005, steps=400)
        per_area_of_wall = atoms.get_volume() / (2 * np.pi * relaxed.radius_A * atoms.cell[2, 2])
        stresses.append(atoms.get_stress()[2] * per_area_of_wall)  # eV/A^2
    assert abs(stresses[1]) < 0.02 * (stresses[2] - stresses[0])
    slope_N_per_m = (stresses[2] - stresses[0]) / 0.008 * 16.02176634
    assert relaxed.stiffness_N_per_m == pytest.approx(slope_N_per_m, rel=0.03)
    assert relaxed.youngs_modulus_TPa == pytest.approx(relaxed.stiffness_N_per_m / 335.0)
    assert 1.39 < relaxed.bond_A < 1.46
    assert relaxed.radius_A == pytest.approx(
        5 * np.sqrt(3) * 3 * 1.42 / 2 / np.pi / np.sqrt(3), rel=0.05
    )


def test_a_dimer_vibrates_as_its_curvature_says() -> None:
    """Lennard-Jones: k = 72 eps / (2^(1/3) sigma^2) at its minimum, f = sqrt(k / mu) / 2 pi."""
    epsilon, sigma, mass = 0.2, 2.0, 12.0
    atoms = Atoms("C2", [[0, 0, 0], [2 ** (1 / 6) * sigma, 0, 0]], masses=[mass, mass])
    modes = frequencies_THz(atoms, LennardJones(epsilon=epsilon, sigma=sigma, rc=50.0), 1e-3)
    k = 72 * epsilon / (2 ** (1 / 3) * sigma**2)
    expected = np.sqrt(k / (mass / 2) * 9648.53321) / (2 * np.pi)  # rad/ps to THz
    assert modes[-1] == pytest.approx(expected, rel=1e-4)
    assert np.abs(modes[:-1]).max() < 1e-2 * expected


def test_a_stretched_dimer_is_unstable() -> None:
    atoms = Atoms("C2", [[0, 0, 0], [3.2, 0, 0]])
    modes = frequencies_THz(atoms, LennardJones(epsilon=0.2, sigma=2.0, rc=50.0))
    assert modes[0] < -1


def test_tube_has_four_zeros_and_no_unstable_mode(relaxed, lcbop) -> None:
    modes = frequencies_THz(relaxed.atoms, lcbop)
    assert np.abs(np.sort(np.abs(modes))[:4]).max() < 0.5
    assert np.sort(np.abs(modes))[4] > 0.5
    assert modes.min() > -0.5


def test_checks_tell_right_from_wrong(tube, lcbop) -> None:
    record = check_physics(
        tube, lcbop, ("LCBOP", "tube"), ("LCBOP", lcbop), truth=lcbop, indices=(5, 5)
    )
    assert record.good, record.sentence
    values = {check.name: check.value for check in record.checks}
    for check in record.checks:
        if check.reference is not None:
            assert check.value == pytest.approx(check.reference, abs=1e-6)
    assert values["pair_distances"] == pytest.approx(1)  # of its own motion again
    assert values["vibrations"] == pytest.approx(1)
    assert values["force_error"] == values["energy_error"] == 0
    soft = check_physics(tube, Scaled(lcbop, 0.4), ("soft", "tube"), truth=lcbop, indices=(6, 5))
    wrong = {check.name for check in soft.checks if not check.good}
    assert wrong == {
        "radius",  # of a (6,5) tube, which this is not
        "youngs_modulus",
        "stiffness",
        "highest_mode",
        "force_error",
        "energy_error",
    }
    values = {check.name: check.value for check in soft.checks}
    assert values["force_error"] == pytest.approx(0.6)  # 1 - 0.4 of the truth's
    assert "wrong, though stable" in soft.sentence
    repulsive = check_physics(tube, Scaled(lcbop, -1.0), ("upside down", "tube"))
    assert not repulsive.good
    assert repulsive.fault
    table = physics_table([record, soft, repulsive])
    assert table.head == ["what", "band", "LCBOP", "soft", "upside down"]
    assert physics_table([record.model_copy(update={"potential": "m"})]).head[2:] == [
        "m",
        "reference LCBOP",
    ]
    assert {len(row) for row in table.rows} == {len(table.head)}
    cells = {row[0]: row for row in table.rows}
    assert len(cells) == len(record.checks) == 11
    assert {name for name, row in cells.items() if "wrong" in row[3]} == {
        "radius, Å",
        "Young's modulus, TPa",
        "stiffness, N/m",
        "highest mode, THz",
        "force error, of their size",
        "energy error, meV/atom",
    }
    assert all("wrong" not in row[2] and row[4] == "–" for row in cells.values())
    assert {"bond, Å", "unstable modes"} <= set(cells)


class Scaled:
    """A calculator whose energies and forces are a multiple of another's."""

    def __init__(self, calculator, factor: float) -> None:
        self._calculator, self._factor = calculator, factor

    def get_potential_energy(self, atoms=None, force_consistent=False) -> float:
        return self._factor * self._calculator.get_potential_energy(atoms)

    def get_forces(self, atoms=None) -> np.ndarray:
        return self._factor * self._calculator.get_forces(atoms)


def test_frames_that_the_truth_does_not_label_are_left_out_and_told(tube, lcbop) -> None:
    frames = []
    for seed in range(5):
        frames.append(tube.copy())
        frames[-1].rattle(0.02, seed=seed)
    own = OwnFrames(frames, 3000.0)
    truth = Unconverged(good_calls=(1, 3))
    checks, (note,) = errors_in(own, lcbop, truth)
    assert note.startswith("3 of 5 frames at 3000 K have no label and are left out")
    assert "SCF not converged" in note
    force, energy = checks
    assert (force.name, energy.name) == ("force_error_at_3000_K", "energy_error_at_3000_K")
    true = -np.array([frames[1].positions, frames[3].positions])  # of the spring
    forces = np.array([lcbop.get_forces(frames[number]) for number in (1, 3)])
    expected = np.sqrt(np.mean((forces - true) ** 2) / np.mean(true**2))
    assert force.value == pytest.approx(expected)
    energies = [lcbop.get_potential_energy(frames[number]) for number in (1, 3)]
    differences_eV = np.array(energies) - (true**2).sum(axis=(1, 2)) / 2
    assert energy.value == pytest.approx(1000 * np.ptp(differences_eV) / 2 / 60)
    # harmonic, canonical: var(U) = (3 n / 2) (kT)^2
    assert energy.high == pytest.approx(1000 * np.sqrt(1.5 * 60) * 8.617333e-5 * 3000 / 60)
    one, _ = errors_in(own, lcbop, Unconverged(good_calls=(1,)))
    assert [check.name for check in one] == ["force_error_at_3000_K"]  # one energy has no spread


def test_a_truth_that_labels_nothing_leaves_the_other_checks(tube, lcbop) -> None:
    hot = OwnFrames([tube], 3000.0)
    record = check_physics(tube, lcbop, ("m", "tube"), truth=Unconverged(), hot=hot)
    assert not record.fault
    assert len(record.checks) == 7
    assert [note[:23] for note in record.notes] == [
        "5 of 5 frames at 300 K ",
        "1 of 1 frames at 3000 K",
    ]
    assert "all 7 numbers are right; 5 of 5 frames at 300 K have no label" in record.sentence


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 0), (6, 4), (10, 10)])
def test_radii_are_those_of_the_indices(n: int, m: int, lcbop) -> None:
    """A tube as it is rolled up has the radius of a flat sheet; at rest it is a little wider."""
    atoms = nanotube(n, m, 4.0)
    atoms.center(vacuum=8.0, axis=(0, 1))
    atoms.pbc = True
    band = radius_band(n, m)
    rolled_A = np.linalg.norm(atoms.positions[:, :2] - atoms.positions[:, :2].mean(axis=0), axis=1)
    curved_A = rolled_A.mean() + CURVATURE_A2 / rolled_A.mean()
    assert (band.low + band.high) / 2 == pytest.approx(curved_A, rel=1e-3)
    assert band.low < relax_tube(atoms, lcbop).radius_A < band.high


@pytest.mark.parametrize(
    "name",
    ["airebo", f"nequip:{lmp.potentials_folder() / 'carbon_base.nequip.pth'}"],
)
def test_trusted_potentials_move_alike(name: str, tube, relaxed, lcbop) -> None:
    calculator = open_source(SourceSpec(name=name))[1]
    own = free_motion(relax_tube(tube, calculator).atoms, calculator)
    shared = overlaps(own, free_motion(relaxed.atoms, lcbop))
    assert all(check_of(kind, share, "").good for kind, share in shared.items())


def test_a_motion_that_shares_nothing_is_out_of_the_bands(relaxed, lcbop) -> None:
    """Atoms on a grid of 2 Å, all moving at 100 THz."""
    motion = free_motion(relaxed.atoms, lcbop)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)[:60] * 2.0 + 1.0
    swing = np.cos(2 * np.pi * 100.0 * motion.spacing_ps * np.arange(len(motion.frames)))
    made = [
        replace(frame, positions=grid, velocities=np.full((60, 3), speed))
        for frame, speed in zip(motion.frames, swing, strict=True)
    ]
    shared = overlaps(replace(motion, frames=made), motion)
    checks = [check_of(kind, share, "of the reference's") for kind, share in shared.items()]
    assert len(checks) == 2
    for check in checks:
        assert check.value < 0.2
        assert not check.good
    record = PhysicsRecord(potential="m", structure="t", reference="LCBOP", checks=checks)
    assert "wrong, though stable: pair distances 0" in record.sentence


def test_a_chain_bears_most_where_its_bonds_do() -> None:
    """Lennard-Jones, nearest neighbors only: pulled hardest at (26/7)^(1/6) sigma."""
    rest = 2 ** (1 / 6)
    chain = Atoms("C10", [[5, 5, rest * n] for n in range(10)], cell=[10, 10, 10 * rest], pbc=True)
    chain.positions[:, 2] *= 2.0
    chain.cell[2] *= 2.0
    calculator = LennardJones(epsilon=1.0, sigma=2.0, rc=3.9)
    expected = (26 / 7) ** (1 / 6) / rest - 1  # 0.109
    assert peak_strain(chain, calculator) == pytest.approx(expected, abs=0.02)


def test_free_motion_has_the_temperature_and_the_modes_of_its_tube(relaxed, lcbop) -> None:
    """At 20 K: there LCBOP is harmonic."""
    motion = free_motion(relaxed.atoms, lcbop, 20.0)
    kinetic = 0.5 * motion.masses[:, None] * motion.velocities**2 * 1.0364269e-4  # eV
    # of 3 n - 3 modes, half of each mode's energy on average
    found_K = kinetic.sum(axis=(1, 2)).mean() / (1.5 * (len(motion.masses) - 1) * 8.617333e-5)
    assert found_K == pytest.approx(20, rel=0.1)
    frequency, density = vibrational_spectrum(motion.velocities, motion.masses, motion.spacing_ps)
    highest = frequencies_THz(relaxed.atoms, lcbop).max()
    share = np.cumsum(density) / density.sum()
    assert np.interp(0.99, share, frequency) == pytest.approx(highest, rel=0.03)
    with pytest.raises(UserError, match="falls apart"):
        free_motion(relaxed.atoms, Scaled(lcbop, -1.0), 300.0)


def test_spectrum_of_known_oscillations() -> None:
    """Two atoms at 10 and 40 THz; the heavier one counts by its mass."""
    spacing_ps, steps = 0.005, 2000
    time = np.arange(steps) * spacing_ps
    velocities = np.zeros((steps, 2, 3))
    velocities[:, 0, 0] = np.cos(2 * np.pi * 10 * time)
    velocities[:, 1, 2] = np.sin(2 * np.pi * 40 * time)
    frequency, density = vibrational_spectrum(velocities, np.array([1.0, 3.0]), spacing_ps)
    assert density.sum() * (frequency[1] - frequency[0]) == pytest.approx(1)
    peaks = frequency[np.argsort(density)[-2:]]
    near = [density[np.abs(frequency - f) < 1].sum() for f in (10, 40)]
    assert near[1] / near[0] == pytest.approx(3, rel=1e-3)
    assert min(abs(peaks - 40)) < 0.2


def test_pair_distribution_of_a_tube_has_its_shells() -> None:
    atoms = tube_atoms()
    found = pair_distribution([frame_of(atoms)] * 2)
    centres = (np.arange(240) + 0.5) * 6.0 / 240
    distances = atoms.get_all_distances(mic=True)[np.triu_indices(128, 1)]
    expected, _ = np.histogram(distances[distances < 6.0], bins=240, range=(0, 6.0))
    np.testing.assert_allclose(found, expected / expected.sum())
    assert abs(centres[np.flatnonzero(found)[0]] - 1.42) < 0.05
    assert overlap(found, found) == 1.0
    assert overlap(found, np.roll(found, 100)) < 0.9
