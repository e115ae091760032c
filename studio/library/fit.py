"""Which models work together, and the sentence that refuses those that do not."""

from collections.abc import Iterable

from studio.errors import BaseModelMismatchError
from studio.library.entry import ModelEntry
from studio.library.words import base_word, kind_word

LATENT_SPACES = {"sd1": "sd", "sd2": "sd", "sdxl": "sdxl", "sdxl-refiner": "sdxl"}
BY_LATENTS = ("vae", "taesd")
VECTORS = {2048: 1280}  # SDXL reads texts of 768 and 1280 side by side; an embedding's width is that of the wider
NAMED = 3


def fits(entry: ModelEntry, checkpoint: ModelEntry) -> bool:
    """Whether the model was made for the checkpoint's base model. Autoencoders need only its latent space, which SD 1.x
    and 2.x share. One whose base model nobody knows is taken at its word, but for an embedding's width."""
    if _other_width(entry, checkpoint):
        return False
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
    alike = [e for e in others if e.usable and e.base != "unknown" and e.control_kind == entry.control_kind]
    known = [e.name for e in alike if fits(e, checkpoint)]
    expected, found = _words(entry, checkpoint)
    if known:
        hint = f"{'These fit' if len(known) > 1 else 'This one fits'}: {', '.join(known[:NAMED])}."
    else:
        own = " The checkpoint's own does its work." if entry.kind == "vae" else ""
        what = f"{entry.control_kind} {kind_word(entry.kind)}".strip()
        hint = f"There is no {what} for {expected} here yet.{own}"
    return BaseModelMismatchError(entry.name, expected=expected, found=found, hint=hint)


def _other_width(entry: ModelEntry, checkpoint: ModelEntry) -> bool:
    """Whether an embedding's vectors are no words for the checkpoint, whatever anybody says it is for."""
    read = VECTORS.get(checkpoint.width, checkpoint.width)
    return entry.kind == "embedding" and bool(read and entry.width) and read != entry.width


def _words(entry: ModelEntry, checkpoint: ModelEntry) -> tuple[str, str]:
    """What the checkpoint needs and what the model is for: base models where they differ, else widths."""
    known = "unknown" not in (entry.base, checkpoint.base)
    if (known and entry.base != checkpoint.base) or not _other_width(entry, checkpoint):
        return base_word(checkpoint.base), base_word(entry.base)
    read = VECTORS.get(checkpoint.width, checkpoint.width)
    return f"vectors of width {read}", f"vectors of width {entry.width}"
