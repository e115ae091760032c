"""The sum that a stack makes of one parameter, against the same in fp64."""

from dataclasses import dataclass

import pytest
import torch

from studio.adapters import stack as stack_module
from studio.adapters.delta import LowRank
from studio.adapters.stack import Weighted, at_step, merge, plus_product, recipe_of, terms_of
from studio.errors import InvalidRequestError

NAME = "unet.layer.weight"


@dataclass(frozen=True)
class Share:
    """A change that depends on what it changes, as those of DoRA and IA3 do."""

    by: float

    def of(self, pristine, weight):
        return pristine * (self.by * weight)


def low_rank(seed, shape=(24, 20), rank=4, scale=0.5):
    rng = torch.Generator().manual_seed(seed)
    rest = torch.Size(shape[1:]).numel()
    up, down = torch.randn(shape[0], rank, generator=rng), torch.randn(rank, rest, generator=rng)
    return LowRank(up * 0.1, down * 0.1, scale)


def adapter(delta, weight=1.0, name=NAME, **changed):
    return Weighted(id=f"id-{id(delta)}", title="cat", deltas={name: delta}, weight=weight, **changed)


def put(stack, pristine, dtype=torch.float32):
    target = torch.full(pristine.shape, 7.0, dtype=dtype)
    merge(target, pristine, terms_of(stack).get(NAME, ()))
    return target


def in_fp64(stack, pristine):
    total = pristine.double()
    for term in terms_of(stack).get(NAME, ()):
        if isinstance(term.delta, LowRank):
            product = term.delta.up.double() @ term.delta.down.double()
            total = total + product.view(pristine.shape) * term.delta.scale * term.weight
        else:
            total = total + pristine.double() * term.delta.by * term.weight
    return total


def stack_of_five(shape=(24, 20)):
    weights = (0.8, -0.3, 1.0, 0.55, 1.7)
    deltas = [low_rank(i, shape, rank=2 + i) for i in range(4)]
    return [adapter(d, w) for d, w in zip([*deltas[:2], Share(0.07), *deltas[2:]], weights, strict=True)]


def ulps(values, oracle):
    """How far values lie from the oracle, in units of the last place of the oracle's own rounding."""
    rounded = oracle.to(values.dtype)
    gap = (torch.nextafter(rounded.abs(), torch.tensor(float("inf"), dtype=values.dtype)) - rounded.abs()).double()
    return (values.double() - oracle).abs() / gap, (values == rounded).double().mean()


