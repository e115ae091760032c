"""The laws of a run hold for every method, on a checkpoint that lives: exact resume, and rehearsals without a trace."""

from dataclasses import replace

import pytest
import torch

from studio.training.session import Hooks, Session
from studio.training.step import Lesson
from tests import tiny
from tests.training.lesson import Told
from tests.training.methods import kit
from tests.training.test_session import everything

FEATURES = 16
METHODS = {
    "lora": {"train_text_encoder": True, "text_learning_rate": 1e-4, "dora": True, "lora_plus": 4.0, "conv_rank": 2},
    "dreambooth": {"train_text_encoder": True, "prior_preservation": True},
    "inversion": {"initializer": "cat", "vectors": 2},
    "pivotal": {"initializer": "cat", "inversion_share": 0.5},
    "hypernetwork": {"dropout": 0.2},
    "controlnet": {"control_kind": "canny", "annotator": "canny"},
    "t2i_adapter": {"control_kind": "canny", "annotator": "canny"},
    "ip_adapter": {},
}


class Given:
    """Two pictures at a time, with all that any method reads; the second one of the class, if that is asked."""

    def __init__(self, prior):
        self.prior = prior

    def at(self, index):
        rng = torch.Generator().manual_seed(index % 3)
        prior = torch.tensor([False, True]) if self.prior else None
        maps, features = torch.rand(2, 3, tiny.SIZE, tiny.SIZE, generator=rng), torch.randn(2, FEATURES, generator=rng)
        return replace(kit.batch(seed=index % 3), maps=maps, features=features, prior=prior)

    def shown(self, count):
        return [self.at(0)]

    def held_out(self):
        return []


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "sd1"
    kit.pipeline("sd1").save_pretrained(folder)
    return kit.location(folder, "sd1")


@pytest.fixture(params=METHODS)
def given(request):
    plain = {"method": request.param, "steps": 4, "batch": 2, "learning_rate": 1e-3, "ema": 0.9, "seed": 3}
    return {**plain, **METHODS[request.param]}


def begun(given, sd1, folder, hooks=None, seed=0):
    """A run on an engine of its own."""
    engine = kit.new_engine()
    checkpoint = engine.store.checkpoint(sd1)
    params = kit.params(base="sd1", **given)
    torch.manual_seed(seed)
    method = kit.build_method(params, checkpoint, engine, features=FEATURES)
    lesson = Lesson(method, Given(params.prior_preservation), checkpoint.noise)
    return Session(params, lesson, folder, Hooks(**(hooks or {})))


def test_every_method_goes_on_bit_for_bit(given, sd1, tmp_path):
    whole = begun(given, sd1, tmp_path / "whole")
    assert whole.run()
    assert not begun(given, sd1, tmp_path / "cut", Told({1: ["stop"]}).hooks).run()
    middle = begun(given, sd1, tmp_path / "cut", Told({3: ["stop"]}).hooks, seed=8)
    assert middle.step == 1
    assert not middle.run()
    last = begun(given, sd1, tmp_path / "cut", seed=9)
    assert last.run()
    assert everything(last) == everything(whole)


def test_no_method_is_changed_by_a_rehearsal(given, sd1, tmp_path):
    run = begun(given, sd1, tmp_path)
    before, files = everything(run), kit.fingerprints(run.lesson.method.checkpoint)
    found = run.rehearse()
    assert found.fits
    assert everything(run) == before
    assert kit.fingerprints(run.lesson.method.checkpoint) == files


def test_every_method_learns_the_same_with_less_memory(given, sd1, tmp_path):
    if given["method"] == "hypernetwork":
        given["dropout"] = 0.0  # is drawn anew for each piece
    plain = begun({**given, "steps": 1}, sd1, tmp_path / "plain")
    plain.run()
    spared = begun({**given, "steps": 1}, sd1, tmp_path / "spared")
    spared.recovery.pieces = 2
    spared.lesson.method.checkpoint_gradients(True)
    spared.run()
    spared.lesson.method.checkpoint_gradients(False)
    first, second = (run.optimizer.state_dict()["state"] for run in (plain, spared))
    for number, state in first.items():
        torch.testing.assert_close(second[number]["exp_avg"], state["exp_avg"], rtol=1e-3, atol=1e-6)
