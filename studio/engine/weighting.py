"""How a word's weight acts on what the text encoder made of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Weighed:
    """What a text encoder said, and how much each token is to count.

    Fields:
        states: (windows, window, width).
        weights: (windows, window), 1 for begin, end and padding.
        empty: Gives the states of a window without words, (1, window, width).
    """

    states: Tensor
    weights: Tensor
    empty: Callable[[], Tensor]


def times(weighed: Weighed) -> Tensor:
    """Each token's states times its weight."""
    return (weighed.states.float() * weighed.weights[..., None]).to(weighed.states.dtype)


def times_restored(weighed: Weighed) -> Tensor:
    """Each token's states times its weight, then each window scaled so that its mean is what it was.

    Source: AUTOMATIC1111/stable-diffusion-webui, modules/sd_emphasis.py, "Original".
    """
    before = weighed.states.float()
    after = before * weighed.weights[..., None]
    factor = before.mean((1, 2), keepdim=True) / after.mean((1, 2), keepdim=True)
    return (after * torch.where(factor.isfinite(), factor, 1.0)).to(weighed.states.dtype)


def from_empty(weighed: Weighed) -> Tensor:
    """Each token's states on the line from those of an empty prompt: 0 is there, 1 as they are, more is beyond.

    Source: ComfyUI, comfy/sd1_clip.py, ClipTokenWeightEncoder.
    """
    empty = weighed.empty().float()
    moved = empty + (weighed.states.float() - empty) * weighed.weights[..., None]
    return torch.where(weighed.weights[..., None] == 1, weighed.states, moved.to(weighed.states.dtype))


def unweighed(weighed: Weighed) -> Tensor:
    """The states as they are."""
    return weighed.states


WEIGHTINGS: Mapping[str, Callable[[Weighed], Tensor]] = {
    "a1111": times_restored,
    "no_norm": times,
    "comfy": from_empty,
    "compel": from_empty,  # and words of less than 1 fade into the prompt without them: studio.engine.prompt
    "none": unweighed,
}
