"""A stack of adapters, and what it makes of each parameter.

A parameter under a stack is a pure function of its pristine tensor and of the stack, whatever was on before: the sum
in fp32, in the order of the stack, rounded once. Plain LoRAs that follow each other are one product of their factors
side by side, the weights multiplied into the first; every other change is added on its own. In half precisions those
few values that plain LoRAs all but cancel are summed in fp64, since in fp32 the rounding would be most of what is left.
"""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import torch
from torch import Tensor

from studio.adapters.delta import Delta, LowRank
from studio.adapters.source import Tensors
from studio.errors import InvalidRequestError

UNET = "unet."
CANCELLED, BLOCK = 8, 64  # what has lost so many powers of two is summed in fp64; values looked at together
EXPONENT, MAGNITUDE = {torch.bfloat16: 7, torch.float16: 10}, 0x7FFF  # where it begins among the bits; all but the sign
TOGETHER = 2**15  # values that are summed so at once, so that memory stays small
IN_CACHE = 2**18  # values that are looked at in turn: memory is read once, and the passes after that stay in the cache
X86 = platform.machine().lower() in ("x86_64", "amd64")
CURVES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda _x: 1.0,
    "rise": lambda x: x,
    "fall": lambda x: 1 - x,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted:
    """One adapter in its place of a stack.

    Fields:
        id: Content id of its file: with a weight it says what is added.
        deltas: What it does to each parameter, by names such as "unet.conv_in.weight".
        weight, text_weight: Of the UNet and of the text encoders; None is `weight`.
        blocks: Factors by the beginning of names, whole words between dots; where several fit, the longest counts.
        start, end, curve: Range and course over the steps, for the UNet alone: words are read once, before the steps.
        embeddings: What prompts may name while it is in the stack, whatever its weight, by name.
    """

    id: str
    title: str
    deltas: Mapping[str, Delta]
    weight: float = 1.0
    text_weight: float | None = None
    blocks: tuple[tuple[str, float], ...] = ()
    start: float = 0.0
    end: float = 1.0
    curve: str = "constant"
    embeddings: Mapping[str, Tensors] = field(default_factory=dict[str, Tensors])

    @property
    def moves(self) -> bool:
        """Whether its weight is another one at some steps."""
        return (self.start, self.end, self.curve) != (0.0, 1.0, "constant")

    def weight_of(self, name: str) -> float:
        """For a parameter, at the height of the curve."""
        own = self.weight if name.startswith(UNET) or self.text_weight is None else self.text_weight
        fitting = [(prefix, factor) for prefix, factor in self.blocks if f"{name}.".startswith(f"{prefix}.")]
        return own * max(fitting, key=lambda row: len(row[0]))[1] if fitting else own

    def course(self, index: int, count: int) -> float:
        """The share of the weight that counts at step `index` of `count`, from 0: none outside of the range.

        A curve is read in the middle of the step, so that "rise" and "fall" together are "constant".
        """
        if index / count < self.start or (index + 1) / count > self.end:
            return 0.0
        return CURVES[self.curve](((index + 0.5) / count - self.start) / (self.end - self.start))


Stack = Sequence[Weighted]
Recipe = tuple[tuple[str, float], ...]  # ids and weights: what was added to a parameter, in order


@dataclass(frozen=True, eq=False)
class Term:
    """What one adapter of a stack adds to one parameter."""

    adapter: Weighted
    delta: Delta
    weight: float


Terms = tuple[Term, ...]


def terms_of(stack: Stack) -> dict[str, Terms]:
    """What is added to each parameter at the height of the curves, in the order of the stack, without what weighs 0."""
    found: dict[str, Terms] = {}
    for adapter in stack:
        for name, delta in adapter.deltas.items():
            if weight := adapter.weight_of(name):
                found[name] = (*found.get(name, ()), Term(adapter, delta, weight))
    return found


def at_step(terms: Mapping[str, Terms], index: int, count: int) -> dict[str, Terms]:
    """What is added at step `index` of `count`, from 0; to a text encoder always the same."""
    return {name: now for name, all_ in terms.items() if (now := _shares(all_, index, count, name))}


def _shares(terms: Terms, index: int, count: int, name: str) -> Terms:
    if not name.startswith(UNET) or not any(term.adapter.moves for term in terms):
        return terms
    now = (replace(term, weight=term.weight * term.adapter.course(index, count)) for term in terms)
    return tuple(term for term in now if term.weight)


def recipe_of(terms: Iterable[Term]) -> Recipe:
    """What tells one sum from another on the same pristine tensor."""
    return tuple((term.adapter.id, term.weight) for term in terms)


