"""What is loaded, and what happens to it when another model comes."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.engine import residency, store
from studio.engine.placement import Memory, Rung
from studio.errors import ModelNotFoundError, OutOfMemoryError
from studio.params import ControlUnit
from tests import tiny

CONTROL = ControlUnit(kind="scribble", map="house", model="control", model_id="id-control")
OTHER = {"checkpoint": "other", "checkpoint_id": "id-other"}


@pytest.fixture(scope="module")
def more(folder, models, tmp_path_factory):
    """The session's models, an SDXL, a checkpoint that lacks a tensor, and one that shares all but the UNet."""
    root = tmp_path_factory.mktemp("more")
    tiny.tiny_sdxl_pipeline().save_pretrained(root / "large")
    shutil.copytree(folder / "other", root / "cut")
    weights = root / "cut" / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if name != "conv_out.bias"}, weights)
    shutil.copytree(folder / "tiny", root / "sister")
    shutil.copytree(folder / "other" / "unet", root / "sister" / "unet", dirs_exist_ok=True)
    extra = [tiny.location(root / name) for name in ("large", "cut", "sister")]
    return models | {place.id: place for place in extra}


def picture(engine, models, **changed):
    return engine.generate(tiny.params(**changed), models).pictures[0]


def places(module):
    return [p.data_ptr() for p in module.parameters()]


def test_there_and_back_gives_the_same_picture(engine, models):
    first = picture(engine, models)
    assert not np.array_equal(picture(engine, models, **OTHER), first)
    assert np.array_equal(picture(engine, models), first)


def test_every_part_keeps_its_place_in_memory(engine, models):
    engine.store.checkpoint(models["id-tiny"])
    held = [slot.module for slot in engine.store.slots.values()]
    before = [places(module) for module in held]
    engine.store.checkpoint(models["id-other"])
    assert [slot.module for slot in engine.store.slots.values()] == held
    assert [places(module) for module in held] == before


def test_nothing_is_copied_for_the_checkpoint_that_is_loaded(engine, models, monkeypatch):
    engine.store.checkpoint(models["id-tiny"])
    monkeypatch.setattr(store, "copy_part", lambda *_: pytest.fail("copied"))
    engine.store.checkpoint(models["id-tiny"])


def test_parts_that_are_equal_are_not_copied_and_prompts_stay_encoded(engine, more, monkeypatch):
    picture(engine, more)
    copied, real = [], store.copy_part
    monkeypatch.setattr(store, "copy_part", lambda part, module: (copied.append(part.class_name), real(part, module)))
    encoder = engine.store.current.prompts.text_encoders[0]
    hook = encoder.register_forward_pre_hook(lambda *_: pytest.fail("encoded again"))
    picture(engine, more, checkpoint="sister", checkpoint_id="id-sister")
    hook.remove()
    assert copied == ["UNet2DConditionModel"]


def test_control_models_stay_over_a_swap(engine, models):
    control = engine.store.control(models["id-control"])
    before = places(control)
    engine.store.checkpoint(models["id-tiny"])
    engine.store.checkpoint(models["id-other"])
    assert engine.store.control(models["id-control"]) is control
    assert places(control) == before


def test_two_architectures_live_side_by_side(engine, more):
    small = picture(engine, more)
    unet = engine.store.current.unet
    picture(engine, more, checkpoint="large", checkpoint_id="id-large")
    assert engine.store.current.unet is not unet
    assert [row["kind"] for row in engine.store.resident()] == ["checkpoint", "kept"]
    assert np.array_equal(picture(engine, more), small)
    assert engine.store.current.unet is unet


def test_a_file_that_lacks_something_is_refused_before_anything_changes(engine, more):
    checkpoint = engine.store.checkpoint(more["id-tiny"])
    before = checkpoint.unet.conv_in.weight.clone()
    with pytest.raises(ModelNotFoundError, match=r"conv_out\.bias"):
        engine.store.checkpoint(more["id-cut"])
    assert engine.store.checkpoint(more["id-tiny"]) is checkpoint
    assert torch.equal(checkpoint.unet.conv_in.weight, before)


def test_a_copy_that_breaks_off_leaves_nothing_half(engine, models, monkeypatch):
    first, real = picture(engine, models), store.copy_part

    def break_off(part, module):
        real(part, module)
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, "copy_part", break_off)
        with pytest.raises(ModelNotFoundError, match="the disk is gone"):
            engine.store.checkpoint(models["id-other"])
    assert engine.store.current is None
    assert np.array_equal(picture(engine, models), first)


def test_idle_parts_leave_when_memory_is_short(engine, more, monkeypatch):
    engine.store.checkpoint(more["id-tiny"])
    engine.store.control(more["id-control"])
    short = Memory(total=2**30, free=2**20)
    monkeypatch.setattr(store, "device_memory", lambda _device: short)
    engine.store.checkpoint(more["id-large"])
    assert [row["kind"] for row in engine.store.resident()] == ["checkpoint"]
    assert not engine.store.controls


def test_free_unloads_everything(engine, models):
    picture(engine, models, controls=(CONTROL,))
    kinds = {row["kind"]: row["bytes"] for row in engine.store.resident()}
    parts = (engine.store.current.unet, engine.store.current.vae, *engine.store.current.prompts.text_encoders)
    assert kinds["checkpoint"] == sum(map(residency.bytes_of, parts))
    assert set(kinds) == {"checkpoint", "controlnet"}
    engine.store.free()
    assert engine.store.resident() == []
    assert picture(engine, models).shape == (tiny.SIZE, tiny.SIZE, 3)


def test_another_autoencoder_is_taken_instead(engine, models):
    mine = picture(engine, models)
    other = replace(models["id-other"], path=models["id-other"].path + "/vae", kind="vae", id="id-vae", name="v")
    theirs = engine.generate(tiny.params(vae="v", vae_id="id-vae"), {**models, "id-vae": other}).pictures[0]
    assert not np.array_equal(theirs, mine)
    assert np.array_equal(picture(engine, models), mine)


def run_out(engine, times):
    """Let the UNet run out of memory so many times."""
    left = [times]

    def fail(*_args):
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")

    return engine.store.current.unet.register_forward_pre_hook(fail)


def test_out_of_memory_is_tried_again_and_said(engine, models):
    first = picture(engine, models)
    hook = run_out(engine, 1)
    made = engine.generate(tiny.params(), models)
    hook.remove()
    assert "too little memory" in made.warnings[0]
    assert np.array_equal(made.pictures[0], first)
    assert engine.store.arrangement.plan.rung > Rung.RESIDENT


def test_the_rung_that_worked_is_taken_at_once_the_next_time(engine, models):
    picture(engine, models)
    hook = run_out(engine, 1)
    engine.generate(tiny.params(), models)
    hook.remove()
    rung = engine.store.arrangement.plan.rung
    engine.generate(tiny.params(), models)
    assert engine.store.arrangement.plan.rung == rung


def test_out_of_memory_on_every_rung_is_an_error_and_the_store_goes_on(engine, models):
    first = picture(engine, models)
    hook = run_out(engine, 100)
    with pytest.raises(OutOfMemoryError):
        engine.generate(tiny.params(), models)
    hook.remove()
    engine.store.floors.clear()
    assert np.array_equal(picture(engine, models), first)
