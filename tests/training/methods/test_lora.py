"""A LoRA in training: it begins as nothing, learns alone, and is in its file what it was alive."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from studio.adapters.file import read_adapter
from studio.engine.weights import open_weights
from studio.messages import ModelLocation
from studio.params import AdapterRef
from studio.training.exporting import write_export
from tests import tiny
from tests.training.methods import kit

KINDS = {
    "plain": {},
    "text": {"train_text_encoder": True, "text_learning_rate": 1e-3},
    "conv": {"conv_rank": 2},
    "dora": {"dora": True, "conv_rank": 2},
    "rslora": {"rslora": True, "conv_rank": 2, "train_text_encoder": True},
    "plus": {"lora_plus": 16.0},
    "fresh": {"alpha": 1.0, "gradient_checkpointing": True},
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def targets(checkpoint):
    return {
        name: tuple(parameter.shape)
        for held in checkpoint.adapted.values()
        for name, (_, parameter) in held.parameters().items()
    }


def hooks(checkpoint):
    models = (checkpoint.unet, *checkpoint.prompts.text_encoders)
    return [list(module._forward_hooks) for model in models for module in model.modules()]


def test_before_the_first_step_nothing_is_changed(engine, location, kind):
    method, batch = kit.build(engine, location, **kind), kit.batch(captions=("a cat", "(a) dog"))
    plain = kit.plain(method.checkpoint, batch, ("a cat", "\\(a\\) dog"))
    torch.testing.assert_close(kit.predicted(method, batch), plain, rtol=1e-5, atol=1e-6)


def test_the_loss_falls_and_only_the_factors_learn(engine, location, kind):
    method = kit.build(engine, location, **kind)
    before = kit.fingerprints(method.checkpoint)
    losses = kit.learn(method, kit.batch(), rate=1e-2)
    assert losses[-1] < 0.995 * losses[0]
    assert not kit.changed(before, kit.fingerprints(method.checkpoint))
    assert {p.dtype for p in method.trained.parameters()} == {torch.float32}


def test_closing_leaves_the_modules_as_they_were(engine, location, kind):
    checkpoint = engine.store.checkpoint(location)
    named = [(name, id(module)) for name, module in checkpoint.unet.named_modules()]
    before, batch = kit.picture(engine, location), kit.batch()
    hooked = hooks(checkpoint)
    method = kit.build(engine, location, **kind)
    kit.learn(method, batch, steps=2, rate=1e-1)
    with method.shown():
        assert not torch.equal(kit.picture(engine, location), before)
    method.close()
    assert [(name, id(module)) for name, module in checkpoint.unet.named_modules()] == named
    models = (checkpoint.unet, *checkpoint.prompts.text_encoders)
    assert not any(p.requires_grad for model in models for p in model.parameters())
    assert hooks(checkpoint) == hooked
    assert torch.equal(kit.picture(engine, location), before)


@pytest.mark.parametrize("layout", ["kohya", "peft"])
def test_the_file_makes_the_picture_that_the_living_one_makes(engine, location, kind, layout, tmp_path):
    method, batch = kit.build(engine, location, **kind), kit.batch()
    kit.learn(method, batch, steps=3, rate=2e-2)
    with method.shown(), torch.no_grad():
        alive, living = kit.predicted(method, batch), kit.picture(engine, location)
    (export,) = method.exports(layout)
    path = write_export(export, tmp_path, "thing", {"modelspec.title": "thing"})
    shapes = targets(method.checkpoint)
    method.close()
    found = read_adapter(open_weights(path), shapes)
    assert not found.unmatched
    assert found.matched == len(export.tensors)
    assert len(found.deltas) == len(list(method.adapting.rows()))
    ref = AdapterRef(name="thing", id="id-thing", kind="lora")
    file = ModelLocation("thing", "id-thing", str(path), "lora", location.base)
    worn = kit.picture(engine, location, {"id-thing": file}, adapters=(ref,))
    assert (worn.int() - living.int()).abs().max() <= 1
    torch.testing.assert_close(kit.plain(method.checkpoint, batch), alive, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["text", "dora"])
def test_diffusers_says_of_the_peft_layout_what_the_living_one_says(engine, location, base, kind, tmp_path):
    method, batch = kit.build(engine, location, **KINDS[kind]), kit.batch()
    kit.learn(method, batch, steps=3, rate=2e-2)
    with torch.no_grad():
        alive = kit.predicted(method, batch)
        said = method.captions.read(batch.captions)
    path = write_export(method.exports("peft")[0], tmp_path, "thing")
    pipe = kit.pipeline(base)
    pipe.load_lora_weights(path)
    noisy, timesteps = kit.noise(batch)
    added = {} if said.pooled is None else {"text_embeds": said.pooled, "time_ids": batch.sizes.float()}
    with torch.no_grad():
        theirs = pipe.unet(noisy, timesteps, said.words, added_cond_kwargs=added).sample
    torch.testing.assert_close(theirs, alive, rtol=1e-4, atol=1e-5)


def merged_naively(file: Path, unet):
    """kohya's rule in a few lines, by somebody who knows nothing of this program: W + up @ down * alpha / rank."""
    state, used = {name: tensor.clone() for name, tensor in unet.state_dict().items()}, set()
    flat = {f"lora_unet_{name.removesuffix('.weight')}".replace(".", "_"): name for name in state}
    with safe_open(file, "pt") as tensors:
        keys = list(tensors.keys())
        for stem in {key.split(".")[0] for key in keys if key.startswith("lora_unet_")}:
            up, down = tensors.get_tensor(f"{stem}.lora_up.weight"), tensors.get_tensor(f"{stem}.lora_down.weight")
            scale = tensors.get_tensor(f"{stem}.alpha").item() / len(down)
            weight = state[flat[stem]]
            weight += (up.flatten(1) @ down.flatten(1)).view(weight.shape) * scale
            used |= {f"{stem}.{role}" for role in ("lora_up.weight", "lora_down.weight", "alpha")}
    return state, set(keys) - used


