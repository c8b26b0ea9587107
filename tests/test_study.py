"""Studies: rows say what was measured, and nothing is done twice that need not be."""

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from tempermd import study, training
from tempermd.records import UserError, read_record
from tempermd.study.collecting import collect_rows
from tempermd.study.draws import random_draw
from tempermd.study.loading import load_study
from tempermd.study.plan import plan_study
from tempermd.study.stages import Store
from tempermd.study.work import WORK

SPEC = """
title = "Tiny"
[model]
type_names = ["C"]
num_layers = 1
num_features = 2
radial_mlp_width = 4
num_bessels = 4
cutoff_A = 3.0

[sources]
tersoff = { name = "tersoff" }

[training]
batch_size = 2
warmup_steps = 2

[pretraining]
structures = "general.toml"
n_pretrain = [8]
n_val = 4
[pretraining.training]
max_steps = 8
learning_rate = 0.02

[bases.tersoff]
sources = ["tersoff"]

[targets.layers]
structures = "layers.toml"
truth = { name = "lcbop" }
truth_note = "LCBOP"
n_val = 4
n_train = [3]
seeds = [1, 2]
judge_on = ["general"]

[strategies.direct]
learning_rates = [0.02, 1e-6]
max_steps = 8
[strategies.tuned]
bases = ["tersoff"]
learning_rates = [0.02, 1e-6]
max_steps = 6
"""
CRYSTALS = """
seed = {seed}
[[crystals]]
names = ["diamond", "{other}"]
atoms = 8
rattles_A = [0.05]
cells = 10
"""


def write_specs(folder: Path, text: str = SPEC) -> Path:
    """Write the spec of a tiny study and of its structures."""
    (folder / "general.toml").write_text(CRYSTALS.format(seed=5, other="graphene"))
    (folder / "layers.toml").write_text(CRYSTALS.format(seed=6, other="lonsdaleite"))
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished tiny study in ``out``."""
    folder = tmp_path_factory.mktemp("study")
    study.run(write_specs(folder), folder / "out", 2)
    return folder


def planned(folder: Path, text: str = SPEC) -> tuple:
    """Return the plan of a changed spec over the finished study's store, and the store."""
    store = Store(folder / "out" / "store")
    return plan_study(load_study(write_specs(folder, text)), store), store


def missing(folder: Path, text: str) -> set[str]:
    """Return the titles of the stages that a changed spec would still have to run."""
    plan, store = planned(folder, text)
    return {stage.title for stage in plan.stages.values() if store.done(stage) is None}


def rows(folder: Path) -> list[study.Row]:
    return read_record(folder / "out" / study.RESULT, study.Study).rows


def test_one_row_for_each_target_arm_n_and_seed(folder: Path) -> None:
    found = {(row.arm.name, row.n_train, row.seed) for row in rows(folder)}
    assert found == {(arm, 3, seed) for arm in ("direct", "tuned tersoff 8") for seed in (1, 2)}


def test_errors_of_a_row_are_those_of_its_checkpoint(folder: Path) -> None:
    """Oracle: the training station's own errors on the file that was held out."""
    plan, store = planned(folder)
    planned_row = next(one for one in plan.rows if one.strategy == "tuned" and one.seed == 2)
    checkpoint = store.path(planned_row.trainings[planned_row.chosen].product("training/best.ckpt"))
    row = next(one for one in rows(folder) if one.arm.strategy == "tuned" and one.seed == 2)
    test = training.evaluate(checkpoint, store.path(plan.files["layers"].test))
    assert row.error("forces") == pytest.approx(test.force_rmse_eV_per_A, rel=1e-6)
    assert row.error("energy") == pytest.approx(test.energy_rmse_meV_per_atom, rel=1e-6)
    # labels of another source have another zero: what is left has no mean
    general = training.evaluate(checkpoint, store.path(planned_row.base.general))
    assert row.error("forces", "general") == pytest.approx(general.force_rmse_eV_per_A, rel=1e-6)
    assert row.error("energy", "general") < general.energy_rmse_meV_per_atom


def test_source_errors_are_those_of_what_labelled_the_base(folder: Path) -> None:
    """Oracle: the source itself on the test file, its zero of energy the mean that is left."""
    from tempermd.labels import SourceSpec, compute, open_source

    plan, store = planned(folder)
    frames = read(store.path(plan.files["layers"].test), ":")
    calculator = open_source(SourceSpec(name="tersoff"))[1]
    found = [compute(atoms, calculator).calc.results for atoms in frames]
    forces = [one["forces"] - atoms.get_forces() for one, atoms in zip(found, frames, strict=True)]
    energies = [
        1000 * (one["energy"] - atoms.get_potential_energy()) / len(atoms)
        for one, atoms in zip(found, frames, strict=True)
    ]
    for row in rows(folder):
        if row.arm.base is None:
            assert row.source_errors == {}
            continue
        ((name, errors),) = row.source_errors.items()
        assert name == "tersoff"
        expected = np.sqrt(np.mean(np.concatenate(forces) ** 2))
        assert errors.force_rmse_eV_per_A == pytest.approx(expected, rel=1e-6)
        assert errors.energy_rmse_meV_per_atom == pytest.approx(np.std(energies), rel=1e-6)


