"""Which device and which precision: measured, not assumed."""

import json
import time
from contextlib import suppress
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
RUNS = 5


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
    exact, slow = _probe(torch.float32, device)
    seconds, left_out, best, limit = {"fp32": slow}, dict[str, str](), "fp32", slow / GAIN
    for name in candidates:
        try:
            result, seconds[name] = _probe(DTYPES[name], device)
        except RuntimeError as error:
            left_out[name] = (str(error) or type(error).__name__).splitlines()[0][:160]
            continue
        if fault := _fault(result, exact):
            left_out[name] = fault
        elif seconds[name] < limit:
            best, limit = name, seconds[name] / AMONG_HALVES
        else:
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


def _fault(result: Tensor, exact: Tensor) -> str:
    """Why a result in half precision is not to be trusted; "" if it is."""
    if not bool(torch.isfinite(result).all()):
        return "gives values that are no numbers"
    error = float(((result - exact).norm() / exact.norm()).item())
    return "" if error < TOLERANCE else f"off by {error:.2g}"


def _probe(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, float]:
    """A convolution, a normalisation and a product as a UNet has them: the result, and the fastest of five times.

    A GPU gets the first level of SD 1.5 at 512 px: a small job would time its launches, and use other kernels.
    """
    width, side = (320, 64) if device.type == "cuda" else (128, 32)
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, width, side, side, generator=rng).to(device, dtype)
    kernel = (torch.randn(width, width, 3, 3, generator=rng) / (9 * width) ** 0.5).to(device, dtype)
    matrix = (torch.randn(width, 4 * width, generator=rng) / width**0.5).to(device, dtype)
    fastest = float("inf")
    with torch.inference_mode():
        for _ in range(RUNS):
            start = time.perf_counter()
            y = F.silu(F.group_norm(F.conv2d(x, kernel, padding=1), 32))
            z = y.flatten(2).transpose(1, 2) @ matrix
            bool(z[0, 0, 0] > 0)  # waits for the device
            fastest = min(fastest, time.perf_counter() - start)
    return z.float().cpu(), fastest