@pytest.mark.parametrize("kind", ["conv", "rslora", "fresh"])
def test_a_naive_reader_of_kohyas_keys_agrees(engine, sd1, kind, tmp_path):
    method, batch = kit.build(engine, sd1, **KINDS[kind] | {"train_text_encoder": False}), kit.batch()
    kit.learn(method, batch, steps=3, rate=2e-2)
    with torch.no_grad():
        alive, said = kit.predicted(method, batch), method.captions.read(batch.captions)
    path = write_export(method.exports()[0], tmp_path, "thing")
    unet = tiny.tiny_unet()
    method.close()
    unet.load_state_dict(method.unet.state_dict())
    state, left = merged_naively(path, unet)
    assert not left
    unet.load_state_dict(state)
    noisy, timesteps = kit.noise(batch)
    with torch.no_grad():
        theirs = unet(noisy, timesteps, said.words).sample
    torch.testing.assert_close(theirs, alive, rtol=1e-4, atol=1e-5)


def test_text_encoders_are_called_what_kohya_calls_them(engine, location, base):
    method = kit.build(engine, location, train_text_encoder=True)
    names = {name.split(".")[0] for name in method.exports()[0].tensors}
    text = sorted(name for name in names if name.startswith("lora_te"))
    starts = ("lora_te1_", "lora_te2_") if base == "sdxl" else ("lora_te_",)
    layers = len(method.checkpoint.prompts.text_encoders) * 3
    assert len(text) == 6 * layers
    assert {name.split("text_model_encoder_layers_")[0] for name in text} == set(starts)


def test_gradient_checkpointing_changes_nothing(engine, location, kind):
    batch, found = kit.batch(), []
    for on in (False, True):
        method = kit.build(engine, location, **kind | {"gradient_checkpointing": on})
        kit.predicted(method, batch).square().mean().backward()
        found.append([p.grad for p in method.trained.parameters() if p.grad is not None])
        method.close()
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-7)


def test_rates_follow_the_params(engine, sd1):
    method = kit.build(engine, sd1, lora_plus=4.0, learning_rate=1e-3, train_text_encoder=True, text_learning_rate=1e-5)
    assert sorted(group["lr"] for group in method.groups()) == pytest.approx([1e-5, 4e-5, 1e-3, 4e-3])
    count = sum(len(group["params"]) for group in method.groups())
    assert count == len(list(method.trained.parameters()))
