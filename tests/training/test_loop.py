import pytest
import torch
from torch import nn

from studio.training.loop import Plan, Run, schedule


def problem(run: Run):
    """A loss whose batches follow torch's generator, as in the real parts."""

    def loss_of(_share):
        x = torch.randn(8, 4)
        return (run.module(x) - x.sum(1, keepdim=True)).square().mean()

    return loss_of


def plan(samples: int) -> Plan:
    return Plan(learning_rate=0.05, batch=8, samples=samples, warmup=1, seed=1)


def test_training_lowers_the_loss_and_averages_the_weights(tmp_path):
    torch.manual_seed(0)
    run = Run(plan(800), nn.Linear(4, 1), tmp_path)
    run.train(problem(run))
    assert run.progress.samples == 800
    assert problem(run)(1.0).item() < 0.1
    assert torch.allclose(run.averaged["weight"], torch.ones(1, 4), atol=0.2)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(tmp_path):
    def start(folder):
        torch.manual_seed(0)
        return Run(plan(800), nn.Linear(4, 1), tmp_path / folder)

    whole, stopped = start("whole"), start("stopped")
    whole.train(problem(whole))
    for _ in range(50):
        stopped.progress.loss = stopped._step(problem(stopped), stopped.share)
    stopped.save()
    resumed = start("stopped")
    assert resumed.progress.step == 50
    resumed.train(problem(resumed))
    assert torch.equal(resumed.module.weight, whole.module.weight)
    assert torch.equal(resumed.averaged["weight"], whole.averaged["weight"])


def test_a_finished_run_does_nothing_more(tmp_path):
    run = Run(plan(80), nn.Linear(4, 1), tmp_path)
    run.train(problem(run))
    before = run.module.weight.detach().clone()
    again = Run(plan(80), nn.Linear(4, 1), tmp_path)
    again.train(problem(again))
    assert torch.equal(again.module.weight, before)


def test_the_rate_warms_up_holds_and_falls():
    p = Plan(learning_rate=1, batch=1, samples=100, warmup=10, hold=0.5)
    assert schedule(0, 0.0, p) == pytest.approx(0.1)
    assert schedule(50, 0.5, p) == pytest.approx(1.0)
    assert schedule(90, 1.0, p) == pytest.approx(0.04)
