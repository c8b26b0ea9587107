"""Tasks with needs: order, failures, tasks that come later, dead workers, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tempermd.engine import GraphTask, run_graph
from tempermd.records import UserError


def work(task: tuple[tuple[str, str, str], int]) -> str:
    """Write when a task starts and ends, or fail or die as its item says."""
    (folder, name, fate), cores = task
    log = Path(folder) / "log"
    with log.open("a") as stream:
        stream.write(f"start {name} {cores}\n")
    if fate == "fail":
        raise UserError(f"{name} is wrong")
    if fate == "die" or (fate == "die once" and not (Path(folder) / "died").exists()):
        (Path(folder) / "died").touch()
        os._exit(9)
    if fate == "wait":
        time.sleep(60)
    with log.open("a") as stream:
        stream.write(f"end {name}\n")
    return name.upper()


def task(folder: Path, name: str, needs: str = "", fate: str = "", **more: object) -> GraphTask:
    return GraphTask(
        key=name, item=(str(folder), name, fate), title=name, needs=tuple(needs), **more
    )


def lines(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def test_each_task_starts_after_what_it_needs(tmp_path: Path) -> None:
    tasks = [task(tmp_path, "d", "bc"), task(tmp_path, "b", "a"), task(tmp_path, "c", "a")]
    result = run_graph(work, [*tasks, task(tmp_path, "a")], workers=2)
    found = lines(tmp_path)
    for needed, user in ("ab", "ac", "bd", "cd"):
        assert found.index(f"end {needed}") < found.index(f"start {user} 1")
    assert (result.done, result.failures, result.not_started) == (4, {}, [])


def test_the_longest_way_starts_first(tmp_path: Path) -> None:
    """Of three ready tasks: the one with a long task behind it, the long one, the short one."""
    tasks = [
        task(tmp_path, "s", cost_s=1),
        task(tmp_path, "l", cost_s=5),
        task(tmp_path, "a", cost_s=1),
        task(tmp_path, "z", "a", cost_s=9),
        task(tmp_path, "k", cost_s=1, after_s=7),
    ]
    run_graph(work, tasks, workers=1)
    starts = [line.split()[1] for line in lines(tmp_path) if line.startswith("start")]
    assert starts == ["a", "z", "k", "l", "s"]


def test_a_failure_stops_only_those_that_need_it(tmp_path: Path) -> None:
    tasks = [task(tmp_path, "a", fate="fail"), task(tmp_path, "b", "a"), task(tmp_path, "c", "b")]
    result = run_graph(work, [*tasks, task(tmp_path, "x"), task(tmp_path, "y", "x")], workers=1)
    assert result.failures == {"a": "a is wrong"}
    assert result.not_started == ["b", "c"]
    assert result.done == 2


def test_tasks_may_come_while_others_run(tmp_path: Path) -> None:
    seen = []

    def more(key: str, value: str) -> list[GraphTask]:
        seen.append((key, value))
        return [task(tmp_path, "b", "a"), task(tmp_path, "a")] if key == "a" else []

    result = run_graph(work, [task(tmp_path, "a")], more=more, workers=1)
    assert seen == [("a", "A"), ("b", "B")]
    assert result.done == 2
    assert lines(tmp_path).count("start a 1") == 1


def test_a_greedy_task_gets_all_free_cores(tmp_path: Path) -> None:
    run_graph(work, [task(tmp_path, "g", greedy=True), task(tmp_path, "x", "g")], workers=3)
    assert lines(tmp_path)[0] == "start g 3"
    assert "start x 1" in lines(tmp_path)


@pytest.mark.parametrize(("fate", "failed"), [("die once", []), ("die", ["a"])])
def test_a_dead_worker_costs_its_own_task_at_most(
    tmp_path: Path, fate: str, failed: list[str]
) -> None:
    result = run_graph(work, [task(tmp_path, "a", fate=fate), task(tmp_path, "b", "c")], workers=1)
    assert list(result.failures) == failed
    assert f"end {'b'}" in lines(tmp_path)


def test_ctrl_c_ends_workers(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_engine_graph import task, work\n"
        "from tempermd.engine import run_graph\n"
        "folder = Path(sys.argv[1])\n"
        "if __name__ == '__main__':\n"
        "    run_graph(work, [task(folder, 'a', fate='wait'), task(folder, 'b', 'a')], workers=1)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(Path(__file__).parent)],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "log").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    assert lines(tmp_path) == ["start a 1"]
