"""The flags of the commands that make model files of model files."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.library.tools.table import RANK

TOOLS = ("merge-loras", "resize", "respell", "extract", "bake", "merge")
WEIGHED = "FILE[:WEIGHT[:TEXT]]"


def add_tools(actions: Any, common: argparse.ArgumentParser) -> None:
    """Each tool with its flags. Models are files, folders, or names that `models list` shows."""

    def tool(name: str, help: str) -> Callable[..., Any]:
        parser = actions.add_parser(name, parents=[common], help=help)
        parser.add_argument(
            "--out", type=Path, required=True, metavar="FILE", help="what is written; never over a file"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON value")
        return parser.add_argument

    add = tool("merge-loras", "several LoRAs as one file that does the same")
    add("files", nargs="+", metavar=WEIGHED, help="the LoRAs; a second weight is for the text encoders")
    _kept(add, "cut the sum down to N dimensions (default: keep it exactly)")
    _target(add)
    add = tool("resize", "a LoRA with a smaller rank")
    add("files", nargs=1, metavar="FILE", help="the LoRA")
    _kept(add, "at most N dimensions")
    _target(add)
    add = tool("respell", "a LoRA in the spelling of other programs; not a bit of its numbers changes")
    add("files", nargs=1, metavar="FILE", help="the LoRA")
    add("--to", dest="spelling", choices=("kohya", "peft"), required=True, help="kohya's, or diffusers' and PEFT's")
    _target(add)
    add = tool("extract", "a LoRA of the difference between two checkpoints")
    add("files", nargs=2, metavar="CHECKPOINT", help="what it was trained from, then what came of it")
    _kept(add, f"at most N dimensions (default: {RANK})")
    add("--rest", action="store_true", help="keep changed biases and norms too, whole")
    add = tool("bake", "a checkpoint with LoRAs merged in for good")
    add("checkpoint", metavar="CHECKPOINT", help="the checkpoint")
    add("files", nargs="+", metavar=WEIGHED, help="the LoRAs; a second weight is for the text encoders")
    add = tool("merge", "a checkpoint of two, A * (1 - share) + B * share; of three, A + (B - C) * share")
    add("files", nargs="+", metavar="CHECKPOINT", help="A, B and perhaps C; the autoencoder is A's")
    add("--share", type=float, metavar="X", help="how much of B, or of the difference (default: 0.5, of three 1)")
    add(
        "--block",
        action="append",
        default=[],
        metavar="NAME=X",
        help="another share for a part: unet.down_blocks.1=0.2",
    )


def _kept(add: Callable[..., Any], rank: str) -> None:
    add("--rank", type=int, default=0, metavar="N", help=rank)
    add(
        "--energy",
        type=float,
        default=1.0,
        metavar="X",
        help="the fewest dimensions that hold this share, such as 0.95",
    )
    add("--precision", default="", metavar="WORD", help="fp16, bf16 or fp32 (default: that of the files)")


def _target(add: Callable[..., Any]) -> None:
    add("--checkpoint", default="", metavar="FILE", help="what it is for, if its base model does not tell the layers")
