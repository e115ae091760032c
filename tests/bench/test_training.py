import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from studio.bench.figures import Figure, Options
from studio.bench.suites import run_suite
from studio.bench.training import suite
from studio.bench.training.desk import Trained
from studio.bench.training.exam import Answers, Examiner, Sitting
from studio.bench.training.naive import add_naively
from studio.bench.training.suite import BARS, check, column, part
from studio.bench.training.verdicts import RIGHT, Long
from studio.cli.parser import SUITES as NAMED
from studio.errors import InvalidRequestError
from studio.params import GenerationRequest
from studio.settings import BUILTIN, load_settings
from studio.starter.subjects import SUBJECTS, exam
from studio.training.evaluation.evaluator import Evaluator
from studio.training.evaluation.questions import Questions
from studio.training.evaluation.scores import Scores
from studio.training.evaluation.verdict import Measured
from studio.training.judging import BASELINE, HISTORY
from studio.training_params import METHODS
from tests.training.evaluation.kit import Eye, Painter, plain

PACK = BUILTIN / "assets" / "starter"
OBJECT, STYLE = SUBJECTS[0], SUBJECTS[-1]


class TrueDesk:
    """Paints the true renders of whatever subject is asked."""

    def __init__(self, subject):
        self.subject = subject

    def paint(self, prompts, seed, trained):
        found = {shown.prompt: shown.image for shown in exam(self.subject, 8)}
        return np.stack([found[prompt] for prompt in prompts])


@pytest.fixture(scope="module")
def judged():
    return Examiner(None, PACK)


@pytest.mark.parametrize("subject", [OBJECT, STYLE], ids=lambda subject: subject.name)
def test_true_renders_are_like_the_subject_and_obey(judged, subject):
    judged.desk = TrueDesk(subject)
    sitting = Sitting(subject, 8, judged)
    answers = sitting.sit(None)
    assert answers.like == pytest.approx(sitting.true.like)
    assert answers.like.mean() > 0.1
    assert answers.obeys.mean() > 0.9


def test_pictures_of_other_places_do_not_obey(judged):
    asked = exam(OBJECT, 8)
    obeyed = judged.obeys(np.zeros((8, 128, 128, 3), np.uint8), asked)
    assert obeyed.mean() < 0.5


def test_a_prompt_of_the_exam_is_put_in_the_words_of_the_run():
    trained = Trained("teapot-pivotal", 1.0, {}, Path(), GenerationRequest(), "<lora:teapot-pivotal:1> ")
    assert trained.asked("a sks mushroom at night") == "<lora:teapot-pivotal:1> a teapot-pivotal mushroom at night"


def test_the_naive_reader_adds_up_times_down_by_alpha_over_rank(tmp_path):
    unet = nn.ModuleDict({"mid_block": nn.ModuleDict({"to_q": nn.Linear(6, 4), "conv": nn.Conv2d(3, 5, 3)})})
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    down, up = torch.randn(2, 6), torch.randn(4, 2)
    wide, tall = torch.randn(2, 3, 3, 3), torch.randn(5, 2, 1, 1)
    tensors = {}
    for name, pair in (("to_q", (down, up)), ("conv", (wide, tall))):
        tensors |= {f"lora_unet_mid_block_{name}.lora_{h}.weight": t for h, t in zip(("down", "up"), pair, strict=True)}
        tensors[f"lora_unet_mid_block_{name}.alpha"] = torch.tensor(1.0)
    save_file(tensors, tmp_path / "a.safetensors")
    assert add_naively(unet, tmp_path / "a.safetensors") == 2
    after = unet.state_dict()
    torch.testing.assert_close(after["mid_block.to_q.weight"], before["mid_block.to_q.weight"] + up @ down / 2)
    change = torch.einsum("or,rihw->oihw", tall[:, :, 0, 0], wide) / 2
    torch.testing.assert_close(after["mid_block.conv.weight"], before["mid_block.conv.weight"] + change)


def test_a_long_run_says_what_shorter_ones_would_have_said(tmp_path):
    questions = Questions(("a sks red cup",), ("something red",), ("a blue cup",), 1)
    Evaluator(Painter(), Eye(), questions, [plain("red"), plain("red")]).begin(tmp_path / BASELINE)
    scores = Scores(0.5, 0.5, 0.5, 0.0)
    held = {0: 0.6, 25: 0.4, 50: 0.35, 75: 0.34, 100: 0.36, 300: 0.75, 500: 0.9}
    rows = [asdict(Measured(step, scores, 0.1, loss)) for step, loss in held.items()]
    (tmp_path / HISTORY).write_text(json.dumps(rows))
    trained = Trained("sks", 1.0, {}, tmp_path, GenerationRequest())
    long = Long(OBJECT, trained, 100)
    assert {share: long.told(round(100 * share)) for share in RIGHT} == RIGHT


def test_every_way_to_learn_a_subject_has_bars_and_the_suite_is_named():
    assert set(BARS) == set(METHODS) - {"controlnet", "t2i_adapter", "ip_adapter"}
    assert "training" in NAMED


def test_a_share_is_of_the_whole_and_columns_join():
    rows = [Answers(np.ones(2), np.zeros(2), np.zeros((2, 1, 1, 3), np.uint8))] * 2
    assert column("like", rows).tolist() == [1, 1, 1, 1]
    assert part(0.5, 0.25) == 2


def test_parts_are_measured_in_the_suites_order_and_told_at_once(monkeypatch, capsys, tmp_path):
    def part_of(name):
        return lambda trial: {name: Figure(trial.pictures, "x", 1.0)}

    monkeypatch.setattr(suite, "PARTS", {name: part_of(name) for name in ("lora", "verdicts", "speed")})
    monkeypatch.setattr(suite, "open_desk", lambda *_: nullcontext())
    some = suite.training_suite(load_settings(tmp_path), Options(parts=("speed", "lora")))
    assert some == {"lora": Figure(96, "x", 1.0), "speed": Figure(96, "x", 1.0)}
    assert capsys.readouterr().err.split() == "lora lora: 96 x speed speed: 96 x".split()
    assert suite.training_suite(load_settings(tmp_path), Options(scenes=8))["lora"].bar is None


@pytest.mark.parametrize("name", ["control", "training"])
def test_a_part_that_a_suite_does_not_have_is_refused_with_those_that_it_has(name, tmp_path):
    with pytest.raises(InvalidRequestError, match="no part 'sped'") as refused:
        run_suite(load_settings(tmp_path), name, None, Options(parts=("sped",)))
    assert {"control": "costs", "training": "speed"}[name] in refused.value.hint


def test_a_suite_without_parts_says_so(tmp_path):
    with pytest.raises(InvalidRequestError) as refused:
        run_suite(load_settings(tmp_path), "store", None, Options(parts=("swap",)))
    assert "whole" in refused.value.hint


@pytest.mark.parametrize("options", [Options(scenes=4), Options(scenes=97), replace(Options(), pack=Path("nowhere"))])
def test_what_cannot_be_asked_is_refused(options):
    with pytest.raises(InvalidRequestError):
        check(options.pack, options.scenes)
