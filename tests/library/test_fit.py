from pathlib import Path

import pytest

from studio.library.fit import fits, misfit
from studio.library.index import ModelEntry


def entry(kind: str, base: str, name: str = "it", *, usable: bool = True) -> ModelEntry:
    return ModelEntry(
        name=name,
        path=Path(name),
        kind=kind,
        base=base,
        variant="normal",
        control_kind="",
        prediction_type="",
        format="diffusers",
        precision="fp16",
        bytes=1,
        usable=usable,
        reason="",
        id="id",
    )


@pytest.mark.parametrize(
    ("kind", "base", "checkpoint", "expected"),
    [
        ("controlnet", "sd1", "sd1", True),
        ("controlnet", "sd1", "sdxl", False),
        ("controlnet", "sd1", "sd2", False),
        ("controlnet", "unknown", "sdxl", True),
        ("embedding", "sd2", "sd1", False),
        ("lora", "sdxl", "sdxl", True),
        ("vae", "sd1", "sd2", True),
        ("vae", "sd1", "sdxl", False),
        ("vae", "sdxl", "sdxl-refiner", True),
        ("taesd", "sdxl", "sd1", False),
        ("vae", "starter-0ff5dfae", "sd1", False),
        ("vae", "starter-0ff5dfae", "starter-0ff5dfae", True),
    ],
)
def test_what_fits(kind, base, checkpoint, expected):
    assert fits(entry(kind, base), entry("checkpoint", checkpoint)) is expected


def test_a_misfit_says_what_was_found_and_what_would_fit():
    others = [entry("controlnet", "sd1", "a"), entry("controlnet", "sdxl", "b"), entry("controlnet", "unknown", "c")]
    others.append(entry("controlnet", "sdxl", "broken", usable=False))
    error = misfit(others[0], entry("checkpoint", "sdxl", "big"), others)
    assert error is not None
    assert error.sentence() == "a was made for SD 1.5, and the checkpoint for SDXL. This one fits: b."


def test_a_misfit_with_nothing_that_fits_says_so():
    error = misfit(entry("vae", "sdxl", "x"), entry("checkpoint", "sd1"))
    assert error is not None
    assert error.hint == "There is no VAE for SD 1.5 here yet. The checkpoint's own does its work."


def test_what_fits_is_no_misfit():
    assert misfit(entry("vae", "sd1"), entry("checkpoint", "sd2")) is None
