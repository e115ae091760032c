import importlib.util

import pytest
import torch

from studio.errors import InvalidRequestError, StorageError, StudioError
from studio.training.optimizers import KINDS
from studio.training.session import LeftError
from tests.training.lesson import Told, params, session

INSTALLED = [
    name for name, kind in KINDS.items() if importlib.util.find_spec(kind.place.partition(":")[0].split(".")[0])
]
FULL = {"accumulation": 2, "ema": 0.9, "schedule": "cosine", "warmup": 2, "snr_gamma": 5.0, "offset_noise": 0.1}


def everything(run):
    """The state without how long it took, its tensors as bytes."""
    state = {name: value for name, value in run.state().items() if name not in ("seconds", "pace")}
    return _plain(state)


def _plain(tree):
    if isinstance(tree, torch.Tensor):
        return tree.dtype, tuple(tree.shape), tree.contiguous().reshape(-1).view(torch.uint8).tolist()
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, list | tuple) else tree


@pytest.mark.parametrize("optimizer", INSTALLED)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, optimizer, stop):
    given = params(optimizer=optimizer, **FULL)
    whole = session(tmp_path / "whole", given)
    assert whole.run()
    told = Told({stop: ["stop"]})
    assert not session(tmp_path / "cut", given, told.hooks).run()
    resumed = session(tmp_path / "cut", given, seed=9)  # what a fresh method begins with does not matter
    assert resumed.step == stop
    assert resumed.run()
    assert everything(resumed) == everything(whole)


def test_a_run_that_paused_goes_on_as_if_it_had_not(tmp_path):
    told = Told({2: ["pause", "sample", "pause", "go"]})
    shown = []
    paused = session(tmp_path / "paused", params(), {**told.hooks, "sample": shown.append})
    paused.run()
    whole = session(tmp_path / "whole")
    whole.run()
    assert everything(paused) == everything(whole)
    assert [event["event"] for event in told.events if event["event"] != "step"] == ["paused", "resumed", "measured"]
    assert shown == [2, 6]


def test_a_paused_run_that_nobody_speaks_to_any_more_stops(tmp_path):
    assert not session(tmp_path, params(), Told({2: ["pause"]}).hooks).run()
    assert session(tmp_path).step == 2


def test_the_loss_at_fixed_noise_falls(tmp_path):
    told = Told()
    session(tmp_path, params(steps=60, measure_every=20), told.hooks, dropout=0.0).run()
    losses = [event["train_loss"] for event in told.named("measured")]
    assert [event["step"] for event in told.named("measured")] == [0, 20, 40, 60]
    assert losses[-1] < 0.8 * losses[0]


def test_every_step_is_told(tmp_path):
    told = Told()
    session(tmp_path, params(warmup=2), told.hooks).run()
    steps = told.named("step")
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5, 6]
    assert [event["learning_rate"] for event in steps] == [0.005, 0.01, 0.01, 0.01, 0.01, 0.01]
    assert all(event["left"] >= 0 for event in steps)
    assert all(event["loss"] > 0 and event["seconds"] >= 0 for event in steps)


@pytest.mark.parametrize("changed", [{"prior_preservation": True, "prior_loss_weight": 0.5}, {"masked": True}, {}])
def test_four_small_batches_are_one_large_one(tmp_path, changed):
    def weights(**given):
        run = session(tmp_path / str(given["batch"]), params(clip_norm=0.0, optimizer="lion", **given), dropout=0.0)
        run.run()
        return run.lesson.method.trained.state_dict()

    torch.testing.assert_close(weights(batch=1, accumulation=4, **changed), weights(batch=4, **changed))


def test_results_are_made_of_averaged_weights(tmp_path):
    seen = {}
    run = None

    def save(step):
        seen[step] = {name: value.clone() for name, value in run.lesson.method.trained.state_dict().items()}

    run = session(tmp_path, params(ema=0.9, save_every=3), {"save": save})
    run.run()
    assert list(seen) == [3, 6]
    assert all(torch.equal(seen[6][name], value) for name, value in run.average.weights.items())
    assert not torch.equal(seen[6]["last.weight"], run.lesson.method.trained.last.weight)


def test_what_was_shown_is_not_shown_again_after_a_resume(tmp_path):
    given = params(sample_every=2)
    shown = []
    assert not session(tmp_path, given, {**Told({2: ["stop"]}).hooks, "sample": shown.append}).run()
    session(tmp_path, given, {"sample": shown.append}).run()
    assert shown == [2, 4, 6]


