"""Kinds of control, and the models that serve them."""

from studio.regions import KIND as REGIONS

TECHNIQUES = ("controlnet", "t2i_adapter", "ip_adapter")
REFERENCE = "reference"  # an IP-Adapter reads the picture
REFERENCE_ONLY = "reference_only"  # the checkpoint itself reads it
WITHOUT_MODEL = (REFERENCE_ONLY, REGIONS)
OTHER_NAMES = {"edges": ("canny",), "lines": ("mlsd",), "scribble": ("sketch",)}  # as files of models say it
# The numbers by which a union model knows its kinds. Source: xinsir6/ControlNetPlus, controlnet_union.
UNION_KINDS = {
    "pose": 0,
    "depth": 1,
    "scribble": 2,
    "softedge": 2,
    "edges": 3,
    "canny": 3,
    "lineart": 3,
    "lines": 3,
    "normal": 4,
    "segments": 5,
    "tile": 6,
    "inpaint": 7,
}
