"""Hypernetworks: small networks that change what attention layers attend to, before its keys and values are made."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from studio.adapters.source import Tensors
from studio.errors import ModelNotFoundError

PLACE = re.compile(r"(\d{1,5})\.([01])\.linear\.?(\d{1,3})\.(weight|bias)")
OLD = re.compile(r"\.linear([12])\.")  # before layers could be chosen: linear1 and linear2
TRAINING = "optimizer_state_dict."
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "swish": nn.Hardswish,
    **{
        kind.__name__.lower(): kind
        for kind in (
            *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU),
            *(nn.LogSigmoid, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.Sigmoid, nn.SiLU),
            *(nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink),
        )
    },
}
MIXING = ("softmax", "softmin", "logsoftmax", "softmax2d")  # over all pictures of a batch, as A1111 calls them
HINT = "Get it as the .pt file that its author published."


class Hypernetwork(nn.Module):
    """Two networks for each width of what a layer attends to: for its keys and for its values.

    The width of words changes cross-attention; the widths of a UNet's own features change self-attention.
    """

    def __init__(self, pairs: Mapping[int, tuple[nn.Module, nn.Module]]) -> None:
        super().__init__()
        self.for_keys = nn.ModuleDict({str(width): pair[0] for width, pair in pairs.items()})
        self.for_values = nn.ModuleDict({str(width): pair[1] for width, pair in pairs.items()})

    @property
    def widths(self) -> set[int]:
        """Of what it changes."""
        return {int(width) for width in self.for_keys}

    def forward(self, for_keys: Tensor, for_values: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Both (B, length, width) with the networks' answers added; of a width that it does not know, as they are."""
        width = str(for_keys.shape[2])
        if width not in self.for_keys:
            return for_keys, for_values
        key, value = self.for_keys[width], self.for_values[width]
        return (
            torch.add(for_keys, key(for_keys), alpha=strength),
            torch.add(for_values, value(for_values), alpha=strength),
        )


@dataclass(frozen=True)
class _Settings:
    """What a file says of its networks; what is not said has been so before it could be chosen."""

    title: str
    structure: tuple[float, ...]
    activation: str
    activate_output: bool
    dropout: bool

    @classmethod
    def of(cls, weights: Tensors) -> "_Settings":
        said = {name: _value(text) for name, text in weights.metadata.items()}
        structure = said.get("layer_structure")
        return cls(
            title=weights.title,
            structure=tuple(structure) if isinstance(structure, list) else (),
            activation=str(said.get("activation_func") or "linear").lower(),
            activate_output=said.get("activate_output", True) is not False,
            dropout=bool(said.get("use_dropout")) or any(_numbers(said.get("dropout_structure"))),
        )

    def refuse(self, said: str) -> NoReturn:
        """Raises: ModelNotFoundError, with what was found."""
        raise ModelNotFoundError(f"The hypernetwork {self.title} {said}.", hint=HINT)


@dataclass
class _Found:
    """The tensors of one network by their number in its row of layers."""

    weights: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    biases: dict[int, Tensor] = field(default_factory=dict[int, Tensor])


def read_hypernetwork(weights: Tensors) -> Hypernetwork:
    """The networks of a file of A1111's, of any age; dropout does nothing outside of training.

    Raises: ModelNotFoundError, if it is no hypernetwork, or if what it says of itself is not what it holds.
    Source: AUTOMATIC1111, modules/hypernetworks/hypernetwork.py, HypernetworkModule and Hypernetwork.load.
    """
    settings = _Settings.of(weights)
    if settings.activation in MIXING:
        settings.refuse(f"has the activation {settings.activation}, which would mix the pictures of a batch")
    if settings.activation not in ACTIVATIONS:
        settings.refuse(f"has an activation that is not known here, {settings.activation[:40]!r}")
    found = _networks(weights, settings)
    widths = sorted({width for width, _ in found})
    if not widths or len(found) != 2 * len(widths):
        settings.refuse("lacks networks: there must be one for keys and one for values of each width")
    pairs = {
        width: (_build(found[width, 0], width, settings), _build(found[width, 1], width, settings)) for width in widths
    }
    return Hypernetwork(pairs).eval().requires_grad_(False)


