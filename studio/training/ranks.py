"""Two single-thread processes and one gradient sum a step: on a shared 2-core machine faster than two threads.

Threads meet at a barrier many times a step and wait for whichever core is taken; ranks meet once.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, distributed

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


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


def join() -> None:
    """Meet the other ranks; alone there is nothing to do."""
    if WORLD > 1 and not distributed.is_initialized():
        torch.set_num_threads(1)
        distributed.init_process_group("gloo")


def mean_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace each rank's gradients by their mean over the ranks, in one message."""
    if WORLD == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    flat /= WORLD
    for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(piece.view_as(gradient))


def agreed(value: float) -> float:
    """The first rank's value, on every rank."""
    if WORLD == 1:
        return value
    shared: Tensor = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return float(shared.item())


def wait() -> None:
    """Go on when every rank is here."""
    if WORLD > 1:
        distributed.barrier()
