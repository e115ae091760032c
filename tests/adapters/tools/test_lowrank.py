import pytest
import torch

from studio.adapters.delta import LowRank
from studio.adapters.tools.lowrank import Keep, cut, factored, together
from studio.errors import InvalidRequestError


def low(rank=4, scale=0.5, seed=0, shape=(12, 18)):
    rng = torch.Generator().manual_seed(seed)
    up, down = torch.randn(shape[0], rank, generator=rng), torch.randn(rank, shape[1], generator=rng)
    return LowRank(up, down, scale)


def dense(change, weight=1.0):
    return change.of(torch.zeros(change.up.shape[0], change.down.shape[1]), weight)


def test_together_is_the_sum():
    made = together([(low(), 0.7), (low(3, 2.0, seed=1), -0.4)])
    assert made.up.shape[1] == 7
    torch.testing.assert_close(dense(made), dense(low(), 0.7) + dense(low(3, 2.0, seed=1), -0.4))


def test_one_alone_keeps_its_bits():
    made = together([(low(), 0.25)])
    assert torch.equal(made.up, low().up)
    assert torch.equal(dense(made), dense(low(), 0.25))


@pytest.mark.parametrize("shape", [(12, 18), (3, 40), (40, 3)])
@pytest.mark.parametrize("keep", [Keep(), Keep(rank=4), Keep(rank=100)])
def test_full_rank_is_the_same(shape, keep):
    change = low(shape=shape)
    torch.testing.assert_close(dense(cut(change, keep)), dense(change), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dense(factored(dense(change), keep)), dense(change), rtol=1e-5, atol=1e-5)


def test_less_is_the_nearest_that_there_is():
    change = low(6)
    left, strengths, right = torch.linalg.svd(dense(change).double(), full_matrices=False)
    nearest = left[:, :2] * strengths[:2] @ right[:2]
    for made in (cut(change, Keep(rank=2)), factored(dense(change), Keep(rank=2))):
        assert made.up.shape[1] == 2
        torch.testing.assert_close(dense(made).double(), nearest, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.9, 2), (0.95, 3), (1.0, 4)])
def test_energy_keeps_the_fewest_dimensions_that_hold_it(energy, rank):
    strengths = torch.tensor([3.0, 2.0, 1.0, 0.1])  # squares 9, 4, 1, 0.01
    assert Keep(energy=energy).of(strengths) == rank
    assert Keep(rank=2, energy=energy).of(strengths) == min(rank, 2)


def test_kernels_are_seen_as_matrices():
    kernel = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(factored(kernel, Keep()).of(kernel, 1.0), kernel, rtol=1e-4, atol=1e-5)


def test_nothing_is_a_product_of_rank_one():
    made = factored(torch.zeros(3, 5), Keep(energy=0.9))
    assert made.up.shape == (3, 1)
    assert not dense(made).any()


@pytest.mark.parametrize(
    "wrong", [{"rank": -1}, {"rank": 10**6}, {"energy": 0}, {"energy": 1.1}, {"energy": float("nan")}]
)
def test_what_cannot_be_kept_is_refused(wrong):
    with pytest.raises(InvalidRequestError, match="is"):
        Keep(**wrong)
