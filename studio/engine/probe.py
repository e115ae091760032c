"""What this machine computes with, as one JSON value: `python -m studio.engine.probe DEVICE [CACHE]`, for `doctor`."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from studio.engine import torchvision_ops
from studio.engine.attention import KernelChoice, measure_kernels, remembered_kernel
from studio.engine.precision import Precision, choose_device, choose_precision, device_name, remembered_precision
from studio.engine.turbo import obstacle
from studio.errors import StartError


def measured(wanted: str, device: torch.device, cache: Path | None) -> tuple[Precision, KernelChoice]:
    """Precision (of that name, or auto) and attention kernel; remembered in the cache folder, if there is one."""
    if cache is None:
        precision = choose_precision(wanted, device)
        return precision, measure_kernels(device, precision.dtype)
    precision = remembered_precision(wanted, device, cache / "precision.json")
    return precision, remembered_kernel(device, precision.dtype, cache / "attention.json")


def probe(wanted: str, cache: Path | None = None) -> dict[str, Any]:
    """The device, its precision and attention kernel by measurement, and what was found wrong on the way."""
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda_build": torch.version.cuda or "",
        "torchvision_mended": torchvision_ops.missing_ops() or bool(torchvision_ops._declared),
    }
    try:
        device = choose_device(wanted)
    except StartError as error:
        return facts | {"error": error.sentence()}
    precision, kernel = measured("auto", device, cache)
    return facts | {
        "device": str(device),
        "device_name": device_name(device),
        "gpus": torch.cuda.device_count(),
        "precision": precision.name,
        "precision_ms": milliseconds(precision.seconds),
        "precision_left_out": precision.left_out,
        "kernel": kernel.name,
        "kernel_ms": milliseconds(kernel.seconds),
        "kernel_left_out": kernel.left_out,
        "turbo": obstacle(device) or "possible",
    }


def milliseconds(seconds: dict[str, float]) -> dict[str, float]:
    """The same in milliseconds."""
    return {name: round(1000 * value, 1) for name, value in seconds.items()}


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None)))
