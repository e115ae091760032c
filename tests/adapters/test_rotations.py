"""OFT and BOFT of every program against their formulas, written out in fp64; PEFT's against PEFT itself too."""

import itertools
import json

import pytest
import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import BOFTConfig, OFTConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.boft.layer import BOFTLayer
from peft.tuners.oft.layer import OFTLayer
from torch import nn

from tests.adapters.held import only_delta, read
from tests.adapters.test_formats import IN, OUT, SHAPES, agrees, noise


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request):
    return request.param


def rotations(blocks, constraint):
    """Cayley's rotation of each block of a list, all of them held to the constraint together."""
    skews = [block.double() - block.double().T for block in blocks]
    length = sum(float((skew**2).sum()) for skew in skews) ** 0.5
    factor = constraint / length if constraint and length > constraint else 1
    identity = torch.eye(blocks[0].shape[0], dtype=torch.float64)
    return [(identity + skew * factor) @ torch.linalg.inv(identity - skew * factor) for skew in skews]


@pytest.mark.parametrize("alpha", [None, 0.0, 0.05], ids=["free", "zero is free", "held"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_oft_rotates_blocks_of_outputs(shape, alpha, rescaled):
    tensors = {"oft_blocks": noise(3, 4, 4)}
    if alpha is not None:
        tensors["alpha"] = torch.tensor(alpha)
    rescale = torch.rand(OUT) + 0.5 if rescaled else torch.ones(OUT)
    if rescaled:
        tensors["rescale"] = rescale.view(-1, *[1] * (len(shape) - 1))
    turns = rotations(list(tensors["oft_blocks"]), (alpha or 0) * OUT)

    def oracle(pristine, weight):
        made = torch.zeros_like(pristine)
        for k, n, m in itertools.product(range(3), range(4), range(4)):
            turn = weight * turns[k][n, m] + (1 - weight) * (n == m)
            made[4 * k + m] += turn * pristine[4 * k + n]
        return made * (1 + weight * (rescale.double() - 1))[:, None, None] - pristine

    agrees(only_delta(tensors, shape), shape, oracle)


@pytest.mark.parametrize("alpha", [0.0, 0.05], ids=["free", "held"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_boft_rotates_in_stages_of_a_butterfly(shape, alpha, rescaled):
    shape = (16, *shape[1:])
    tensors = {"oft_blocks": noise(3, 4, 4, 4), "alpha": torch.tensor(alpha)}
    rescale = torch.rand(16) + 0.5 if rescaled else torch.ones(16)
    if rescaled:
        tensors["rescale"] = rescale.view(-1, *[1] * (len(shape) - 1))
    blocks = tensors["oft_blocks"]
    turns = rotations([blocks[m, k] for m in range(3) for k in range(4)], alpha * 16)

    def oracle(pristine, weight):
        rows = pristine.clone()
        for stage in range(3):
            half = 2 * 2**stage
            # A run of 2 * half outputs is dealt like cards: first of both halves, second of both halves, ...
            order = [
                run + side * half + card for run in range(0, 16, 2 * half) for card in range(half) for side in (0, 1)
            ]
            dealt, turned = rows[order], torch.zeros_like(rows)
            for k, i, j in itertools.product(range(4), range(4), range(4)):
                turn = weight * turns[4 * stage + k][i, j] + (1 - weight) * (i == j)
                turned[4 * k + i] += turn * dealt[4 * k + j]
            rows = torch.zeros_like(rows)
            rows[order] = turned
        return rows * (1 + weight * (rescale.double() - 1))[:, None, None] - pristine

    agrees(only_delta(tensors, shape), shape, oracle)


def oft_of_outputs(turns, rescale=None):
    """made[4 k + m] = sum over n of turn[n, m] * W[4 k + n], each output rescaled; the turns at a weight."""

    def oracle(pristine, weight):
        made = torch.zeros_like(pristine)
        for k, n, m in itertools.product(range(3), range(4), range(4)):
            turn = weight * turns[k][n, m] + (1 - weight) * (n == m)
            made[4 * k + m] += turn * pristine[4 * k + n]
        factors = torch.ones(OUT) if rescale is None else rescale
        return made * (1 + weight * (factors.double() - 1))[:, None, None] - pristine

    return oracle


@pytest.mark.parametrize("whole", [True, False], ids=["rotations", "what they add to the identity"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_oft_diag_holds_finished_rotations(shape, whole, rescaled):
    """The first LyCORIS that had OFT; its very first wrote rotations less the identity."""
    turns = torch.stack(rotations(list(noise(3, 4, 4) * 0.5), 0))
    tensors = {"oft_diag": (turns if whole else turns - torch.eye(4)).float(), "alpha": torch.tensor(0.01)}
    rescale = torch.rand(OUT) + 0.5 if rescaled else None
    if rescaled:
        tensors["rescale"] = rescale.view(3, 4, 1)
    agrees(only_delta(tensors, shape), shape, oft_of_outputs(turns, rescale))


def test_oft_diag_in_stages_is_the_butterfly_of_its_blocks(shape):
    shape = (16, *shape[1:])
    blocks = noise(2, 4, 4, 4)
    finished = torch.stack(rotations([blocks[m, k] for m in range(2) for k in range(4)], 0)).view(2, 4, 4, 4)
    pristine = noise(*shape)
    stored, made = (only_delta(one, shape) for one in ({"oft_diag": finished.float()}, {"oft_blocks": blocks}))
    for weight in (1.0, 0.6):
        torch.testing.assert_close(stored.of(pristine, weight), made.of(pristine, weight), rtol=1e-4, atol=1e-5)


def upper(rows, size):
    """The skew-symmetric matrix of which `rows` is what is above the diagonal, in fp64."""
    skew = torch.zeros(size, size, dtype=torch.float64)
    for number, (above, right) in zip(rows, itertools.combinations(range(size), 2), strict=True):
        skew[above, right], skew[right, above] = number, -number
    return skew


def inverse_cayley(skew):
    identity = torch.eye(len(skew), dtype=torch.float64)
    return (identity - skew) @ torch.linalg.inv(identity + skew)


def powers(skew, terms):
    identity = torch.eye(len(skew), dtype=torch.float64)
    factors = {1: [1], 2: [1, 2], 3: [1, 2, 2, 1], 4: [1, 2, 2, 1], 5: [1, 2, 2, 2, 1], 7: [1, 2, 2, 2, 2, 2, 1]}[terms]
    return sum((factor * torch.linalg.matrix_power(skew, n) for n, factor in enumerate(factors)), 0 * identity)


def oft_of_inputs(turns, *, backwards=False):
    """made[o, b n + c] = sum over m of turn[c, m] * W[o, b n + m], with kernels as inputs of their own."""

    def oracle(pristine, weight):
        flat = pristine.reshape(pristine.shape[0], -1)
        made, size = torch.zeros_like(flat), len(turns[0])
        for n, turn in enumerate(turns):
            now = weight * (turn.T if backwards else turn) + (1 - weight) * torch.eye(size, dtype=torch.float64)
            for c, m in itertools.product(range(size), repeat=2):
                made[:, size * n + c] += now[c, m] * flat[:, size * n + m]
        return (made - flat).view(pristine.shape)

    return oracle


def stored(tensors, shape, said=None, stem="unet.conv_in"):
    """The one change that PEFT's tensors make of a layer of that shape."""
    metadata = {LORA_ADAPTER_METADATA_KEY: json.dumps({f"unet.{name}": value for name, value in (said or {}).items()})}
    found = read(
        {f"{stem}.{role}": tensor for role, tensor in tensors.items()}, {"unet.conv_in.weight": shape}, metadata
    )
    assert not found.unmatched
    assert found.matched == len(tensors)
    return found.deltas["unet.conv_in.weight"]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("terms", [0, 1, 2, 3, 4, 5, 7])
def test_oft_of_peft_rotates_blocks_of_inputs(shape, terms, shared):
    inputs = IN * shape[-1] ** 2 if len(shape) == 4 else IN
    rows = noise(1 if shared else inputs // 4, 6)
    said = {"num_cayley_neumann_terms": terms} if terms else {"use_cayley_neumann": False}
    skews = [upper(row, 4) for row in rows.double()] * (inputs // 4 if shared else 1)
    turns = [powers(skew, terms) if terms else inverse_cayley(skew) for skew in skews]
    agrees(stored({"oft_R.weight": rows}, shape, said), shape, oft_of_inputs(turns))


def test_oft_without_settings_is_the_series_of_five(shape):
    inputs = IN * shape[-1] ** 2 if len(shape) == 4 else IN
    rows = noise(inputs // 4, 6)
    turns = [powers(upper(row, 4), 5) for row in rows.double()]
    agrees(stored({"oft_R.weight": rows}, shape), shape, oft_of_inputs(turns))


def test_oft_of_onetrainer_turns_kernels_the_other_way_round(shape):
    inputs = IN * shape[-1] ** 2 if len(shape) == 4 else IN
    rows = noise(inputs // 4, 6)
    turns = [powers(upper(row, 4), 5) for row in rows.double()]
    delta = only_delta({"oft_R.weight": rows}, shape)
    agrees(delta, shape, oft_of_inputs(turns, backwards=len(shape) == 4))


def test_constrained_oft_goes_no_further_than_eps(shape):
    inputs = IN * shape[-1] ** 2 if len(shape) == 4 else IN
    rows = noise(inputs // 4, 6)
    rows[0] *= 1e-4
    skews = [upper(row, 4) for row in rows.double()]
    limit = 0.1 / len(rows) ** 0.5
    held = [skew * min(1, limit / float((skew**2).sum()) ** 0.5) for skew in skews]
    delta = stored({"oft_R.weight": rows}, shape, {"coft": True, "eps": 0.1})
    agrees(delta, shape, oft_of_inputs([powers(skew, 5) for skew in held]))


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_boft_of_peft_rotates_inputs_in_stages(shape, stages, scaled):
    shape = (OUT, 16, *shape[2:])
    inputs = 16 * shape[-1] ** 2 if len(shape) == 4 else 16
    blocks, factors = noise(stages, inputs // 4, 4, 4), torch.rand(OUT) + 0.5 if scaled else torch.ones(OUT)
    tensors = {"boft_R": blocks} | ({"boft_s": factors.view(1, -1)} if scaled else {})
    turns = [[inverse_cayley((block - block.T) / 2) for block in stage] for stage in blocks.double()]

    def oracle(pristine, weight):
        rows = pristine.reshape(OUT, -1).T.clone()
        for stage, now in enumerate(turns):
            order = BOFTLayer.block_butterfly_perm(None, inputs, inputs // 4 // 2**stage, 2, stages - 1)
            rotated = [weight * turn + (1 - weight) * torch.eye(4, dtype=torch.float64) for turn in now]
            dealt, put = torch.block_diag(*rotated), torch.zeros(inputs, inputs, dtype=torch.float64)
            for place, taken in enumerate(order):
                put[place, taken] = 1
            rows = put @ dealt @ put.T @ rows
        rows = rows * (1 + weight * (factors.double() - 1))
        return rows.T.reshape(pristine.shape) - pristine

    agrees(stored(tensors, shape), shape, oracle)


def test_the_name_of_peft_adapters_in_the_ending_changes_nothing():
    shape, pristine = SHAPES["linear"], noise(OUT, IN)
    for plain, others in (("oft_R.weight", ["oft_R.default.weight", "oft_R"]), ("boft_R", ["boft_R.default"])):
        tensor = noise(1, 2, 4, 4) if plain == "boft_R" else noise(2, 6)
        expected = stored({plain: tensor}, shape).of(pristine, 1.0)
        for other in others:
            assert torch.equal(stored({other: tensor}, shape).of(pristine, 1.0), expected)


CONFIGS = {
    "oft": OFTConfig(oft_block_size=4, use_cayley_neumann=False),
    "oft-series": OFTConfig(oft_block_size=4, num_cayley_neumann_terms=6),
    "oft-default": OFTConfig(oft_block_size=4),
    "oft-shared": OFTConfig(r=2, oft_block_size=0, block_share=True),
    "oft-constrained": OFTConfig(oft_block_size=4, coft=True, eps=0.05),
    "boft": BOFTConfig(boft_block_size=4),
    "boft-number": BOFTConfig(boft_block_size=0, boft_block_num=2),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_file_of_peft_makes_the_weights_that_peft_merges(case, monkeypatch):
    monkeypatch.setattr("peft.tuners.boft.layer._FBD_CUDA", False)  # or it compiles a kernel for CUDA first
    config = CONFIGS[case]
    config.target_modules = ["linear", "conv"]
    model = nn.ModuleDict({"linear": nn.Linear(8, 12), "conv": nn.Conv2d(8, 12, 3)}).double()
    pristine = {f"unet.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if "oft_" in name:
            parameter.data = torch.randn(parameter.shape).double() * 0.2 + ("boft_s" in name)
    tensors = {f"unet.{name}": tensor for name, tensor in get_peft_model_state_dict(model).items()}
    said = {f"unet.{name}": value for name, value in config.to_dict().items()}
    metadata = {LORA_ADAPTER_METADATA_KEY: json.dumps(said, default=str)}
    found = read(tensors, {name: tuple(tensor.shape) for name, tensor in pristine.items()}, metadata)
    assert not found.unmatched
    assert found.algorithms == ("BOFT" if case.startswith("boft") else "OFT",)
    for name in ("linear", "conv"):
        assert isinstance(model[name], OFTLayer | BOFTLayer)
        model[name].merge()
        before = pristine[f"unet.{name}.weight"]
        made = before + found.deltas[f"unet.{name}.weight"].of(before.float(), 1.0)
        torch.testing.assert_close(made, model[name].base_layer.weight.data, rtol=1e-5, atol=1e-6)
