import os

import pytest
import torch

from studio.adapters.hypernetworks import ACTIVATIONS, MIXING, read_hypernetwork
from studio.engine.pickles import convert
from studio.engine.weights import open_weights
from studio.errors import ModelNotFoundError
from tests.adapters.hypernetwork_files import APPLIED, answered, hypernetwork

WIDTHS = (8, 16)
OPTIONS = {
    "before anything could be chosen": {},
    "deep": {"layer_structure": [1, 2, 4, 2, 1]},
    "flat": {"layer_structure": [1, 1]},
    "halves": {"layer_structure": [1, 0.5, 1.5, 1], "activation_func": "relu"},
    "not at the end": {"activation_func": "relu", "activate_output": False},
    "norm": {"is_layer_norm": True},
    "norm and activation": {"is_layer_norm": True, "activation_func": "tanh", "activate_output": False},
    "norm at the end": {"is_layer_norm": True, "activation_func": "swish", "activate_output": True},
    "dropout": {"layer_structure": [1, 2, 2, 1], "use_dropout": True, "activation_func": "mish"},
    "dropout at the end": {"layer_structure": [1, 2, 2, 1], "use_dropout": True, "last_layer_dropout": True},
    "dropout as chosen": {"layer_structure": [1, 2, 2, 1], "dropout_structure": [0, 0.1, 0.4, 0]},
    "all of it": {
        "layer_structure": [1, 2, 3, 1],
        "activation_func": "elu",
        "is_layer_norm": True,
        "activate_output": True,
        "dropout_structure": [0, 0.5, 0.5, 0],
        "weight_initialization": "KaimingNormal",
        "use_dropout": True,
    },
    **{f"activation {name}": {"activation_func": name} for name in (*APPLIED, "prelu")},
}


def written(tmp_path, held):
    torch.save(held, tmp_path / "oil.pt")
    return open_weights(tmp_path / "oil.pt")


@pytest.mark.parametrize("settings", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("strength", [1.0, -0.7])
def test_every_option_does_what_the_program_does(tmp_path, settings, strength):
    held = hypernetwork(WIDTHS, settings)
    model = read_hypernetwork(written(tmp_path, held))
    for width in WIDTHS:
        states = torch.randn(2, 5, width, generator=torch.Generator().manual_seed(1))
        for side, said in enumerate(model(states, states, strength)):
            expected = states.double() + strength * answered(states.double(), held[width][side], settings)
            torch.testing.assert_close(said.double(), expected, rtol=1e-5, atol=1e-5)


def test_every_activation_of_the_program_is_read_or_refused_by_name():
    known = {name.lower() for name in torch.nn.modules.activation.__all__}
    assert known - ACTIVATIONS.keys() - set(MIXING) == {"glu", "multiheadattention", "threshold"}  # these need more
    assert ACTIVATIONS.keys() - {"prelu"} == APPLIED.keys() - {None}


def test_other_widths_pass_as_they_are(tmp_path):
    model = read_hypernetwork(written(tmp_path, hypernetwork(WIDTHS)))
    states = torch.randn(1, 5, 12)
    assert all(said is states for said in model(states, states, 1.0))
    assert model.widths == set(WIDTHS)


def test_the_oldest_names_are_read(tmp_path):
    held = hypernetwork(WIDTHS)
    names = {"linear.0": "linear1", "linear.1": "linear2"}
    old = {width: [{names[k[:8]] + k[8:]: t for k, t in state.items()} for state in held[width]] for width in WIDTHS}
    old["optimizer_state_dict"] = {"state": {0: {"exp_avg": torch.ones(3)}}}
    model = read_hypernetwork(written(tmp_path, old))
    states = torch.randn(1, 3, 8)
    torch.testing.assert_close(model(states, states, 1.0)[1], states + answered(states, held[8][1], {}))


def test_a_file_that_was_converted_does_the_same(tmp_path):
    held = hypernetwork(WIDTHS, OPTIONS["all of it"])
    before = read_hypernetwork(written(tmp_path, held))
    after = read_hypernetwork(open_weights(convert(tmp_path / "oil.pt", tmp_path / "oil.safetensors")))
    states = torch.randn(1, 3, 16)
    assert torch.equal(before(states, states, 1.0)[0], after(states, states, 1.0)[0])


def without(held, width, side, name):
    held[width][side].pop(name)
    return held


def changed(held, width, side, name, tensor):
    held[width][side][name] = tensor
    return held


RELU = {"activation_func": "relu"}
BROKEN = {
    "no networks": ({"weight": torch.ones(3)}, "weight, which is no part"),
    "one of a pair": ({8: [hypernetwork((8,))[8][0]]}, "lacks networks"),
    "no bias": (without(hypernetwork((8,)), 8, 0, "linear.0.bias"), "layer 0 without its bias"),
    "no last layer": (without(hypernetwork((8,)), 8, 1, "linear.1.weight"), "lacks layers"),
    "cut chain": (changed(hypernetwork((8,)), 8, 1, "linear.1.weight", torch.ones(8, 9)), "sizes 8, 16, 8"),
    "another width": ({9: hypernetwork((8,))[8]}, "sizes 8, 16, 8 for features of width 9"),
    "not finite": (changed(hypernetwork((8,)), 8, 1, "linear.0.bias", torch.full((16,), torch.nan)), "not finite"),
    "another structure": (hypernetwork((8,)) | {"layer_structure": [1, 3, 1]}, "1, 3, 1 times as wide as 8"),
    "activation lost": (hypernetwork((8,), RELU) | {"activation_func": None}, "does not say what they are"),
    "activation too many": (hypernetwork((8,)) | RELU, "does not say what they are"),
    "slope lost": (hypernetwork((8,), RELU) | {"activation_func": "prelu"}, "without the slope"),
    "norm too many": (
        changed(hypernetwork((8,)), 8, 0, "linear.7.weight", torch.ones(8)),
        "that its settings do not name",
    ),
    "softmax": (hypernetwork((8,), {"activation_func": "softmax"}), "mix the pictures of a batch"),
    "unknown activation": (hypernetwork((8,), {"activation_func": "wave"}), "not known here, 'wave'"),
}


@pytest.mark.parametrize(("held", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_refused_with_a_sentence(tmp_path, held, said):
    with pytest.raises(ModelNotFoundError, match=said) as refused:
        read_hypernetwork(written(tmp_path, held))
    assert refused.value.hint


class Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_tries_to_run_code_is_refused_and_nothing_is_run(tmp_path, zipped):
    canary = tmp_path / "ran"
    held = hypernetwork(WIDTHS) | {"optional_info": Runs(canary)}
    torch.save(held, tmp_path / "oil.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelNotFoundError, match=r"program code .*mkdir.*, which is never run"):
        read_hypernetwork(open_weights(tmp_path / "oil.pt"))
    assert not canary.exists()
    torch.load(tmp_path / "oil.pt", weights_only=False)  # as peers did: the canary works
    assert canary.is_dir()
