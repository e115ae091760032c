import torch

from studio.training.draws import cut, draw, seed_of, seeded
from tests.training.lesson import Stored, params

BATCH = Stored(4).at(0)


def test_a_row_draws_the_same_however_its_step_is_cut():
    whole = draw(params(offset_noise=0.1), 7, range(4), BATCH, 1000)
    parts = [draw(params(offset_noise=0.1), 7, rows, cut(BATCH, 0, 2), 1000) for rows in (range(2), range(2, 4))]
    assert torch.equal(whole.noise, torch.cat([part.noise for part in parts]))
    assert torch.equal(whole.timesteps, torch.cat([part.timesteps for part in parts]))


def test_steps_rows_and_seeds_draw_differently():
    seeds = {seed_of(0, seed, step, row) for seed in range(3) for step in range(3) for row in range(3)}
    assert len(seeds) == 27


def test_timesteps_are_drawn_over_all_times_and_cubic_ones_later():
    def drawn(kind):
        return torch.cat([draw(params(timesteps=kind), n, range(4), BATCH, 1000).timesteps for n in range(500)])

    uniform, cubic = drawn("uniform").float(), drawn("cubic").float()
    assert abs(uniform.mean() - 500) < 30
    assert abs(cubic.mean() - 750) < 30  # of (1 - u^3) T
    assert uniform.min() < 10
    assert uniform.max() > 990
    assert cubic.max() < 1000


def test_what_a_model_draws_within_leaves_no_trace():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    found = []
    for _ in range(2):
        with seeded(1, 2, device=torch.device("cpu")):
            found.append(torch.rand(3))
    assert torch.equal(*found)
    assert torch.equal(torch.rand(3), expected)
