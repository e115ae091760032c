"""The checkpoint itself in training, and the whole checkpoint that comes of it."""

import pytest
import torch

from studio.engine.layouts import PREFIXES
from studio.messages import ModelLocation
from studio.training.exporting import SingleFile, write_export
from tests.training.methods import kit

FULL = {"method": "dreambooth", "learning_rate": 1e-3}


LEARN = {"unet": {}, "encoders": {"train_text_encoder": True}, "word": {"text_learning_rate": 1e-2}}


@pytest.mark.parametrize("learns", LEARN)
def test_it_begins_as_it_is_and_only_what_is_asked_learns(engine, location, learns):
    method, batch = kit.build(engine, location, **FULL, **LEARN[learns]), kit.batch()
    before, plain = kit.fingerprints(method.checkpoint), kit.plain(method.checkpoint, batch)
    torch.testing.assert_close(kit.predicted(method, batch), plain, rtol=1e-5, atol=1e-6)
    losses = kit.learn(method, batch)
    assert losses[-1] < 0.9 * losses[0]
    parts = {name.split(".")[0] for name in kit.changed(before, kit.fingerprints(method.checkpoint))}
    encoders = {f"text_{i}" for i in range(len(method.checkpoint.prompts.readers))}
    assert parts == ({"unet"} | encoders if learns == "encoders" else {"unet"})


@pytest.mark.parametrize("learns", LEARN)
def test_the_folder_makes_the_picture_that_the_living_one_makes(engine, location, learns, tmp_path):
    before = kit.picture(engine, location)
    method = kit.build(engine, location, **FULL, **LEARN[learns])
    kit.learn(method, kit.batch(), steps=3)
    with method.shown(), torch.no_grad():
        alive, living = kit.predicted(method, kit.batch()), kit.picture(engine, location)
    path = write_export(method.exports("diffusers")[0], tmp_path, "thing", {"modelspec.title": "thing"})
    method.close()
    assert not torch.equal(living, before)
    found = ModelLocation("thing", "id-thing", str(path), "checkpoint", location.base, {})
    again = kit.new_engine()
    assert torch.equal(kit.picture(again, found), living)
    torch.testing.assert_close(kit.plain(again.store.current, kit.batch()), alive, rtol=1e-5, atol=1e-5)
    assert torch.equal(kit.picture(engine, location), before)  # the store reads the file again


@pytest.mark.parametrize("trigger", [kit.TRIGGER, "aaa", "Ohwx, it is"])
def test_only_the_rows_of_the_triggers_tokens_are_others_in_the_file(engine, location, trigger):
    method = kit.build(engine, location, **FULL, **LEARN["word"], trigger=trigger)
    kit.learn(method, kit.batch(captions=(f"a {trigger} cat",) * 2), steps=2)
    (export,) = method.exports()
    for part, reader in zip(method.encoders, method.checkpoint.prompts.readers, strict=True):
        table = reader.model.get_input_embeddings().weight
        (name,) = (name for name, weight in reader.model.named_parameters() if weight is table)
        others = (export.tensors[f"{part}.{name}"] != table).any(1).nonzero().flatten().tolist()
        assert others == sorted(set(reader.tokens(trigger)))


def test_without_a_trigger_no_rows_learn(engine, sd1):
    assert kit.build(engine, sd1, **FULL, **LEARN["word"], trigger="").word is None


def test_a_folder_is_written_over_an_older_one(engine, sd1, tmp_path):
    method = kit.build(engine, sd1, **FULL)
    for _ in range(2):
        path = write_export(method.exports("diffusers")[0], tmp_path, "thing")
    assert [file.name for file in tmp_path.iterdir()] == ["thing"]
    assert len(list((path / "unet").glob("*.safetensors"))) == 1


def test_gradient_checkpointing_changes_nothing(engine, location):
    batch, found = kit.batch(), []
    for on in (False, True):
        method = kit.build(engine, location, **FULL, gradient_checkpointing=on)
        kit.predicted(method, batch).square().mean().backward()
        found.append([p.grad.clone() for p in method.trained.parameters()])
        for parameter in method.trained.parameters():
            parameter.grad = None
        method.close()
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-6)


def test_one_file_has_every_part_as_it_lives(engine, location, base):
    method = kit.build(engine, location, **FULL)
    kit.learn(method, kit.batch(), steps=1)
    (export,) = method.exports()
    assert isinstance(export, SingleFile)
    assert (export.base, export.suffix) == (base, ".safetensors")
    assert export.prediction_type == ("v_prediction" if base == "sd2" else "epsilon")
    modules = {"unet": method.unet, "vae": method.checkpoint.vae}
    modules |= dict(zip(("text_encoder", "text_encoder_2"), method.checkpoint.prompts.text_encoders, strict=False))
    assert modules.keys() == PREFIXES[base].keys()
    for part, module in modules.items():
        for name, tensor in module.state_dict().items():
            assert torch.equal(export.tensors[f"{part}.{name}"], tensor)
    assert len(export.tensors) == sum(len(module.state_dict()) for module in modules.values())
