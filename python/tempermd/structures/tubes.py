"""Geometry of nanotubes and icosahedral fullerenes."""

from __future__ import annotations

import itertools
import math

import numpy as np
from ase import Atoms

from tempermd.records import UserError
from tempermd.structures.defects import with_vacancies

CARBON_BOND_A = 1.42
VACUUM_A = 10.0
LARGEST_FULLERENE = 2000


def nanotube(
    n: int,
    m: int,
    length_A: float,
    *,
    periodic: bool = True,
    vacancies: int = 0,
    seed: int = 0,
    bond_A: float = CARBON_BOND_A,
) -> Atoms:
    """Build a carbon nanotube along z.

    Parameters
    ----------
    n, m
        Chiral indices, n >= m >= 0.
    length_A
        The tube gets as many whole periods as reach this length (Angstrom).
    periodic
        Periodic along z; otherwise open at both ends with vacuum around.
    vacancies
        Number of atoms removed, drawn with ``seed``, no two of them bonded neighbours.
    bond_A
        C-C bond length (Angstrom).

    Returns
    -------
    ase.Atoms
        Positions (N, 3) in Angstrom, the tube centred in a box with vacuum across it.
    """
    from ase.build import nanotube as build_nanotube

    if not (n >= m >= 0 and n > 0):
        raise UserError(f"nanotube ({n},{m}): expected indices n >= m >= 0 with n > 0")
    unit = build_nanotube(n, m, length=1, bond=bond_A, symbol="C")
    # round-off puts some atoms of the first plane a period up, which would fray an open end
    z_A = unit.positions[:, 2]
    z_A -= np.floor((z_A + 1e-6) / unit.cell[2, 2]) * unit.cell[2, 2]
    periods = max(1, int(np.ceil(length_A / unit.cell[2, 2] - 1e-6)))
    tube = unit.repeat((1, 1, periods))
    period_A = tube.cell[2, 2]
    tube.center(vacuum=VACUUM_A, axis=(0, 1) if periodic else (0, 1, 2))
    if periodic:
        tube.cell[2] = (0.0, 0.0, period_A)
    tube.pbc = (False, False, periodic)
    tube.info["structure"] = f"tube_{n}_{m}"
    if vacancies:
        tube = with_vacancies(tube, vacancies, seed)
        tube.info["structure"] += f"_v{vacancies}"
    return tube


def fullerene(n_atoms: int, bond_A: float = CARBON_BOND_A) -> Atoms:
    """Build an icosahedral fullerene in a box with vacuum around.

    C60 is ASE's molecule. The others are duals of subdivided icosahedra (Caspar and Klug, Cold
    Spring Harb. Symp. Quant. Biol. 27, 1, 1962): 20 n^2 atoms from faces in n^2 triangles,
    60 n^2 from the leapfrog of these; atoms lie on a sphere with a mean bond of ``bond_A``
    (Angstrom), so large ones are rounder than they should be until they are relaxed.
    """
    if n_atoms == 60:
        from ase.build import molecule

        atoms = molecule("C60")
    else:
        atoms = Atoms(f"C{n_atoms}", positions=_on_a_sphere(n_atoms, bond_A))
    atoms.center(vacuum=VACUUM_A)
    atoms.pbc = False
    atoms.info["structure"] = f"C{n_atoms}"
    return atoms


def fullerene_sizes() -> list[int]:
    """Return the numbers of atoms for which ``fullerene`` has a construction."""
    highest = math.isqrt(LARGEST_FULLERENE // 20)
    sizes = {unit * n * n for unit in (20, 60) for n in range(1, highest + 1)}
    return sorted(size for size in sizes if size <= LARGEST_FULLERENE)


def _on_a_sphere(n_atoms: int, bond_A: float) -> np.ndarray:
    """Return positions (N, 3) of the dual of a subdivided icosahedron."""
    if n_atoms not in fullerene_sizes():
        some = ", ".join(str(size) for size in fullerene_sizes()[:8])
        raise UserError(f"no construction of C{n_atoms} is known; take {some} or a larger one")
    leapfrog = math.isqrt(n_atoms // 20) ** 2 * 20 != n_atoms
    frequency = math.isqrt(n_atoms // (60 if leapfrog else 20))
    vertices, faces = _icosphere(frequency)
    centres = _unit(vertices[faces].mean(axis=1))
    points = _unit(_leapfrog(vertices, faces, centres)) if leapfrog else centres
    from scipy.spatial import cKDTree

    nearest = cKDTree(points).query(points, k=4)[0][:, 1:]  # (N, 3)
    return points * bond_A / nearest.mean()


def _leapfrog(vertices: np.ndarray, faces: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the centres (2 E, 3) of the triangles of a vertex and two faces that meet there."""
    beside: dict[tuple[int, int], list[int]] = {}
    for number, face in enumerate(faces):
        for edge in itertools.combinations(sorted(face), 2):
            beside.setdefault(edge, []).append(number)
    return np.array(
        [
            vertices[vertex] + centres[left] + centres[right]
            for edge, (left, right) in sorted(beside.items())
            for vertex in edge
        ]
    )


def _icosphere(frequency: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (V, 3) on the unit sphere and faces (20 n^2, 3) of a fine icosahedron."""
    golden = (1 + math.sqrt(5)) / 2
    corners = np.array(
        [np.roll((0.0, a, b * golden), turn) for turn in range(3) for a in (1, -1) for b in (1, -1)]
    )
    edge = 2.0
    sides = [
        triple
        for triple in itertools.combinations(range(12), 3)
        if all(
            abs(np.linalg.norm(corners[a] - corners[b]) - edge) < 1e-9
            for a, b in itertools.combinations(triple, 2)
        )
    ]
    numbers: dict[tuple[float, ...], int] = {}
    faces = []
    for side in sides:
        a, b, c = corners[list(side)]

        def vertex(i: int, j: int, a=a, b=b, c=c) -> int:
            point = (a * (frequency - i - j) + b * i + c * j) / frequency
            return numbers.setdefault(tuple(np.round(point, 9) + 0.0), len(numbers))

        for i, j in itertools.product(range(frequency), repeat=2):
            if i + j < frequency:
                faces.append((vertex(i, j), vertex(i + 1, j), vertex(i, j + 1)))
            if i + j < frequency - 1:
                faces.append((vertex(i + 1, j), vertex(i + 1, j + 1), vertex(i, j + 1)))
    return _unit(np.array(list(numbers))), np.array(faces)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