def test_a_source_that_cannot_label_a_frame_is_named(tmp_path: Path) -> None:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms("HeC", positions=[[0, 0, 0], [1, 0, 0]], cell=[9, 9, 9], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((2, 3)))
    write(tmp_path / "frames.extxyz", atoms)
    source = {"name": "ase:made_sources:Spring", "settings": {}}
    given = {"source": source, "frames": str(tmp_path / "frames.extxyz")}
    facts = WORK["source"](given, tmp_path, 1)
    assert 'RuntimeError: after "99" cycles' in facts["not_compared"]
    assert "errors" not in facts


def test_the_truth_is_no_label_source_to_compare_with(folder: Path) -> None:
    one_rate = SPEC.replace("[0.02, 1e-6]", "[0.02]")
    compared, _ = planned(folder, one_rate)
    same, _ = planned(folder, one_rate.replace('"lcbop"', '"tersoff"'))
    for plan, number in ((compared, 2), (same, 0)):
        tuned = [row for row in plan.rows if row.strategy == "tuned"]
        assert sum(row.source_judge is not None for row in tuned) == number
        assert len(tuned) == 2


def test_start_errors_are_those_of_a_model_fine_tuned_by_no_step(folder: Path) -> None:
    """Oracle: fine-tuning at a rate of nothing, which refits the reference energies."""
    plan, store = planned(folder)
    one = next(one for one in plan.rows if one.strategy == "tuned" and one.seed == 1)
    spec = training.TrainSpec(
        data=training.DataSpec(
            train=str(store.path(one.draw.product("train.extxyz"))),
            val=str(store.path(plan.files["layers"].val)),
            test=str(store.path(plan.files["layers"].test)),
        ),
        training=training.TrainingSpec(max_steps=1, learning_rate=1e-12, ema_decay=0.0),
    )
    best = training.finetune(
        store.path(one.base.checkpoint), spec, folder / "still", progress=False
    )
    test = read_record(best.parent / "training.json", training.Training).test
    row = next(row for row in rows(folder) if row.arm.strategy == "tuned" and row.seed == 1)
    start = row.start_errors["test"]
    assert start.force_rmse_eV_per_A == pytest.approx(test.force_rmse_eV_per_A, rel=1e-4)
    assert start.energy_rmse_meV_per_atom == pytest.approx(test.energy_rmse_meV_per_atom, rel=1e-3)


def test_rate_is_chosen_on_validation_by_the_first_seed(folder: Path) -> None:
    plan, store = planned(folder)
    for row in plan.rows:
        if row.seed == 1:
            errors = {
                rate: store.done(stage).facts["val_force_rmse_eV_per_A"]
                for rate, stage in row.trainings.items()
            }
            assert set(errors) == {0.02, 1e-6}
            assert row.chosen == min(errors, key=errors.get) == 0.02
        else:
            assert set(row.trainings) == {0.02}


def test_arms_of_a_seed_share_frames_and_parts_share_none(folder: Path) -> None:
    plan, store = planned(folder)
    files = plan.files["layers"]

    def contents(path: Path) -> set[bytes]:
        return {atoms.positions.tobytes() for atoms in read(path, ":")}

    held = contents(store.path(files.test)) | contents(store.path(files.val))
    for seed in (1, 2):
        draws = {row.draw.key for row in plan.rows if row.seed == seed}
        assert len(draws) == 1
        row = next(row for row in plan.rows if row.seed == seed)
        drawn = contents(store.path(row.draw.product("train.extxyz")))
        assert len(drawn) == 3
        assert not drawn & held


def test_draws_are_nested_in_n_and_independent_between_seeds() -> None:
    small, large = random_draw(50, 10, 1, ""), random_draw(50, 20, 1, "")
    assert set(small) < set(large)
    assert len(set(large)) == 20
    # of 50 frames two independent draws of 20 share 8 on average (hypergeometric)
    shared = [
        len(set(random_draw(50, 20, seed, "")) & set(random_draw(50, 20, seed + 500, "")))
        for seed in range(200)
    ]
    assert np.mean(shared) == pytest.approx(8, abs=0.5)


