"""Several processes that share a run, each with pictures of its own; their gradients are summed once a step.

On a shared 2-core machine two of one thread are faster than one of two: threads meet at a barrier many times a step
and wait for whichever core is taken. Processes are told their places as `accelerate launch` and torchrun tell them.
"""

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from studio.engine.precision import choose_device
from studio.engine.residency import is_out_of_memory
from studio.errors import InvalidRequestError, TrainingError

PATIENCE = timedelta(days=7)  # a run may rest for as long
RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
Made = TypeVar("Made")
HERE = int(os.environ.get("LOCAL_RANK", str(RANK)))  # the place among the processes of this machine


def launch(module: str, arguments: Sequence[str], count: int) -> None:
    """Run `python -m module` with these arguments as `count` ranks. Raises: RuntimeError, if a rank fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", module, *arguments]
    ranks = [subprocess.Popen(command, env=shared | {"RANK": str(rank)}) for rank in range(count)]
    if codes := [code for rank in ranks if (code := rank.wait())]:
        raise RuntimeError(f"training stopped: a rank ended with status {codes[0]}")


class LostError(TrainingError):
    """Another process of the run is gone, so this one cannot go on either."""

    hint = "Go on from the last state with Resume; child.log in the folder of the run says more."

    def __init__(self) -> None:
        super().__init__(f"Another of the {WORLD} processes of this run ended before its time.")


def join() -> None:
    """Meet the other ranks; alone there is nothing to do. Raises: LostError, if one does not come."""
    if WORLD > 1 and not distributed.is_initialized():
        torch.set_num_threads(1)
        cards = torch.cuda.is_available() and distributed.is_nccl_available()
        with _together():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if cards else "gloo", timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)  # its threads may not outlive the interpreter


def own_device(wanted: str) -> torch.device:
    """Where this rank works: the device of that name, as `choose_device` has it; of several ranks each takes the GPU
    of its number. Several GPUs were not tried yet.

    Raises: StartError, if the device is not there; InvalidRequestError, for more ranks than GPUs.
    """
    device = choose_device(wanted)
    if WORLD == 1 or device.type == "cpu":
        return device
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if count < WORLD:
        raise InvalidRequestError(
            f"The run is for {WORLD} processes, each with a GPU of its own, and there is {count}.",
            field="processes",
            hint=f"Set processes to {count}.",
        )
    device = torch.device("cuda", HERE)
    torch.cuda.set_device(device)
    return device


def in_turn(act: Callable[[], Made]) -> Made:
    """What `act` gives on this rank. The first one acts before all others, who find on the disk what it left there."""
    if RANK:
        wait()
        return act()
    made = act()
    wait()
    return made


def mean_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace each rank's gradients by their mean over the ranks, in one message."""
    if WORLD == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    with _together():
        distributed.all_reduce(flat)
    flat /= WORLD
    for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(piece.view_as(gradient))


def agreed(value: float) -> float:
    """The first rank's value, on every rank."""
    if WORLD == 1:
        return value
    shared: Tensor = torch.tensor([value], dtype=torch.float64)
    with _together():
        distributed.broadcast(shared, 0)
    return float(shared.item())


def total(values: Sequence[float]) -> list[float]:
    """The sums of these values over the ranks, on every rank."""
    if WORLD == 1:
        return list(values)
    summed = torch.tensor(values, dtype=torch.float64)
    with _together():
        distributed.all_reduce(summed)
    return summed.tolist()


def share(tensors: Sequence[Tensor]) -> None:
    """Give every rank the first one's values, in place."""
    if WORLD > 1:
        with _together():
            for tensor in tensors:
                distributed.broadcast(tensor, 0)


def wait() -> None:
    """Go on when every rank is here."""
    total([0.0])


@contextmanager
def _together() -> Generator[None]:
    """Raises: LostError, where a rank waits for one that is gone."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise LostError from error
