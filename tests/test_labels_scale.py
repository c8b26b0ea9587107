"""Labelling at scale: each structure once, whatever is killed, fails or fills up on the way."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.neighborlist import neighbor_list

import made_sources
from conftest import skip_without
from tempermd import dataset, labels
from tempermd.engine import Meter
from tempermd.labels import FrameFiles, GateSpec, LabelOptions, SourceSpec
from tempermd.labels.cache import LabelCache
from tempermd.labels.content import CLOSEST_FRACTION, content_key, fault_of
from tempermd.labels.filling import Filling
from tempermd.records import UserError, only_one, sha256_file

SPRING = SourceSpec(name="ase:made_sources:Spring", settings={"k": 2.0})
BAD = {"He": "not converged", "Ne": "process died", "Ar": "non-finite numbers"} | {
    "Kr": "calculator error"
}


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the made sources log what they are asked."""
    monkeypatch.setenv("MADE_SOURCES_LOG", str(tmp_path / "asked"))
    return tmp_path / "asked"


def from_file(path: Path) -> FrameFiles:
    """Return the frames of a file as the command line reads them."""
    return FrameFiles((path,), dataset.iter_structures)


def chains(number: int, n_atoms: int = 5, first: str = "C") -> list[Atoms]:
    """Return chains of carbon along z, 1.5 A apart, each with a place of its own."""
    rng = np.random.default_rng(3)
    frames = []
    for index in range(number):
        positions = rng.uniform(-0.2, 0.2, (n_atoms, 3)).round(8)
        positions[:, 2] += 1.5 * np.arange(n_atoms)
        atoms = Atoms([first] + ["C"] * (n_atoms - 1), positions)
        atoms.info |= {"kind": "chain", "trajectory": f"t{index}"}
        frames.append(atoms)
    return frames


def test_labels_are_the_closed_form_and_keep_order_and_names(tmp_path: Path) -> None:
    frames = chains(40)
    path = labels.label(frames, SPRING, tmp_path / "out.extxyz", workers=2)
    back = read(path, ":")
    assert [a.info["trajectory"] for a in back] == [a.info["trajectory"] for a in frames]
    for one, other in zip(back, frames, strict=True):
        squares = np.sum(other.positions**2, axis=1)
        assert np.allclose(one.positions, other.positions, atol=1e-12)
        assert one.get_potential_energy() == pytest.approx(squares.sum(), abs=1e-12)
        assert np.allclose(one.get_forces(), -2 * other.positions, atol=1e-8)
    assert json.loads(back[0].info["source_settings"]) == {"k": 2.0}


def test_record_tells_what_was_made_of_what(tmp_path: Path) -> None:
    write(tmp_path / "in.extxyz", chains(12))
    frames = from_file(tmp_path / "in.extxyz")
    path = labels.label(frames, SPRING, tmp_path / "out.extxyz", workers=1)
    record = json.loads((tmp_path / "out.extxyz.json").read_text())
    assert record["made_from"] == {"in.extxyz": sha256_file(tmp_path / "in.extxyz")}
    assert record["files"] == {"out.extxyz": sha256_file(path)}
    assert (record["frames"], record["atoms"], record["labelled"]) == (12, 60, 12)
    assert record["core_seconds"] * record["atoms_per_core_second"] == pytest.approx(60)
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert kept == ["asked", "in.extxyz", "out.extxyz", "out.extxyz.json"]


def test_the_same_structure_under_another_name_is_computed_once(tmp_path: Path) -> None:
    frames = chains(6)
    again = [frames[4].copy(), frames[1].copy()]
    for number, atoms in enumerate(again):
        atoms.info["trajectory"] = f"again{number}"
    path = labels.label(frames + again, SPRING, tmp_path / "out.extxyz", workers=2)
    assert len(made_sources.asked()) == len(set(made_sources.asked())) == 6
    back = read(path, ":")
    assert [a.info["trajectory"] for a in back[6:]] == ["again0", "again1"]
    assert back[6].get_potential_energy() == back[4].get_potential_energy()
    assert json.loads((tmp_path / "out.extxyz.json").read_text())["duplicates"] == 2