def merge(target: Tensor, pristine: Tensor, terms: Terms) -> None:
    """Write the pristine tensor, changed by the terms, into `target`: summed in fp32 and rounded once.

    Args:
        target: Any precision, on any device.
        pristine: The same shape, as the file has it, not to be written to.
    Raises: InvalidRequestError, naming an adapter that brings NaN or infinity; `target` is untouched then.
    """
    given = pristine.to(target.device)
    own = total = given.float()  # at once: torch adds mixed precisions five times as slowly
    for plain, run in groupby(terms, key=_is_plain):
        if plain:
            total = plus_product(total, *side_by_side(tuple(run), target.device))
        else:
            for term in run:
                total = total + _alone(own, term)
    target.copy_(total if terms else given)
    if terms and target.dtype in EXPONENT and all(map(_is_plain, terms)):
        _sum_again_where_cancelled(target, given, terms)


def _is_plain(term: Term) -> bool:
    return isinstance(term.delta, LowRank)


def _sum_again_where_cancelled(target: Tensor, given: Tensor, terms: Terms) -> None:
    """terms: Plain LoRAs alone."""
    plain = [(term.delta, term.weight) for term in terms if isinstance(term.delta, LowRank)]
    for places in _cancelled(target, given).split(TOGETHER):
        rows, columns = places // given[0].numel(), places % given[0].numel()
        ups = [low.up.to(target.device)[rows].double() * (low.scale * weight) for low, weight in plain]
        downs = [low.down.to(target.device)[:, columns].double() for low, _ in plain]
        change = (torch.cat(ups, 1) * torch.cat(downs).t()).sum(1)
        target.put_(places, (given.flatten()[places].double() + change).to(target.dtype))


def _cancelled(target: Tensor, given: Tensor) -> Tensor:
    """Numbers of the values of which next to nothing is left, as far as exponents tell, and of all that are less."""
    parts = zip(target.flatten().split(IN_CACHE), given.flatten().split(IN_CACHE), strict=True)
    return torch.cat([_cancelled_part(*part) + number * IN_CACHE for number, part in enumerate(parts)])


def _cancelled_part(target: Tensor, given: Tensor) -> Tensor:
    """The same for a part, (N,) each. The bits of a positive float rise with its value. Blocks are looked at first:
    finding single values takes longer."""
    before = given.to(target.dtype).view(torch.int16) & MAGNITUDE
    lost = before.sub_(target.view(torch.int16) & MAGNITUDE).view(-1, BLOCK if target.numel() % BLOCK == 0 else 1)
    most = CANCELLED << EXPONENT[target.dtype]
    some = (lost.amax(1) > most).nonzero()[:, 0]
    block, place = (lost[some] > most).nonzero(as_tuple=True)
    return some[block] * lost.shape[1] + place


def side_by_side(terms: Terms, device: torch.device) -> tuple[Tensor, Tensor]:
    """Factors of plain LoRAs, (out, ranks) and (ranks, in), in fp32; the first is multiplied by the weights.

    Raises: InvalidRequestError, naming one that has NaN or infinity.
    """
    plain = [(term.delta, term.weight) for term in terms if isinstance(term.delta, LowRank)]
    ranks = [len(low.down) for low, _ in plain]
    up = torch.empty(len(plain[0][0].up), sum(ranks), device=device)
    down = torch.empty(sum(ranks), plain[0][0].down.shape[1], device=device)
    parts = zip(plain, up.split(ranks, 1), down.split(ranks), strict=True)
    for (low, weight), some_up, some_down in parts:  # written where they are used: memory is what takes long
        some_up.copy_(low.up).mul_(low.scale * weight)
        some_down.copy_(low.down)
    if not _is_finite(up, down):
        broken = next(term for term in terms if not _is_finite(term.delta.up, term.delta.down))
        raise _not_numbers(broken)
    return up, down


def plus_product(total: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """total + up @ down, all in fp32, the product rounded before it is added. `total` may have a kernel's shape.

    On x86 by oneDNN, which takes half the time of torch's own choice on processors of AMD.
    """
    flat = total.reshape(len(up), -1)
    if up.device.type == "cpu" and X86 and torch.backends.mkldnn.is_available():
        summed = torch.ops.mkldnn._linear_pointwise.binary(up, flat, down.t(), None, "add")
    else:
        summed = flat + up @ down
    return summed.view(total.shape)


def _alone(pristine: Tensor, term: Term) -> Tensor:
    change = term.delta.of(pristine.float(), term.weight).to(pristine.device)
    if not _is_finite(change):
        raise _not_numbers(term)
    return change


def _is_finite(*tensors: Tensor) -> bool:
    """Whether there is neither NaN nor infinity; a sum finds them in one pass, in fp32 without overflow."""
    return bool(torch.isfinite(sum(tensor.sum(dtype=torch.float32) for tensor in tensors)))


def _not_numbers(term: Term) -> InvalidRequestError:
    return InvalidRequestError(
        f"{term.adapter.title} holds values that are no numbers (NaN or infinity), so no picture can come of it.",
        field="adapters",
        hint="Take it off; the file is damaged, or its training diverged.",
    )
