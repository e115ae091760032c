"""The suite itself, on a UNet so small that its times say nothing and its exactness all."""

import pytest
import torch

from studio.bench import suites
from studio.bench.adapters import Desk, Size, Theirs, attention_shapes, distance, measure, random_values
from tests import tiny

CONFIG = {name: value for name, value in tiny.tiny_unet().config.items() if not name.startswith("_")}
SMALL = Size(config=CONFIG, ranks=(2, 4), side=8, repeats=1, steps=1, changes=20, walked=4, heavy=100_000)


@pytest.fixture(scope="module")
def figures():
    return measure(SMALL)


def test_every_figure_of_the_table_is_there(figures):
    for said in (
        "unfuse, set weights, fuse of five / one changed by us, rank 4, fp32",
        "a step with five merged / with none, bf16",
        "a step with diffusers' five unfused / with none, fp32",
        "private memory",
        "bits as in the file after 20 changes of 4 layers, bf16",
        "farthest from the sum in fp64, fp16",
        "usable / load_file",
    ):
        assert any(said in name for name in figures), said


def test_what_is_exact_on_any_machine_reaches_its_bar(figures):
    for name, figure in figures.items():
        assert figure.value >= 0
        if any(word in name for word in ("bits as", "correctly rounded", "farthest", "formula")):
            assert figure.ok, (name, figure)


def test_both_sides_put_the_same_weights_on(tmp_path):
    desk = Desk.make(tmp_path, SMALL, torch.float32)
    theirs = Theirs.beside(desk, 4)
    before = dict(theirs.unet.state_dict())
    desk.wear(desk.stack(4))
    changed = attention_shapes(desk.targets)
    assert changed
    for name in changed:
        own = name.removeprefix("unet.")
        fused = before[own.replace(".weight", ".base_layer.weight")]
        torch.testing.assert_close(desk.unet.state_dict()[own], fused, rtol=1e-4, atol=1e-5)
        assert not torch.equal(fused, desk.part.tensor(own))


def test_distances_are_in_units_of_the_last_place():
    exact = torch.tensor([1.0, 1.0 + 2**-8, -3.0], dtype=torch.float64)
    assert distance(torch.tensor([1.0, 1.0, -3.0]).bfloat16(), exact) == (0.5, 1.0)
    far, share = distance(torch.tensor([1.0078125, 1.0, -3.0]).bfloat16(), exact)
    assert (far, share) == (1.0, pytest.approx(2 / 3))


def test_norms_are_ones_and_biases_zeros():
    assert random_values("norm.weight", (3,), torch.bfloat16).tolist() == [1, 1, 1]
    assert not random_values("norm.bias", (3,), torch.float32).any()


def test_the_suite_is_known_by_its_name():
    assert "adapters" in suites.SUITES
