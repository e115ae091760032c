import json
from types import SimpleNamespace

import pytest
import torch

from studio.adapters.delta import LowRank
from studio.adapters.scaling import KEY
from studio.adapters.stack import Weighted, merge, terms_of
from studio.adapters.tools.loras import Base, Work, extracted, merged, resized, widest
from studio.adapters.tools.lowrank import Keep
from studio.adapters.tools.recipe import MERGED_FROM, RECIPE, Input, Recipe
from studio.adapters.tools.respell import respelled
from studio.adapters.writing import as_diffusers, as_kohya
from studio.errors import InvalidRequestError
from tests.adapters.held import Held, read
from tests.adapters.test_known import targets as known_targets

TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "unet.down_blocks.0.resnets.0.conv1"
TEXT = "text_encoder.encoder.layers.0.self_attn.q_proj"
NORM = "unet.down_blocks.0.resnets.0.norm1"
TARGETS = {
    f"{TO_Q}.weight": (12, 10),
    f"{CONV}.weight": (8, 6, 3, 3),
    f"{CONV}.bias": (8,),
    f"{NORM}.weight": (6,),
    f"{NORM}.bias": (6,),
    f"{TEXT}.weight": (10, 10),
    f"{TEXT}.bias": (10,),
    "text_encoder.embeddings.token_embedding.weight": (20, 10),
}
FP32 = Work(dtype=torch.float32)
LAYERS = (f"{TO_Q}.weight", f"{CONV}.weight", f"{TEXT}.weight")


def lora(seed=0, rank=3, names=LAYERS):
    rng = torch.Generator().manual_seed(seed)
    deltas = {}
    for name in names:
        shape = TARGETS[name]
        inner = torch.Size(shape[1:]).numel()
        up, down = torch.randn(shape[0], rank, generator=rng), torch.randn(rank, inner, generator=rng)
        deltas[name] = LowRank(up, down, 0.5)
    return deltas


def held(deltas, spelling="kohya", metadata=None):
    written = as_kohya(deltas, TARGETS, "sd1") if spelling == "kohya" else as_diffusers(deltas, TARGETS, "sd1")
    return Held(dict(written.tensors), metadata={**written.metadata, **(metadata or {})})


def values(seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=rng) for name, shape in TARGETS.items()}


def weighted(deltas, weight=1.0, text_weight=None, title="cat"):
    return Weighted(id=title, title=title, deltas=deltas, weight=weight, text_weight=text_weight)


def worn(stack, pristine):
    """What parameters become under a stack."""
    terms = terms_of(stack)
    after = {}
    for name, value in pristine.items():
        after[name] = torch.empty_like(value)
        merge(after[name], value, terms.get(name, ()))
    return after


def as_file(made, metadata=None):
    found = read(made.tensors, TARGETS, {**made.metadata, **(metadata or {})})
    assert not found.unmatched
    return found.deltas


def assert_same(found, wanted, **tolerance):
    for name in TARGETS:
        torch.testing.assert_close(found[name], wanted[name], msg=lambda m, name=name: f"{name}: {m}", **tolerance)


BASE = Base("sd1", TARGETS)
EXACT = {"rtol": 1e-5, "atol": 1e-5}


def test_merged_is_both_applied():
    stack = [weighted(lora(0), 0.7, 0.3), weighted(lora(1, 5), -0.4)]
    made = merged(stack, BASE, FP32)
    assert_same(worn([weighted(as_file(made))], values()), worn(stack, values()), **EXACT)
    assert made.tensors["lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight"].shape == (8, 6, 3, 3)


def test_merged_with_rank_enough_is_still_both():
    stack = [weighted(lora(0), 0.7), weighted(lora(1), -0.4)]
    made = merged(stack, BASE, Work(Keep(rank=6), torch.float32))
    assert_same(worn([weighted(as_file(made))], values()), worn(stack, values()), **EXACT)
    assert all(len(delta.down) == 6 for delta in as_file(made).values())


def test_one_alone_keeps_its_bits():
    file = as_file(merged([weighted(lora(0))], BASE, FP32))
    assert all(torch.equal(file[name].up, delta.up) for name, delta in lora(0).items())


def other_kinds():
    """LoHa, a norm's difference and a bias's."""
    rng = torch.Generator().manual_seed(5)
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    hada = {"w1_a": (12, 2), "w1_b": (2, 10), "w2_a": (12, 2), "w2_b": (2, 10)}
    tensors = {f"{stem}.hada_{role}": torch.randn(shape, generator=rng) for role, shape in hada.items()}
    tensors["lora_unet_down_blocks_0_resnets_0_norm1.w_norm"] = torch.randn(6, generator=rng)
    tensors["lora_unet_down_blocks_0_resnets_0_norm1.b_norm"] = torch.randn(6, generator=rng)
    tensors["lora_unet_down_blocks_0_resnets_0_conv1.diff_b"] = torch.randn(8, generator=rng)
    return tensors