def changed(what: str) -> Atoms:
    """Return a water-like molecule with one thing changed."""
    atoms = Atoms("OH2", [[0, 0, 0], [0, 0, 1], [0, 1, 0]], cell=[5, 5, 5], pbc=True)
    match what:
        case "numbers":
            atoms.numbers[1] = 3
        case "positions":
            atoms.positions[1, 2] = np.nextafter(1.0, 2.0)
        case "cell":
            atoms.cell[2, 2] = 6
        case "pbc":
            atoms.pbc = (True, True, False)
        case "charges":
            atoms.set_initial_charges([1, 0, 0])
        case "spin":
            atoms.info["spin"] = 3
        case "name":
            atoms.info["trajectory"] = "other"
        case "minus zero":
            atoms.positions[0, 0] = -0.0
        case "constraint":
            atoms.set_constraint(FixAtoms([0]))
    return atoms


@pytest.mark.parametrize("what", ["numbers", "positions", "cell", "pbc", "charges", "spin"])
def test_key_changes_with_what_decides_the_label(what: str) -> None:
    assert content_key(changed(what)) != content_key(changed("nothing"))


@pytest.mark.parametrize("what", ["name", "minus zero", "constraint"])
def test_key_stays_where_the_label_is_the_same(what: str) -> None:
    assert content_key(changed(what)) == content_key(changed("nothing"))


def test_constraints_do_not_reach_the_labels(tmp_path: Path) -> None:
    (atoms,) = chains(1)
    atoms.set_constraint(FixAtoms([0, 1]))
    back = read(labels.label([atoms], SPRING, tmp_path / "out.extxyz", workers=1))
    assert np.allclose(back.calc.results["forces"], -2 * atoms.positions, atol=1e-8)


# kills

SLOW = SPRING.model_copy(update={"settings": {"k": 2.0, "wait_s": 0.02}})


def label_command(folder: Path, *more: str) -> list[str]:
    """Return the command that labels ``in.extxyz`` of a folder."""
    code = "from tempermd.cli import main; main()"
    command = [sys.executable, "-c", code, "label", "in.extxyz", "--source", SLOW.name]
    return [*command, "--settings", json.dumps(SLOW.settings), "-o", "out.extxyz", *more]


def stored(folder: Path) -> set[bytes]:
    """Return the keys of the structures that the cache of a folder knows."""
    path = folder / "out.extxyz.labels.sqlite"
    if not path.exists():
        return set()
    base = sqlite3.connect(path)
    try:
        return {key for (key,) in base.execute("SELECT structure FROM label")}
    except sqlite3.OperationalError:
        return set()  # killed before the tables were there
    finally:
        base.close()


def test_kills_at_any_time_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """The oracle is the unbroken run; what the cache knew at a kill is never asked again."""
    frames = chains(120)
    write(tmp_path / "in.extxyz", frames)
    keys = {made_sources.name_of(a): content_key(a) for a in read(tmp_path / "in.extxyz", ":")}
    unbroken = labels.label(
        from_file(tmp_path / "in.extxyz"), SLOW, tmp_path / "whole.extxyz", workers=2
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": path}
    kills, known = 0, set()
    waits = random.Random(5)
    while not (tmp_path / "out.extxyz").exists():
        start = len(made_sources.asked())
        process = subprocess.Popen(
            label_command(tmp_path, "-j", "2"),
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        if kills < 3:
            deadline = time.monotonic() + 30
            while len(stored(tmp_path)) <= len(known) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(waits.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(timeout=60)
        time.sleep(0.2)  # workers end by themselves
        assert not known & {keys[name] for name in made_sources.asked()[start:]}
        assert stored(tmp_path) >= known or (tmp_path / "out.extxyz").exists()
        known = stored(tmp_path)
    assert kills == 3
    assert (tmp_path / "out.extxyz").read_bytes() == unbroken.read_bytes()
    left = sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".", "out")))
    assert left == ["out.extxyz", "out.extxyz.json"]


def test_a_worker_that_is_killed_from_outside_costs_nothing(tmp_path: Path) -> None:
    frames = chains(60)
    spec = SourceSpec(name="ase:made_sources:DiesOnce", settings={"wait_s": 0.01})
    back = read(labels.label(frames, spec, tmp_path / "out.extxyz", workers=2), ":")
    assert (tmp_path / "asked.died").exists()
    energies = [np.sum(a.positions**2) / 2 for a in frames]
    assert np.allclose([a.get_potential_energy() for a in back], energies)


# what fails