def test_an_empty_stack_is_the_identity():
    pristine = torch.randn(5, 3)
    assert torch.equal(put([], pristine), pristine)
    assert torch.equal(put([adapter(low_rank(1), 0.0)], torch.ones(24, 20)), torch.ones(24, 20))


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_files_of_every_precision_are_added_to_in_fp32(stored):
    pristine = torch.randn(24, 20).to(stored)
    stack = [adapter(low_rank(1), 0.5)]
    made = put(stack, pristine)
    torch.testing.assert_close(made.double(), in_fp64(stack, pristine), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 20), (24, 5, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_rounded_once(shape, dtype):
    right = []
    for seed in range(40):
        pristine = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        stack = stack_of_five(shape)
        distance, share = ulps(put(stack, pristine, dtype), in_fp64(stack, pristine))
        assert distance.max() <= 1
        right.append(share)
    assert torch.stack(right).mean() >= 0.999


@pytest.mark.parametrize("shape", [(24, 20), (24, 5, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_all_but_cancelled_is_right_to_the_last_place_too(shape, dtype):
    """The stack takes away almost all that there is, so that fp32 would leave little but rounding."""
    stack = [adapter(low_rank(i, shape, rank=3), weight) for i, weight in enumerate((0.8, -0.3, 1.3))]
    change = in_fp64(stack, torch.zeros(shape))
    pristine = -change.float() * (1 + 1e-5 * torch.randn(shape, generator=torch.Generator().manual_seed(9)))
    distance, _ = ulps(put(stack, pristine, dtype), in_fp64(stack, pristine))
    assert distance.max() <= 1


def test_a_narrowed_lora_counts_with_its_first_rows_alone():
    nothing, low = torch.zeros(24, 32), low_rank(1, (24, 32), rank=3)
    rows = [LowRank(low.up[:, i : i + 1], low.down[i : i + 1], low.scale).of(nothing, 1.0) for i in range(3)]
    torch.testing.assert_close(low.narrowed(2).of(nothing, 1.0), rows[0] + rows[1])
    assert torch.equal(low.narrowed(9).of(nothing, 1.0), low.of(nothing, 1.0))


def test_a_layer_of_zeros_takes_changes_and_none(monkeypatch):
    """An untrained LoRA on a layer that begins with zeros cancels nothing; and what is summed in pieces is the same."""
    nothing, low = torch.zeros(24, 32), low_rank(1, (24, 32))
    untrained = LowRank(torch.zeros_like(low.up), low.down, 1.0)
    assert not put([adapter(untrained)], nothing, torch.bfloat16).any()
    assert torch.equal(put([adapter(low)], nothing, torch.bfloat16), low.of(nothing, 1.0).bfloat16())
    undone = -low.of(nothing, 1.0) * (1 + 1e-5)
    whole = put([adapter(low)], undone, torch.bfloat16)
    monkeypatch.setattr(stack_module, "TOGETHER", 7)
    assert torch.equal(put([adapter(low)], undone, torch.bfloat16), whole)


def test_in_fp32_it_is_the_naive_formula_in_our_order():
    pristine, stack = torch.randn(24, 20), stack_of_five()
    a, b, share, c, d = [terms_of([one])[NAME][0] for one in stack]

    def put_together(*terms):
        ups = [t.delta.up * (t.delta.scale * t.weight) for t in terms]
        return torch.cat(ups, 1) @ torch.cat([t.delta.down for t in terms])

    naive = pristine + put_together(a, b) + share.delta.of(pristine, share.weight) + put_together(c, d)
    assert torch.equal(put(stack, pristine), naive)


@pytest.mark.parametrize("shape", [(5, 1, 3), (64, 700, 48)])
def test_a_product_is_torchs_own_within_the_rounding_of_fp32(shape):
    rows, ranks, columns = shape
    up, down = torch.randn(rows, ranks), torch.randn(ranks, columns)
    whole = torch.randn(len(up), down.shape[1])
    exact = whole.double() + up.double() @ down.double()
    torch.testing.assert_close(plus_product(whole, up, down).double(), exact, rtol=1e-5, atol=1e-4)
    alone = plus_product(torch.zeros_like(whole), up, down)
    assert torch.equal(plus_product(whole, up, down), whole + alone)


def test_every_change_is_of_the_pristine_tensor_wherever_it_stands():
    pristine, stack = torch.randn(24, 20), stack_of_five()
    torch.testing.assert_close(put(stack[::-1], pristine), put(stack, pristine))
    assert recipe_of(terms_of(stack[::-1])[NAME]) == recipe_of(terms_of(stack)[NAME])[::-1]


def test_the_pristine_tensor_is_not_written_to():
    pristine = torch.randn(24, 20)
    before = pristine.clone()
    put(stack_of_five(), pristine)
    assert torch.equal(pristine, before)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_and_the_target_stays(broken):
    bad, target = low_rank(2), torch.zeros(24, 20)
    bad.up[3, 1] = broken
    stack = [adapter(low_rank(1)), Weighted(id="bad", title="dog.safetensors", deltas={NAME: bad})]
    with pytest.raises(InvalidRequestError, match=r"dog\.safetensors.*NaN"):
        merge(target, torch.randn(24, 20), terms_of(stack)[NAME])
    share = [Weighted(id="bad", title="dog.safetensors", deltas={NAME: Share(broken)})]
    with pytest.raises(InvalidRequestError, match=r"dog\.safetensors"):
        merge(target, torch.randn(24, 20), terms_of(share)[NAME])
    assert not target.any()


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("unet.mid_block.x.weight", 0.5),
        ("unet.down_blocks.1.x.weight", 0.5 * 0.2),
        ("unet.down_blocks.10.x.weight", 0.5),
        ("unet.down_blocks.1.attentions.0.x.weight", 0.5 * 3),
        ("text_encoder.layers.0.weight", 0.25),
        ("text_encoder_2.layers.0.weight", 0.25 * -1),
    ],
)
def test_weights_are_of_the_part_and_of_the_block(name, weight):
    blocks = (("unet.down_blocks.1", 0.2), ("unet.down_blocks.1.attentions", 3.0), ("text_encoder_2", -1.0))
    one = adapter(Share(1), 0.5, name, text_weight=0.25, blocks=blocks)
    assert terms_of([one])[name][0].weight == weight


def test_text_encoders_take_the_weight_where_none_is_said():
    name = "text_encoder.layers.0.weight"
    assert terms_of([adapter(Share(1), 0.5, name)])[name][0].weight == 0.5
    assert not terms_of([adapter(Share(1), 0.5, name, text_weight=0.0)])


def test_a_range_is_open_as_a_controls_range_is():
    one = adapter(Share(1), 1.0, start=0.2, end=0.6)
    assert [one.course(i, 10) for i in range(10)] == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    terms = terms_of([adapter(Share(1), 0.5), one])[NAME]
    assert [recipe_of(at_step({NAME: terms}, i, 10)[NAME]) for i in (1, 2)] == [recipe_of(terms[:1]), recipe_of(terms)]
    assert not at_step(terms_of([one]), 1, 10)


def test_the_words_are_read_with_the_whole_weight():
    terms = terms_of([adapter(Share(1), 0.5, "text_encoder.x", start=0.9, curve="fall")])
    assert at_step(terms, 0, 10) == terms


def test_what_rises_and_what_falls_make_up_what_is_constant():
    rise, fall = (adapter(Share(1), start=0.1, end=0.8, curve=curve) for curve in ("rise", "fall"))
    shares = [rise.course(i, 20) for i in range(20)]
    inside = shares[2:16]
    assert inside == sorted(inside)
    assert 0 < inside[0] < inside[-1] < 1
    assert [a + fall.course(i, 20) for i, a in enumerate(shares)] == pytest.approx([0] * 2 + [1] * 14 + [0] * 4)