@pytest.mark.parametrize("keep", [Keep(), Keep(rank=10)])
def test_other_kinds_are_merged_too(keep):
    file = read(other_kinds(), TARGETS)
    assert not file.unmatched
    stack = [weighted(file.deltas, 0.5), weighted(lora(0), 2.0)]
    made = merged(stack, BASE, Work(keep, torch.float32))
    assert_same(worn([weighted(as_file(made))], values()), worn(stack, values()), rtol=1e-4, atol=1e-4)
    assert any("hada" in name for name in made.tensors) is False
    assert any(name.endswith("to_q.diff") for name in made.tensors) == (keep == Keep())


def test_what_depends_on_the_checkpoint_needs_it():
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = held(lora(0)).tensors | {f"{stem}.dora_scale": torch.rand(12, 1) + 1}
    stack = [weighted(read(tensors, TARGETS).deltas, 0.8)]
    with pytest.raises(InvalidRequestError, match=r"cat changes unet\..* depends on the checkpoint") as refused:
        merged(stack, BASE, FP32)
    assert "--checkpoint" in refused.value.hint
    pristine = values()
    made = merged(stack, Base("sd1", TARGETS, pristine.__getitem__), FP32)
    assert_same(worn([weighted(as_file(made))], pristine), worn(stack, pristine), **EXACT)


def test_nothing_and_no_numbers_are_refused():
    with pytest.raises(InvalidRequestError, match="change nothing"):
        merged([weighted(lora(0), 0.0)], BASE, FP32)
    large = {name: LowRank(low.up * 1e6, low.down, 1.0) for name, low in lora(0).items()}
    with pytest.raises(InvalidRequestError, match="too large for float16"):
        merged([weighted(large)], BASE, Work())


def test_resizing_to_full_rank_is_the_same_and_less_is_less():
    file = read(held(lora(0)).tensors, TARGETS)
    full = as_file(resized(file, held(lora(0)), BASE, Work(Keep(rank=3), torch.float32)))
    assert_same(worn([weighted(full)], values()), worn([weighted(lora(0))], values()), **EXACT)
    small = resized(file, held(lora(0)), BASE, Work(Keep(rank=1)))
    assert all(delta.up.shape[1] == 1 for delta in as_file(small).values())
    assert all(tensor.dtype == torch.float16 for name, tensor in small.tensors.items() if not name.endswith("alpha"))
    assert small.metadata["ss_network_dim"] == "1"


