"""A checkpoint written as one file in the layout of the original repositories (LDM), which other programs load."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from studio.engine.layouts import CONV, PREFIXES, SAME, THIRDS, TRANSPOSED, places_of
from studio.engine.tensors import Rows, write_tensors
from studio.errors import InvalidRequestError

Tensors = Mapping[str, Tensor]
# SD 2 reads the last layer but one. Programs build the last one too, so the file has it: a copy that changes nothing.
LAST_LAYER = ("resblocks.22.", "resblocks.23.")


def save_checkpoint(
    parts: Mapping[str, Tensors],
    base: str,
    file: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    prediction_type: str = "epsilon",
    zero_terminal_snr: bool = False,
) -> None:
    """Write a checkpoint beside its place, then rename it. Tensors keep their precision; none is copied as a whole.

    Args:
        parts: unet, vae, text_encoder and, of SDXL, text_encoder_2: tensors under diffusers' and transformers' names,
            on any device. A part that is left out is not in the file.
        base: sd1, sd2, sdxl or sdxl-refiner.
        metadata: Texts for the file's header.
        prediction_type, zero_terminal_snr: Of an SDXL checkpoint; marked as other programs mark them.
    Raises: InvalidRequestError, if the base model has no such layout; StorageError, if the file cannot be written;
        ValueError, naming a part or a tensor that the layout has no place for, or one of q, k and v that is missing.
    """
    if base not in PREFIXES:
        raise InvalidRequestError(
            f"A checkpoint of {base} cannot be written as one file.",
            field="base",
            hint="Save it as a diffusers folder: only SD 1, SD 2 and SDXL have a layout that other programs know.",
        )
    tensors: dict[str, Rows] = {}
    for name, given in parts.items():
        if name not in PREFIXES[base]:
            raise ValueError(f"{base} has no {name}")
        tensors |= _part(given, base, *PREFIXES[base][name])
    if base == "sd2":
        tensors |= {name.replace(*LAST_LAYER): rows for name, rows in tensors.items() if LAST_LAYER[0] in name}
    marks = {"v_pred": prediction_type == "v_prediction", "ztsnr": zero_terminal_snr}
    if base.startswith("sdxl"):
        tensors |= {name: ((0,), [torch.empty(0)]) for name, said in marks.items() if said}
    write_tensors(file, tensors, metadata)


def _part(given: Tensors, base: str, prefix: str, spelling: str) -> dict[str, Rows]:
    """The part's tensors as the file has them: views, and q, k and v one after the other."""
    found: dict[str, Rows] = {}
    thirds: dict[str, dict[str, Tensor]] = {}
    for name, tensor in given.items():
        try:
            place = places_of(name, base, spelling, prefix)[0]
        except KeyError as error:
            raise ValueError(f"{base} has no place for {name}") from error
        if place.form in THIRDS:
            thirds.setdefault(place.name, {})[place.form] = tensor
        else:
            stored = _stored(tensor, place.form)
            found[place.name] = (tuple(stored.shape), [stored])
    for name, rows in thirds.items():
        if len(rows) < len(THIRDS):
            raise ValueError(f"{name} is to be made of q, k and v, and one of them is missing")
        pieces = [rows[form] for form in THIRDS]
        found[name] = ((sum(len(piece) for piece in pieces), *pieces[0].shape[1:]), pieces)
    return found


def _stored(tensor: Tensor, form: str) -> Tensor:
    return {SAME: lambda: tensor, TRANSPOSED: lambda: tensor.T, CONV: lambda: tensor[:, :, None, None]}[form]()
