"""Which device and which precision: measured, not assumed."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from studio.errors import StartError
from studio.files import write_whole

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
GAIN = 1.3
TOLERANCE = 0.05
RUNS = 5


@dataclass(frozen=True)
class Precision:
    """The name (fp32, fp16, bf16), the dtype, and the measured seconds of the probe for each that was tried."""

    name: str
    dtype: torch.dtype
    seconds: dict[str, float]


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
    """The precision of that name; auto takes a half precision that is at least 1.3 times as fast and exact enough."""
    if wanted != "auto":
        return Precision(wanted, DTYPES[wanted], {})
    candidates = ["fp16", "bf16"] if device.type == "cuda" else ["bf16"] if device.type == "cpu" else ["fp16"]
    exact, slow = _probe(torch.float32, device)
    seconds, best = {"fp32": slow}, "fp32"
    for name in candidates:
        try:
            result, seconds[name] = _probe(DTYPES[name], device)
        except RuntimeError:
            continue
        sane = bool(((result - exact).norm() / exact.norm() < TOLERANCE).item())
        if sane and seconds[name] * GAIN < slow and seconds[name] < seconds[best]:
            best = name
    return Precision(best, DTYPES[best], seconds)


def remembered_precision(wanted: str, device: torch.device, file: Path) -> Precision:
    """As `choose_precision`, but measured once for this device and torch, and kept in `file`: a busy moment must not
    change what a seed gives. Delete the file to measure again."""
    if wanted != "auto":
        return choose_precision(wanted, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    key = f"{name}, torch {torch.__version__}"
    known = _read_choices(file)
    if known.get(key) in DTYPES:
        return choose_precision(known[key], device)
    chosen = choose_precision("auto", device)
    write_whole(file, json.dumps({**known, key: chosen.name}, indent=1).encode())
    return chosen


def _read_choices(file: Path) -> dict[str, str]:
    try:
        choices = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return choices if isinstance(choices, dict) else {}


def _probe(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, float]:
    """A convolution, a normalisation and a product as a UNet has them: the result, and the fastest of five times."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 128, 32, 32, generator=rng).to(device, dtype)
    kernel = (torch.randn(128, 128, 3, 3, generator=rng) / 34).to(device, dtype)
    matrix = (torch.randn(128, 512, generator=rng) / 11).to(device, dtype)
    fastest = float("inf")
    with torch.inference_mode():
        for _ in range(RUNS):
            start = time.perf_counter()
            y = F.silu(F.group_norm(F.conv2d(x, kernel, padding=1), 32))
            z = y.flatten(2).transpose(1, 2) @ matrix
            result = z.float().cpu()
            fastest = min(fastest, time.perf_counter() - start)
    return result, fastest
