"""Every algorithm against its formula, written out in fp64 with loops over numbers, for matrices and kernels."""

import itertools

import pytest
import torch

from studio.adapters.delta import LowRank
from tests.adapters.held import only_delta, read

OUT, IN, RANK = 12, 8, 3
SHAPES = {"linear": (OUT, IN), "conv1": (OUT, IN, 1, 1), "conv3": (OUT, IN, 3, 3)}
WEIGHTS = (1.0, 0.0, 0.6, -1.5)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request):
    return request.param


def noise(*shape):
    return torch.randn(*shape) * 0.3


def places(shape):
    return itertools.product(*map(range, shape))


def numbers(tensor, shape):
    """The tensor in fp64 by outputs, inputs and kernel places, whatever its own shape."""
    return tensor.double().reshape(*shape[:2], -1)


def agrees(delta, shape, oracle, weights=WEIGHTS):
    """oracle: (W in fp64 as (out, in, places), weight) -> the change."""
    pristine = noise(*shape)
    before = pristine.clone()
    for weight in weights:
        found = delta.of(pristine, weight)
        assert found.dtype == torch.float32
        assert found.shape == shape
        expected = oracle(numbers(pristine, shape), weight).reshape(shape)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=2e-6)
    assert torch.equal(pristine, before)
    assert not delta.of(pristine, 0.0).any()


def product(up, down, shape):
    """sum over the rank of up[o, r] * down[r, i, k], number by number."""
    up, down = up.double().reshape(up.shape[0], -1), numbers(down, (down.shape[0], shape[1]))
    made = torch.zeros(shape[0], shape[1], down.shape[2], dtype=torch.float64)
    for o, i, k in places(made.shape):
        made[o, i, k] = sum(up[o, r] * down[r, i, k] for r in range(down.shape[0]))
    return made


def tucker(up, core, down, shape):
    """sum over both ranks of up[o, m] * core[m, n, k] * down[n, i]."""
    up, down = up.double().reshape(up.shape[0], -1), down.double().reshape(down.shape[0], -1)
    core = core.double().reshape(*core.shape[:2], -1)
    made = torch.zeros(shape[0], shape[1], core.shape[2], dtype=torch.float64)
    for o, i, k in places(made.shape):
        made[o, i, k] = sum(
            up[o, m] * core[m, n, k] * down[n, i] for m in range(core.shape[0]) for n in range(core.shape[1])
        )
    return made


def pair(shape, rank=RANK):
    ones = (1,) * (len(shape) - 2)
    return {"lora_down.weight": noise(rank, *shape[1:]), "lora_up.weight": noise(shape[0], rank, *ones)}


def pair_product(pair, shape):
    return product(pair["lora_up.weight"], pair["lora_down.weight"], shape)


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1), (1.5, 0.5), (0.0, 1), (-3.0, -1)])
def test_lora_is_up_times_down_times_alpha_by_rank(shape, alpha, scale):
    tensors = pair(shape)
    if alpha is not None:
        tensors["alpha"] = torch.tensor(alpha)
    delta = only_delta(tensors, shape)
    assert isinstance(delta, LowRank)
    agrees(delta, shape, lambda _, weight: pair_product(tensors, shape) * scale * weight)


def test_lora_has_matrices_that_can_be_stacked(shape):
    delta = only_delta(pair(shape), shape)
    assert delta.up.shape == (OUT, RANK)
    assert delta.down.shape == (RANK, IN * shape[-1] * shape[-1] if len(shape) == 4 else IN)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_file_in_another_precision_is_calculated_in_fp32(dtype):
    shape = SHAPES["linear"]
    tensors = {name: tensor.to(dtype) for name, tensor in pair(shape).items()}
    agrees(only_delta(tensors, shape), shape, lambda _, weight: pair_product(tensors, shape) * weight)


def test_a_scalar_of_lycoris_is_one_more_factor(shape):
    tensors = pair(shape) | {"scalar": torch.tensor([0.5])}
    agrees(only_delta(tensors, shape), shape, lambda _, weight: pair_product(tensors, shape) * 0.5 * weight)


def test_matrices_change_a_1x1_convolution_and_the_other_way_round():
    linear, conv = SHAPES["linear"], SHAPES["conv1"]
    for own, other in ((linear, conv), (conv, linear)):
        tensors = pair(own)
        expected = pair_product(tensors, own)
        agrees(only_delta(tensors, other), other, lambda _, weight, expected=expected: expected * weight)


def test_the_bias_of_lora_b_is_added_to_the_layers():
    tensors = pair(SHAPES["linear"]) | {"lora_up.bias": noise(OUT), "alpha": torch.tensor(6.0)}
    targets = {"unet.conv_in.weight": (OUT, IN), "unet.conv_in.bias": (OUT,)}
    found = read({f"lora_unet_conv_in.{role}": tensor for role, tensor in tensors.items()}, targets)
    assert found.matched == 4
    torch.testing.assert_close(
        found.deltas["unet.conv_in.bias"].of(torch.zeros(OUT), 0.5), tensors["lora_up.bias"] * 2 * 0.5
    )