def with_bad_ones(*symbols: str) -> list[Atoms]:
    """Return thirty chains, of which the tenth and following ones fail."""
    frames = chains(30)
    for number, symbol in enumerate(symbols):
        frames[10 + number].symbols[0] = symbol
    return frames


def test_failures_are_set_aside_each_with_its_reason(tmp_path: Path) -> None:
    frames = with_bad_ones(*BAD)
    frames[20].positions[1] = frames[20].positions[0] + [0.1, 0, 0]
    with pytest.raises(UserError, match=r"5 of 30 structures were set aside \(1 calculator error"):
        labels.label(frames, SPRING, tmp_path / "out.extxyz", workers=2)
    good = read(tmp_path / "out.extxyz", ":")
    whole = [f"t{n}" for n in range(30) if n not in (10, 11, 12, 13, 20)]
    assert [a.info["trajectory"] for a in good] == whole
    bad = read(tmp_path / "out.refused.extxyz", ":")
    reasons = {a.symbols[0]: a.info["reason"] for a in bad[:4]}
    assert {symbol: reason.split(":")[0] for symbol, reason in reasons.items()} == BAD
    assert "after" in reasons["He"]
    assert bad[4].info["reason"].startswith("overlapping atoms: atoms 0 and 1 (C, C) are 0.100 A")
    record = json.loads((tmp_path / "out.extxyz.json").read_text())
    expected = dict.fromkeys([*BAD.values(), "overlapping atoms"], 1)
    assert (record["labelled"], record["set_aside"]) == (25, expected)


def test_failures_are_remembered_until_they_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, output = with_bad_ones("He", "Kr"), tmp_path / "out.extxyz"
    for _ in range(2):
        with pytest.raises(UserError, match=r"2 of 30 .*1 calculator error, 1 not converged"):
            labels.label(frames, SPRING, output, workers=1)
        assert len(made_sources.asked()) == 30
    mended = tmp_path / "mended"
    mended.touch()
    monkeypatch.setenv("MADE_SOURCES_MENDED", str(mended))
    labels.label(frames, SPRING, output, LabelOptions(retry_failed=True), workers=1)
    assert len(made_sources.asked()) == 32
    assert [a.info["trajectory"] for a in read(output, ":")] == [f"t{n}" for n in range(30)]
    assert not (tmp_path / "out.refused.extxyz").exists()
    assert not (tmp_path / "out.extxyz.labels.sqlite").exists()


def test_some_failures_can_be_accepted(tmp_path: Path) -> None:
    frames = with_bad_ones("He", "Kr")
    with pytest.raises(UserError, match="2 of 30"):
        labels.label(frames, SPRING, tmp_path / "a.extxyz", LabelOptions(accept_failures=0.06))
    options = LabelOptions(accept_failures=0.07)
    assert len(read(labels.label(frames, SPRING, tmp_path / "b.extxyz", options), ":")) == 28


def test_a_source_that_fails_on_everything_is_given_up(tmp_path: Path) -> None:
    frames = chains(300, first="Kr")
    with pytest.raises(UserError, match=r"only 0 were labelled, the last: .*division by zero"):
        labels.label(frames, SPRING, tmp_path / "out.extxyz", workers=1)
    assert 100 <= len(made_sources.asked()) < 300


def test_overlap_is_what_the_distances_say() -> None:
    """ASE's neighbour list says the same over random cells, open and periodic axes."""
    rng = np.random.default_rng(1)
    limit_A, overlapping = 2 * CLOSEST_FRACTION * 0.76, 0
    for _ in range(100):
        cell = rng.uniform(-1, 1, (3, 3)) + np.diag([4, 5, 6])
        pbc = rng.integers(0, 2, 3).astype(bool)
        atoms = Atoms("C15", rng.uniform(-5, 8, (15, 3)), cell=cell, pbc=pbc)
        distances = neighbor_list("d", atoms, limit_A)
        fault = fault_of(atoms)
        assert (fault is not None) == (len(distances) > 0)
        if fault:
            overlapping += 1
            assert f"{distances.min():.3f} A apart" in fault.reason
    assert 10 < overlapping < 90