def _networks(weights: Tensors, settings: _Settings) -> dict[tuple[int, int], _Found]:
    found: dict[tuple[int, int], _Found] = {}
    for name in weights.shapes:
        if name.startswith(TRAINING):
            continue
        place = PLACE.fullmatch(OLD.sub(lambda match: f".linear.{int(match[1]) - 1}.", name))
        if place is None:
            settings.refuse(f"holds {name[:60]}, which is no part of a hypernetwork")
        network = found.setdefault((int(place[1]), int(place[2])), _Found())
        table = network.weights if place[4] == "weight" else network.biases
        table[int(place[3])] = weights.tensor(name)
    return found


def _build(found: _Found, width: int, settings: _Settings) -> nn.Sequential:
    """The row of layers as it was trained, less its dropout."""
    numbers = [number for number, weight in sorted(found.weights.items()) if weight.ndim == 2]
    if not numbers or found.biases.keys() - found.weights.keys():
        settings.refuse(f"lacks layers of the networks for width {width}")
    _check_sizes([found.weights[number] for number in numbers], width, settings)
    layers: list[nn.Module] = []
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        layers.append(_linear(found, number, settings))
        active = settings.activation != "linear" and (following is not None or settings.activate_output)
        if active:
            layers.append(_activation(found, number + 1, settings))
        norm = number + 1 + active
        has_norm = norm in found.weights and norm != following
        if has_norm:
            layers.append(_norm(found, norm, settings))
        _check_place(norm + has_norm, following, settings)
    parameters = sum(len(list(layer.parameters())) for layer in layers)
    if parameters != len(found.weights) + len(found.biases):
        settings.refuse(f"has layers in its networks for width {width} that its settings do not name")
    return nn.Sequential(*layers)


def _check_sizes(linears: list[Tensor], width: int, settings: _Settings) -> None:
    sizes = [linears[0].shape[1], *(weight.shape[0] for weight in linears)]
    chained = all(weight.shape[1] == size for weight, size in zip(linears, sizes, strict=False))
    if not chained or sizes[0] != width or sizes[-1] != width:
        settings.refuse(f"has layers of sizes {', '.join(map(str, sizes))} for features of width {width}")
    if settings.structure and [int(width * factor) for factor in settings.structure] != sizes:
        factors = ", ".join(f"{factor:g}" for factor in settings.structure)
        settings.refuse(f"says that its layers are {factors} times as wide as {width}, and they are not")


def _check_place(reached: int, following: int | None, settings: _Settings) -> None:
    """The next layer's number must be the next one; a dropout may lie between, if the file has any."""
    if following is not None and following - reached not in ((0, 1) if settings.dropout else (0,)):
        settings.refuse("has layers in between of which it does not say what they are")


def _linear(found: _Found, number: int, settings: _Settings) -> nn.Module:
    weight, bias = found.weights[number], found.biases.get(number)
    if bias is None or bias.shape != weight.shape[:1]:
        settings.refuse(f"has a layer {number} without its bias")
    outputs, inputs = weight.shape
    return _filled(nn.Linear(inputs, outputs, device="meta"), {"weight": weight, "bias": bias}, settings)


def _activation(found: _Found, number: int, settings: _Settings) -> nn.Module:
    layer = ACTIVATIONS[settings.activation]()
    if not isinstance(layer, nn.PReLU):
        return layer
    weight = found.weights.get(number)
    if weight is None or weight.shape != (1,):
        settings.refuse(f"has a layer {number} without the slope that it learned")
    return _filled(layer, {"weight": weight}, settings)


def _norm(found: _Found, number: int, settings: _Settings) -> nn.Module:
    weight, bias = found.weights[number], found.biases.get(number)
    if weight.ndim != 1 or bias is None or bias.shape != weight.shape:
        settings.refuse(f"has a layer {number} that is no norm")
    return _filled(nn.LayerNorm(len(weight), device="meta"), {"weight": weight, "bias": bias}, settings)


def _filled(layer: nn.Module, tensors: Mapping[str, Tensor], settings: _Settings) -> nn.Module:
    copies = {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in tensors.items()}
    if not all(tensor.isfinite().all() for tensor in copies.values()):
        settings.refuse("holds numbers that are not finite")
    layer.load_state_dict(copies, assign=True)
    return layer


def _value(text: str) -> Any:
    """What a text of the header stood for."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _numbers(value: Any) -> list[float]:
    return [item for item in value if isinstance(item, int | float)] if isinstance(value, list) else []
