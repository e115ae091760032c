"""Which device and which precision: measured, not assumed."""

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from studio.errors import StartError, StorageError
from studio.files import write_whole

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
GAIN = 1.3
AMONG_HALVES = 1.1
TOLERANCE = 0.05
TURNS = 20  # of some milliseconds
Probe = Callable[[], tuple[Tensor, float]]  # a result, and the seconds that it took


@dataclass(frozen=True)
class Precision:
    """The name (fp32, fp16, bf16), the dtype, the measured seconds of the probe for each that was tried, and why a half
    precision was left out."""

    name: str
    dtype: torch.dtype
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """What was measured in one line, for people."""
        timed = [f"{name} {1000 * seconds:.1f} ms" for name, seconds in self.seconds.items()]
        return ", ".join([*timed, *(f"{name}: {reason}" for name, reason in self.left_out.items())])


def choose_device(wanted: str) -> torch.device:
    """The device of that name; auto takes CUDA, then MPS, then the CPU. Raises: StartError, if it is not there."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(wanted.partition(":")[0], False):
        raise StartError(f"There is no {wanted} device that this torch can use.", hint="Start with --device auto.")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise StartError(f"There is no {wanted}: {torch.cuda.device_count()} CUDA devices are here.")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """The precision of that name; auto takes a half precision that is at least 1.3 times as fast, finite and exact.

    fp16 comes first on GPUs, since it rounds eight times finer than bf16, which must be a tenth faster to be taken.
    Cards without fast fp16 are found out by the time; those whose fp16 convolutions give no numbers (GTX 16xx are
    known for it) by the result.
    """
    if wanted != "auto":
        return Precision(wanted, DTYPES[wanted])
    candidates = ["fp16", "bf16"] if device.type == "cuda" else ["bf16"] if device.type == "cpu" else ["fp16"]
    results, seconds, left_out = _measured(candidates, device)
    best, limit = "fp32", seconds["fp32"] / GAIN
    for name in results:
        if fault := _fault(results[name], results["fp32"]):
            left_out[name] = fault
        elif seconds[name] < limit:
            best, limit = name, seconds[name] / AMONG_HALVES
        elif name != "fp32":
            left_out[name] = "not fast enough"
    return Precision(best, DTYPES[best], seconds, left_out)


def remembered_precision(wanted: str, device: torch.device, file: Path) -> Precision:
    """As `choose_precision`, but measured once for this device and torch, and kept in `file`: a busy moment must not
    change what a seed gives. Delete the file to measure again."""
    if wanted != "auto":
        return choose_precision(wanted, device)
    key = f"{device_name(device)}, torch {torch.__version__}"
    known = known_choices(file).get(key)
    if known is not None and known.get("name") in DTYPES:
        name = known["name"]
        return Precision(name, DTYPES[name], dict(known.get("seconds", {})), dict(known.get("left_out", {})))
    chosen = choose_precision("auto", device)
    keep_choice(file, key, {"name": chosen.name, "seconds": chosen.seconds, "left_out": chosen.left_out})
    return chosen


def device_name(device: torch.device) -> str:
    """What the card calls itself; cpu or mps otherwise."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def installed(package: str) -> str:
    """The version of a package; "" if it is not here."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def known_choices(file: Path) -> dict[str, dict[str, Any]]:
    """What was measured before, by key; empty if nothing can be read. A bare word is a choice without seconds."""
    try:
        choices = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(choices, dict):
        return {}
    named = {key: {"name": choice} if isinstance(choice, str) else choice for key, choice in choices.items()}
    return {key: choice for key, choice in named.items() if isinstance(choice, dict)}


def keep_choice(file: Path, key: str, choice: dict[str, Any]) -> None:
    """Add a choice to the file; where nothing can be written, it is measured again at the next start."""
    with suppress(StorageError):
        write_whole(file, json.dumps({**known_choices(file), key: choice}, indent=1).encode())


Measured = tuple[dict[str, Tensor], dict[str, float], dict[str, str]]


def _measured(candidates: list[str], device: torch.device) -> Measured:
    """Of fp32 and each candidate that runs: a result, and the fastest of several runs; why the others do not run.

    What is measured is kept for good, and machines are busy when they start a studio for the first time: so they run in
    turn, and on one core of a CPU. Two threads that wait for each other beside a program with as many took 50 to 60 ms
    in either precision, where 10 and 3 are right.
    """
    results, seconds, left_out = dict[str, Tensor](), dict[str, float](), dict[str, str]()
    probes: dict[str, Probe] = {"fp32": _probe(torch.float32, device)}
    with _one_thread() if device.type == "cpu" else nullcontext():
        for name in candidates:
            try:
                probes[name] = _probe(DTYPES[name], device)
                probes[name]()
            except RuntimeError as error:
                probes.pop(name, None)
                left_out[name] = (str(error) or type(error).__name__).splitlines()[0][:160]
        for _ in range(TURNS):
            for name, run in probes.items():
                results[name], taken = run()
                seconds[name] = min(taken, seconds.get(name, taken))
    return results, seconds, left_out


@contextmanager
def _one_thread() -> Generator[None]:
    """Let torch use one core until the block ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fault(result: Tensor, exact: Tensor) -> str:
    """Why a result in half precision is not to be trusted; "" if it is."""
    if not bool(torch.isfinite(result).all()):
        return "gives values that are no numbers"
    error = float(((result - exact).norm() / exact.norm()).item())
    return "" if error < TOLERANCE else f"off by {error:.2g}"


def _probe(dtype: torch.dtype, device: torch.device) -> Probe:
    """A convolution, a normalisation and a product as a UNet has them.

    A GPU gets the first level of SD 1.5 at 512 px: a small job would time its launches, and use other kernels.
    """
    width, side = (320, 64) if device.type == "cuda" else (128, 32)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, width, side, side, generator=rng).to(device, dtype)
    kernel = (torch.randn(width, width, 3, 3, generator=rng) / (9 * width) ** 0.5).to(device, dtype)
    matrix = (torch.randn(width, 4 * width, generator=rng) / width**0.5).to(device, dtype)

    @torch.inference_mode()
    def run() -> tuple[Tensor, float]:
        start = time.perf_counter()
        y = F.silu(F.group_norm(F.conv2d(x, kernel, padding=1), 32))
        z = y.flatten(2).transpose(1, 2) @ matrix
        bool(z[0, 0, 0] > 0)  # waits for the device
        seconds = time.perf_counter() - start
        return z.float().cpu(), seconds

    return run
