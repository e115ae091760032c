"""What a run makes, in the layouts that other programs read, and its way to the disk: whole or not at all."""

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.adapters.embeddings import KOHYA, TABLE, TWO
from studio.adapters.writing import as_diffusers, as_kohya
from studio.engine.save import save_checkpoint
from studio.engine.sources import open_checkpoint
from studio.engine.store import Checkpoint
from studio.engine.tensors import write_tensors
from studio.files import cannot_write, write_whole
from studio.library.names import PLANS
from studio.library.rules.subject import STARTER
from studio.messages import ModelLocation
from studio.training.header import with_hash
from studio.training.method import Export
from studio.training.methods.factors import Adapting

SAFETENSORS, PICKLE, FOLDER = ".safetensors", ".pt", ""
PIECES = {"kohya": as_kohya, "peft": as_diffusers}
ANY_TOKEN = {"*": 265}  # what A1111 writes; the number is that of * in SD 1's vocabulary
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}  # of other parts: model


@dataclass(frozen=True)
class SingleFile(Export):
    """A whole checkpoint: its tensors by part and diffusers' name. prediction_type, zero_terminal_snr: marks."""

    base: str = ""
    prediction_type: str = "epsilon"
    zero_terminal_snr: bool = False


@dataclass(frozen=True)
class Folder(Export):
    """A folder of diffusers'. Tensors by file (without its ending), a slash and name; what is said of it by file.

    origin: A folder of the same layout from which all other files are copied; None for one that is whole.
    """

    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    origin: Path | None = None


def lora_export(adapting: Adapting, checkpoint: Checkpoint, layout: str) -> Export:
    """A LoRA as kohya or PEFT spells it. Raises: ValueError, for another layout."""
    if layout not in PIECES:
        raise ValueError(f"a LoRA is written as {' or '.join(PIECES)}, not as {layout!r}")
    targets = {
        name: tuple(parameter.shape)
        for held in checkpoint.adapted.values()
        for name, (_, parameter) in held.parameters().items()
    }
    written = PIECES[layout](adapting.deltas(), targets, checkpoint.location.base, adapting.magnitudes())
    return Export("lora", layout, SAFETENSORS, written.tensors, written.metadata)


def embedding_export(rows: Sequence[Tensor], trigger: str, checkpoint: ModelLocation, layout: str) -> Export:
    """Vectors as kohya, diffusers or A1111 write them; for two text encoders the first two are one layout.

    Raises: ValueError, for a layout that there is not.
    """
    base = checkpoint.base
    held = [one.detach() for one in rows]
    if len(held) == 2 and layout in ("kohya", "diffusers"):
        return Export("embedding", layout, SAFETENSORS, dict(zip(TWO, held, strict=True)), origin_of(base))
    if len(held) == 1 and layout in ("kohya", "diffusers"):
        tensors = {KOHYA if layout == "kohya" else trigger: held[0]}
        return Export("embedding", layout, SAFETENSORS, tensors, origin_of(base))
    if len(held) == 1 and layout == "a1111":
        said = {"name": trigger, "sd_checkpoint": None, "sd_checkpoint_name": checkpoint.name}
        return Export("embedding", layout, PICKLE, {f"{TABLE}*": held[0]}, said | origin_of(base))
    raise ValueError(f"an embedding for {len(held)} text encoders is not written as {layout!r}")


def checkpoint_export(checkpoint: Checkpoint, learned: Mapping[str, Mapping[str, Tensor]], layout: str) -> Export:
    """The whole checkpoint as it lives: one file where its base model has such a layout, else a folder of diffusers'.

    Args:
        learned: The state of each part that did, by the part's name; a folder's other files are copied.
    Raises: ValueError, for a layout that there is not.
    """
    location, folder = checkpoint.location, Path(checkpoint.location.path)
    usual = "single_file" if location.base in PLANS else "diffusers"
    if layout not in ("", usual, "diffusers") or (layout == "diffusers" and not folder.is_dir()):
        raise ValueError(f"{location.name} is not written as {layout!r}")
    if (layout or usual) == "diffusers":
        tensors = {
            f"{part}/{WEIGHTS.get(part, 'model')}/{name}": tensor
            for part, state in learned.items()
            for name, tensor in state.items()
        }
        return Folder("checkpoint", "diffusers", FOLDER, tensors, origin_of(location.base), origin=folder)
    encoders = zip(("text_encoder", "text_encoder_2"), checkpoint.prompts.text_encoders, strict=False)
    modules = {"unet": checkpoint.unet, "vae": checkpoint.vae, **dict(encoders)}
    tensors = {
        f"{part}.{name}": tensor
        for part, module in modules.items()
        for name, tensor in (learned.get(part) or as_filed(checkpoint, part, module)).items()
    }
    said = {**checkpoint.noise, **location.card}
    return SingleFile(
        "checkpoint",
        "single_file",
        SAFETENSORS,
        tensors,
        {},
        base=location.base,
        prediction_type=str(said.get("prediction_type", "epsilon")),
        zero_terminal_snr=bool(said.get("rescale_betas_zero_snr")),
    )


