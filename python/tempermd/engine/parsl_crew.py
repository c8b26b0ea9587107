"""A crew whose workers live in jobs of a cluster, started and replaced by Parsl."""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tempermd.engine import parsl_parts
from tempermd.engine.crew import (
    DIED,
    MAX_DEATHS,
    STOPPED,
    Item,
    Outcome,
    Value,
    call,
    undisturbed,
)
from tempermd.engine.profile import EngineProfile
from tempermd.records import UserError

MAX_LOSSES = 50
"""So often a task may lose the job under it: to walltime, preemption or a lost node."""
ANSWER_S = 60.0
WATCH_EVERY_S = 1.0


@dataclass
class _Task:
    """A task, what came of its tries so far, and where its outcome goes."""

    future: Future[Outcome]
    blob: bytes
    deaths: int = 0
    losses: int = 0


class ParslCrew:
    """Workers in jobs of a scheduler.

    The end of a job is no failure of its tasks: they wait for the next job, and only a worker
    that dies while its job goes on costs its task a try.

    Parameters
    ----------
    profile
        Of kind ``parsl``.
    count
        Tasks at a time; as many as all blocks have room for if None.
    initializer, initargs
        Called once in every worker before its first task.
    scratch
        Folder for logs and job scripts that all nodes see; in the home folder if None. What
        is written there is removed at the end, unless a job was lost.
    lost_blocks
        So many jobs in a row that end before their workers start make all tasks fail.
    """

    def __init__(
        self,
        profile: EngineProfile,
        count: int | None = None,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
        scratch: Path | None = None,
        lost_blocks: int = parsl_parts.LOST_BLOCKS,
    ) -> None:
        room = parsl_parts.slots_of(profile) * profile.nodes * profile.max_blocks
        self.count = min(count or room, room)
        self.cores_per_task = profile.cores_per_task
        self.profile = profile
        self.folder = parsl_parts.kept_folder(scratch)
        self.label = f"tempermd-{self.folder.name.removeprefix('parsl-')}"
        self._initial = (self.label, initializer, initargs)
        self._lock = threading.Lock()
        self._tasks: dict[int, _Task] = {}
        self._stopping = threading.Event()
        self._lost = False
        self._log = _log_to(self.folder / "warnings.log")
        self.executor = parsl_parts.executor_for(profile, self.label, self.count, lost_blocks)
        self._start()

    def _start(self) -> None:
        from parsl.config import Config
        from parsl.dataflow.dflow import DataFlowKernel

        atexit.register(self.stop)
        try:
            self._kernel = DataFlowKernel(
                Config(
                    executors=[self.executor],
                    run_dir=str(self.folder),
                    initialize_logging=False,
                    strategy="simple",  # htex_auto_scale cancels blocks that have not started yet
                    strategy_period=parsl_parts.STRATEGY_S,
                    max_idletime=parsl_parts.IDLE_S,
                    usage_tracking=0,
                )
            )
        except BaseException:
            atexit.unregister(self.stop)
            self._give_up()
            raise
        client = self.executor.command_client
        client.run = partial(client.run, timeout_s=ANSWER_S)  # it would wait without end
        threading.Thread(target=self._watch, daemon=True).start()

    def _give_up(self) -> None:
        """Leave nothing of a start that failed or was interrupted."""
        if not self.executor.bad_state_is_set:
            self.executor.set_bad_state_and_fail_all(UserError(STOPPED))
        if self.executor.interchange_proc is not None:
            self.executor.interchange_proc.terminate()
        parsl_parts.cancel_all(self.executor, self.profile, self.label)
        _stop_log(self._log)

    def submit(self, function: Callable[[Item], Value], item: Item) -> Future[Outcome]:
        """Hand one task over; what keeps it from being sent is said in its outcome."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        try:
            blob = pickle.dumps((self._initial, function, item))
        except Exception as error:  # pickling may raise anything
            future.set_result(Outcome(failure=f"{type(error).__name__}: {error}"))
            return future
        task = _Task(future, blob)
        self._tasks[id(task)] = task
        self._send(task)
        return future

    def stop(self) -> None:
        """Cancel all jobs, running and waiting, and end Parsl."""
        atexit.unregister(self.stop)
        if self._stopping.is_set():
            return
        self._stopping.set()
        with undisturbed():
            # in this state Parsl does not ask an interchange that may be gone before it ends
            if not self.executor.bad_state_is_set:
                self.executor.set_bad_state_and_fail_all(UserError(STOPPED))
            try:
                self._kernel.cleanup()
            finally:
                parsl_parts.cancel_all(self.executor, self.profile, self.label)
                for task in list(self._tasks.values()):
                    self._finish(task, Outcome(failure=STOPPED))
                _stop_log(self._log)
        if not self._lost:
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # another crew has its logs there
                self.folder.parent.rmdir()

    def _send(self, task: _Task) -> None:
        """Give a task to Parsl, whose pipe takes one thread at a time."""
        try:
            with self._lock:
                sent = self.executor.submit(work, {}, task.blob)
        except Exception as error:
            self._finish(task, Outcome(failure=self._sentence(error)))
            return
        sent.add_done_callback(partial(self._take, task))

    def _take(self, task: _Task, sent: Future[Outcome]) -> None:
        """Take what came of a try: an outcome, a dead worker, or the end of its job."""
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        try:
            outcome = sent.result()
        except WorkerLost:
            task.deaths += 1
            if task.deaths < MAX_DEATHS and not self._stopping.is_set():
                self._send(task)
            else:
                self._finish(task, Outcome(failure=DIED, died=True))
            return
        except ManagerLost as error:
            self._lose(task, str(error))
            return
        except Exception as error:
            outcome = Outcome(failure=self._sentence(error))
        if outcome.failure == STOPPED and not self._stopping.is_set():
            self._lose(task, "its job was ended")
        else:
            self._finish(task, outcome)

    def _lose(self, task: _Task, reason: str) -> None:
        """Let a task wait for another job; its own is gone."""
        self._lost = True
        task.losses += 1
        if self._stopping.is_set():
            self._finish(task, Outcome(failure=STOPPED))
        elif task.losses < MAX_LOSSES:
            self._send(task)
        else:
            self._finish(task, Outcome(failure=f"lost {task.losses} jobs, the last: {reason}"))

    def _finish(self, task: _Task, outcome: Outcome) -> None:
        if self._tasks.pop(id(task), None) is not None:
            task.future.set_result(outcome)

    def _sentence(self, error: Exception) -> str:
        """Return why Parsl runs no task any more."""
        if self._stopping.is_set():
            return STOPPED
        self._lost = True
        cause = self.executor.executor_exception or error
        return f"{cause} (logs: {self.folder})"

    def _watch(self) -> None:
        """Say that the interchange is gone when it is; Parsl would wait for it."""
        while not self._stopping.wait(WATCH_EVERY_S):
            code = self.executor.interchange_proc.poll()
            if code is not None and not self.executor.bad_state_is_set:
                sentence = f"Parsl's interchange ended with code {code}; run the command again"
                self.executor.set_bad_state_and_fail_all(UserError(sentence))


_READY: set[str] = set()
"""Crews whose initializer has run in this worker."""


def work(blob: bytes) -> Outcome:
    """Do one task in a worker; SIGTERM, the end of its job, interrupts it."""
    try:
        (crew, initializer, initargs), function, item = pickle.loads(blob)
    except Exception as error:  # what is sent may not load on a node
        return Outcome(failure=f"the node cannot load the task: {type(error).__name__}: {error}")
    if crew not in _READY:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        if initializer is not None:
            initializer(*initargs)
        _READY.add(crew)
    try:
        return call(function, item, (signal.SIGTERM,))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _log_to(path: Path) -> logging.Handler:
    """Send Parsl's warnings to a file, not to the terminal."""
    handler = logging.FileHandler(path, delay=True)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("parsl")
    logger.addHandler(handler)
    logger.propagate = False
    return handler


def _stop_log(handler: logging.Handler) -> None:
    logging.getLogger("parsl").removeHandler(handler)
    handler.close()
