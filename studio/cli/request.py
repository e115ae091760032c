"""From flags and settings files to a request.

The pictures they name are given to `keep`, which returns asset ids; of a photo the studio makes the map.
"""

import argparse
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from studio.cli.outpaint import outpaint
from studio.errors import InvalidRequestError
from studio.params import GenerationRequest

CONTROL_KEYS = {
    "scale": "conditioning_scale",
    "start": "control_guidance_start",
    "end": "control_guidance_end",
    "fidelity": "fidelity",
    "method": "method",
    "model": "model",
    "mode": "mode",
    "resize": "resize_mode",
    "mask": "mask",
    "annotate": "annotator",
}
ADAPTER_KEYS = {"kind": "kind", "text": "text_weight", "start": "start", "end": "end", "curve": "curve", "rank": "rank"}
NUMBERS = ("scale", "start", "end", "fidelity")
PICTURES = ("init_image", "mask_image")
Keep = Callable[[bytes], str]


def build_request(flags: argparse.Namespace, keep: Keep) -> GenerationRequest:
    """The request of `generate`; flags win over --params. Raises: InvalidRequestError naming the field; AssetError."""
    values = read_params(flags.params, keep) if flags.params else {}
    names = [field.name for field in fields(GenerationRequest)]
    values |= {name: given for name in names if (given := getattr(flags, name, None)) is not None}
    if "prompt" not in values and values.get("prompt_mode", "typed") == "typed":
        hint = "Give --prompt TEXT, or say with --prompt-mode where the words come from."
        raise InvalidRequestError("There is no prompt.", field="prompt", hint=hint)
    if flags.control:
        values["controls"] = [parse_control(text, keep) for text in flags.control]
    if flags.adapter:
        values["adapters"] = [parse_adapter(text) for text in flags.adapter]
    values = _first_picture(flags, values, keep)
    return GenerationRequest.from_dict(values)


def _first_picture(flags: argparse.Namespace, values: dict[str, Any], keep: Keep) -> dict[str, Any]:
    """The values with the pictures of --init and --mask, on the larger canvas of --outpaint, whose size they take."""
    paths = {"init_image": flags.init, "mask_image": flags.mask}
    files = {name: read_picture(path, name) for name, path in paths.items() if path is not None}
    if flags.outpaint:
        files, (width, height) = outpaint(files, flags.outpaint, values.get("fill"))
        if values.get("mask_padding") is None:
            values = {"width": width, "height": height} | values
    return values | {name: keep(data) for name, data in files.items()}


def read_params(path: Path, keep: Keep) -> dict[str, Any]:
    """The fields of a TOML file. Pictures in it are asset ids, or files relative to it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequestError(f"{path} cannot be read: {reason}.", field="params") from error
    for name in PICTURES:
        if name in values:
            values[name] = _kept(values[name], path.parent, name, keep)
    if isinstance(controls := values.get("controls"), list):
        values["controls"] = [_with_map(unit, path.parent, keep) for unit in cast(list[Any], controls)]
    return values


def parse_control(text: str, keep: Keep) -> dict[str, Any]:
    """A --control flag as a control unit's fields: with a map, or with a photo and what makes one of it.

    The file's name may hold commas: only known keys end it.
    """
    kind, equals, rest = text.partition("=")
    parts = rest.split(",")
    unit: dict[str, Any] = {"kind": kind}
    while len(parts) > 1 and (option := parts[-1].partition("="))[0] in CONTROL_KEYS:
        key, _, value = option
        unit[CONTROL_KEYS[key]] = _number(value, f"--control {key}") if key in NUMBERS else value
        parts.pop()
    if not (kind and equals and parts[0]):
        raise InvalidRequestError(
            f"--control {text} names no kind and file.", field="controls", hint="Write it as scribble=FILE.png."
        )
    if "mask" in unit:
        unit["mask"] = keep(read_picture(Path(unit["mask"]), "controls"))
    picture = keep(read_picture(Path(",".join(parts)), "controls"))
    return unit | {"source" if "annotator" in unit else "map": picture}


def parse_adapter(text: str) -> dict[str, Any]:
    """An --adapter flag: NAME or NAME:WEIGHT, and what else is said of it. Only known keys end the name."""
    parts, ref = text.split(","), dict[str, Any]()
    while len(parts) > 1 and (option := parts[-1].partition("="))[0] in ADAPTER_KEYS:
        key, _, value = option
        ref[ADAPTER_KEYS[key]] = value if key in ("kind", "curve") else _number(value, f"--adapter {key}")
        parts.pop()
    name, colon, weight = ",".join(parts).rpartition(":")
    return ref | ({"name": name, "weight": _number(weight, "--adapter")} if colon else {"name": weight})


def parse_options(texts: Sequence[str]) -> dict[str, float]:
    """The --option flags of `annotate`, NAME=VALUE each; of one name the last counts."""
    options = dict[str, float]()
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidRequestError(
                f"--option {text} is no option.", field="option", hint="Write it as low_threshold=50."
            )
        options[name] = _number(value, f"--option {name}")
    return options


def read_picture(path: Path, field: str) -> bytes:
    """The bytes of a picture's file. Raises: InvalidRequestError, if it cannot be read."""
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}.", field=field) from error


def _with_map(unit: Any, folder: Path, keep: Keep) -> Any:
    if not isinstance(unit, dict):
        return cast(object, unit)
    values = dict(cast(dict[str, Any], unit))
    for name in ("map", "mask", "source"):
        if name in values:
            values[name] = _kept(values[name], folder, "controls", keep)
    if isinstance(images := values.get("images"), list):
        values["images"] = [_kept(image, folder, "controls", keep) for image in cast(list[Any], images)]
    return values


def _kept(value: Any, folder: Path, field: str, keep: Keep) -> Any:
    if not isinstance(value, str) or re.fullmatch(r"[0-9a-f]{64}", value):
        return value
    return keep(read_picture(folder / value, field))


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequestError(f"{what} is {text!r}, which is not a number.", field=what) from None
