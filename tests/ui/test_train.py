"""The settings of the Train section against the training's own fields, without a browser."""

from dataclasses import fields

from studio.training_params import METHODS, TrainingParams
from studio.ui.train.fields import ASKED, FOUND, GROUPS, described
from studio.ui.train_tab import SCRIPTS, STYLES
from tests.test_layers import ROOT

SETTINGS = [row for rows in GROUPS.values() for row in rows]


def test_every_field_of_a_training_has_one_place():
    shown = [row.name for row in SETTINGS]
    assert sorted([*shown, *ASKED, *FOUND]) == sorted(field.name for field in fields(TrainingParams))


def test_every_setting_has_words_of_its_own_and_counts_for_methods_that_there_are():
    assert len({row.label for row in SETTINGS}) == len(SETTINGS)
    assert {name for row in SETTINGS for name in row.methods} <= set(METHODS)


def test_what_a_script_reads_is_what_a_training_takes():
    rows = {row["name"]: row for group in described() for row in group["fields"]}
    assert (rows["steps"]["kind"], rows["steps"]["low"], rows["steps"]["default"]) == ("whole", 1, 400)
    assert rows["optimizer"]["kind"] == "choice"
    assert "prodigy" in rows["optimizer"]["choices"]
    assert [rows[name]["kind"] for name in ("flip", "ema", "initializer")] == ["check", "number", "text"]
    assert [rows[name]["kind"] for name in ("sample_prompts", "layer_structure")] == ["lines", "numbers"]
    defaults = {name: row["default"] for name, row in rows.items()}
    assert TrainingParams.from_dict({"name": "x", **defaults}) == TrainingParams(name="x")


def test_its_styles_and_scripts_are_there():
    assert all((ROOT / "ui" / name).is_file() for name in (*STYLES, *SCRIPTS))


def test_processes_are_offered_where_there_are_gpus_to_share():
    offered = {row["name"]: row["gpus"] for group in described() for row in group["fields"]}
    assert offered.pop("processes") == 2
    assert set(offered.values()) == {0}