def as_filed(checkpoint: Checkpoint, part: str, module: Any) -> Mapping[str, Tensor]:
    """A part that did not learn, in fp32: as it lives, or from its file, where it lives in half precision."""
    if module.dtype == torch.float32:
        return module.state_dict()
    filed = open_checkpoint(checkpoint.location, checkpoint.vae_location).parts[part]
    return {name: filed.tensor(name).float() for name in filed.names()}


def origin_of(base: str) -> dict[str, str]:
    """What says that a file is for a starter, of which its shapes do not tell."""
    return {} if base in PLANS else {STARTER: base}


def write_export(export: Export, folder: Path, name: str, header: Mapping[str, str] | None = None) -> Path:
    """Write what a run made as `name` in `folder`, over an older one of that name.

    header: What is to be published beside `export.metadata`, as `studio.training.header.header_of` makes it.
    Raises: StorageError, if the disk is full or the folder cannot be written; an older file is untouched then.
    """
    path = folder / f"{name}{export.suffix}"
    if export.suffix == PICKLE:
        write_whole(path, _pickled(export))
    elif isinstance(export, Folder):
        _write_folder(export, path, header or {})
    elif isinstance(export, SingleFile):
        _write_single(export, path, header or {})
    else:
        rows = {name: (tuple(tensor.shape), [tensor]) for name, tensor in export.tensors.items()}
        write_tensors(path, rows, with_hash({**export.metadata, **(header or {})}, export.tensors))
    return path


def _pickled(export: Export) -> bytes:
    """As A1111 nests an embedding or a hypernetwork, with plain values beside."""
    found: dict[Any, Any] = {}
    if export.kind == "embedding":
        found = {"string_to_token": ANY_TOKEN, "string_to_param": {}}
    for name, tensor in export.tensors.items():
        kept = tensor.detach().cpu().clone()
        if export.kind == "embedding":
            found["string_to_param"][name.removeprefix(TABLE)] = kept
        else:
            width, which, rest = name.split(".", 2)
            found.setdefault(int(width), ({}, {}))[int(which)][rest] = kept
    stream = io.BytesIO()
    torch.save(found | dict(export.metadata), stream)
    return stream.getvalue()


def _write_single(export: SingleFile, path: Path, header: Mapping[str, str]) -> None:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in export.tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    save_checkpoint(
        parts,
        export.base,
        path,
        {**export.metadata, **header},
        prediction_type=export.prediction_type,
        zero_terminal_snr=export.zero_terminal_snr,
    )


def _write_folder(export: Folder, path: Path, header: Mapping[str, str]) -> None:
    """Filled beside its place, which it takes when it is whole."""
    files: dict[str, dict[str, Tensor]] = {}
    for name, tensor in export.tensors.items():
        file, _, rest = name.rpartition("/")
        files.setdefault(file, {})[rest] = tensor
    part = path.with_name(f".{path.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if export.origin is not None:
            shutil.copytree(export.origin, part, dirs_exist_ok=True, ignore=_weights_of(export.origin, files))
        for file, tensors in files.items():
            rows = {name: (tuple(tensor.shape), [tensor]) for name, tensor in tensors.items()}
            write_tensors(part / f"{file}{SAFETENSORS}", rows, with_hash({**export.metadata, **header}, tensors))
        card = {**_card(part), **export.files.get("card.json", {}), "name": path.name}
        for file, said in {**export.files, "card.json": card}.items():
            (part / file).write_text(json.dumps({**said}, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)
        part.rename(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _card(folder: Path) -> dict[str, Any]:
    """The card that was copied."""
    file = folder / "card.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def _weights_of(origin: Path, files: Mapping[str, Any]) -> Any:
    """Which files of a folder are not to be copied, as shutil asks: the old weights of the parts that are written."""
    replaced = {(origin / file).parent for file in files}

    def ignored(folder: str, names: list[str]) -> list[str]:
        endings = (SAFETENSORS, ".bin", f"{SAFETENSORS}.index.json")
        return [name for name in names if Path(folder) in replaced and name.endswith(endings)]

    return ignored
