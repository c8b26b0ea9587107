"""A training in several processes, one for each device, which share every step."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tempermd.records import UserError, read_record, write_record
from tempermd.training.running import DivergedError, train_and_judge
from tempermd.training.specs import Training

if TYPE_CHECKING:
    from tempermd.training.running import Request
    from tempermd.training.specs import TrainingInputs, TrainingSpec
    from tempermd.training.start import Start


# processes that lost one of their number have so long to end by themselves
GRACE_S = 10.0


def run_in_processes(request: Request, inputs: TrainingInputs, start: Start) -> Training:
    """Train in as many processes as the spec names devices; the first one keeps the folder.

    Raises
    ------
    UserError
        What a process raised, or that one died.
    """
    import torch.multiprocessing as mp

    n_devices = request.spec.training.devices
    queue = mp.get_context("spawn").SimpleQueue()
    place = n_devices, _free_port()
    processes = mp.start_processes(
        _one_process,
        ((request, inputs, start), place, queue),
        n_devices,
        join=False,
        start_method="spawn",
    )
    with _signals_passed_to(processes.processes):
        try:
            while not processes.join(grace_period=GRACE_S):
                pass
        except (mp.ProcessExitedException, mp.ProcessRaisedException) as error:
            if not queue.empty():  # the first process told why
                diverged, text = queue.get()
                raise (DivergedError if diverged else UserError)(text) from None
            raise UserError(
                f"{request.folder}: a process of the training died ({str(error).strip()[-300:]}); "
                "the same command goes on from the last saved step"
            ) from None
    if not (request.folder / "training.json").is_file():
        raise UserError(f"{request.folder}: interrupted before the first step; start it again")
    return read_record(request.folder / "training.json", Training)


def check_devices(spec: TrainingSpec) -> None:
    """Refuse GPUs that are not there."""
    if spec.device == "cpu":
        return
    import torch

    n_found = torch.cuda.device_count()
    if n_found < spec.devices:
        raise UserError(
            f"device cuda with devices = {spec.devices} asks for more GPUs than torch finds "
            f"({n_found}); lower devices, or train with device cpu"
        )


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _one_process(
    number: int, work: tuple[Request, TrainingInputs, Start], place: tuple[int, int], queue: Any
) -> None:
    """Run one process's share; the first one hands the record over."""
    (request, *others), (n_devices, port) = work, place
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(n_devices),
    }
    try:
        own = replace(request, progress=request.progress and number == 0)
        record = train_and_judge(own, *others)
    except UserError as error:
        if number == 0:
            queue.put((isinstance(error, DivergedError), str(error)[:2000]))
        raise SystemExit(1) from None
    if record is not None:
        write_record(request.folder / "training.json", record)


@contextmanager
def _signals_passed_to(processes: list[Any]) -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on to the processes, which save; a later second one kills them."""
    from tempermd.training.callbacks import Interruptible

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first_s: list[float] = []

    def pass_on(number: int, _: Any) -> None:
        first_s.append(time.monotonic())
        for process in processes:
            if first_s[-1] - first_s[0] > Interruptible.TWICE_S:
                process.kill()
            elif process.pid is not None and process.is_alive():
                os.kill(process.pid, number)

    before = {one: signal.signal(one, pass_on) for one in Interruptible.SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
