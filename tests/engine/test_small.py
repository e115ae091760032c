from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from studio.engine.small import SmallFiles
from studio.errors import BaseModelMismatchError, ModelNotFoundError
from studio.messages import ModelLocation
from studio.params import AdapterRef, EmbeddingRef
from tests import tiny
from tests.adapters.hypernetwork_files import hypernetwork


@pytest.fixture
def with_file(models, tmp_path):
    """The models, and the small files that were added beside them."""
    known = dict(models)

    def add(held, kind="hypernetwork", name="oil"):
        ending, save = (".pt", torch.save) if kind == "hypernetwork" else (".safetensors", save_file)
        save(held, tmp_path / f"{name}{ending}")
        known[f"id-{name}"] = ModelLocation(name, f"id-{name}", str(tmp_path / f"{name}{ending}"), kind, "tiny")
        return known

    return add


def worn(*names, **changed):
    refs = [AdapterRef(name=name, id=f"id-{name}", kind="hypernetwork", **changed) for name in names]
    return tiny.params(adapters=tuple(refs))


def picture(engine, params, models):
    return engine.generate(params, models).pictures[0]


def test_a_hypernetwork_changes_the_picture_and_then_it_is_off(engine, models, with_file):
    files = with_file(hypernetwork((tiny.HIDDEN,)))
    without = picture(engine, tiny.params(), models)
    with_it = picture(engine, worn("oil"), files)
    assert not np.array_equal(with_it, without)
    assert np.array_equal(picture(engine, worn("oil"), files), with_it)
    assert np.array_equal(picture(engine, tiny.params(), models), without)
    assert np.array_equal(picture(engine, worn("oil", weight=0.0), files), without)


def test_they_stack_in_the_order_of_the_params(engine, with_file):
    with_file(hypernetwork((tiny.HIDDEN,)))
    files = with_file(hypernetwork((tiny.HIDDEN,), {"activation_func": "relu"}, seed=4), name="wax")
    first = picture(engine, worn("oil", "wax"), files)
    assert not np.array_equal(first, picture(engine, worn("wax", "oil"), files))
    assert not np.array_equal(first, picture(engine, worn("oil"), files))


def test_widths_that_nothing_has_are_told(engine, with_file):
    files = with_file(hypernetwork((8, tiny.HIDDEN, 24)))
    (said,) = engine.generate(worn("oil"), files).warnings
    assert said == "The hypernetwork oil is for features of width 8 and 24 too; this checkpoint has none."


def test_a_hypernetwork_of_which_nothing_fits_is_refused_naming_widths(engine, with_file):
    files = with_file(hypernetwork((8,)))
    with pytest.raises(BaseModelMismatchError, match=r"oil was made for features of widths 8, and .* of widths 16"):
        engine.generate(worn("oil"), files)


def test_one_that_cannot_be_read_is_a_sentence(engine, models, with_file, tmp_path):
    files = with_file({8: "nothing"})
    with pytest.raises(ModelNotFoundError, match="oil"):
        engine.generate(worn("oil"), files)
    (tmp_path / "oil.pt").unlink()
    with pytest.raises(ModelNotFoundError, match="cannot be read"):
        engine.generate(worn("oil"), files)


def vectors(engine, files, name="oil"):
    checkpoint = engine.store.checkpoint(files["id-tiny"])
    params = replace(tiny.params(), embeddings=(EmbeddingRef(name=name, id=f"id-{name}"),))
    return SmallFiles(engine.store).embeddings(params, files, checkpoint.prompts)


def test_embeddings_are_read_for_the_text_encoder(engine, with_file):
    rows = torch.randn(2, tiny.HIDDEN)
    found, said = vectors(engine, with_file({"emb_params": rows}, "embedding"))
    assert torch.equal(found["oil"][0], rows)
    assert len(found["oil"]) == 1
    assert not said


def test_an_embedding_of_another_width_is_refused(engine, with_file):
    files = with_file({"emb_params": torch.ones(1, 768)}, "embedding")
    with pytest.raises(BaseModelMismatchError, match="of width 768, and the checkpoint for a text encoder of width 16"):
        vectors(engine, files)


def test_what_no_text_encoder_reads_is_told(engine, with_file):
    files = with_file({"clip_l": torch.ones(1, tiny.HIDDEN), "t5xxl": torch.ones(1, 32)}, "embedding")
    assert vectors(engine, files)[1] == ["The embedding oil holds t5xxl too, which no text encoder here reads."]


def test_an_embedding_speaks_where_it_is_named_and_nowhere_afterwards(engine, models, with_file):
    files = with_file({"emb_params": torch.randn(2, tiny.HIDDEN)}, "embedding")
    prompt = tiny.params(prompt="a cat oil")
    without = picture(engine, prompt, models)
    named = replace(prompt, embeddings=(EmbeddingRef(name="oil", id="id-oil"),))
    assert not np.array_equal(picture(engine, named, files), without)
    assert np.array_equal(picture(engine, prompt, models), without)
    unnamed = tiny.params(embeddings=named.embeddings)
    assert np.array_equal(picture(engine, unnamed, files), picture(engine, tiny.params(), models))


