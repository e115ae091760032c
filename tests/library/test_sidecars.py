import json

import pytest

from studio.library.sidecars import Said, preview_of, read_sidecars


def said(tmp_path, typed=None, info=None, name="a.safetensors"):
    files = {".json": tmp_path / "a.json", ".civitai.info": tmp_path / "a.civitai.info"}
    for file, data in zip(files.values(), (typed, info), strict=True):
        file.write_text(data if isinstance(data, str) else json.dumps(data or {}))
    return read_sidecars(files, name)


def test_what_a1111_keeps_beside_a_model_is_read(tmp_path):
    typed = {"description": "Oil", "activation text": "oil, thick paint, oil", "notes": "good", "sd version": "SD1"}
    found = said(tmp_path, typed | {"preferred weight": 0.7})
    assert found == Said(description="Oil", notes="good", trigger_words=("oil", "thick paint"), base="sd1")


def test_what_a_download_says_is_read_and_what_was_typed_wins(tmp_path):
    digest = "A" * 64
    info = {
        "trainedWords": ["cat ear", 7],
        "baseModel": "SDXL 1.0",
        "model": {"name": "Ears"},
        "files": [
            {"name": "other", "hashes": {"SHA256": "b" * 64}},
            {"name": "a.safetensors", "hashes": {"SHA256": digest}},
        ],
    }
    found = said(tmp_path, {}, info)
    assert (found.title, found.trigger_words, found.base) == ("Ears", ("cat ear",), "sdxl")
    assert found.sha256 == digest.lower()
    assert said(tmp_path, {"activation text": "mine"}, info).trigger_words == ("mine",)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '"x"', '{"notes": 7, "sd version": [], "activation text": {}}', "[" * 9000]
)
def test_a_sidecar_that_makes_no_sense_says_nothing(tmp_path, text):
    assert said(tmp_path, text, text) == Said()


def test_a_base_model_that_we_do_not_know_is_not_guessed(tmp_path):
    assert said(tmp_path, info={"baseModel": "Flux.1 D"}).base == ""


def test_halves_of_characters_are_replaced(tmp_path):
    assert said(tmp_path, '{"notes": "a\\ud800b"}').notes == "a?b"


def test_a_preview_by_that_name_comes_before_another_picture(tmp_path):
    both = {".png": tmp_path / "a.png", ".preview.png": tmp_path / "a.preview.png"}
    assert preview_of(both) == tmp_path / "a.preview.png"
    assert preview_of({}) is None