@pytest.mark.parametrize("ranks", [(3, 3), (2, 4)])
def test_locon_with_a_core(ranks):
    shape = SHAPES["conv3"]
    tensors = {
        "lora_up.weight": noise(OUT, ranks[0], 1, 1),
        "lora_mid.weight": noise(*ranks, 3, 3),
        "lora_down.weight": noise(ranks[1], IN, 1, 1),
        "alpha": torch.tensor(2.0),
    }
    expected = tucker(tensors["lora_up.weight"], tensors["lora_mid.weight"], tensors["lora_down.weight"], shape)
    agrees(only_delta(tensors, shape), shape, lambda _, weight: expected * 2 / ranks[1] * weight)


def hada(shape):
    numbers_in = shape[1] * (shape[2] * shape[3] if len(shape) == 4 else 1)
    halves = [(noise(shape[0], RANK), noise(RANK, numbers_in)) for _ in range(2)]
    tensors = {
        f"hada_w{place}_{letter}": part
        for place, half in enumerate(halves, 1)
        for letter, part in zip("ab", half, strict=True)
    }
    return tensors, product(*halves[0], shape) * product(*halves[1], shape)


def test_loha_multiplies_two_products(shape):
    tensors, expected = hada(shape)
    tensors["alpha"] = torch.tensor(1.5)
    agrees(only_delta(tensors, shape), shape, lambda _, weight: expected * 0.5 * weight)


def test_loha_with_cores():
    shape, tensors, halves = SHAPES["conv3"], {}, []
    for place in (1, 2):
        up, down, core = noise(RANK, OUT), noise(RANK, IN), noise(RANK, RANK, 3, 3)
        tensors |= {f"hada_w{place}_a": up, f"hada_w{place}_b": down, f"hada_t{place}": core}
        halves.append(tucker(up.T, core, down, shape))
    agrees(only_delta(tensors, shape), shape, lambda _, weight: halves[0] * halves[1] * weight)


def kron(first, second, shape):
    """made[a * rows + c, b * columns + d, k] = first[a, b] * second[c, d, k]."""
    columns = shape[1] // first.shape[1]
    second = second.double().reshape(second.shape[0], columns, -1)
    made = torch.zeros(*shape[:2], second.shape[2], dtype=torch.float64)
    for a, b in places(first.shape):
        for c, d, k in places(second.shape):
            made[a * second.shape[0] + c, b * columns + d, k] = first[a, b].double() * second[c, d, k]
    return made


