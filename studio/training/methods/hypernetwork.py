"""Hypernetworks as A1111 trains them: small networks before the keys and values of every attention layer.

Source: AUTOMATIC1111, modules/hypernetworks/hypernetwork.py.
"""

from contextlib import suppress
from itertools import pairwise
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from studio.adapters.hypernetworks import ACTIVATIONS, Hypernetwork
from studio.engine.store import Checkpoint
from studio.engine.units.hypernetwork import widths_attended_to
from studio.engine.units.unit import slots_of
from studio.errors import InvalidRequestError
from studio.training.base import Living
from studio.training.batch import Batch
from studio.training.conditions import Noisy
from studio.training.exporting import PICKLE, origin_of
from studio.training.method import Export
from studio.training_params import TrainingParams

SPREAD = 0.01  # of the weights' first values
HALVES = ("for_keys", "for_values")

Pair = tuple[Tensor, Tensor]


class Hypernet(Living):
    """A hypernetwork in training, heard by every attention layer of the UNet until `close`."""

    def __init__(self, params: TrainingParams, checkpoint: Checkpoint) -> None:
        """Raises: InvalidRequestError, for a checkpoint that cannot learn, or a form that no network can have."""
        super().__init__(params, checkpoint)
        _check(params)
        widths = sorted(widths_attended_to(self.unet))
        networks = Hypernetwork({width: (_network(width, params), _network(width, params)) for width in widths})
        self.trained = self.networks = networks.to(self.unet.device).train()
        self._said: dict[int, tuple[Tensor, Pair]] | None = None
        slots = slots_of(self.unet)
        slots.hypernetworks = (self._changed,)
        self.undo.callback(setattr, slots, "hypernetworks", None)

    def denoise(self, seen: Noisy, batch: Batch) -> Tensor:
        """See `Living.denoise`. All layers attend to the same words, so the answer to them is kept for this once;
        where activations are computed again, it would be of another time."""
        self._said = None if self.unet.is_gradient_checkpointing else {}
        try:
            return super().denoise(seen, batch)
        finally:
            self._said = None

    def _changed(self, _attn: Attention, for_keys: Tensor, for_values: Tensor) -> Pair:
        """What an attention layer makes its keys and values of, in the precision that it gave."""
        if self._said is not None and for_keys is for_values:
            with suppress(KeyError):
                known, answer = self._said[id(for_keys)]
                assert known is for_keys
                return answer
        given = (for_keys, for_values)
        if not torch.is_autocast_enabled(for_keys.device.type):
            given = (for_keys.float(), for_values.float())
        keys, values = self.networks(*given, 1.0)
        answer = (keys.to(for_keys.dtype), values.to(for_values.dtype))
        if self._said is not None:
            self._said[id(for_keys)] = (for_keys, answer)
        return answer

    def groups(self) -> list[dict[str, Any]]:
        """All networks at one rate."""
        return [{"params": list(self.networks.parameters()), "lr": self.params.learning_rate}]

    def exports(self, layout: str = "") -> list[Export]:
        """Layout: a1111. Raises: ValueError, for another one."""
        if layout not in ("", "a1111"):
            raise ValueError(f"a hypernetwork is written as a1111, not as {layout!r}")
        tensors = {
            f"{width}.{number}.linear.{name}": tensor
            for number, half in enumerate(HALVES)
            for width, network in getattr(self.networks, half).items()
            for name, tensor in network.state_dict().items()
        }
        said = _told(self.params) | {"sd_checkpoint": None, "sd_checkpoint_name": self.checkpoint.location.name}
        return [Export("hypernetwork", "a1111", PICKLE, tensors, said | origin_of(self.checkpoint.location.base))]


def _network(width: int, params: TrainingParams) -> nn.Sequential:
    """A row of layers: each Linear but the last with the activation and the dropout after it, each with a norm."""
    sizes = [int(width * factor) for factor in params.layer_structure]
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes)):
        last = number == len(sizes) - 2
        layers.append(_drawn(nn.Linear(before, after)))
        if params.activation != "linear" and not last:
            layers.append(ACTIVATIONS[params.activation]())
        if params.layer_norm:
            layers.append(_drawn(nn.LayerNorm(after)))
        if params.dropout and not last:
            layers.append(nn.Dropout(params.dropout))
    return nn.Sequential(*layers)


def _drawn(layer: nn.Linear | nn.LayerNorm) -> nn.Module:
    nn.init.normal_(layer.weight, std=SPREAD)
    nn.init.zeros_(layer.bias)
    return layer


def _told(params: TrainingParams) -> dict[str, Any]:
    """What a file says of its networks, so that they can be built again."""
    structure = list(params.layer_structure)
    dropout = [0, *([params.dropout] * (len(structure) - 2)), 0]
    return {
        "name": params.name,
        "layer_structure": structure,
        "activation_func": params.activation,
        "is_layer_norm": params.layer_norm,
        "weight_initialization": "Normal",
        "use_dropout": params.dropout > 0,
        "activate_output": False,
        "last_layer_dropout": False,
    } | ({"dropout_structure": dropout} if params.dropout else {})


def _check(params: TrainingParams) -> None:
    if params.activation not in ACTIVATIONS:
        raise InvalidRequestError(
            f"The activation is {params.activation[:40]!r}, which is not known here.",
            field="activation",
            hint=f"There are: {', '.join(ACTIVATIONS)}.",
        )
    structure = params.layer_structure
    if len(structure) < 2 or structure[0] != 1 or structure[-1] != 1 or min(structure) <= 0 or max(structure) > 16:
        raise InvalidRequestError(
            f"The layers are {', '.join(f'{factor:g}' for factor in structure) or 'none'} times as wide as the input.",
            field="layer_structure",
            hint="Give two factors or more, from 0 to 16, the first and the last 1, such as 1, 2, 1.",
        )