def test_resizing_leaves_other_kinds_and_says_so():
    source = Held(other_kinds() | held(lora(0, names=(f"{TEXT}.weight",))).tensors)
    made = resized(read(source.tensors, TARGETS), source, BASE, Work(Keep(rank=1), torch.float32))
    assert all(torch.equal(made.tensors[name], tensor) for name, tensor in other_kinds().items())
    assert made.notes == ("7 tensors (LoHa, full, norm) are no plain LoRA and stay as they are.",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_was_added_is_extracted(dtype):
    before, added = values(), lora(0)
    after = worn([weighted(added)], before)
    told = []
    work = Work(Keep(rank=3), dtype, told=lambda *now: told.append(now))
    made = extracted(Base("sd1", TARGETS, before.__getitem__), after.__getitem__, work)
    found = as_file(made)
    assert found.keys() == added.keys()
    for name, delta in found.items():
        wanted = added[name].of(before[name], 1.0)
        error = (delta.of(before[name], 1.0) - wanted).norm() / wanted.norm()
        assert error <= (1e-5 if dtype == torch.float32 else 2**-10)
    assert told[-1] == (len(TARGETS), len(TARGETS))
    assert not made.notes


def test_what_no_lora_holds_is_told_or_kept_whole():
    before = values()
    after = {name: value + 0.1 for name, value in before.items()}
    base = Base("sd1", TARGETS, before.__getitem__)
    (said,) = extracted(base, after.__getitem__, Work(Keep(rank=4))).notes
    assert said.startswith("5 changed biases, norms or tables of words are not in it, such as 'unet.")
    made = extracted(base, after.__getitem__, Work(Keep(rank=4), torch.float32), rest=True)
    assert not made.notes
    assert_same(worn([weighted(as_file(made))], before), after, rtol=1e-4, atol=1e-4)


def test_equal_checkpoints_and_broken_ones_are_refused():
    before = values()
    base = Base("sd1", TARGETS, before.__getitem__)
    with pytest.raises(InvalidRequestError, match="are the same"):
        extracted(base, before.__getitem__, FP32)
    broken = {name: value * torch.nan for name, value in before.items()}
    with pytest.raises(InvalidRequestError, match="no numbers"):
        extracted(base, broken.__getitem__, FP32)


@pytest.mark.parametrize("base", ["sd1", "sdxl"])
@pytest.mark.parametrize("half", [False, True])
def test_to_peft_and_back_is_the_same_to_the_bit(base, half):
    targets = known_targets(base)
    names = [name for name in targets if name.endswith(("to_q.weight", "proj_in.weight", "v_proj.weight"))][::9]
    rng = torch.Generator().manual_seed(0)
    deltas = {}
    for place, name in enumerate(names):
        up, down = torch.randn(targets[name][0], 2, generator=rng), torch.randn(2, targets[name][1], generator=rng)
        deltas[name] = LowRank(up.half() if half else up, down.half() if half else down, 0.5 + place)
    written = as_kohya(deltas, targets, base)
    tensors = {n: t.half() if half else t for n, t in written.tensors.items()}
    tensors = {n: t.reshape(t.shape[:2]) if half else t for n, t in tensors.items()}  # a matrix for a 1x1 kernel
    before = Held(tensors, metadata={**written.metadata, "ss_output_name": "cat"})
    there = respelled(read(before.tensors, targets), before, Base(base, targets), "peft")
    assert any(name.endswith(".lora_A.weight") for name in there.tensors)
    assert there.metadata["ss_output_name"] == "cat"
    between = Held(there.tensors, metadata=there.metadata)
    found = read(between.tensors, targets, between.metadata)
    assert not found.unmatched
    for name, delta in deltas.items():
        assert torch.equal(found.deltas[name].up, delta.up)
        assert found.deltas[name].scale == pytest.approx(delta.scale)
    back = respelled(found, between, Base(base, targets), "kohya")
    assert back.metadata == before.metadata
    assert back.tensors.keys() == before.tensors.keys()
    for name, tensor in before.tensors.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert back.tensors[name].shape == tensor.shape
        assert torch.equal(back.tensors[name], tensor)


def test_peft_to_kohya_and_back_is_the_same_to_the_bit():
    before = held(lora(0), "peft", {"creator": "x"})
    there = respelled(read(before.tensors, TARGETS, before.metadata), before, BASE, "kohya")
    between = Held(there.tensors, metadata=there.metadata)
    assert between.metadata["ss_network_dim"] == "3"
    back = respelled(read(between.tensors, TARGETS, between.metadata), between, BASE, "peft")
    assert back.metadata == before.metadata
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in before.tensors.items())


def dora(names=LAYERS, half=False):
    """A DoRA of TARGETS in kohya's spelling, with lengths for these parameters."""
    deltas, rng = lora(0), torch.Generator().manual_seed(4)
    lengths = {name: torch.rand(TARGETS[name][0], generator=rng) + 0.5 for name in names}
    written = as_kohya(deltas, TARGETS, "sd1", lengths)
    tensors = {name: tensor.half() if half else tensor for name, tensor in written.tensors.items()}
    return Held(tensors, metadata={**written.metadata, "ss_output_name": "cat"})