def test_an_embedding_speaks_in_the_negative_prompt_too(engine, models, with_file):
    files = with_file({"emb_params": torch.randn(2, tiny.HIDDEN)}, "embedding")
    prompt = tiny.params(negative_prompt="dog oil")
    named = replace(prompt, embeddings=(EmbeddingRef(name="oil", id="id-oil"),))
    assert not np.array_equal(picture(engine, named, files), picture(engine, prompt, models))


def test_an_embedding_of_another_width_ends_the_job_with_a_sentence(engine, with_file):
    files = with_file({"emb_params": torch.ones(1, 768)}, "embedding")
    named = tiny.params(prompt="oil", embeddings=(EmbeddingRef(name="oil", id="id-oil"),))
    with pytest.raises(BaseModelMismatchError, match="oil was made for a text encoder of width 768"):
        engine.generate(named, files)


def test_a_hypernetwork_goes_with_an_embedding(engine, with_file):
    with_file({"emb_params": torch.randn(2, tiny.HIDDEN)}, "embedding")
    files = with_file(hypernetwork((tiny.HIDDEN,)), name="wax")
    named = tiny.params(prompt="oil", embeddings=(EmbeddingRef(name="oil", id="id-oil"),))
    both = replace(named, adapters=worn("wax").adapters)
    assert not np.array_equal(picture(engine, both, files), picture(engine, named, files))


def lora_with(rows, role="emb_params", word="oil"):
    """A LoRA that changes next to nothing, with an embedding inside."""
    down, up = torch.zeros(1, tiny.HIDDEN), torch.zeros(tiny.HIDDEN, 1)
    stem = "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    return tensors | {f"bundle_emb.{word}.{role}": rows}


def with_lora(params, *names, **changed):
    refs = tuple(AdapterRef(name=name, id=f"id-{name}", **changed) for name in names)
    return replace(params, adapters=refs)


@pytest.mark.parametrize("role", ["emb_params", "string_to_param.*", "clip_l"])
def test_an_embedding_inside_of_a_lora_speaks_while_that_is_in_the_stack(engine, models, with_file, role):
    rows = torch.randn(2, tiny.HIDDEN)
    with_file({"emb_params": rows}, "embedding")
    files = with_file(lora_with(rows, role=role), "lora", "wax")
    prompt = tiny.params(prompt="a cat oil", negative_prompt="no")
    without = picture(engine, prompt, models)
    alone = replace(prompt, embeddings=(EmbeddingRef(name="oil", id="id-oil"),))
    made = engine.generate(with_lora(prompt, "wax"), files)
    assert np.array_equal(made.pictures[0], picture(engine, alone, files))
    assert not np.array_equal(made.pictures[0], without)
    assert not made.warnings
    assert np.array_equal(picture(engine, prompt, files), without)


def test_an_embedding_inside_that_nobody_names_says_nothing(engine, models, with_file):
    files = with_file(lora_with(torch.randn(2, tiny.HIDDEN)), "lora", "wax")
    prompt = tiny.params(prompt="a cat")
    assert np.array_equal(picture(engine, with_lora(prompt, "wax"), files), picture(engine, prompt, models))


def test_two_of_one_name_are_told_and_the_first_is_used(engine, with_file):
    with_file(lora_with(torch.randn(2, tiny.HIDDEN)), "lora", "wax")
    with_file(lora_with(torch.randn(2, tiny.HIDDEN), word="Oil"), "lora", "clay")
    files = with_file({"emb_params": torch.randn(2, tiny.HIDDEN)}, "embedding")
    prompt = tiny.params(prompt="oil")
    both = engine.generate(with_lora(prompt, "wax", "clay"), files)
    assert np.array_equal(both.pictures[0], picture(engine, with_lora(prompt, "wax"), files))
    assert both.warnings == ["The embedding Oil in clay.safetensors is passed over; that of wax.safetensors is used."]
    named = replace(prompt, embeddings=(EmbeddingRef(name="oil", id="id-oil"),))
    (said,) = engine.generate(with_lora(named, "wax"), files).warnings
    assert said == "The embedding oil in wax.safetensors is passed over; that of a file of its own is used."


def test_an_embedding_inside_of_another_width_is_refused_where_it_is_named(engine, with_file):
    files = with_file(lora_with(torch.ones(1, 768)), "lora", "wax")
    with pytest.raises(BaseModelMismatchError, match="oil was made for a text encoder of width 768"):
        engine.generate(with_lora(tiny.params(prompt="oil"), "wax"), files)
    (said,) = engine.generate(with_lora(tiny.params(prompt="cat"), "wax"), files).warnings
    assert "bundle_emb.oil.emb_params is an embedding of width 768, and the text encoders here read width 16" in said


def test_an_embedding_inside_that_is_no_numbers_ends_the_job_with_a_sentence(engine, with_file):
    files = with_file(lora_with(torch.full((1, tiny.HIDDEN), float("nan"))), "lora", "wax")
    with pytest.raises(ModelNotFoundError, match=r"oil in wax\.safetensors holds numbers that are not finite"):
        engine.generate(with_lora(tiny.params(prompt="oil"), "wax"), files)
