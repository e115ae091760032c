"""Vectors in training: they begin as a word, learn alone, and are in every layout what they were alive."""

import pytest
import torch

from studio.errors import InvalidRequestError
from studio.messages import ModelLocation
from studio.params import EmbeddingRef
from studio.training.exporting import write_export
from tests.training.methods import kit

VECTORS = {"method": "inversion", "vectors": 3, "initializer": "cat"}  # three letters are three words here


def test_they_begin_as_the_words_of_the_initializer(engine, location):
    method, batch = kit.build(engine, location, **VECTORS), kit.batch()
    plain = kit.plain(method.checkpoint, batch, ("a cat cat",) * 2)
    torch.testing.assert_close(kit.predicted(method, batch), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("count", "words"), [(2, "ca"), (5, "catca")])
def test_words_are_cut_or_repeated(engine, sd1, count, words):
    method = kit.build(engine, sd1, **VECTORS | {"vectors": count})
    reader = method.checkpoint.prompts.readers[0]
    table = reader.model.get_input_embeddings().weight
    ids = (reader.tokens("cat") * 2)[:count]
    assert torch.equal(method.word.rows[0], table[ids])


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_loss_falls_and_only_the_vectors_learn(engine, location, checkpointed):
    method = kit.build(engine, location, **VECTORS, keep_norm=False, gradient_checkpointing=checkpointed)
    before = kit.fingerprints(method.checkpoint)
    losses = kit.learn(method, kit.batch(), rate=5e-2)
    assert losses[-1] < losses[0]
    assert not kit.changed(before, kit.fingerprints(method.checkpoint))


def test_their_length_is_kept(engine, location):
    method = kit.build(engine, location, **VECTORS)
    kit.learn(method, kit.batch(), steps=3, rate=5e-2)
    for reader, rows in zip(method.checkpoint.prompts.readers, method.word.rows, strict=True):
        median = reader.model.get_input_embeddings().weight.norm(dim=1).median()
        torch.testing.assert_close(rows.norm(dim=1), median.expand(len(rows)))


def test_a_batch_without_the_trigger_has_gradients_of_zero(engine, location):
    method = kit.build(engine, location, **VECTORS)
    kit.predicted(method, kit.batch(captions=("", ""))).square().mean().backward()
    assert all(rows.grad.abs().max() == 0 for rows in method.word.rows)


LAYOUTS = {"sd1": ("", "kohya", "diffusers", "a1111"), "sd2": ("", "a1111"), "sdxl": ("", "diffusers")}


def test_every_file_makes_the_picture_that_the_living_ones_make(engine, location, base, tmp_path):
    method = kit.build(engine, location, **VECTORS)
    kit.learn(method, kit.batch(), steps=3, rate=5e-2)
    with method.shown() as shown:
        living = kit.picture(engine, location, shown["models"], embeddings=shown["embeddings"])
    method.close()
    assert not torch.equal(kit.picture(engine, location), living)
    for layout in LAYOUTS[base]:
        (export,) = method.exports(layout)
        path = write_export(export, tmp_path, f"thing-{layout}")
        file = ModelLocation(kit.TRIGGER, f"id-{layout}", str(path), "embedding", base)
        ref = EmbeddingRef(name=kit.TRIGGER, id=file.id)
        assert torch.equal(kit.picture(engine, location, {file.id: file}, embeddings=(ref,)), living)


def test_two_encoders_have_no_layout_of_a1111s(engine, folders):
    method = kit.build(engine, kit.location(folders / "sdxl", "sdxl"), **VECTORS)
    with pytest.raises(ValueError, match="2 text encoders"):
        method.exports("a1111")


def test_without_a_trigger_nothing_could_call_it(engine, sd1):
    with pytest.raises(InvalidRequestError) as refused:
        kit.build(engine, sd1, **VECTORS | {"trigger": " "})
    assert refused.value.field == "trigger"