@pytest.mark.parametrize("half", [False, True])
def test_a_dora_goes_to_peft_and_back_to_the_bit_and_changes_the_same(half):
    before = dora(half=half)
    first = read(before.tensors, TARGETS, before.metadata)
    there = respelled(first, before, BASE, "peft")
    shapes = {n: tuple(t.shape) for n, t in there.tensors.items() if n.endswith("lora_magnitude_vector")}
    assert set(shapes.values()) == {(12,), (1, 8, 1, 1), (10,)}
    said = json.loads(there.metadata[KEY])
    assert said["unet.use_dora"] is said["text_encoder.use_dora"] is True
    between = Held(there.tensors, metadata=there.metadata)
    second = read(between.tensors, TARGETS, between.metadata)
    assert not second.unmatched
    for name, pristine in values(1).items():
        if name in first.deltas:
            assert torch.equal(second.deltas[name].of(pristine, 1.0), first.deltas[name].of(pristine, 1.0))
    back = respelled(second, between, BASE, "kohya")
    assert back.metadata == before.metadata
    assert back.tensors.keys() == before.tensors.keys()
    for name, tensor in before.tensors.items():
        assert (back.tensors[name].dtype, back.tensors[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(back.tensors[name], tensor)


def test_pefts_dora_goes_to_kohya_and_back_to_the_bit():
    lengths = {f"{TO_Q}.weight": torch.rand(12), f"{CONV}.weight": torch.rand(8)}
    deltas = {name: delta for name, delta in lora(0).items() if name in lengths}
    written = as_diffusers(deltas, TARGETS, "sd1", lengths)
    before = Held(dict(written.tensors), metadata=dict(written.metadata))
    there = respelled(read(before.tensors, TARGETS, before.metadata), before, BASE, "kohya")
    assert {tuple(t.shape) for n, t in there.tensors.items() if n.endswith("dora_scale")} == {(12, 1), (8, 1, 1, 1)}
    between = Held(there.tensors, metadata=there.metadata)
    back = respelled(read(between.tensors, TARGETS, between.metadata), between, BASE, "peft")
    assert back.metadata == before.metadata
    assert back.tensors.keys() == before.tensors.keys()
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in before.tensors.items())


def test_a_part_without_lengths_is_a_plain_lora_beside_a_dora():
    source = dora((f"{TO_Q}.weight", f"{CONV}.weight"))
    said = json.loads(respelled(read(source.tensors, TARGETS), source, BASE, "peft").metadata[KEY])
    assert said["unet.use_dora"] is True
    assert "text_encoder.use_dora" not in said


def test_forms_of_dora_that_peft_does_not_have_are_refused_with_a_sentence():
    def refused(source):
        with pytest.raises(InvalidRequestError) as error:
            respelled(read(source.tensors, TARGETS), source, BASE, "peft")
        return error.value.sentence()

    half_done = refused(dora((f"{TO_Q}.weight",)))
    assert "DoRA in 1 layers and plain in 2" in half_done
    assert "PEFT has all layers of a part alike" in half_done
    source = dora()
    columns = {n: torch.ones(1, 10) if n.endswith("to_q.dora_scale") else t for n, t in source.tensors.items()}
    assert "a length for each input" in refused(Held(columns))


def test_nothing_is_lost_on_the_way_without_a_word():
    def refused(tensors, spelling="peft"):
        source = Held(tensors)
        with pytest.raises(InvalidRequestError) as error:
            respelled(read(tensors, TARGETS), source, BASE, spelling)
        return error.value.sentence()

    assert "spelled as kohya already" in refused(held(lora(0)).tensors, "kohya")
    assert "3 tensors of cat.safetensors would be lost" in refused(
        held(lora(0)).tensors
        | {n.replace("blocks_0", "blocks_9"): t for n, t in held(lora(0)).tensors.items() if "to_q" in n}
    )
    width = next(shape[1] for name, shape in TARGETS.items() if name.endswith("token_embedding.weight"))
    inside = held(lora(0)).tensors | {"bundle_emb.cat.emb_params": torch.ones(1, width)}
    assert "an embedding inside, cat, which would be lost" in refused(inside)
    assert "LoHa" in refused(other_kinds())


def test_a_recipe_tells_what_was_made_of_what():
    first = Input("a.safetensors", "1", {"weight": 0.5}, {"ss_v2": "False", "x": "1", "modelspec.hash_sha256": "0x"})
    again = Recipe("merge", [first], {"rank": 0, "energy": None}).header()
    second = Input("b.safetensors", "2", {}, {"ss_v2": "False", "x": "2", **again})
    header = Recipe("merge", [first, second], {"rank": 4}).header()
    said = json.loads(header[RECIPE])
    assert said["inputs"][1]["recipe"]["inputs"] == [{"id": "1", "name": "a.safetensors", "weight": 0.5}]
    assert (said["tool"], said["rank"]) == ("merge", 4)
    assert header[MERGED_FROM] == "a.safetensors, b.safetensors"
    assert Recipe("merge", [first, second]).shared() == {"ss_v2": "False"}


def test_the_widest_precision_is_that_of_the_factors():
    def of(*dtypes):
        tensors = {f"x{n}": torch.ones(2, 2, dtype=dtype) for n, dtype in enumerate(dtypes)}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        return widest([SimpleNamespace(shapes=shapes, tensor=tensors.__getitem__)])

    assert of(torch.float16) == torch.float16
    assert of(torch.bfloat16, torch.bfloat16) == torch.bfloat16
    assert of(torch.bfloat16, torch.float16) == torch.float32
    assert of(torch.float16, torch.float32) == torch.float32
