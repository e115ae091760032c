"""A word first, then a LoRA: two files of one run."""

import pytest
import torch

from studio.errors import InvalidRequestError
from studio.messages import ModelLocation
from studio.params import AdapterRef, EmbeddingRef
from studio.training.exporting import write_export
from tests.training.methods import kit

BOTH = {"method": "pivotal", "initializer": "cat", "vectors": 3, "inversion_share": 0.5}


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(before, module):
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_it_begins_as_the_words_of_the_initializer(engine, location):
    method, batch = kit.build(engine, location, **BOTH), kit.batch()
    plain = kit.plain(method.checkpoint, batch, ("a cat cat",) * 2)
    torch.testing.assert_close(kit.predicted(method, batch), plain, rtol=1e-5, atol=1e-6)


def test_first_the_word_learns_and_then_the_factors(engine, location):
    method, batch = kit.build(engine, location, **BOTH), kit.batch()
    before = kit.fingerprints(method.checkpoint)
    word, factors = snapshot(method.word), snapshot(method.adapting)
    first = kit.learn(method, batch, steps=4, rate=2e-2, total=8)
    assert same(factors, method.adapting)
    assert not same(word, method.word)
    word = snapshot(method.word)
    optimizer = torch.optim.AdamW([{**group, "lr": 2e-2} for group in method.groups()])
    for step in range(4, 8):
        method.before_step(step, 8)
        kit.predicted(method, batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    assert same(word, method.word)
    assert not same(factors, method.adapting)
    assert first[-1] < first[0]
    assert not kit.changed(before, kit.fingerprints(method.checkpoint))


def test_both_files_make_the_picture_that_the_living_ones_make(engine, location, base, tmp_path):
    before = kit.picture(engine, location)
    method = kit.build(engine, location, **BOTH)
    kit.learn(method, kit.batch(), steps=6, rate=2e-2)
    with method.shown() as shown:
        living = kit.picture(engine, location, shown["models"], embeddings=shown["embeddings"])
    lora, words = method.exports()
    assert (lora.kind, words.kind) == ("lora", "embedding")
    paths = [write_export(lora, tmp_path, "thing"), write_export(words, tmp_path, "thing-word")]
    method.close()
    assert torch.equal(kit.picture(engine, location), before)
    files = {
        kind: ModelLocation(kit.TRIGGER, f"id-{kind}", str(path), kind, base)
        for kind, path in zip(("lora", "embedding"), paths, strict=True)
    }
    worn = kit.picture(
        engine,
        location,
        {file.id: file for file in files.values()},
        adapters=(AdapterRef(name="thing", id="id-lora", kind="lora"),),
        embeddings=(EmbeddingRef(name=kit.TRIGGER, id="id-embedding"),),
    )
    assert (worn.int() - living.int()).abs().max() <= 1


def test_a_text_encoder_that_learns_would_change_the_word(engine, sd1):
    with pytest.raises(InvalidRequestError) as refused:
        kit.build(engine, sd1, **BOTH, train_text_encoder=True)
    assert refused.value.field == "train_text_encoder"
