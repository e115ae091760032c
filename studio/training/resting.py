"""Parts of a checkpoint that steps do without: let go of, and read again when they are called or asked for.

With latents and captions cached, a step needs neither the autoencoder nor text encoders that do not learn.
"""

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from studio.engine.modules import loaded_tensors
from studio.engine.parts import Part
from studio.engine.reading import read_all
from studio.engine.sources import open_checkpoint
from studio.engine.store import TEXT_ENCODERS, Checkpoint
from studio.errors import ModelNotFoundError

VAE = "vae"
FAILURES = (OSError, ValueError, KeyError)


class Resting:
    """The autoencoder and the text encoders of a checkpoint that lives, without adapters on them.

    A part that rests is the same module with tensors of no rows. Its file stays open, so that it comes back though the
    file was moved or deleted meanwhile.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._modules: dict[str, nn.Module] = {
            VAE: checkpoint.vae,
            **dict(zip(TEXT_ENCODERS, checkpoint.prompts.text_encoders, strict=False)),
        }
        self._resting: set[str] = set()
        self._handles: dict[str, list[RemovableHandle]] = {}

    @property
    def resting(self) -> frozenset[str]:
        """The parts that rest now."""
        return frozenset(self._resting)

    def rest(self, names: Iterable[str]) -> None:
        """Let go of these parts: of VAE and TEXT_ENCODERS. Parts of a pickle stay: what is open of it is in memory."""
        for name in names:
            if name in self._modules and name not in self._resting and self._parts[name].weights.mapped:
                self._let_go(name)

    def wake(self, *names: str) -> None:
        """Bring these parts back, or all. Raises: ModelNotFoundError, if a file cannot be read any more."""
        for name in self._resting & {*names} if names else self.resting:
            self._bring_back(name)

    def close(self) -> None:
        """Bring all parts back, for good."""
        self.wake()
        while self._handles:
            for handle in self._handles.popitem()[1]:
                handle.remove()

    @cached_property
    def _parts(self) -> dict[str, Part]:
        return open_checkpoint(self._checkpoint.location, self._checkpoint.vae_location).parts

    def _let_go(self, name: str) -> None:
        module = self._modules[name]
        if name not in self._handles:
            callers = [module, *module.children()]  # an autoencoder is called by its halves
            self._handles[name] = [
                *(one.register_forward_pre_hook(lambda *_given: self.wake(name)) for one in callers),
                module.register_state_dict_pre_hook(lambda *_given: self.wake(name)),
            ]
        for tensor in loaded_tensors(module).values():
            tensor.data = tensor.new_empty((0, *tensor.shape[1:]))
        self._resting.add(name)

    @torch.inference_mode(mode=False)
    def _bring_back(self, name: str) -> None:
        module, part = self._modules[name], self._parts[name]
        try:
            _fill(part, module)
        except FAILURES as error:
            raise ModelNotFoundError(
                f"{self._checkpoint.location.name} cannot be read again: {error}.",
                hint="Put its file back as it was, and go on from the last state.",
            ) from error
        self._resting.remove(name)


@torch.no_grad()
def _fill(part: Part, module: nn.Module) -> None:
    """Read the part's tensors into new memory, each by way of the file's own type."""
    for name, tensor in loaded_tensors(module).items():
        stretch = part.stretch(name)
        if stretch is None:
            read = part.tensor(name)
        else:
            read = torch.empty(part.shapes[name], dtype=stretch.dtype)
            read_all([(stretch, read)])
        tensor.data = torch.empty(part.shapes[name], dtype=tensor.dtype, device=tensor.device).copy_(read)
