"""Adapters of a request, from their files to the picture."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from studio.engine import generate
from studio.errors import InvalidRequestError, ModelNotFoundError
from studio.messages import ModelLocation
from studio.params import AdapterRef
from tests import tiny

KERNEL = "unet.down_blocks.0.resnets.0.conv1"
QUERY = "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
WORDS = "text_encoder.encoder.layers.1.self_attn.q_proj"
SHAPES = {KERNEL: (8, 8, 3, 3), QUERY: (16, 16), WORDS: (16, 16)}


def factors(name, seed=1, rank=3):
    rng, shape = torch.Generator().manual_seed(seed), SHAPES[name]
    down = torch.randn(rank, *shape[1:], generator=rng)
    up = torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=rng)
    return up * 0.5, down * 0.5


def lora(*names, seed=1):
    rows = {name: factors(name, seed) for name in names}
    ups = {f"{name}.lora_B.weight": up for name, (up, _) in rows.items()}
    return ups | {f"{name}.lora_A.weight": down for name, (_, down) in rows.items()}


def whole(*names):
    """The same changes, as no branch can run them."""
    return {f"{name}.diff": torch.einsum("or...,ri...->oi...", *factors(name)) for name in names}


@pytest.fixture
def put(tmp_path):
    """Writes a file, and gives its place."""

    def write(name, tensors):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        return ModelLocation(name, f"id-{name}", str(path), "lora", "tiny", {})

    return write


def ref(name, **changed):
    return AdapterRef(name=name, id=f"id-{name}", **changed)


def make(engine, models, *refs, **changed):
    return engine.generate(tiny.params(adapters=refs, **changed), models)


def picture(engine, models, *refs, **changed):
    return make(engine, models, *refs, **changed).pictures[0].astype(int)


def test_on_changes_the_picture_and_off_gives_the_same_one_back(engine, models, put):
    models = models | {"id-cat": put("cat", lora(KERNEL, QUERY, WORDS))}
    plain = picture(engine, models)
    changed = picture(engine, models, ref("cat"))
    assert np.abs(changed - plain).max() > 10
    assert np.array_equal(picture(engine, models, ref("cat", weight=0.0)), plain)
    assert np.array_equal(picture(engine, models, ref("cat")), changed)
    assert np.array_equal(picture(engine, models), plain)


def test_a_swap_of_checkpoints_and_back_keeps_the_picture(engine, models, put):
    models = models | {"id-cat": put("cat", lora(KERNEL, WORDS))}
    first = picture(engine, models, ref("cat"))
    picture(engine, models, ref("cat"), checkpoint="other", checkpoint_id="id-other")
    assert np.array_equal(picture(engine, models, ref("cat")), first)


def test_prompts_are_read_again_only_where_the_text_encoder_changed(engine, models, put):
    models = models | {"id-unet": put("unet", lora(KERNEL)), "id-words": put("words", lora(WORDS))}
    plain = picture(engine, models)
    calls = []
    hook = engine.store.current.prompts.text_encoders[0].register_forward_pre_hook(lambda *_: calls.append(1))
    picture(engine, models, ref("unet"))
    assert not calls
    assert not np.array_equal(picture(engine, models, ref("words")), plain)
    assert calls
    made = len(calls)
    picture(engine, models, ref("words"), ref("unet"))
    assert np.array_equal(picture(engine, models), plain)
    assert len(calls) == made
    hook.remove()


def test_weights_of_parts_and_blocks_choose_what_changes(engine, models, put):
    models = models | {"id-cat": put("cat", lora(KERNEL, WORDS)), "id-words": put("words", lora(WORDS))}
    words = picture(engine, models, ref("words", weight=0.5))
    assert np.array_equal(picture(engine, models, ref("cat", weight=0.0, text_weight=0.5)), words)
    assert np.array_equal(picture(engine, models, ref("cat", weight=0.5, blocks=(("unet", 0.0),))), words)
    assert not np.array_equal(picture(engine, models, ref("cat", weight=0.5)), words)


@pytest.mark.parametrize("how", [{"start": 0.3, "end": 0.8}, {"curve": "rise"}, {"curve": "fall", "end": 0.6}])
def test_what_moves_beside_is_what_moves_merged(engine, models, put, how):
    models = models | {"id-low": put("low", lora(KERNEL, QUERY)), "id-whole": put("whole", whole(KERNEL, QUERY))}
    plain, always = picture(engine, models), picture(engine, models, ref("low"))
    beside = picture(engine, models, ref("low", **how))
    assert np.abs(beside - picture(engine, models, ref("whole", **how))).max() <= 1
    assert not np.array_equal(beside, plain)
    assert not np.array_equal(beside, always)
    assert np.array_equal(picture(engine, models), plain)


def test_a_range_that_no_step_lies_in_changes_nothing(engine, models, put):
    models = models | {"id-low": put("low", lora(KERNEL)), "id-whole": put("whole", whole(KERNEL))}
    plain = picture(engine, models)
    for name in ("low", "whole"):
        assert np.array_equal(picture(engine, models, ref(name, start=0.3, end=0.4)), plain)


@pytest.mark.parametrize("form", [lora, whole])
def test_every_batch_begins_at_the_first_step(engine, models, put, form, monkeypatch):
    monkeypatch.setattr(generate, "BATCH", 1)
    models = models | {"id-cat": put("cat", form(KERNEL))}
    both = make(engine, models, ref("cat", curve="fall"), count=2).pictures
    again = make(engine, models, ref("cat", curve="fall"), seed=tiny.params().seed + 1).pictures
    assert np.array_equal(both[1], again[0])


def test_what_is_not_used_is_said_once_with_its_reason(engine, models, put):
    tensors = lora(KERNEL, WORDS) | {f"unet.nowhere.{i}.lora_A.weight": torch.ones(2, 2) for i in range(3)}
    models = models | {"id-cat": put("cat", tensors)}
    (note,) = make(engine, models, ref("cat"), ref("cat", weight=0.5)).warnings
    assert note.startswith("3 of 7 tensors of cat.safetensors were not used: unet.nowhere.0.lora_A.weight (and 2 more")


def test_a_file_of_which_nothing_fits_is_refused(engine, models, put):
    models = models | {"id-cat": put("cat", {"unet.nowhere.lora_A.weight": torch.ones(2, 2)})}
    with pytest.raises(
        InvalidRequestError, match=r"cat\.safetensors changes nothing of this checkpoint: unet\.nowhere"
    ):
        make(engine, models, ref("cat"))


def test_a_file_that_was_removed_while_in_use_is_said(engine, models, put):
    models = models | {"id-cat": put("cat", lora(KERNEL))}
    plain = picture(engine, models)
    make(engine, models, ref("cat"))
    os.unlink(models["id-cat"].path)
    with pytest.raises(ModelNotFoundError, match=r"cat\.safetensors is not there any more"):
        make(engine, models, ref("cat"))
    assert np.array_equal(picture(engine, models), plain)


def test_a_file_that_was_replaced_while_in_use_is_said(engine, models, put):
    models = models | {"id-cat": put("cat", lora(KERNEL))}
    make(engine, models, ref("cat"))
    os.unlink(models["id-cat"].path)
    put("cat", lora(KERNEL, QUERY, seed=2))
    with pytest.raises(ModelNotFoundError, match=r"cat\.safetensors was replaced"):
        make(engine, models, ref("cat"))


def test_an_adapter_that_is_no_number_leaves_the_next_picture_as_it_was(engine, models, put):
    broken = lora(KERNEL)
    broken[f"{KERNEL}.lora_A.weight"][0] = float("nan")
    models = models | {"id-nan": put("nan", broken)}
    plain = picture(engine, models)
    with pytest.raises(InvalidRequestError, match=r"nan\.safetensors holds values that are no numbers"):
        make(engine, models, ref("nan"))
    assert np.array_equal(picture(engine, models), plain)


def test_a_hundred_at_once_are_one_sum(engine, models, put):
    models = models | {"id-cat": put("cat", lora(KERNEL, WORDS))}
    many = picture(engine, models, *[ref("cat", weight=0.01)] * 100)
    assert np.abs(many - picture(engine, models, ref("cat"))).max() <= 1


def test_out_of_memory_in_a_run_with_adapters_is_tried_again(engine, models, put):
    models = models | {"id-cat": put("cat", lora(KERNEL, QUERY))}
    for how in ({}, {"curve": "rise"}):
        first, left = picture(engine, models, ref("cat", **how)), [1]

        def fail(*_args, left=left):
            if left.pop() if left else 0:
                raise torch.OutOfMemoryError("CUDA out of memory")

        hook = engine.store.current.unet.register_forward_pre_hook(fail)
        assert np.array_equal(picture(engine, models, ref("cat", **how)), first)
        hook.remove()


@pytest.mark.parametrize(
    ("said", "scale"), [({"lora_alpha": 6}, 2.0), ({"lora_alpha": 6, "use_rslora": True}, 6 / 3**0.5)]
)
def test_pefts_file_of_settings_says_how_strong_its_layers_are(engine, models, put, tmp_path, said, scale):
    place = put("adapter_model", lora(QUERY))
    models |= {"id-peft": replace(place, id="id-peft")}
    plain = picture(engine, models, AdapterRef(name="peft", id="id-peft", weight=scale))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 3} | said))
    engine.adapters.held.clear()
    assert np.array_equal(picture(engine, models, AdapterRef(name="peft", id="id-peft")), plain)


def test_settings_that_cannot_be_read_are_told(engine, models, put, tmp_path):
    models |= {"id-peft": replace(put("adapter_model", lora(QUERY)), id="id-peft")}
    (tmp_path / "adapter_config.json").write_text("{")
    made = make(engine, models, AdapterRef(name="peft", id="id-peft"))
    assert any("strength of its layers is taken as 1" in line for line in made.warnings)


def test_a_narrowed_lora_is_the_one_with_its_first_rows(engine, models, put):
    models |= {"id-wide": put("wide", lora(QUERY))}
    first = {name: (t[:, :2] if "lora_B" in name else t[:2]) for name, t in lora(QUERY).items()}
    models |= {"id-narrow": put("narrow", first)}
    assert np.array_equal(picture(engine, models, ref("wide", rank=2)), picture(engine, models, ref("narrow")))
    assert not np.array_equal(picture(engine, models, ref("wide")), picture(engine, models, ref("narrow")))
