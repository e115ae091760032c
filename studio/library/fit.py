"""Which models work together, and the sentence that refuses those that do not."""

from collections.abc import Iterable

from studio.errors import BaseModelMismatchError
from studio.library.index import ModelEntry

LATENT_SPACES = {"sd1": "sd", "sd2": "sd", "sdxl": "sdxl", "sdxl-refiner": "sdxl"}
BY_LATENTS = ("vae", "taesd")
NAMED = 3


def fits(entry: ModelEntry, checkpoint: ModelEntry) -> bool:
    """Whether the model was made for the checkpoint's base model. Autoencoders need only its latent space, which SD 1.x
    and 2.x share. One whose base model nobody knows is taken at its word."""
    if "unknown" in (entry.base, checkpoint.base):
        return True
    if entry.kind in BY_LATENTS:
        return LATENT_SPACES.get(entry.base, entry.base) == LATENT_SPACES.get(checkpoint.base, checkpoint.base)
    return entry.base == checkpoint.base


def misfit(
    entry: ModelEntry, checkpoint: ModelEntry, others: Iterable[ModelEntry] = ()
) -> BaseModelMismatchError | None:
    """Why the model cannot be used with the checkpoint, naming those of `others` that can; None if it can."""
    if fits(entry, checkpoint):
        return None
    known = [e.name for e in others if e.usable and e.base != "unknown" and fits(e, checkpoint)]
    kind = entry.kind.replace("_", " ")
    hint = f"These fit: {', '.join(known[:NAMED])}." if known else f"There is no {kind} for {checkpoint.base} here yet."
    return BaseModelMismatchError(entry.name, expected=checkpoint.base, found=entry.base, hint=hint)
