"""What every way to train has in common: what learns, what it predicts, and what is written in the end."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from studio.training.batch import Batch


@dataclass(frozen=True)
class Export:
    """One file that a run makes.

    Fields:
        kind: Of a model in the library: lora, embedding, hypernetwork, checkpoint, controlnet, t2i_adapter, ip_adapter.
        layout: Whose spelling it is: "kohya", "peft", "a1111", "single_file", "diffusers".
        suffix: Of the file's name, such as ".safetensors" or ".pt".
        tensors, metadata: Its content; a pickle layout takes `metadata` as the values beside the tensors.
    """

    kind: str
    layout: str
    suffix: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]


class Method(Protocol):
    """One way to train, on a checkpoint that lives (its modules are the engine's: sampling needs no copy).

    trained: Everything that learns, and nothing else: its state_dict is what a checkpoint of the run keeps, EMA
        averages and a rollback restores. Its parameters are fp32.
    """

    trained: nn.Module

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer: {"params": [...], "lr": base rate}."""
        ...

    def predict(self, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """What the model says of noisy latents (N, C, h, w) at timesteps (N,): (N, C, h, w) fp32, with gradients."""
        ...

    def before_step(self, step: int, steps: int) -> None:
        """Called with the number of the step, from 0: a method of several stages freezes what rests."""
        ...

    def after_step(self) -> None:
        """Called after the optimizer's step: what must be kept, such as the norm of vectors, is put right."""
        ...

    def shown(self) -> AbstractContextManager[Mapping[str, Any]]:
        """Evaluation mode, with the engine's caches of changed parts emptied, for pictures; then back to training.

        Yields what a request needs more to show it, such as {"embeddings": ...}, by GenerationParams' field.
        """
        ...

    def exports(self, layout: str = "") -> list[Export]:
        """The files that this method makes now, in its usual layout or another that it has. Raises: ValueError."""
        ...
