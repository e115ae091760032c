"""How the page is put together, without a browser."""

import json

import pytest

from studio.access import LOCAL_USER
from studio.ui.page import build, mount_options
from studio.ui.settings_tab import fact_sheet, last_lines
from tests.ui.conftest import fake_studio

ELEMENTS = {
    "prompt",
    "generate",
    "result",
    "sketch-pad",
    "pose-editor",
    "gallery",
    "checkpoint",
    "notice",
    "words",
    "seed",
}


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    return fake_studio(tmp_path_factory.mktemp("wiring"))


@pytest.fixture(scope="module")
def blocks(studio):
    return build(studio)


def test_ids_are_there_and_unique(blocks):
    ids = [block.elem_id for block in blocks.blocks.values() if getattr(block, "elem_id", None)]
    assert len(ids) == len(set(ids))
    assert set(ids) >= ELEMENTS


def test_no_handler_is_a_public_endpoint(blocks):
    ours = [fn for fn in blocks.fns.values() if ((fn.fn and fn.fn.__module__) or "").startswith("studio.ui")]
    assert ours
    assert {fn.api_visibility for fn in ours} == {"private"}


def test_scripts_take_no_data_into_templates(blocks):
    for block in blocks.blocks.values():
        template = getattr(block, "html_template", "")
        assert template == "${value}" or ("${" not in template and "{{" not in template)


def test_nothing_of_the_mount_names_another_host():
    options = mount_options()
    text = json.dumps([options["css"], options["head"]])
    assert "https://" not in text
    assert text.count("http://") == text.count("http://www.w3.org/2000/svg")


def test_the_facts_name_the_folder_and_the_checkpoint(studio):
    text = fact_sheet(studio)
    assert str(studio.settings.paths.root) in text
    assert studio.card().name in text


def test_the_end_of_a_log(tmp_path):
    assert last_lines(tmp_path / "none.log") == ""
    (tmp_path / "a.log").write_text("".join(f"line {i}\n" for i in range(1000)))
    assert last_lines(tmp_path / "a.log").splitlines()[-1] == "line 999"
    assert len(last_lines(tmp_path / "a.log").splitlines()) == 200


def test_preferences_are_kept_and_previews_and_turbo_follow_at_once(studio):
    studio.change_preferences({"preview_every": 0, "turbo": True}, LOCAL_USER)
    assert studio.dispatcher.wiring.preview_every == 0
    assert studio.dispatcher.wiring.turbo
    assert "preview_every = 0" in studio.settings.paths.settings_file.read_text()
