import os
from pathlib import Path

import pytest

from studio.errors import InvalidRequestError, StorageError
from studio.params import GenerationRequest
from studio.presets import Preset, load_presets, make_preset, read_preset, save_preset

BUILT_IN = Path(__file__).parent.parent / "presets"


def preset(name="mine", **fields):
    return Preset(name=name, label="Mine", description="", fields=fields)


def built_in():
    presets, warnings = load_presets([BUILT_IN])
    assert not warnings
    return {entry.name: entry for entry in presets}


def test_every_built_in_preset_gives_a_request_that_can_be_read():
    for entry in built_in().values():
        assert entry.label
        assert entry.description.endswith(".")
        request = GenerationRequest.from_dict(
            entry.apply({"prompt": "a house", "controls": [{"kind": "x", "map": ""}]})
        )
        assert request.prompt.startswith("a house")


def test_the_published_setting_is_the_papers():
    request = built_in()["published-controlnet"].apply({"prompt": "a red house"})
    assert request == {
        "prompt": "a red house, a professional, detailed, high-quality image",
        "scheduler": "ddim",
        "sigmas": "default",
        "num_inference_steps": 20,
        "guidance_scale": 9.0,
        "controls": [],
    }


def test_guess_mode_asks_for_no_words_and_gives_the_control_alone_its_say():
    request = built_in()["guess-mode"].apply({"prompt": "a red house", "controls": [{"kind": "edges", "map": "m"}]})
    assert (request["prompt_mode"], request["num_inference_steps"]) == ("none", 50)
    assert 3 <= request["guidance_scale"] <= 5
    assert [unit["mode"] for unit in request["controls"]] == ["control"]


@pytest.mark.parametrize(("name", "guidance", "scale"), [("t2i-adapter", 7.5, 1.0), ("ip-adapter", 7.5, 0.5)])
def test_the_adapters_settings_are_their_authors(name, guidance, scale):
    fields = built_in()[name].fields
    assert (fields["scheduler"], fields["guidance_scale"], fields["conditioning_scale"]) == ("ddim", guidance, scale)


def test_a_preset_keeps_what_it_does_not_set():
    request = {"prompt": "a", "seed": 7, "width": 64}
    assert preset(num_inference_steps=5).apply(request) == {**request, "num_inference_steps": 5}
    assert request == {"prompt": "a", "seed": 7, "width": 64}


@pytest.mark.parametrize(
    ("typed", "result"),
    [
        ("a house", "a house, fine"),
        ("a house, ", "a house, fine"),
        ("", "fine"),
        ("  ", "fine"),
        ("a, fine", "a, fine"),
    ],
)
def test_a_suffix_is_put_after_what_was_typed_once(typed, result):
    suffixed = preset(prompt_suffix="fine")
    once = suffixed.apply({"prompt": typed})
    assert once["prompt"] == result
    assert suffixed.apply(once) == once


def test_control_fields_go_to_every_control():
    controls = [{"kind": "scribble", "map": "a"}, {"kind": "edges", "map": "b", "conditioning_scale": 2.0}]
    applied = preset(conditioning_scale=0.5).apply({"controls": controls})
    assert [unit["conditioning_scale"] for unit in applied["controls"]] == [0.5, 0.5]
    assert controls[1]["conditioning_scale"] == 2.0


def test_a_persons_own_preset_takes_the_place_of_a_built_in_one(tmp_path):
    save_preset(tmp_path, preset("quick", num_inference_steps=3))
    presets, warnings = load_presets([BUILT_IN, tmp_path])
    found = [entry for entry in presets if entry.name == "quick"]
    assert not warnings
    assert [entry.fields for entry in found] == [{"num_inference_steps": 3}]


def test_a_missing_folder_holds_no_presets(tmp_path):
    assert load_presets([tmp_path / "none"]) == ([], [])


BROKEN = {
    "no TOML": ("label = \n", r"bad\.toml .*line 1"),
    "a broken line": ('label = "x"\nsteps\n', r"bad\.toml .*line 2"),
    "an unknown field": ('label = "x"\nsteps = 5\n', r"bad\.toml, line 2, .*'steps'"),
    "a prompt of its own": ('prompt = "x"\n', "'prompt'"),
    "a wrong type": ('num_inference_steps = "x"\n', "num_inference_steps must be a whole number"),
    "a number that is none": ("guidance_scale = nan\n", "finite"),
    "a control range that ends before it starts": ("control_guidance_end = 0.0\n", "start < end"),
    "a mode that there is not": ('mode = "guess"\n', "mode is 'guess'"),
    "a prompt mode that there is not": ('prompt_mode = "guess"\n', "prompt_mode is 'guess'"),
    "a label that is no text": ("label = 5\n", "label must be text"),
    "a suffix that is no text": ("prompt_suffix = 5\n", "prompt_suffix must be text"),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_preset_is_named_and_the_others_load(tmp_path, text, says):
    (tmp_path / "bad.toml").write_text(text)
    save_preset(tmp_path, preset("good", num_inference_steps=3))
    presets, warnings = load_presets([tmp_path])
    assert [entry.name for entry in presets] == ["good"]
    assert len(warnings) == 1
    assert "bad.toml" in warnings[0]
    with pytest.raises(StorageError, match=says):
        read_preset(tmp_path / "bad.toml")


def test_bytes_that_are_no_text_are_a_broken_preset(tmp_path):
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    presets, warnings = load_presets([tmp_path])
    assert presets == []
    assert "bad.toml" in warnings[0]


def test_a_saved_preset_comes_back_as_it_was(tmp_path):
    saved = Preset(
        name="my-own_1",
        label='A "fine"\nlabel, ünïcode \x7f 😀',
        description="back\\slash",
        fields={"guidance_scale": 2.5, "count": 2, "prompt_suffix": "tab\there", "negative_prompt": ""},
    )
    assert read_preset(save_preset(tmp_path, saved)) == saved


@pytest.mark.parametrize("name", ["", "../up", "a/b", "A", "x" * 61, ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(InvalidRequestError, match="name"):
        make_preset(name, {})


def test_a_full_disk_leaves_the_older_preset(tmp_path, monkeypatch):
    path = save_preset(tmp_path, preset(num_inference_steps=3))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        save_preset(tmp_path, preset(num_inference_steps=4))
    assert read_preset(path).fields == {"num_inference_steps": 3}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
