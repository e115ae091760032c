import pytest
import torch

from studio.errors import OutOfMemoryError, TrainingError
from tests.training.lesson import Plain, Told, params, session
from tests.training.test_session import everything


class Failing(Plain):
    """Fails when `fails(calls)`: its prediction is multiplied by what that gives, or that is raised."""

    def __init__(self, fails, **options):
        super().__init__(**options)
        self.fails, self.calls, self.widest = fails, 0, 0

    def predict(self, batch, noisy, timesteps):
        self.calls += 1
        found = self.fails(self, len(noisy))
        if isinstance(found, Exception):
            raise found
        return super().predict(batch, noisy, timesteps) * found


def failing(folder, fails, given=None, hooks=None):
    run = session(folder, given, hooks, dropout=0.0)
    method = Failing(fails, dropout=0.0)
    method.trained = run.lesson.method.trained
    object.__setattr__(run.lesson, "method", method)
    return run


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_sends_the_run_back_with_half_the_rate(tmp_path, bad):
    told = Told()
    run = failing(tmp_path, lambda method, _rows: bad if method.calls == 4 else 1.0, hooks=told.hooks)
    assert run.run()
    (warning,) = told.named("warning")
    assert warning["text"] == (
        "The loss was no number at step 4. The run went back to step 0 and goes on with 0.5 times the learning rate."
    )
    assert run.recovery.rate == 0.5
    assert [event["learning_rate"] for event in told.named("step")] == [0.01] * 3 + [0.005] * 6
    assert all(value.isfinite().all() for value in run.lesson.method.trained.state_dict().values())


def test_a_run_that_went_back_is_as_one_with_half_the_rate(tmp_path):
    fell = failing(tmp_path / "fell", lambda method, _rows: float("nan") if method.calls == 4 else 1.0)
    fell.run()
    slow = session(tmp_path / "slow", params(), dropout=0.0, rates=(5e-3, 5e-3))
    slow.run()
    theirs, ours = slow.lesson.method.trained.state_dict(), fell.lesson.method.trained.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_run_gives_up_after_several_failures_in_a_row(tmp_path):
    run = failing(tmp_path, lambda method, _rows: float("nan") if method.calls > 2 else 1.0)
    with pytest.raises(TrainingError, match=r"at step 1 \(2.png, 3.png\), and it failed 4 times before"):
        run.run()
    assert run.recovery.rate == 0.5**4


def test_a_loss_that_no_sound_model_has_is_a_failure_too(tmp_path):
    told = Told()
    run = failing(tmp_path, lambda method, _rows: 1e4 if method.calls == 4 else 1.0, hooks=told.hooks)
    assert run.run()
    assert "(a model that says nothing has about 1) at step 4" in told.named("warning")[0]["text"]


def test_a_run_that_cannot_leave_a_state_goes_back_to_the_one_before(tmp_path):
    """Its last state is spoilt: whatever the rate, the step after it fails."""
    told = Told({2: ["pause", "go"]})

    def fails(method, _rows):
        spoilt = run.step == 2 and method.trained.last.bias[0] > 100
        return float("nan") if spoilt else 1.0

    run = failing(tmp_path, fails, hooks=told.hooks)
    write = run.checkpoints.write

    def spoil(step, state):
        if step == 2 and not told.named("warning"):
            state["trained"]["last.bias"][0] = 1000
        return write(step, state)

    run.checkpoints.write = spoil
    assert run.run()
    backs = [event["text"].partition("went back to ")[2][:6] for event in told.named("warning")]
    assert backs == ["step 2", "step 2", "step 0"]


def test_half_precision_scales_its_loss_until_gradients_fit(tmp_path):
    limit = 60000.0

    class Narrow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, given):
            return given.clone()

        @staticmethod
        def backward(ctx, grad):
            return torch.where(grad.abs().sum() * 1000 > limit, torch.inf, grad)

    told = Told()
    given = params(precision="fp16")
    run = session(tmp_path / "scaled", given, told.hooks, dropout=0.0)
    plain = run.lesson.method.predict
    run.lesson.method.predict = lambda *rest: Narrow.apply(plain(*rest))
    assert run.run()
    assert 1 < run.recovery.scale < 65536
    assert run.recovery.rate == 1
    assert not told.named("warning")
    other = session(tmp_path / "plain", params(), dropout=0.0)
    other.run()
    ours, theirs = (one.lesson.method.trained.state_dict() for one in (run, other))
    torch.testing.assert_close(ours, theirs)


def test_too_little_memory_takes_one_rung_after_the_other(tmp_path):
    """No more than one picture fits: checkpointing, then halves, then quarters; what is learned stays the same."""
    told, asked = Told(), []

    def fails(_method, rows):
        return torch.OutOfMemoryError("out") if rows > 1 or not asked else 1.0

    given = params(batch=4, accumulation=2, optimizer="lion")
    hooks = {**told.hooks, "save_memory": lambda: not asked.append(True)}
    run = failing(tmp_path / "small", fails, given, hooks)
    assert run.run()
    texts = [event["text"] for event in told.named("warning")]
    assert [text.partition("; ")[2].partition(",")[0] for text in texts] == [
        "gradient checkpointing is on",
        "batches of 4 are taken 2 at a time",
        "batches of 4 are taken 1 at a time",
    ]
    whole = session(tmp_path / "whole", given, dropout=0.0)
    whole.run()
    ours, theirs = (one.lesson.method.trained.state_dict() for one in (run, whole))
    torch.testing.assert_close(ours, theirs)


def test_a_rung_is_kept_over_a_resume(tmp_path):
    def fails(_method, rows):
        return MemoryError() if rows > 1 else 1.0

    asked = []
    failing(tmp_path, fails, params(batch=2)).run()
    resumed = session(tmp_path, params(batch=2, steps=8), {"save_memory": lambda: bool(asked.append(True))})
    assert resumed.recovery.pieces == 2
    assert asked == [True]


def test_a_run_that_has_no_memory_for_one_picture_says_so(tmp_path):
    run = failing(tmp_path, lambda _method, _rows: RuntimeError("can't allocate memory: 9 bytes"), params(batch=2))
    with pytest.raises(OutOfMemoryError, match="even one picture") as raised:
        run.run()
    assert "resolution" in raised.value.hint


def test_memory_that_runs_out_amid_the_optimizers_step_costs_nothing(tmp_path):
    told = Told()
    run = session(tmp_path / "short", params(batch=2), {**told.hooks, "save_memory": lambda: True}, dropout=0.0)
    step, calls = run.optimizer.step, []

    def once():
        calls.append(True)
        if len(calls) == 3:
            with torch.no_grad():
                run.stepper.parameters[0].add_(1)  # some of them have stepped already
            raise torch.OutOfMemoryError("out")
        step()

    run.optimizer.step = once
    run.run()
    whole = session(tmp_path / "whole", params(batch=2), dropout=0.0)
    whole.run()
    ours, theirs = everything(run), everything(whole)
    assert ours.pop("recovery") != theirs.pop("recovery")
    assert ours == theirs


def test_another_error_is_not_taken_for_too_little_memory(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"):
        failing(tmp_path, lambda _method, _rows: RuntimeError("shapes do not fit")).run()
