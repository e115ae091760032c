"""The form and requests say the same."""

import pytest

from studio.errors import InvalidRequestError
from studio.library.card import Card
from studio.params import GenerationRequest
from studio.ui.components import reference_pad
from studio.ui.components.sketch_pad import cleaned, empty_drawing, fitted, readable
from studio.ui.editors import EDITORS, POSE
from studio.ui.example import house
from studio.ui.form import CUSTOM, SHAPES, defaults, from_request, kept_by_tab, shape_of, size_of, to_request
from studio.ui.stack import clean_stack, counted, fresh_row, fresh_stack, name_of, settings

CARD = Card(name="starter", native_size=128, num_inference_steps=20, guidance_scale=5.0)
MAP, EDITOR = "a" * 64, "b" * 64


def unit_of(row, kind=None):
    """What a tab's drawing becomes: the row's settings and the assets."""
    return {"kind": kind or row["kind"], "map": MAP, "editor": EDITOR, **settings(row)}


def test_a_form_read_into_a_request_and_back_is_the_same():
    values = defaults(CARD) | {"prompt": "a boat", "seed": {"seed": 7}, "scheduler": "ddim"}
    rows = [row | {"on": row["kind"] == "scribble"} for row in values["stack"]["units"]]
    rows[0] |= {"conditioning_scale": 1.5, "mode": "prompt"}
    values["stack"] = {"solo": "", "units": rows}
    assert from_request(to_request(values, [unit_of(rows[0])]), CARD, ("scribble",)) == values


def test_the_first_tab_with_a_drawing_comes_to_the_front():
    values = from_request(to_request(defaults(CARD), [unit_of(fresh_row("pose"))]), CARD, ("pose",))
    assert values["kind"] == "pose"
    assert [row["kind"] for row in counted(values["stack"])] == ["pose"]


def test_a_control_without_a_tab_becomes_a_finished_map_of_the_stack_and_is_sent_again():
    given = unit_of(fresh_row("softedge")) | {"mask": MAP, "resize_mode": "fill"}
    values = from_request(to_request(defaults(CARD), [given]), CARD)
    row = counted(values["stack"])[0]
    assert name_of(row) == f"softedge:{MAP}"
    again = to_request(values, [{"kind": row["kind"], **settings(row)}]).controls[0]
    assert again == to_request(values, [given]).controls[0]


def test_of_two_controls_of_one_kind_the_tab_shows_the_first():
    units = [unit_of(fresh_row("edges")), unit_of(fresh_row("edges")) | {"map": "c" * 64}]
    stack = from_request(to_request(defaults(CARD), units), CARD, ("edges",))["stack"]
    assert [name_of(row) for row in counted(stack)] == ["edges", f"edges:{'c' * 64}"]


def test_alone_means_that_no_other_unit_counts():
    stack = fresh_stack(EDITORS)
    assert [row["kind"] for row in counted(stack)] == list(EDITORS)
    assert [row["kind"] for row in counted(stack | {"solo": "pose"})] == ["pose"]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {"units": 3},
        {"units": [3, {"kind": 4}, {"kind": "nothing"}]},
        {"solo": 4, "units": [{"kind": "pose"}] * 3},
    ],
)
def test_a_stack_that_cannot_be_read_has_a_unit_for_each_tab(broken):
    stack = clean_stack(broken, EDITORS)
    assert sorted(row["kind"] for row in stack["units"]) == sorted(EDITORS)
    assert all(row == fresh_row(row["kind"]) for row in stack["units"])
    assert stack["solo"] == ""


def test_a_stack_keeps_its_order_its_numbers_and_what_is_left_out():
    rows = [fresh_row("pose") | {"on": False, "conditioning_scale": 0.5}, fresh_row("scribble")]
    assert clean_stack({"solo": "pose", "units": rows}, ("scribble", "pose")) == {"solo": "pose", "units": rows}
    wrong = fresh_row("pose") | {"conditioning_scale": float("nan"), "mode": "loud"}
    assert clean_stack({"units": [wrong]}, ("pose",))["units"] == [fresh_row("pose")]


def test_another_autoencoder_is_asked_for_only_when_one_is_chosen():
    assert to_request(defaults(CARD)).vae is None
    values = defaults(CARD) | {"vae": "soft", "prompt": "a boat"}
    assert to_request(values).vae == "soft"
    assert from_request(to_request(values), CARD)["vae"] == "soft"


def test_without_a_drawing_there_is_no_control():
    assert to_request(defaults(CARD)).controls == ()


def test_an_empty_seed_is_left_to_the_studio():
    assert to_request(defaults(CARD)).seed is None


def test_blanks_of_a_request_show_what_the_card_chooses():
    values = from_request(GenerationRequest(prompt="x"), CARD)
    assert (values["width"], values["num_inference_steps"], values["guidance_scale"]) == (128, 20, 5.0)


def test_what_the_form_cannot_mean_is_refused_by_name():
    with pytest.raises(InvalidRequestError) as caught:
        to_request(defaults(CARD) | {"guidance_scale": float("nan")})
    assert caught.value.field == "guidance_scale"


@pytest.mark.parametrize("native", [128, 512, 1024])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_sides_of_multiples_of_eight_and_are_known_again(shape, native):
    width, height = size_of(shape, native)
    assert width % 8 == height % 8 == 0
    assert 0.8 < width * height / native**2 < 1.2
    assert shape_of(width, height, native) == shape