@pytest.mark.parametrize("small", ["whole", "factored"])
@pytest.mark.parametrize("large", ["whole", "factored", "flat", "core"])
def test_lokr_is_a_kronecker_product(shape, small, large):
    kernel = shape[2:]
    if large == "core" and shape != SHAPES["conv3"]:
        shape, kernel = SHAPES["conv3"], (3, 3)
    first_a, first_b = noise(3, 2), noise(2, 2)
    first = first_a @ first_b
    tensors = {"lokr_w1": first} if small == "whole" else {"lokr_w1_a": first_a, "lokr_w1_b": first_b}
    second_shape, rank = (OUT // 3, IN // 2, *kernel), 2
    up, down = noise(second_shape[0], rank), noise(rank, *second_shape[1:])
    second = product(up, down, second_shape)
    if large == "whole":
        tensors["lokr_w2"] = second.float().reshape(second_shape)
    elif large == "core":
        core, down = noise(rank, rank, *kernel), noise(rank, second_shape[1])
        tensors |= {"lokr_w2_a": up.T.contiguous(), "lokr_w2_b": down, "lokr_t2": core}
        second = tucker(up, core, down, second_shape)
    else:
        tensors |= {"lokr_w2_a": up, "lokr_w2_b": down.flatten(1) if large == "flat" else down}
    tensors["alpha"] = torch.tensor(1.0)
    scale = 1 if (small, large) == ("whole", "whole") else 0.5
    agrees(only_delta(tensors, shape), shape, lambda _, weight: kron(first, second, shape) * scale * weight)


def dora(pristine, change, magnitude, axis):
    """W + change, each row or column brought to its length."""
    turned = pristine + change
    made = torch.zeros_like(turned)
    for index in range(turned.shape[axis]):
        line = turned.select(axis, index)
        length = sum(number**2 for number in line.flatten()) ** 0.5
        made.select(axis, index)[:] = line / length * magnitude[index]
    return made - pristine


def magnitudes(axis, shape):
    found = torch.rand(shape[axis]) + 0.5
    sizes = [1] * len(shape)
    sizes[axis] = -1
    return found.double(), found.view(sizes)


@pytest.mark.parametrize("axis", [0, 1], ids=["by outputs", "by inputs"])
@pytest.mark.parametrize("square", [False, True])
def test_dora_brings_rows_or_columns_to_their_length(shape, axis, square):
    shape = (IN, *shape[1:]) if square else shape
    tensors = pair(shape) | {"alpha": torch.tensor(1.5)}
    expected, tensors["dora_scale"] = magnitudes(axis, shape)
    change = pair_product(tensors, shape) * 0.5
    agrees(only_delta(tensors, shape), shape, lambda pristine, w: dora(pristine, change, expected, axis) * w)


def test_dora_of_peft_is_by_outputs_in_both_of_its_shapes():
    for shape, size in ((SHAPES["linear"], (OUT,)), (SHAPES["conv3"], (1, OUT, 1, 1))):
        tensors = pair(shape)
        magnitude = torch.rand(OUT) + 0.5
        tensors["lora_magnitude_vector"] = magnitude.view(size)
        change = pair_product(tensors, shape)

        def oracle(pristine, weight, change=change, magnitude=magnitude):
            return dora(pristine, change, magnitude.double(), 0) * weight

        agrees(only_delta(tensors, shape), shape, oracle)


def test_dora_of_loha_and_lokr(shape):
    expected, scale = magnitudes(0, shape)
    tensors, change = hada(shape)
    agrees(
        only_delta(tensors | {"dora_scale": scale}, shape),
        shape,
        lambda pristine, weight: dora(pristine, change, expected, 0) * weight,
    )
    first, second = noise(3, 2), noise(OUT // 3, IN // 2, *shape[2:])
    kronecker = kron(first, second, shape)
    agrees(
        only_delta({"lokr_w1": first, "lokr_w2": second, "dora_scale": scale}, shape),
        shape,
        lambda pristine, weight: dora(pristine, kronecker, expected, 0) * weight,
    )


def test_dora_of_a_row_of_zeros_is_zeros():
    tensors = {"lora_down.weight": torch.zeros(RANK, IN), "lora_up.weight": torch.zeros(OUT, RANK)}
    delta = only_delta(tensors | {"dora_scale": torch.ones(OUT, 1)}, SHAPES["linear"])
    assert not delta.of(torch.zeros(OUT, IN), 1.0).any()


@pytest.mark.parametrize("older", [False, True])
def test_glora_mixes_inputs_and_adds(shape, older):
    ones = (1,) * (len(shape) - 2)
    parts = [noise(IN, RANK, *ones), noise(RANK, IN, *ones), noise(OUT, RANK, *ones), noise(RANK, *shape[1:])]
    names = ("a2", "a1", "b2", "b1") if older else ("a1", "a2", "b1", "b2")
    tensors = {f"{name}.weight": part for name, part in zip(names, parts, strict=True)}
    tensors["alpha"] = torch.tensor(1.5)
    mix = product(parts[0], parts[1], (IN, IN))[:, :, 0]
    added = product(parts[2], parts[3], shape)

    def oracle(pristine, weight):
        mixed = torch.zeros_like(pristine)
        for o, i, j in itertools.product(range(OUT), range(IN), range(IN)):
            mixed[o, j] += pristine[o, i] * mix[i, j]
        return (mixed + added) * 0.5 * weight

    agrees(only_delta(tensors, shape), shape, oracle)


@pytest.mark.parametrize("on_input", [0, 1])
def test_ia3_rescales_outputs_or_inputs(shape, on_input):
    factors = noise(shape[on_input])
    stored = factors.view(1, -1, 1, 1) if len(shape) == 4 else factors
    tensors = {"weight": stored, "on_input": torch.tensor(on_input)}

    def oracle(pristine, weight):
        along = factors.double()[None, :, None] if on_input else factors.double()[:, None, None]
        return pristine * along * weight

    agrees(only_delta(tensors, shape), shape, oracle)


def test_a_difference_is_added(shape):
    tensors = {"diff": noise(*shape)}
    agrees(only_delta(tensors, shape), shape, lambda _, weight: numbers(tensors["diff"], shape) * weight)


def test_a_value_replaces_the_checkpoints(shape):
    tensors = {"set_weight": noise(*shape)}
    expected = numbers(tensors["set_weight"], shape)
    agrees(only_delta(tensors, shape), shape, lambda pristine, weight: (expected - pristine) * weight)


@pytest.mark.parametrize(("role", "parameter"), [("diff_b", "bias"), ("w_norm", "weight"), ("b_norm", "bias")])
def test_differences_of_biases_and_norms_are_added(role, parameter):
    tensors = {role: noise(OUT)}
    delta = only_delta(tensors, (OUT,), parameter)
    torch.testing.assert_close(delta.of(torch.zeros(OUT), 0.5), tensors[role] * 0.5)
