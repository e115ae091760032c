"""Plain LoRAs as a file's tensors and header, in the spellings that other programs read: kohya's and diffusers'."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from studio.adapters.delta import LowRank
from studio.adapters.scaling import KEY
from studio.adapters.source import Shape
from studio.adapters.spelling import PARTS, PROJECTION, TEXT, TEXT_2, UNET, WRAPPED, ldm_paths
from studio.library.names import PLANS
from studio.library.rules.subject import STARTER

VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}  # as kohya-ss/sd-scripts calls base models
MIXED = "Dynamic"  # its word for ranks or alphas of which there are several


NONE: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Written:
    """What is to be written: tensors by name, on the device and in the precision that the factors have; the header."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def as_kohya(
    deltas: Mapping[str, LowRank], targets: Mapping[str, Shape], base: str, magnitudes: Mapping[str, Tensor] = NONE
) -> Written:
    """As sd-scripts writes a LoRA, and most programs read it.

    Args:
        deltas: By the names of parameters, part first.
        targets: Shapes of all parameters of the checkpoint.
        base: sd1, sd2 or sdxl, of which the last has its UNet's layers in LDM's names; or a starter's, as sd1 is.
        magnitudes: DoRA's lengths of each output, (out,), by parameter; written as LyCORIS does.
    Raises: ValueError, for a LoRA whose scale is 0, which no file can say.
    Source: kohya-ss/sd-scripts, networks/lora.py and library/train_util.py (the least metadata).
    """
    names = kohya_names(targets, base)
    tensors: dict[str, Tensor] = {}
    for parameter, delta in deltas.items():
        stem = names[parameter.rpartition(".")[0]]
        up, down = _factors(delta, targets[parameter])
        tensors[f"{stem}.lora_down.weight"] = down
        tensors[f"{stem}.lora_up.weight"] = up
        tensors[f"{stem}.alpha"] = torch.tensor(_alpha(delta))
        if parameter in magnitudes:
            tensors[f"{stem}.dora_scale"] = _along_outputs(magnitudes[parameter], len(targets[parameter]))
    metadata = {
        "ss_v2": str(base == "sd2"),
        "ss_network_module": "networks.lora",
        "ss_network_dim": _one_of({str(len(delta.down)) for delta in deltas.values()}),
        "ss_network_alpha": _one_of({str(_alpha(delta)) for delta in deltas.values()}),
        "ss_network_args": json.dumps({"dora_wd": "True"}) if magnitudes else "{}",
    }
    if base in VERSIONS:
        metadata["ss_base_model_version"] = VERSIONS[base]
    return Written(tensors, metadata | _origin(base))


def as_diffusers(
    deltas: Mapping[str, LowRank], targets: Mapping[str, Shape], base: str, magnitudes: Mapping[str, Tensor] = NONE
) -> Written:
    """As diffusers writes PEFT's layers: alphas are in the header alone, so programs that do not read it take 1.

    Raises: ValueError, for a LoRA whose scale is 0, which no file can say.
    Source: diffusers, loaders/lora_base.py; peft, tuners/lora/config.py.
    """
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for part in PARTS:
        own = {name: delta for name, delta in deltas.items() if name.startswith(f"{part}.")}
        for parameter, delta in own.items():
            layer = parameter.rpartition(".")[0].removeprefix(f"{part}.")
            stem = f"{part}.{'' if part == UNET or layer == PROJECTION else WRAPPED}{layer}"
            up, down = _factors(delta, targets[parameter])
            tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
            if parameter in magnitudes:
                length = magnitudes[parameter]
                linear = len(targets[parameter]) == 2
                tensors[f"{stem}.lora_magnitude_vector"] = length if linear else _along_outputs(length, 4, 1)
        if own:
            said = _settings(own, f"{part}.") | ({"use_dora": True} if own.keys() & magnitudes.keys() else {})
            settings |= {f"{part}.{name}": value for name, value in said.items()}
    return Written(tensors, {KEY: json.dumps(settings, sort_keys=True), **_origin(base)})


def _origin(base: str) -> dict[str, str]:
    """What says that a file is for a starter, of which its names and shapes do not tell."""
    return {STARTER: base} if base not in PLANS else {}


def _factors(delta: LowRank, target: Shape) -> tuple[Tensor, Tensor]:
    """up and down in the shapes of the layers that trainers have: a kernel is down's."""
    rank = len(delta.down)
    ones = (1,) * (len(target) - 2)
    return delta.up.reshape(target[0], rank, *ones), delta.down.reshape(rank, *target[1:])


def _along_outputs(lengths: Tensor, dimensions: int, axis: int = 0) -> Tensor:
    """A length for each output as a tensor of so many dimensions."""
    return lengths.view([-1 if place == axis else 1 for place in range(dimensions)])


def _alpha(delta: LowRank) -> float:
    """Rounded as a file's fp32 is, so that a whole number stays one."""
    if not delta.scale:
        raise ValueError("a scale of 0 cannot be written: an alpha of 0 is read as if there were none")
    return torch.tensor(delta.scale * len(delta.down)).item()


def _one_of(found: set[str]) -> str:
    return found.pop() if len(found) == 1 else MIXED


def kohya_names(targets: Mapping[str, Shape], base: str) -> dict[str, str]:
    """kohya's name of each layer, by its path with the part."""
    layers = [name.rpartition(".")[0] for name in targets]
    ldm = ldm_paths({layer.removeprefix(f"{UNET}.") for layer in layers if layer.startswith(f"{UNET}.")})
    two = any(layer.startswith(f"{TEXT_2}.") for layer in layers)
    starts = {UNET: "lora_unet_", TEXT: "lora_te1_" if two else "lora_te_", TEXT_2: "lora_te2_"}
    names: dict[str, str] = {}
    for layer in layers:
        part, _, path = layer.partition(".")
        if part == UNET:
            path = ldm.get(path, path) if base.startswith("sdxl") else path
        elif path != PROJECTION:
            path = f"{WRAPPED}{path}"
        names[layer] = f"{starts.get(part, '')}{path}".replace(".", "_")
    return names


def _settings(deltas: Mapping[str, LowRank], start: str) -> dict[str, Any]:
    """PEFT's settings of a part: the rank and alpha that most layers have, and the layers with others."""
    ranks = {name.rpartition(".")[0].removeprefix(start): len(delta.down) for name, delta in deltas.items()}
    alphas = {name.rpartition(".")[0].removeprefix(start): _alpha(delta) for name, delta in deltas.items()}
    rank, alpha = (Counter(found.values()).most_common(1)[0][0] for found in (ranks, alphas))
    return {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(ranks),
        "rank_pattern": {layer: own for layer, own in ranks.items() if own != rank},
        "alpha_pattern": {layer: own for layer, own in alphas.items() if own != alpha},
    }