def test_costs_are_those_of_the_stages(folder: Path) -> None:
    tuned, kept = (
        next(one for one in rows(folder) if one.arm.strategy == "tuned" and one.seed == seed)
        for seed in (1, 2)
    )
    assert tuned.cost.tuning_core_s > 0
    assert kept.cost.tuning_core_s == 0
    assert tuned.cost.pretraining_core_s == kept.cost.pretraining_core_s > 0
    assert tuned.cost.labels_core_s > 0
    direct = next(one for one in rows(folder) if one.arm.strategy == "direct")
    assert direct.cost.pretraining_core_s == direct.cost.labels_core_s == 0


def test_gpu_time_is_that_of_the_trainings(folder: Path, tmp_path: Path) -> None:
    """Trainings of 7 s on a GPU: two rates and the base; as it was there is none."""
    assert all(row.cost.gpu_s == row.cost.pretraining_gpu_s == 0 for row in rows(folder))
    shutil.copytree(folder / "out" / "store", tmp_path / "store")
    for path in (tmp_path / "store" / "training").glob("*/done.json"):
        mark = json.loads(path.read_text())
        mark["facts"]["gpu_s"] = 7.0
        path.write_text(json.dumps(mark))
    plan = planned(folder)[0]
    found = {
        (row.arm.strategy, row.seed): row for row in collect_rows(plan, Store(tmp_path / "store"))
    }
    assert [found[one, 1].cost.gpu_s for one in ("direct", "tuned")] == [14.0, 14.0]
    assert found["tuned", 2].cost.gpu_s == found["tuned", 2].cost.pretraining_gpu_s == 7.0
    assert found["direct", 2].cost.pretraining_gpu_s == 0.0


def test_tables_and_page_are_made_of_the_rows(folder: Path) -> None:
    assert list((folder / "out" / "tables").glob("*.csv"))
    page = (folder / "out" / "study.html").read_text()
    assert "Tiny" in page
    assert "LCBOP" in page


def test_second_call_runs_no_stage(folder: Path) -> None:
    """And ends with the verdict on transfer, as the findings have it."""
    from typer.testing import CliRunner

    from tempermd.cli import app

    marks = list((folder / "out" / "store").glob("*/*/done.json"))
    before = {path: path.stat().st_mtime_ns for path in marks}
    command = ["study", "run", str(write_specs(folder)), "-o", str(folder / "out")]
    ended = CliRunner().invoke(app, command, catch_exceptions=False)
    assert ended.exit_code == 0
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("Negative transfer: ")
    assert last in study.findings(folder / "out")
    after = {path: path.stat().st_mtime_ns for path in (folder / "out" / "store").glob("*/*/d*n")}
    assert after == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('title = "Tiny"', 'title = "Another"'),
        ("[strategies.direct]", "[strategies.from_nothing]"),
        ("batch_size = 2\nwarmup_steps = 2", "warmup_steps = 2\nbatch_size = 2\nema_decay = 0.99"),
        ("num_layers = 1\nnum_features = 2", "num_features = 2\nnum_layers = 1"),
        ('truth_note = "LCBOP"', 'truth_note = "a note"'),
    ],
)
def test_a_change_that_means_the_same_runs_nothing(folder: Path, old: str, new: str) -> None:
    assert missing(folder, SPEC.replace(old, new)) == set()


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        # one more seed trains at the rates that are chosen already, so its errors are known too
        ("seeds = [1, 2]", "seeds = [1, 2, 3]", {"draw", "training", "errors"}),
        ("max_steps = 6", "max_steps = 7", {"training"}),
        ("learning_rate = 0.02", "learning_rate = 0.03", {"pre-training", "training"}),
    ],
)
def test_a_changed_line_runs_only_what_depends_on_it(
    folder: Path, old: str, new: str, kinds: set[str]
) -> None:
    found = missing(folder, SPEC.replace(old, new))
    assert {title.split()[0] for title in found} == kinds
    if "seeds" not in new:
        assert not any("direct" in title for title in found)


def test_a_further_test_set_trains_nothing(folder: Path) -> None:
    more = """
[targets.more]
structures = "general.toml"
truth = { name = "lcbop" }
n_val = 4
n_train = [3]
"""
    text = SPEC.replace('judge_on = ["general"]', 'judge_on = ["general", "more"]') + more
    text = text.replace("learning_rates", 'targets = ["layers"]\nlearning_rates')
    titles = missing(folder, text)
    assert {title.split()[0] for title in titles} == {"labels", "parts", "errors"}
    assert sum(title.endswith("on more") for title in titles) == 4