@pytest.mark.parametrize(
    ("atoms", "kind"),
    [
        (Atoms(), "no atoms"),
        (Atoms("C", [[np.nan, 0, 0]]), "non-finite coordinates"),
        (Atoms("C", pbc=True), "cell without extent"),
        (Atoms("C", cell=[0.5, 9, 9], pbc=True), "overlapping atoms"),
        (Atoms("C2", [[0, 0, 0], [0, 0, 1.0]]), None),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.4]]), None),
    ],
)
def test_faults_of_structures(atoms: Atoms, kind: str | None) -> None:
    fault = fault_of(atoms)
    assert (fault and fault.kind) == kind


# files and outputs


@pytest.mark.parametrize("damage", ["cut", "mixed", "words"])
def test_a_damaged_file_is_refused_before_anything_is_computed(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "in.extxyz"
    write(path, chains(20))
    text = path.read_text()
    if damage == "cut":
        path.write_text(text[: len(text) // 2 + 20])
    elif damage == "mixed":
        lines = text.splitlines(keepends=True)
        path.write_text("".join(lines[:40] + lines[43:]))
    else:
        path.write_text("no structures here\n" * 5)
    with pytest.raises(UserError, match=r"in.extxyz: frame \d+:? (cannot be read|is cut short)"):
        labels.label(from_file(path), SPRING, tmp_path / "out.extxyz")
    assert [p.name for p in tmp_path.iterdir()] == ["in.extxyz"]


def test_two_processes_on_one_output(tmp_path: Path) -> None:
    output = tmp_path / "out.extxyz"
    with only_one(output), pytest.raises(UserError, match=f"process {os.getpid()} on .* writing"):
        labels.label(chains(1), SPRING, output)
    assert labels.label(chains(1), SPRING, output).exists()
    assert not (tmp_path / ".out.extxyz.lock").exists()


def test_a_finished_output_is_left_alone_and_another_refused(tmp_path: Path) -> None:
    output = labels.label(chains(5), SPRING, tmp_path / "out.extxyz", workers=1)
    before = output.stat().st_mtime_ns
    labels.label(chains(5), SPRING, output)
    assert (output.stat().st_mtime_ns, len(made_sources.asked())) == (before, 5)
    with pytest.raises(UserError, match="exists already and was not made from these structures"):
        labels.label(chains(6), SPRING, output)
    with pytest.raises(UserError, match="exists already"):
        labels.label(chains(5), SLOW, output)
    assert output.stat().st_mtime_ns == before


def test_a_shared_cache_serves_other_outputs_but_no_other_source(tmp_path: Path) -> None:
    options = LabelOptions(cache=tmp_path / "all.sqlite")
    frames = chains(10)
    one = labels.label(frames, SPRING, tmp_path / "one.extxyz", options, workers=1)
    two = labels.label(frames[:7], SPRING, tmp_path / "two.extxyz", options, workers=1)
    assert len(made_sources.asked()) == 10
    rows = len(frames[0]) + 2
    assert two.read_text() == "".join(one.read_text().splitlines(keepends=True)[: 7 * rows])
    stiffer = SPRING.model_copy(update={"settings": {"k": 4.0}})
    three = read(labels.label(frames[:1], stiffer, tmp_path / "three.extxyz", options))
    assert np.allclose(three.get_forces(), -4 * frames[0].positions, atol=1e-8)


@pytest.mark.parametrize("content", [b"no cache at all" * 400, None])
def test_a_foreign_cache_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    if content is None:
        base = sqlite3.connect(path)
        base.execute("CREATE TABLE mine (a)")
        base.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"cache.sqlite: expected a cache of labels"):
        labels.label(chains(1), SPRING, tmp_path / "o.extxyz", LabelOptions(cache=path))
    assert path.read_bytes() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a small disk needs the command mount")
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("number", "full"), [(1500, "cache of labels"), (700, "disk is full")])
def test_a_full_disk_is_told_and_the_command_goes_on_afterwards(
    number: int, full: str, small_disk: Path, tmp_path: Path
) -> None:
    """First the cache is full; with fewer frames the cache fits and the output does not."""
    frames, output = chains(number), small_disk / "out.extxyz"
    with pytest.raises(UserError, match=rf"{full}.*make room and give the same command again"):
        labels.label(frames, SPRING, output, workers=1)
    assert not output.exists()
    assert [p.name for p in small_disk.iterdir()] == ["out.extxyz.labels.sqlite"]
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    labels.label(frames, SPRING, output, workers=1)
    whole = labels.label(frames, SPRING, tmp_path / "whole.extxyz", workers=1)
    assert output.read_bytes() == whole.read_bytes()


# the gate


def boxes(*lengths_A: float) -> list[Atoms]:
    """Return pairs of atoms in cells that are periodic along x."""
    place = [[0.0, 0, 0], [1.4, 0, 0]]
    frames = [Atoms("C2", place, cell=[length, 9, 9], pbc=(1, 0, 0)) for length in lengths_A]
    for number, atoms in enumerate(frames):
        atoms.positions[1, 1] = 0.01 * number
    return frames


def test_gate_refuses_short_cells_of_any_source_that_is_asked(tmp_path: Path) -> None:
    """F_x = 1 / L: doubling the cell changes the force by 1 / (2 L), rms over 3 axes."""
    spec = SourceSpec(name="ase:made_sources:FewKPoints")
    gate = GateSpec(double_cell=True, limit_eV_per_A=0.05)
    frames = boxes(4.0, 8.0, 4.0, 8.0)
    with pytest.raises(UserError, match=r"2 of 4 structures .*\(2 convergence gate\)"):
        labels.label(frames, spec, tmp_path / "out.extxyz", LabelOptions(gate=gate), workers=2)
    for name, length_A in (("out.extxyz", 8.0), ("out.refused.extxyz", 4.0)):
        for atoms in read(tmp_path / name, ":"):
            assert atoms.cell.lengths()[0] == length_A
            figure = atoms.info["convergence_eV_per_A"]
            assert figure == pytest.approx(1 / (2 * length_A) / np.sqrt(3))
    record = json.loads((tmp_path / "out.extxyz.json").read_text())
    assert record["convergence_eV_per_A"] == pytest.approx(1 / 16 / np.sqrt(3))


@pytest.mark.parametrize(("k_points", "passes"), [(2, True), (4, False)])
def test_gate_compares_with_finer_settings(k_points: int, passes: bool, tmp_path: Path) -> None:
    """From one k-point to n the force changes by (1 - 1/n) / L."""
    spec = SourceSpec(name="ase:made_sources:FewKPoints")
    change = (1 - 1 / k_points) / 8 / np.sqrt(3)
    gate = GateSpec(finer={"k_points": k_points}, limit_eV_per_A=0.04)
    options = LabelOptions(gate=gate, accept_failures=1.0)
    assert (change < 0.04) == passes
    if not passes:
        with pytest.raises(UserError, match="none is left"):
            labels.label(boxes(8.0), spec, tmp_path / "out.extxyz", options, workers=1)
        atoms = read(tmp_path / "out.refused.extxyz")
    else:
        atoms = read(labels.label(boxes(8.0), spec, tmp_path / "out.extxyz", options, workers=1))
    assert atoms.info["convergence_eV_per_A"] == pytest.approx(change)


def test_chunks_grow_to_a_few_seconds_and_shrink_for_slow_sources(tmp_path: Path) -> None:
    source = labels.open_source(SPRING)[0]
    with closing(LabelCache(tmp_path / "c.sqlite", source)) as cache:
        filling = Filling(SPRING, cache, Meter("labels", None, "labels"))
        sizes = []
        for n_atoms, seconds in [(5, 0.001), (40, 0.008), (320, 0.064), (2000, 0.4), (10000, 100)]:
            filling.learn(n_atoms, seconds)
            sizes.append(filling.chunk_atoms)
    assert sizes == [40, 320, 2560, 10_000, 200]  # eight times more each, then 2 s of work
    assert filling.labelled == 0


def test_a_self_consistency_that_stops_early_is_no_label(tmp_path: Path) -> None:
    """Two cycles are too few for tblite; a hundred are not."""
    skip_without("xtb")
    water = Atoms("OH2", [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]])
    few = SourceSpec(name="xtb", settings={"max_iterations": 2})
    with pytest.raises(UserError, match=r"1 of 1 structures .*\(1 not converged\)"):
        labels.label([water], few, tmp_path / "out.extxyz", workers=1)
    enough = SourceSpec(name="xtb", settings={"max_iterations": 100})
    back = read(labels.label([water], enough, tmp_path / "out.extxyz", workers=1))
    own = labels.compute(water, labels.open_source(enough)[1])
    assert back.get_potential_energy() == pytest.approx(own.get_potential_energy(), abs=1e-9)
    assert not (tmp_path / "out.refused.extxyz").exists()