def test_the_time_left_is_what_passes_to_the_end(tmp_path):
    now, told = [0.0], []

    def taking(seconds):
        def act(_step):
            now[0] += seconds
            return {}

        return act

    def hear(event):
        if event["event"] == "step":
            told.append(now[0] + event["left"])

    run = session(
        tmp_path,
        params(steps=12, sample_every=4, measure_every=3, save_every=6),
        {"hear": hear, "clock": lambda: now[0], "sample": taking(5), "measure": taking(7), "save": taking(2)},
    )
    run.begin()
    assert now[0] == 7
    run.pace.expect("sample", 5)
    run.pace.expect("save", 2)
    expected = now[0] + run.left()
    assert run.run()
    assert expected == now[0] == 5 * 7 + 3 * 5 + 2 * 2
    assert set(told) == {now[0]}


def test_a_run_with_a_full_disk_waits_and_goes_on(tmp_path):
    told = Told({3: ["go"]})
    full = [True]

    def save(step):
        if full.pop() if full else False:
            raise StorageError("cup.safetensors could not be written: no space left.")

    run = session(tmp_path, params(save_every=3), {**told.hooks, "save": save})
    assert run.run()
    assert [event["event"] for event in told.events if event["event"] != "step"][:3] == ["warning", "paused", "resumed"]
    assert "no space left" in told.named("warning")[0]["text"]


def test_a_run_that_may_not_wait_for_room_keeps_its_error(tmp_path):
    def save(step):
        raise StorageError("no space left.")

    with pytest.raises(StorageError):
        session(tmp_path, params(), {"save": save}).run()


def test_a_picture_that_fails_is_told_and_the_run_goes_on(tmp_path):
    def sample(step):
        raise StudioError("The prompt is too long.")

    told = Told()
    assert session(tmp_path, params(sample_every=4), {**told.hooks, "sample": sample}).run()
    assert [event["text"] for event in told.named("warning")] == ["The prompt is too long."] * 2


def test_a_state_is_for_the_settings_that_made_it(tmp_path):
    session(tmp_path, params()).run()
    with pytest.raises(InvalidRequestError, match=r"begun with batch 2, and is to go on with 1") as raised:
        session(tmp_path, params(batch=1))
    assert raised.value.field == "batch"


def test_a_run_can_be_made_longer(tmp_path):
    session(tmp_path / "short", params()).run()
    longer = session(tmp_path / "short", params(steps=9))
    longer.run()
    whole = session(tmp_path / "whole", params(steps=9))
    whole.run()
    assert everything(longer) == everything(whole)


def test_a_step_sees_its_number_and_its_method_puts_right_what_it_must(tmp_path):
    run = session(tmp_path)
    assert run.lesson.method.trained.times.weight.abs().max() > 1
    run.run()
    assert run.lesson.method.steps == [0, 1, 2, 3, 4, 5]
    assert run.lesson.method.trained.times.weight.abs().max() <= 1


def test_states_are_kept_by_the_clock(tmp_path):
    now = [0.0]

    def hear(event):
        now[0] += 40 if event["event"] == "step" else 0
        steps.append([file.name for file in run.checkpoints.files()])

    steps = []
    run = session(tmp_path, params(steps=5), {"hear": hear, "clock": lambda: now[0]})
    run.run()
    assert steps[-1] == ["step-0000002.safetensors", "step-0000004.safetensors"]


def test_a_method_that_learns_at_no_rate_is_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match="nothing would be learned"):
        session(tmp_path, rates=(0.0, 1e-2))


@pytest.mark.parametrize(
    ("part", "step"),
    [("heed", 0), ("measure", 0), ("heed", 4), ("measure", 4), ("sample", 4), ("save", 4), ("save", 6)],
)
def test_a_run_that_is_left_amid_what_it_shows_keeps_its_state_and_does_it_again(tmp_path, part, step):
    """As when the studio was killed while pictures were made: orders end, and whoever makes them finds out first."""
    given = params(measure_every=2, sample_every=2, save_every=2, **FULL)
    whole = Told()
    finished = session(tmp_path / "whole", given, whole.hooks)
    finished.run()

    told = Told({step: ["stop"]})

    def leave(*_):
        if told.step == step:
            raise LeftError
        return {}

    left = session(tmp_path / "left", given, {**told.hooks, part: leave})
    assert not left.run()
    assert left.step == step
    again = Told()
    resumed = session(tmp_path / "left", given, again.hooks, seed=9)
    assert resumed.step == step
    assert resumed.run()
    assert everything(resumed) == everything(finished)
    steps = [event["step"] for event in [*told.named("measured"), *again.named("measured")]]
    assert sorted(set(steps)) == [0, 2, 4, 6]
    assert [event for event in again.named("measured") if event["step"] == step]
