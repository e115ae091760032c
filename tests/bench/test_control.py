import numpy as np
import pytest
import torch
from PIL import Image

from studio.bench.control.costs import Clock
from studio.bench.control.shares import gain, measured, resampled
from studio.bench.control.sheet import LEFT, TILE, Strip, draw_people, seen_by, write_sheet
from studio.bench.control.suite import CONTROLS, Look, Trial, above, check, control_figures, kept_figures, share
from studio.bench.figures import SCENES, Figure, Options
from studio.bench.suites import paired
from studio.engine.denoise import Step
from studio.errors import InvalidRequestError
from studio.skeleton import JOINTS
from studio.starter.obedience import way

SIDE = 128


def columns(*means):
    """A column for each mean, with the same scatter."""
    scatter = np.random.default_rng(1).normal(0, 0.1, 200)
    return [mean + scatter - scatter.mean() for mean in means]


def looked(**kept):
    return Look(np.zeros((4, 8, 8, 3), np.uint8), {}, {"object": np.ones(4), "object_color": np.ones(4)} | kept)


class Copyist:
    """Paints what is asked when it has a unit, and nothing when it has none."""

    def paint(self, exam, units_of):
        return exam.images if units_of(range(1)) else np.zeros_like(exam.images)


def test_a_mean_has_the_standard_error_that_drawing_anew_gives():
    (values,) = columns(0.5)
    figure = measured(values, "F1")
    assert figure.value == pytest.approx(0.5)
    assert resampled(lambda drawn: drawn.mean(), values) == pytest.approx(figure.error, rel=0.1)


def test_a_share_that_divides_by_little_has_an_error_that_is_a_number():
    near, off = np.array([0.1, 0.2, 0.1, 0.2]), np.array([0.1, 0.2, 0.1, 0.2])
    assert np.isfinite(share(gain, [near, near + 0.01 * np.arange(4), off], 85).error)


@pytest.mark.parametrize(("on", "ok"), [(0.65, True), (0.55, False)])
def test_the_way_is_in_per_cent_and_has_a_bar(on, ok):
    figure = share(way, columns(on, 0.0, 1.0), 60)
    assert figure.value == pytest.approx(100 * on)
    assert figure.ok is ok
    assert figure.error < 1


def test_what_is_gained_together_is_measured_by_what_is_gained_alone():
    assert gain(both=0.8, alone=0.9, off=0.4) == pytest.approx(0.8)
    assert gain(both=0.1, alone=0.05, off=0.25) == pytest.approx(0.75)  # of an error, which falls


def test_words_that_are_kept_pass_and_words_that_are_lost_do_not():
    kept, lost = kept_figures("edges", looked(), looked()), kept_figures("edges", looked(), looked(object=np.zeros(4)))
    assert all(figure.ok for figure in kept.values())
    assert [figure.ok for figure in lost.values()] == [False, True]


def test_a_standard_error_is_printed_in_the_report_where_there_is_one():
    assert Figure(1.0, "x", error=0.25).to_dict()["standard_error"] == 0.25
    assert "standard_error" not in Figure(1.0, "x").to_dict()


def test_a_control_that_gives_the_true_picture_goes_all_the_way():
    trial = Trial(Options().pack, 4)
    trial.__dict__["painter"] = Copyist()
    scribble = CONTROLS[0]
    figures = control_figures(trial, scribble)
    assert figures["scribble, F1: way from off to the ceiling"].value > 90
    assert figures["scribble, F1: off"].value == 0
    assert figures["scribble, F1: on"] == figures["scribble, F1: true renders"]
    assert figures["scribble: objects found, on - off"].value > 0.5
    assert [strip.title for strip in trial.strips] == ["scribble"]
    assert trial.alone[scribble.folder].images is trial.strips[0].on


@pytest.mark.parametrize(
    ("options", "field"),
    [({"scenes": 1}, "scenes"), ({"scenes": SCENES + 1}, "scenes"), ({"pack": "nowhere"}, "pack")],
)
def test_what_cannot_be_measured_is_refused(options, field, tmp_path):
    if "pack" in options:
        options = {"pack": tmp_path / options["pack"]}
    with pytest.raises(InvalidRequestError) as refused:
        check(Options(**options))
    assert refused.value.field == field


def test_the_first_step_of_a_picture_is_not_timed():
    clock = Clock()
    watch = clock.watch()
    for _picture in range(2):
        for index in range(1, 6):
            watch.step(Step(index, 5, torch.zeros(1)), index, 5, None)
    assert len(clock.seconds) == 2 * 4
    assert min(clock.seconds) >= 0


def test_what_slows_a_machine_for_a_while_leaves_the_ratio_of_neighbours_as_it_is():
    load = iter([9, 9, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4])  # two runs each; the first pair warms up
    run = {"upper": lambda: 3.0 * next(load), "lower": lambda: 2.0 * next(load)}
    assert paired(run["upper"], run["lower"], repeats=5) == 1.5
    order = []
    paired(lambda: order.append("upper") or 1.0, lambda: order.append("lower") or 1.0, repeats=2)
    assert order == ["lower", "upper", "upper", "lower", "lower", "upper"]


def test_a_missing_joint_is_not_drawn():
    person = np.stack([np.linspace(0.2, 0.8, 18), np.linspace(0.2, 0.8, 18), np.ones(18)], 1)
    whole = np.asarray(draw_people([person], SIDE))
    person[JOINTS.index("left ear"), :2] = np.nan
    less = np.asarray(draw_people([person], SIDE))
    assert not np.array_equal(whole, less)
    assert (less.any(-1) <= whole.any(-1)).all()
    assert not np.asarray(draw_people([], SIDE)).any()


def test_pictures_on_black_are_drawn_above_others():
    upper, lower = np.zeros((1, 2, 2, 3), np.uint8), np.full((1, 2, 2, 3), 7, np.uint8)
    upper[0, 0, 0] = (0, 9, 0)
    assert above(upper, lower)[0, :, :, 1].tolist() == [[9, 7], [7, 7]]


def test_the_sheet_has_a_row_for_each_control(tmp_path):
    def plain(shade):
        return np.full((Strip.SCENES, SIDE, SIDE, 3), shade, np.uint8)

    edges = seen_by(None, "edge_f1", plain(90))
    rows = [
        Strip("edges", plain(10), plain(20), plain(30), edges),
        Strip("reference", plain(40), plain(50), plain(60), notes=["0.1 to 0.9"] * Strip.SCENES),
    ]
    write_sheet(rows, tmp_path / "new" / "sheet.png")
    sheet = Image.open(tmp_path / "new" / "sheet.png")
    shades = {shade for _, shade in sheet.convert("L").getcolors()}
    assert {0, 10, 20, 30, 40, 50, 60, 255} <= shades
    assert sheet.width > LEFT + 12 * TILE
    assert 2 * TILE < sheet.height < 3 * TILE
