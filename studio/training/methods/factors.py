"""Low-rank factors beside living layers: what a LoRA learns, run by hooks, so that no module gets another name.

PEFT would put layers of its own into the UNet. The engine, which makes pictures with the same modules, finds their
parameters by name; so the factors stay outside.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.adapters.delta import LowRank
from studio.engine.stack import Adapted
from studio.training_params import TrainingParams

TRANSFORMER = "Transformer2DModel"
CONVOLUTIONAL = ("ResnetBlock2D", "Downsample2D", "Upsample2D")
TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
UNET = "unet"


class Factors(nn.Module):
    """up @ down beside one layer, times `scale`; with DoRA each output's length too.

    Shapes: down (rank, in) or (rank, in, kh, kw); up (out, rank); magnitude (out,). All fp32.
    Source: Hu et al., arXiv:2106.09685; Liu et al. (DoRA), arXiv:2402.09353, whose section 4.3 says that no gradient
        goes through the norm.
    """

    magnitude: nn.Parameter | None

    def __init__(self, layer: nn.Module, rank: int, scale: float, *, dora: bool = False) -> None:
        """A change of nothing: down is drawn as PyTorch draws a layer, up is zero."""
        super().__init__()
        weight: Any = layer.weight
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, *weight.shape[1:], device=weight.device))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.magnitude = nn.Parameter(_lengths(weight.detach().float())) if dora else None

    def delta(self) -> LowRank:
        """The change of direction as adapters have it."""
        return LowRank(self.up.detach(), self.down.detach().flatten(1), self.scale)

    def beside(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """The layer's output with the change; what a forward hook gives back."""
        given: Tensor = args[0]
        if not torch.is_autocast_enabled(given.device.type):
            given = given.to(self.down.dtype)
        if self.magnitude is None and isinstance(layer, nn.Linear) and given.dtype == output.dtype == self.up.dtype:
            low = F.linear(given, self.down)
            summed = torch.addmm(output.flatten(0, -2), low.flatten(0, -2), self.up.t(), alpha=self.scale)
            return summed.view(output.shape)  # in one pass, which is what a step on a CPU waits for
        change = self._change(layer, given)
        if self.magnitude is None:
            return output + change.to(output.dtype)
        along = (-1,) + (1,) * (output.dim() - 2) if isinstance(layer, nn.Conv2d) else (-1,)
        share = (self.magnitude / self._turned(layer)).view(along).to(output.dtype)
        bias: Any = layer.bias
        bias = 0 if bias is None else bias.view(along)
        return (output - bias + change.to(output.dtype)) * share + bias

    def _change(self, layer: nn.Module, given: Tensor) -> Tensor:
        if not isinstance(layer, nn.Conv2d):
            return F.linear(F.linear(given, self.down) * self.scale, self.up)
        options: Any = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        return F.conv2d(F.conv2d(given, self.down, **options) * self.scale, self.up[:, :, None, None])

    @torch.no_grad()
    def _turned(self, layer: nn.Module) -> Tensor:
        """Lengths of the changed weight's rows, (out,)."""
        weight: Any = layer.weight
        product = (self.up @ self.down.flatten(1)).view(weight.shape)
        return _lengths(weight.float() + product * self.scale)


def _lengths(weight: Tensor) -> Tensor:
    """Of each output's row, (out,)."""
    return torch.linalg.vector_norm(weight.flatten(1), dim=1)


@dataclass(frozen=True)
class Place:
    """A layer that learns: the name that adapters call it by, part first, and its rank."""

    name: str
    layer: nn.Module
    rank: int


class Adapting(nn.Module):
    """All factors of a run, by layer. Names of layers have slashes for dots, which modules may not have.

    on: Whether they are heard at all.
    """

    def __init__(self, places: Iterable[Place], params: TrainingParams) -> None:
        """Raises: ValueError, if there is no layer to change."""
        super().__init__()
        self._places = tuple(places)  # plain, so that the layers are not taken for this module's own
        if not self._places:
            raise ValueError("no layer of it can learn")
        ratio = params.alpha / params.rank  # of a rank of its own too, so that convolutions weigh as the rest does
        self.factors = nn.ModuleDict(
            {
                place.name.replace(".", "/"): Factors(
                    place.layer,
                    place.rank,
                    ratio * (math.sqrt(place.rank) if params.rslora else 1.0),
                    dora=params.dora,
                )
                for place in self._places
            }
        )
        self.on = True

    def attach(self, undo: ExitStack) -> None:
        """Let the layers hear of them until the stack is closed."""
        for place, factors in zip(self._places, self.factors.values(), strict=True):
            undo.callback(place.layer.register_forward_hook(partial(self._hear, factors)).remove)

    def _hear(self, factors: Factors, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return factors.beside(layer, args, output) if self.on else None

    def rows(self) -> Iterator[tuple[str, Factors]]:
        """Factors by the names of parameters that adapters use."""
        for place, factors in zip(self._places, self.factors.values(), strict=True):
            assert isinstance(factors, Factors)
            yield f"{place.name}.weight", factors

    def deltas(self) -> dict[str, LowRank]:
        """The changes, by parameter."""
        return {name: factors.delta() for name, factors in self.rows()}

    def magnitudes(self) -> dict[str, Tensor]:
        """DoRA's lengths, (out,), by parameter; empty for a plain LoRA."""
        return {name: one.magnitude.detach() for name, one in self.rows() if one.magnitude is not None}


def places_of(adapted: Mapping[str, Adapted], params: TrainingParams) -> Iterator[Place]:
    """The layers that a LoRA of these params changes.

    Every Linear and 1x1 convolution of the UNet's transformers; with a conv_rank the 3x3 convolutions of its blocks;
    with train_text_encoder the text encoders' attentions and MLPs. Source: kohya-ss/sd-scripts, networks/lora.py.
    """
    unet = adapted[UNET].module
    kinds = {name: type(module).__name__ for name, module in unet.named_modules()}
    for name, layer in unet.named_modules():
        parents = [kinds[name[:at]] for at, letter in enumerate(name) if letter == "."]
        if TRANSFORMER in parents and (isinstance(layer, nn.Linear) or _kernel(layer) == (1, 1)):
            yield Place(f"{UNET}.{name}", layer, params.rank)
        elif params.conv_rank and _kernel(layer) == (3, 3) and parents and parents[-1] in CONVOLUTIONAL:
            yield Place(f"{UNET}.{name}", layer, params.conv_rank)
    if params.train_text_encoder:
        yield from _text_places(adapted, params.rank)


def _text_places(adapted: Mapping[str, Adapted], rank: int) -> Iterator[Place]:
    for part, held in adapted.items():
        layers = dict(held.module.named_modules())
        for name, (own, _) in held.parameters().items():
            path, _, kind = name.rpartition(".")
            if part != UNET and kind == "weight" and path.rpartition(".")[2] in TEXT_LAYERS:
                yield Place(path, layers[own.rpartition(".")[0]], rank)


def _kernel(layer: nn.Module) -> tuple[int, ...]:
    """Of a plain convolution; () for all else."""
    return tuple(layer.kernel_size) if isinstance(layer, nn.Conv2d) and layer.groups == 1 else ()
