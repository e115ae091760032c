"""Adapters in the weights of living modules: from the stack that is on to the one that is wanted.

Only parameters whose sum changes are written, in place, from their pristine tensors, which are read again from the
checkpoint's file: nothing is kept for undoing. What is on is known for each parameter, so a change that breaks off
half-way is mended by the next one.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import compress
from operator import not_
from typing import Protocol

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from studio.adapters.branch import SideBranches, fits_beside
from studio.adapters.stack import UNET, Recipe, Stack, Term, Terms, at_step, merge, recipe_of, terms_of
from studio.engine.fp8 import Fp8Layers, is_fp8
from studio.engine.parts import Part
from studio.engine.streaming import mode_of
from studio.engine.units.unit import Residuals, Setting, StepInput, words_kept
from studio.errors import ModelNotFoundError

TEXT = "text_encoder"  # what the names of both begin with
INNER = "text_model."  # some text encoders have it before their names; adapters do without
OLD_PICKLE = "It is an old pickle, of which no single tensor can be read again, as adapters need it"


Stored = Callable[[nn.Module], Fp8Layers | None]
PARTS = ("unet", "text_encoder", "text_encoder_2")


class Pristine(Protocol):
    """The tensors of a module as its file has them, by the module's names."""

    def tensor(self, name: str) -> Tensor:
        """A view of the file, not to be written to. Raises: KeyError; OSError, for a file that was cut short."""
        ...


@dataclass
class Adapted:
    """A living module and what is merged into it.

    Fields:
        name: unet, text_encoder or text_encoder_2.
        pristine: None where nothing can be read again without holding all of it.
        merged: What is in each parameter that is not as in the file; None: its writing broke off.
    """

    name: str
    module: nn.Module
    pristine: Pristine | None
    merged: dict[str, Recipe | None] = field(default_factory=dict[str, Recipe | None])

    def parameters(self) -> dict[str, tuple[str, Tensor]]:
        """The module's own names and its parameters, by the names that adapters use."""
        return {f"{self.name}.{name.removeprefix(INNER)}": (name, p) for name, p in self.module.named_parameters()}

    @torch.no_grad()
    def wear(self, wanted: Mapping[str, Terms], stored: Fp8Layers | None = None) -> list[str]:
        """Write the parameters whose terms are others by now; those that have none get their own bits back.

        Args:
            wanted: By parameter; those of other modules are passed over.
            stored: What keeps some of the weights in 8 bits, if anything does.
        Returns: the names of what was written.
        Raises: ModelNotFoundError, if the checkpoint cannot be read again; InvalidRequestError, for an adapter with
            values that are no numbers.
        """
        recipes = {name: recipe_of(terms) for name, terms in wanted.items() if name.startswith(f"{self.name}.")}
        touched = recipes.keys() | self.merged.keys()
        changed = sorted(name for name in touched if self.merged.get(name, ()) != recipes.get(name, ()))
        own = self.parameters() if changed else {}
        with mode_of(self.module):
            for name in changed:
                own_name, parameter = own[name]
                pristine = self._pristine(own_name)
                self.merged[name] = None
                if stored is None:
                    merge(parameter.data, pristine, wanted.get(name, ()))
                else:
                    value = torch.empty(parameter.shape, device=parameter.device)
                    merge(value, pristine, wanted.get(name, ()))
                    stored.write(own_name, value)
                self.merged[name] = recipes.get(name)
                if name not in recipes:
                    del self.merged[name]
        return changed

    def _pristine(self, name: str) -> Tensor:
        try:
            if self.pristine is None:
                raise OSError(OLD_PICKLE)
            return self.pristine.tensor(name)
        except OSError as error:
            raise ModelNotFoundError(
                f"The checkpoint cannot be read again: {error}.",
                hint="Load it from a whole safetensors file; `python launch.py models convert` makes one of a pickle.",
            ) from error


def adapted_of(part: Part, content: str, module: nn.Module) -> Adapted | None:
    """A module that holds a part as it is in the file; None for one that no adapter changes.

    content: "model id/part", as the store names it.
    """
    name = content.rpartition("/")[2]
    return Adapted(name, module, part if part.weights.mapped else None) if name in PARTS else None


def words_of(stack: Stack) -> str:
    """Names what a stack makes of the text encoders: with another name, no prompt that was read before counts."""
    rows = [
        (adapter.id, adapter.weight if adapter.text_weight is None else adapter.text_weight, adapter.blocks)
        for adapter in stack
        if any(name.startswith(TEXT) for name in adapter.deltas)
    ]
    return str(rows) if rows else ""


@dataclass
class Dressed:
    """What a checkpoint wears for one generation; as a unit of its loop, what changes over the steps.

    Fields:
        terms: What is merged into the UNet, at the height of the curves.
        beside: What runs beside the UNet's layers.
        moves: Whether anything changes over the steps; else it need not be a unit.
        stored: Gives what keeps a module's weights in 8 bits now, if anything does.
    """

    unet: Adapted
    terms: Mapping[str, Terms]
    beside: SideBranches | None
    moves: bool
    stored: Stored
    setting: Setting = field(default_factory=lambda: Setting(name="adapters"))

    def shown(self) -> AbstractContextManager[None]:
        """Let the UNet have what runs beside its layers until the block ends. Begin it before compiled code runs."""
        return self.beside.attached() if self.beside else nullcontext()

    @contextmanager
    def attached(self, _unet: UNet2DConditionModel) -> Generator[None]:
        """Change nothing: what is merged stays until the next stack."""
        yield

    def contribute(self, step: StepInput, _residuals: Residuals) -> None:
        """Weigh the branches for this step, and merge again what had other weights before."""
        self.unet.wear(at_step(self.terms, step.index, step.count), self.stored(self.unet.module))
        if kept := words_kept(self.unet.module):
            kept.forget()
        if self.beside:
            self.beside.weigh(lambda adapter: adapter.course(step.index, step.count))


def dress(adapted: Mapping[str, Adapted], stack: Stack, stored: Stored, device: torch.device) -> Dressed:
    """Bring a stack into modules, given by their names; a UNet with a stack that moves waits for its first step.

    Plain LoRAs of the UNet that move, or that belong to a layer in 8 bits, are not merged and run beside it: a sum
    in 8 bits would lose most of them.

    Args:
        device: Where the UNet works.
    Raises: as `Adapted.wear` does.
    """
    unet, terms = adapted["unet"], terms_of(stack)
    layers = {f"unet.{name}.weight": layer for name, layer in unet.module.named_modules()} if terms else {}
    aside, merged = dict[nn.Module, Terms](), dict[str, Terms]()
    for name, row in terms.items():
        beside = [_runs_beside(layers.get(name), term) for term in row]
        if any(beside):
            aside[layers[name]] = tuple(compress(row, beside))
        if not all(beside):
            merged[name] = tuple(compress(row, map(not_, beside)))
    moves = any(adapter.moves for adapter in stack)
    for name, one in adapted.items():
        if name != "unet" or not moves:
            one.wear(merged, stored(one.module))
    branches = SideBranches(aside, device, unet.module.dtype) if aside else None  # type: ignore[arg-type]
    return Dressed(unet, {name: row for name, row in merged.items() if name.startswith(UNET)}, branches, moves, stored)


def _runs_beside(layer: nn.Module | None, term: Term) -> bool:
    return layer is not None and fits_beside(layer, term.delta) and (term.adapter.moves or is_fp8(layer))
