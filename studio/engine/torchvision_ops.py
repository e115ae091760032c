"""One known mismatch, mended in one place: a torchvision built for another torch lacks its compiled operators.

Its import then fails, and with it every import of transformers' image processors. Nothing of ours calls the operators,
so declaring their schemas is enough. Import this module before transformers or diffusers.
"""

import importlib.util

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def missing_ops() -> bool:
    """Whether torchvision is installed without operators that this torch can load."""
    if importlib.util.find_spec("torchvision") is None:
        return False
    spec = importlib.util.find_spec("torchvision._C")
    if spec is not None and spec.origin is not None:
        try:
            torch.ops.load_library(spec.origin)
        except OSError:
            return True
    return not hasattr(torch.ops.torchvision, "nms")


def declare_ops() -> None:
    """Declare the operators' schemas, once, if they are missing."""
    if _declared or not missing_ops():
        return
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    _declared.append(library)


declare_ops()
