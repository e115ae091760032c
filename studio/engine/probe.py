"""What this machine computes with, as one JSON value: `python -m studio.engine.probe DEVICE`, run by `doctor`."""

import json
import sys
from typing import Any

import torch

from studio.engine import torchvision_ops
from studio.engine.attention import choose_kernel
from studio.engine.precision import choose_device, choose_precision
from studio.errors import StartError


def probe(wanted: str) -> dict[str, Any]:
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
    precision = choose_precision("auto", device)
    return facts | {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision.name,
        "probe_ms": {name: round(1000 * seconds, 1) for name, seconds in precision.seconds.items()},
        "kernel": choose_kernel(device, precision.dtype),
    }


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1])))