def test_other_sizes_are_ones_own():
    assert shape_of(136, 120, 128) == CUSTOM


def test_a_drawing_that_fits_stays_as_it_is():
    assert fitted(cleaned(house()), 128, 128)["strokes"] == cleaned(house())["strokes"]


def test_a_drawing_on_another_pad_lies_inside_it_unbent():
    drawing = fitted(cleaned(house()), 96, 128)
    assert (drawing["w"], drawing["h"]) == (384, 512)
    xs = [x for stroke in drawing["strokes"] for x in stroke["p"][0::3]]
    ys = [y for stroke in drawing["strokes"] for y in stroke["p"][1::3]]
    assert 0 <= min(xs) < max(xs) <= 384
    assert 0 <= min(ys) < max(ys) <= 512
    before = house()["strokes"]
    wide = max(x for s in before for x in s["p"][0::3]) - min(x for s in before for x in s["p"][0::3])
    high = max(y for s in before for y in s["p"][1::3]) - min(y for s in before for y in s["p"][1::3])
    assert (max(xs) - min(xs)) / (max(ys) - min(ys)) == pytest.approx(wide / high, rel=1e-3)


@pytest.mark.parametrize("broken", [None, [], {"w": 1}, {"w": 8, "h": 8, "strokes": [{"p": ["x"]}]}])
def test_a_draft_that_cannot_be_read_is_an_empty_pad(broken):
    assert readable(broken, 128, 64) == empty_drawing(128, 64)


def pose(*joints: float) -> dict:
    """One person whose joints all lie there, on a canvas of 512 by 512."""
    return {"canvas_width": 512, "canvas_height": 512, "people": [{"pose_keypoints_2d": list(joints) * 18}]}


def test_a_pose_on_another_canvas_lies_in_its_middle():
    assert POSE.readable(pose(256, 256, 1), 96, 128)["people"][0]["pose_keypoints_2d"][:3] == [192, 256, 1]
    assert POSE.readable(pose(10, 20, 1), 128, 128) == pose(10, 20, 1) | {"background": None}
    assert POSE.readable({"people": 3}, 64, 64)["people"] == []


@pytest.mark.parametrize("editor", EDITORS.values(), ids=EDITORS)
def test_a_canvas_is_refitted_only_when_its_aspect_changes(editor):
    assert editor.refit(editor.empty(128, 128), 256, 256) is None
    sheet = editor.empty(96, 128)
    changes = sheet != editor.empty(128, 128)  # references have no aspect
    assert editor.refit(editor.empty(128, 128), 96, 128) == (sheet | {"refit": True} if changes else None)
    assert editor.draft("") == ""


def references(*weights: float, method: str = "full") -> dict:
    """That many pictures to be like."""
    pictures = [{"id": f"{i}" * 64, "weight": weight} for i, weight in enumerate(weights)]
    return {"pictures": pictures, "method": method}


@pytest.mark.parametrize(
    "broken",
    [
        {"pictures": "all"},
        {"pictures": [{"id": "../etc/passwd", "weight": 1}]},
        references(3.0),
        references(float("nan")),
        references(True),
        references(*[1.0] * 9),
        references(1.0, method="everything"),
    ],
)
def test_references_that_cannot_be_used_are_refused_and_none_in_a_draft(broken):
    with pytest.raises(InvalidRequestError):
        reference_pad.cleaned(broken)
    assert reference_pad.readable(broken, 8, 8) == reference_pad.no_pictures()


def test_references_have_a_unit_each_whose_scale_is_a_share_of_the_rows():
    row = fresh_row("reference") | {"conditioning_scale": 0.5, "control_guidance_end": 0.8}
    units = [{"kind": "reference", "map": "0" * 64, "conditioning_scale": weight} for weight in (1.0, 0.4)]
    set_ = [unit | settings(row, unit) for unit in units]
    assert [unit["conditioning_scale"] for unit in set_] == [0.5, 0.2]
    again = from_request(to_request(defaults(CARD), set_), CARD, ("reference",))["stack"]
    assert counted(again) == [row | {"conditioning_scale": 1.0}]


def test_what_a_tab_kept_is_its_texts_and_its_drawing():
    assert kept_by_tab('{"prompt": "a boat", "seed": 3, "sketch": {"strokes": []}, "pose": {"people": []}}') == (
        {"prompt": "a boat"},
        {"sketch": {"strokes": []}, "pose": {"people": []}},
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"prompt": 3, "sketch": "no", "pose": 3}', "[" * 100_000])
def test_what_cannot_be_read_was_not_kept(text):
    assert kept_by_tab(text) == ({}, {})


def test_where_the_prompt_comes_from_is_sent_and_shown_again():
    request = to_request(defaults(CARD) | {"prompt": "a boat", "prompt_mode": "automatic"})
    assert request.prompt_mode == "automatic"
    assert from_request(request, CARD)["prompt_mode"] == "automatic"
    assert to_request(defaults(CARD)).prompt_mode == "typed"


def test_how_words_weigh_is_sent_and_shown_again():
    request = to_request(defaults(CARD) | {"prompt": "a (boat:1.2)", "prompt_weighting": "comfy"})
    assert request.to_dict()["prompt_weighting"] == "comfy"
    assert from_request(request, CARD)["prompt_weighting"] == "comfy"
    assert "prompt_weighting" not in to_request(defaults(CARD) | {"prompt": "a boat"}).to_dict()
