"""Tasks that need others' products: each starts when what it needs is done, the longest first."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tempermd.engine.crew import AnyCrew, Outcome
from tempermd.engine.crews import open_crew
from tempermd.engine.profile import EngineProfile
from tempermd.engine.progress import progress_bar

TOLD_AFTER_S = 5.0
"""Tasks that took longer are told one by one."""


@dataclass(frozen=True)
class GraphTask:
    """One task of a graph.

    Attributes
    ----------
    key
        Its name among the tasks.
    item
        What the function is called with, with the number of cores it may use; picklable.
    title
        What it is, for progress and failures.
    needs
        Keys of tasks that must be done before; a key that is no task counts as done.
    cost_s
        About how many seconds of one core it takes; right within a group is enough.
    group
        Tasks whose costs are wrong by the same factor.
    after_s
        Cost of what follows it and is not known yet.
    greedy
        Whether it can use several cores: it then gets all that are free when it starts; on a
        cluster it gets those of one task, as every other.
    """

    key: str
    item: Any
    title: str
    needs: tuple[str, ...] = ()
    cost_s: float = 1.0
    group: str = ""
    after_s: float = 0.0
    greedy: bool = False


@dataclass
class GraphResult:
    """What became of a graph: tasks done, failures by key, and what waited for a failure."""

    done: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    not_started: list[str] = field(default_factory=list)


More = Callable[[str, Any], Iterable[GraphTask]]


def run_graph(
    function: Callable[[tuple[Any, int]], Any],
    tasks: Iterable[GraphTask],
    *,
    more: More | None = None,
    workers: int | None = None,
    title: str = "tasks",
    profile: EngineProfile | None = None,
    scratch: Path | None = None,
) -> GraphResult:
    """Run tasks in worker processes, each as soon as all that it needs is done.

    Of the tasks that are ready the one with the most work behind it starts first. A task that
    fails stops only those that need it. Ctrl-C interrupts what runs and is raised again.

    Parameters
    ----------
    function
        A function of a module (it is pickled by name), of (item, cores).
    tasks
        Keys are unique; a task that comes again is passed over.
    more
        Called here with the key and value of each finished task; returns tasks that are
        known from now on.
    workers
        Cores in use at a time; all if None.
    profile, scratch
        Where the workers are, and where such an engine keeps its logs, see ``open_crew``.
    """
    return _Run(function, more, title).run(
        tasks, lambda: open_crew(profile, workers, scratch=scratch)
    )


class _Run:
    """One run of a graph: what waits, what runs, and how long the rest will take."""

    def __init__(self, function: Callable[..., Any], more: More | None, title: str) -> None:
        self.function, self.more, self.title = function, more, title
        self.tasks: dict[str, GraphTask] = {}
        self.waiting: set[str] = set()
        self.running: dict[Future[Outcome], tuple[GraphTask, int, float]] = {}
        self.result = GraphResult()
        self.priority: dict[str, float] = {}
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def run(self, tasks: Iterable[GraphTask], hire: Callable[[], AnyCrew]) -> GraphResult:
        self._add(tasks)
        if not self.tasks:
            return self.result
        crew = hire()
        self.workers = crew.count
        try:
            with progress_bar(rates=True) as self.progress:
                self.bar = self.progress.add_task(self.title, total=len(self.tasks), rate="")
                while self._start(crew) or self.running:
                    for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                        self._finish(future)
        finally:
            crew.stop()
        self.result.not_started = sorted(self.waiting)
        return self.result

    def _add(self, tasks: Iterable[GraphTask]) -> None:
        new = [task for task in tasks if task.key not in self.tasks]
        for task in new:
            self.tasks[task.key] = task
            self.waiting.add(task.key)
        if new:
            self._prioritise()

    def _prioritise(self) -> None:
        """Give each waiting task the length of the longest way from it to an end."""
        users = defaultdict(list)
        for key in self.waiting:
            for need in self.tasks[key].needs:
                users[need].append(key)
        self.priority = {}

        def length(key: str) -> float:
            if key not in self.priority:
                task = self.tasks[key]
                behind = max((length(user) for user in users[key]), default=0.0)
                self.priority[key] = self._seconds(task) + max(behind, task.after_s)
            return self.priority[key]

        for key in self.waiting:
            length(key)

    def _seconds(self, task: GraphTask) -> float:
        """Return a task's cost, corrected by what its group has taken so far."""
        estimated, taken = self.spent[task.group]
        return task.cost_s * (taken / estimated if estimated else 1.0)

    def _start(self, crew: AnyCrew) -> bool:
        """Start what is ready while cores are free; tell whether anything was started."""
        busy = {task.key for task, _, _ in self.running.values()}
        open_keys = self.waiting | busy | set(self.result.failures)
        ready = [k for k in self.waiting if not open_keys.intersection(self.tasks[k].needs)]
        ready.sort(key=lambda key: (-self.priority[key], key))
        free = self.workers - sum(cores for _, cores, _ in self.running.values())
        started = False
        for key in ready:
            if free < 1:
                break
            task = self.tasks[key]
            taken = free if task.greedy and crew.cores_per_task is None else 1
            future = crew.submit(self.function, (task.item, crew.cores_per_task or taken))
            self.running[future] = (task, taken, time.monotonic())
            self.waiting.discard(key)
            free -= taken
            started = True
        self._show()
        return started

    def _finish(self, future: Future[Outcome]) -> None:
        """Take a finished task's outcome in."""
        outcome = future.result()
        task, cores, _ = self.running.pop(future)
        if outcome.failure is not None:
            self.result.failures[task.key] = outcome.failure
            self._say(f"{task.title}: FAILED: {outcome.failure}")
        else:
            self.result.done += 1
            totals = self.spent[task.group]
            totals[0] += task.cost_s
            totals[1] += outcome.wall_s * cores
            if outcome.wall_s > TOLD_AFTER_S:
                self._say(f"{task.title}: {outcome.wall_s:.0f} s")
        self.progress.advance(self.bar)
        if self.more is not None and not outcome.died:
            self._add(self.more(task.key, outcome.value))

    def _say(self, text: str) -> None:
        ended = self.result.done + len(self.result.failures)
        self.progress.console.print(
            f"[{ended}/{len(self.tasks)}] {text}; {self._left()}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def _left(self) -> str:
        """Say how long the known rest will take, were all workers always busy."""
        rest_s = sum(self._seconds(self.tasks[key]) for key in self.waiting)
        rest_s += sum(task.after_s for key, task in self.tasks.items() if key in self.waiting)
        now = time.monotonic()
        for task, cores, start_s in self.running.values():
            rest_s += max(0.0, self._seconds(task) - (now - start_s) * cores) + task.after_s
        minutes = rest_s / self.workers / 60
        return "under a minute left" if minutes < 1 else f"about {round(minutes)} min left"

    def _show(self) -> None:
        now = ", ".join(task.title for task, _, _ in self.running.values())
        self.progress.update(self.bar, total=len(self.tasks), rate=f"({self._left()}) {now}"[:120])
