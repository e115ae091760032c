"""How much memory a run takes beyond its weights: guessed by area at first, then learned from what was measured."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import StorageError
from studio.files import write_whole

FACTORS = {"sd1": 1.0, "sd2": 1.0, "sdxl": 0.8, "sdxl-refiner": 1.0}
UNIT_SHARE = 0.25
DECODE_VALUES = 2178 * 64
TILE = 64
KEPT = 500
PHASES = ("denoise", "decode", "tiled")


@dataclass(frozen=True)
class WorkingSet:
    """Bytes beyond the weights at the peak of denoising, of decoding a picture, and of decoding it in tiles."""

    denoise: int
    decode: int
    tiled: int


@dataclass(frozen=True, kw_only=True)
class RunSize:
    """What the working set of a run depends on.

    Fields:
        architecture: Base of the checkpoint: sd1, sdxl, starter-...
        width, height: Of the picture, in pixels.
        batch: Pictures denoised at once, counted twice where there is guidance.
        units: Kinds of the control units that are on, in any order.
        value_bytes, vae_value_bytes: Of a number of the UNet, and of the autoencoder: 2 in half precision.
        factor: Pixels to a latent, along a side.
    """

    architecture: str
    width: int
    height: int
    batch: int
    units: tuple[str, ...] = ()
    value_bytes: int = 2
    vae_value_bytes: int = 2
    factor: int = 8

    @property
    def key(self) -> str:
        """All of it as one line, the key in the file."""
        units = "+".join(sorted(self.units)) or "plain"
        precision = f"{8 * self.value_bytes}/{8 * self.vae_value_bytes} bit"
        return f"{self.architecture} {self.width}x{self.height} x{self.batch} {units} {precision}"

    def guess(self) -> WorkingSet:
        """By area, before anything was measured.

        Source: ComfyUI 0.3.64. Denoising, model_base.py, memory_required: batch x latent area x bytes of a number x
        0.01 x factor MiB, with the factors of supported_models.py (1.0 for SD 1.x and 2.x, 0.8 for SDXL, else 2.0).
        Decoding, sd.py, memory_used_decode: 2178 x 64 x latent area x bytes of a number. A quarter more for each
        control unit is our own guess.
        """
        height, width = self.height // self.factor, self.width // self.factor
        factor = FACTORS.get(self.architecture, 2.0) * (1 + UNIT_SHARE * len(self.units))
        values = DECODE_VALUES * self.vae_value_bytes
        return WorkingSet(
            denoise=int(self.batch * height * width * self.value_bytes * 0.01 * factor * 2**20),
            decode=values * height * width,
            tiled=values * min(height, TILE) * min(width, TILE),
        )


class WorkingSets:
    """Peaks that were measured, kept in a JSON file: one file for a device, as kernels differ in what they take."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.peaks = {} if file is None else _read(file)

    def expected(self, size: RunSize) -> WorkingSet:
        """What a run of that size will take: what was measured, else the guess."""
        guess, known = size.guess(), self.peaks.get(size.key, {})
        return WorkingSet(
            **{phase: known[phase]["peak"] if phase in known else getattr(guess, phase) for phase in PHASES}
        )

    def learn(self, size: RunSize, phase: str, peak: int, rung: int) -> None:
        """Keep the peak of a phase (denoise, decode, tiled) of a run that was finished on that rung.

        A run on a higher rung than the one known had less room and other layers, so it can only raise what is known;
        a run on the same rung or a lower one replaces it.

        Raises: ValueError, for a phase of another name, or a peak below zero.
        """
        if phase not in PHASES or peak < 0:
            raise ValueError(f"no peak can be learned from phase {phase!r} with {peak} bytes")
        entry = self.peaks.pop(size.key, {})
        self.peaks[size.key] = entry | {phase: _merge(entry.get(phase), peak, rung)}
        if self.peaks[size.key] != entry:
            self._save()

    def _save(self) -> None:
        self.peaks = dict(list(self.peaks.items())[-KEPT:])
        if self.file is None:
            return
        with suppress(StorageError):  # a full disk must not end a generation: it is measured again next time
            write_whole(self.file, json.dumps(self.peaks, indent=1).encode())


def _merge(known: dict[str, int] | None, peak: int, rung: int) -> dict[str, int]:
    if known is None or rung <= known["rung"]:
        return {"peak": peak, "rung": rung}
    return {"peak": max(peak, known["peak"]), "rung": known["rung"]}


def _read(file: Path) -> dict[str, dict[str, dict[str, int]]]:
    """What the file holds that can be used; a broken file holds nothing."""
    try:
        whole = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    entries = whole.items() if isinstance(whole, dict) else ()
    return {key: {p: e for p, e in entry.items() if _usable(p, e)} for key, entry in entries if isinstance(entry, dict)}


def _usable(phase: str, entry: Any) -> bool:
    numbers = (entry.get("peak"), entry.get("rung")) if isinstance(entry, dict) else (None,)
    return phase in PHASES and all(isinstance(n, int) and n >= 0 for n in numbers)
