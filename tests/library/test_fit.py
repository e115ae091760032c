from pathlib import Path

import pytest

from studio.library.fit import fits, misfit
from studio.library.index import ModelEntry


def entry(kind: str, base: str, name: str = "it", *, usable: bool = True, width: int = 0) -> ModelEntry:
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
        width=width,
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


@pytest.mark.parametrize("said", ["sd1", "sd2", "sdxl", "unknown"])
@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl", "unknown"])
@pytest.mark.parametrize(("width", "read"), [(768, 1024), (1024, 768), (768, 2048), (1024, 2048), (1280, 768)])
def test_an_embedding_of_another_width_fits_under_no_name(said, base, width, read):
    embedding, checkpoint = entry("embedding", said, width=width), entry("checkpoint", base, width=read)
    assert not fits(embedding, checkpoint)
    assert misfit(embedding, checkpoint) is not None


@pytest.mark.parametrize(("width", "read"), [(768, 768), (1024, 1024), (1280, 2048), (1280, 1280), (0, 768), (768, 0)])
def test_an_embedding_of_the_checkpoints_width_or_of_no_known_one_goes_by_its_base(width, read):
    embedding = entry("embedding", "sd1", width=width)
    assert fits(embedding, entry("checkpoint", "sd1", width=read))
    assert fits(entry("embedding", "unknown", width=width), entry("checkpoint", "sd1", width=read))
    assert not fits(embedding, entry("checkpoint", "sd2", width=read))


def test_a_width_is_said_where_the_base_models_do_not_tell():
    checkpoint = entry("checkpoint", "sd1", width=768)
    for said in ("sd1", "unknown"):
        error = misfit(entry("embedding", said, "oil", width=1024), checkpoint)
        assert str(error) == "oil was made for vectors of width 1024, and the checkpoint for vectors of width 768."
    error = misfit(entry("embedding", "sd2", "oil", width=1024), checkpoint)
    assert str(error) == "oil was made for SD 2, and the checkpoint for SD 1.5."


def test_width_is_no_matter_of_other_kinds():
    assert fits(entry("lora", "unknown", width=1024), entry("checkpoint", "sd1", width=768))
