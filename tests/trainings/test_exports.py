"""Results in other programs' layouts, written by the real process."""

import pytest
import torch
from safetensors.torch import save_file

from studio.access import LOCAL_USER
from studio.adapters.embeddings import read_embedding
from studio.engine.weights import open_weights
from studio.errors import InvalidRequestError, JobError
from tests.ui.fake_child import make_lora


@pytest.fixture
def ended(studio):
    """A run whose result is an embedding of two vectors."""
    run_id = studio.start(name="a cup")
    studio.ended(run_id)
    run = studio.trainings._runs[run_id]
    path = studio.settings.paths.models / "embeddings" / "ohwx.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": torch.randn(2, 24)}, path, {"ss_output_name": "a cup"})
    run.results = [{"name": "ohwx", "kind": "embedding", "layout": "kohya", "path": str(path), "file": "", "step": 3}]
    return run, path


def test_an_embedding_goes_round_all_layouts_and_stays_what_it_is(studio, ended):
    run, path = ended
    rows = read_embedding(open_weights(path), "ohwx").vectors[""]
    assert run.view()["results"][0]["others"] == ["diffusers", "a1111"]
    for layout, suffix in (("a1111", ".pt"), ("diffusers", ".safetensors")):
        (made,) = studio.trainings.export(run.id, layout, LOCAL_USER)
        file = studio.settings.paths.models / made["file"]
        assert (file.name, made["tensors"], made["key"] != "") == (f"ohwx-{layout}{suffix}", 1, True)
        found = read_embedding(open_weights(file), "ohwx")
        assert found.layout.casefold() == layout
        assert torch.equal(found.vectors[""], rows)
    assert open_weights(file).metadata["ss_output_name"] == "a cup"
    (again,) = studio.trainings.export(run.id, "a1111", LOCAL_USER)
    assert again["name"] == "ohwx-a1111-2"


def test_a_layout_that_it_cannot_have_is_refused_with_those_that_it_can(studio, ended):
    run, _ = ended
    for layout in ("kohya", "peft", None):
        with pytest.raises(InvalidRequestError) as refused:
            studio.trainings.export(run.id, layout, LOCAL_USER)
        assert (refused.value.field, refused.value.hint) == ("layout", "Choose one of: a1111, diffusers.")
    run.results = []
    with pytest.raises(JobError, match="has no result"):
        studio.trainings.export(run.id, "a1111", LOCAL_USER)


def test_a_lora_becomes_one_for_other_programs(studio, ended):
    run, _ = ended
    path = studio.settings.paths.models / "loras" / "thing.safetensors"
    path.write_bytes(make_lora(run.params.base))
    studio.library.refresh()
    run.results = [{"name": "thing", "kind": "lora", "layout": "kohya", "path": str(path), "file": "", "step": 3}]
    (made,) = studio.trainings.export(run.id, "peft", LOCAL_USER)
    assert (made["file"], made["tensors"]) == ("loras/thing-peft.safetensors", 2)
    names = open_weights(studio.settings.paths.models / made["file"]).shapes
    assert {name.rpartition(".lora_")[2] for name in names} == {"A.weight", "B.weight"}
