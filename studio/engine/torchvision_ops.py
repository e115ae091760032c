"""One known mismatch, mended in one place: a torchvision built for another torch lacks its compiled operators.

Its import then fails, and with it every import of transformers' image processors. Nothing of ours calls the operators,
so declaring their schemas is enough. The package imports this module first: whoever imports diffusers or transformers
before anything of studio.engine has to import studio.engine before them.
"""

import importlib.util
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def missing_ops() -> bool:
    """Whether torchvision is there without operators that this torch can load. It is not imported: that may fail."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        return False
    for folder in spec.submodule_search_locations or ():
        for compiled in sorted(Path(folder).glob("_C*")):
            try:
                torch.ops.load_library(compiled)
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