def test_a_changed_file_counts_by_its_content(folder: Path) -> None:
    specs = write_specs(folder)
    general = folder / "general.toml"
    general.write_text("# a comment\n" + general.read_text())
    store = Store(folder / "out" / "store")
    plan = plan_study(load_study(specs), store)
    assert all(store.done(stage) for stage in plan.stages.values())
    general.write_text(general.read_text().replace("seed = 5", "seed = 7"))
    plan = plan_study(load_study(specs), store)
    again = {s.title.split()[0] for s in plan.stages.values() if store.done(s) is None}
    assert {"structures", "labels", "pre-training", "training"} <= again


def test_dry_run_counts_and_makes_nothing(tmp_path: Path, folder: Path) -> None:
    text = study.dry_run(write_specs(tmp_path), tmp_path / "never")
    assert "4 rows" in text
    assert "trainings that wait for the choice of their rate: 2" in text
    assert not (tmp_path / "never").exists()
    assert "training layers: 6, of which 6 done" in study.dry_run(
        write_specs(folder), folder / "out"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size = 2", "batch_size = 'two'", "batch_size"),
        ("batch_size = 2", "learning_rate = 0.1", "rates and steps belong to each strategy"),
        ('bases = ["tersoff"]', 'bases = ["tersof"]', "'tersof' is unknown; there is tersoff"),
        ('sources = ["tersoff"]', 'sources = ["nep"]', "'nep' is unknown; there is tersoff"),
        ('judge_on = ["general"]', 'judge_on = ["tubes"]', "'tubes' is unknown; there is general"),
        ('name = "tersoff"', 'name = "nep:none.txt"', "none.txt is missing; put it there"),
        ('structures = "layers.toml"', 'structures = "no.toml"', "no.toml; put it there"),
        ("max_steps = 6", "max_steps = 6\nfinetune = {}", "unknown key"),
        ("max_steps = 6", "max_steps = 6\nmodel = { zbl = true }", "fine-tuning keeps the base's"),
        ("n_val = 4\nn_train", "n_train", "give val"),
        ("seeds = [1, 2]", "seeds = [1, 1]", "seeds names a value twice"),
    ],
)
def test_faults_are_found_before_any_stage(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in SPEC
    with pytest.raises(UserError, match=message):
        study.run(write_specs(tmp_path, SPEC.replace(old, new)), tmp_path / "never", 1)
    assert not (tmp_path / "never").exists()


def test_a_stage_runs_by_its_key_alone(folder: Path, tmp_path: Path) -> None:
    """What another executor would do: the key and the store are enough."""
    plan = plan_study(load_study(write_specs(folder)), store := Store(tmp_path / "store"))
    stage = next(one for one in plan.stages.values() if one.kind == "structures")
    store.write(stage)
    assert study.run_stage(tmp_path / "store", stage.key)["frames"] == 20
    assert store.done(stage).kind == "structures"
    raw = json.loads((store.folder_of(stage) / "stage.json").read_text())
    assert raw["kind"] == "structures"


def test_a_foreign_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is no study; name another output"):
        study.run(write_specs(folder), tmp_path / "out", 1)


def tables_of(out: Path) -> dict[str, list]:
    """Return the lines of all tables but that of costs, without columns of time."""
    tables = {}
    for path in (out / "tables").glob("*.csv"):
        with path.open(newline="") as stream:
            lines = list(csv.DictReader(stream))
        if path.stem != "costs":
            tables[path.stem] = [
                {key: value for key, value in line.items() if not key.endswith(("core_s", "gpu_s"))}
                for line in lines
            ]
    return tables


def test_a_study_killed_at_random_gives_the_same_tables(folder: Path, tmp_path: Path) -> None:
    """Killed by SIGKILL amid stages that chance names; oracle: the run that nothing broke."""
    out, random = tmp_path / "out", np.random.default_rng(20)
    code = "import sys; from pathlib import Path; from tempermd import study\n"
    code += "if __name__ == '__main__': study.run(Path(sys.argv[1]), Path(sys.argv[2]), 2)\n"
    (tmp_path / "run.py").write_text(code)
    command = [sys.executable, tmp_path / "run.py", write_specs(folder), out]

    def finished(of: Path) -> int:
        return len(list((of / "store").glob("*/*/done.json")))

    most = finished(folder / "out")
    for number in sorted(random.choice(most - 6, size=3, replace=False)):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        before = finished(out)
        while finished(out) < max(number, before + 1):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.3))  # not just when a stage has ended
        assert process.poll() is None
        process.kill()
        process.wait()
        assert finished(out) < most
    study.run(folder / "study.toml", out, 2)
    assert tables_of(out) == tables_of(folder / "out")
    assert {"rows", "curves", "contrasts", "forgetting"} <= tables_of(out).keys()
    one, other = (
        [
            row.model_dump(exclude={"cost"})
            for row in read_record(at / study.RESULT, study.Study).rows
        ]
        for at in (out, folder / "out")
    )
    assert one == other
