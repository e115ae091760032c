"""What a model is: from the names, shapes and types of its tensors, or from a folder's description. No weights are
read, except one small tensor where a known rule asks for it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from studio.library.folders import DESCRIPTIONS, UNREADABLE, identify_folder, precision_of, weights_of
from studio.library.header import SAFETENSORS, Header, HeaderError, Tensors, read_tensors, read_values, shown
from studio.library.identity import Identity, guess_control_kind
from studio.library.pickles import header_of, read_pickle_values
from studio.library.rules import autoencoder, checkpoint, control, image, lora, newer, small, upscaler
from studio.library.rules.subject import STARTER, Subject

__all__ = [
    "DESCRIPTIONS",
    "SAFETENSORS",
    "UNREADABLE",
    "Identity",
    "guess_control_kind",
    "header_of",
    "identify",
    "identify_folder",
    "precision_of",
    "weights_of",
]
RULES: tuple[Callable[[Subject], Identity | None], ...] = (  # the first that answers
    control.recognise,
    checkpoint.recognise,
    autoencoder.recognise,
    image.recognise,
    lora.recognise,
    small.recognise,
    upscaler.recognise,
    newer.recognise,
)
CONFIGURATION_MAX = 1 << 16
ADAPTERS = ("lora", "embedding", "hypernetwork")  # a reason against one is that its base model is not known


def identify(path: Path, place: str = "", tensors_in: Callable[[str], Tensors] = read_tensors) -> Identity:
    """What a file or folder is. Never raises: what cannot be read is unknown, with the reason.

    Args:
        place: The kind of model that its folder is for, as `models list` names it; it decides only where nothing else
            does.
        tensors_in: As `read_header` takes it.
    """
    try:
        if path.is_dir():
            return replace(identify_folder(path), format="diffusers")
        if not path.is_file():
            return Identity(reason="It is no file." if path.exists() else "It is not there.")
        return replace(_identify_file(path, place, tensors_in), format="single file")
    except HeaderError as error:
        return Identity(reason=f"{error}.", format="single file")
    except (*UNREADABLE, MemoryError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else shown(str(error))
        return Identity(reason=f"It cannot be read: {what}.", format="single file")


def _identify_file(path: Path, place: str, tensors_in: Callable[[str], Tensors]) -> Identity:
    header = header_of(path, tensors_in)
    name = shown(path.stem)
    if not header.tensors:
        return Identity(reason=f"{shown(path.name)} holds no tensors.")
    subject = Subject(header, name, place, partial(_values, path, header), partial(_beside, path))
    found = next(filter(None, (rule(subject) for rule in RULES)), None)
    if found is None:
        count, first = len(header.tensors), shown(next(iter(header.tensors)))
        return Identity(reason=f"Its {count} tensors are of no kind that is known here; the first is {first}.")
    base = header.metadata.get(STARTER, "")
    if found.kind != "unknown" and base.startswith("starter-"):
        named = replace(found, base=shown(base), evidence="Its metadata names its base model.")
        return replace(named, usable=True, reason="") if found.kind in ADAPTERS else named
    return found


def _values(path: Path, header: Header, name: str) -> tuple[float, ...]:
    try:
        if path.suffix.lower() in SAFETENSORS:
            return read_values(path, header, name)
        return read_pickle_values(path, name)
    except (HeaderError, OSError, KeyError):
        return ()


def _beside(path: Path) -> str:
    """The configuration that A1111 keeps beside a checkpoint; "" if there is none."""
    try:
        with path.with_suffix(".yaml").open("rb") as stream:
            return stream.read(CONFIGURATION_MAX).decode("utf-8", "replace")
    except OSError:
        return ""
