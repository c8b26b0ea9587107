"""How LAMMPS is found and started: as a process, in process, under mpirun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import pytest

from tempermd import lmp as lmp_room
from tempermd.engine.crew import STOPPED, Outcome, call
from tempermd.records import UserError

# one LJ atom, for as many steps as nobody waits for
LONG_RUN = """
region box block 0 5 0 5 0 5
create_box 1 box
create_atoms 1 single 1 1 1
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff * * 1.0 1.0
fix 1 all nve
print "started" file started
run 2000000000
"""


def clean_environment() -> dict[str, str]:
    """Return this environment without anything that LAMMPS or we would read."""
    unwanted = ("LAMMPS", "TEMPERMD", "OMP", "LD_LIBRARY_PATH", "PYTHONPATH")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}


def lmp_started_in(folder: Path) -> int:
    """Wait until an ``lmp`` that runs in a folder has begun its steps; return its process ID."""
    for _ in range(600):
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                name = (entry / "comm").read_text().strip()
                found = (entry / "cwd").resolve(strict=True)
            except OSError:  # it ended, or is not ours
                continue
            if name == "lmp" and found == folder and (folder / "started").exists():
                return int(entry.name)
        time.sleep(0.05)
    pytest.fail(f"no lmp started in {folder}")


def is_alive(pid: int) -> bool:
    """Say whether a process exists and is more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("launcher", [[], ["mpirun", "-np", "1"]], ids=["alone", "mpirun"])
def test_the_wheels_lmp_knows_the_style_with_nothing_exported(launcher, tmp_path: Path):
    (tmp_path / "in.styles").write_text("info styles pair\n")
    scripts = Path(sysconfig.get_path("scripts"))
    command = [str(scripts / part) if part == "mpirun" else part for part in launcher]
    done = subprocess.run(
        [*command, str(scripts / "lmp"), "-in", "in.styles"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nequip" in done.stdout.split("Pair styles:")[1].split()


def test_input_scripts_can_read_the_folders(tmp_path: Path):
    (tmp_path / "in.folders").write_text(
        "variable inputs getenv TEMPERMD_INPUTS\n"
        "variable potentials getenv TEMPERMD_POTENTIALS\n"
        'print "folders ${inputs} ${potentials}"\n'
        "units metal\nregion box block 0 9 0 9 0 9\ncreate_box 1 box\n"
        "pair_style tersoff\npair_coeff * * Si.tersoff Si\n"
    )
    result = lmp_room.run_process(["-in", "in.folders"], tmp_path)
    assert result.exit_code == 0, result.stdout_tail
    folders = f"folders {lmp_room.inputs_folder()} {lmp_room.potentials_folder()}"
    assert folders in result.stdout_tail


def test_in_process(tmp_path: Path):
    instance = lmp_room.lammps_instance()
    try:
        assert ["pair", "nequip"] in instance.available_plugins()
        assert "nequip" in instance.available_styles("pair")
    finally:
        instance.close()


def test_in_process_after_nothing_but_import_lammps(tmp_path: Path):
    code = (
        "import tempermd.lmp as room; one = room.lammps_instance(); "
        "print([name for style, name in one.available_plugins()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["['nequip']"]


def test_process_result_of_an_error(tmp_path: Path):
    (tmp_path / "in.wrong").write_text("pair_style nosuchstyle\n")
    result = lmp_room.run_process(["-in", "in.wrong"], tmp_path)
    assert (result.exit_code, result.signal, result.timed_out) == (1, None, False)
    assert "nosuchstyle" in result.stdout_tail


def test_timeout_ends_the_run(tmp_path: Path):
    (tmp_path / "in.long").write_text(LONG_RUN)
    result = lmp_room.run_process(["-in", "in.long"], tmp_path, timeout_s=3.0)
    assert result.timed_out
    assert (result.exit_code, result.signal) == (None, signal.SIGTERM)
    assert 3.0 <= result.wall_s < 20.0


def test_a_signal_is_told_apart_from_an_exit_code(tmp_path: Path):
    (tmp_path / "in.long").write_text(LONG_RUN)
    killer = threading.Thread(
        target=lambda: os.kill(lmp_started_in(tmp_path), signal.SIGSEGV), daemon=True
    )
    killer.start()
    result = lmp_room.run_process(["-in", "in.long"], tmp_path, timeout_s=60)
    killer.join()
    assert (result.exit_code, result.signal) == (None, signal.SIGSEGV)
    assert not result.timed_out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
def test_lmp_ends_with_the_process_that_started_it(number: int, tmp_path: Path):
    (tmp_path / "in.long").write_text(LONG_RUN)
    code = "from tempermd.lmp import run_process; run_process(['-in', 'in.long'], '.')"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as parent:
        lmp_pid = lmp_started_in(tmp_path)
        parent.send_signal(number)
        assert parent.wait(30) != 0
    for _ in range(200):
        if not is_alive(lmp_pid):
            return
        time.sleep(0.05)
    os.kill(lmp_pid, signal.SIGKILL)
    pytest.fail("lmp outlived its parent")


def test_the_end_of_a_job_may_reach_lmp_before_us(tmp_path: Path):
    """A scheduler signals the processes of a job one by one: the caller sees the job's end."""

    def end_the_job() -> None:
        os.kill(lmp_started_in(tmp_path), signal.SIGTERM)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    def simulate(folder: Path) -> str:
        done = lmp_room.run_process(["-in", "in.long"], folder, timeout_s=60)
        return f"lmp was ended by signal {done.signal}"

    (tmp_path / "in.long").write_text(LONG_RUN)
    before = signal.getsignal(signal.SIGTERM)
    scheduler = threading.Thread(target=end_the_job, daemon=True)
    scheduler.start()
    try:
        outcome = call(simulate, tmp_path, (signal.SIGTERM,))
    finally:
        scheduler.join()
        signal.signal(signal.SIGTERM, before)
    assert outcome == Outcome(failure=STOPPED)


def test_register_keeps_what_the_user_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAMMPS_POTENTIALS", "/users/own")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("TEMPERMD_INPUTS", "/users/inputs")
    folder = lmp_room.register()
    lmp_room.register()
    assert Path(folder) == lmp_room.plugin_path().parent
    folders = os.environ["LAMMPS_POTENTIALS"].split(":")
    assert folders[0] == "/users/own"
    assert len(folders) == len(set(folders)) == 3
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert os.environ["TEMPERMD_INPUTS"] == "/users/inputs"


def test_lmp_absent_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    # with no folder to look in, Python finds no package that is not loaded yet
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "lammps", raising=False)
    with pytest.raises(UserError, match="has no LAMMPS; install it"):
        lmp_room.lmp_command()


def test_versions_name_what_decides_the_numbers():
    found = lmp_room.versions()
    assert found["lammps"].startswith("2025.7.22")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "not installed" not in found.values()


def test_import_is_light():
    code = "import sys, tempermd.lmp; print({'pydantic', 'numpy', 'lammps'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
