import json
import struct

import pytest

from studio.errors import ModelNotFoundError
from studio.library.card import Card
from studio.library.identify import guess_control_kind, identify_folder, read_header
from studio.library.index import Library
from studio.settings import BUILTIN, load_settings
from tests.params_only import params


def write_safetensors(path, dtype="F16"):
    header = json.dumps({"weight": {"dtype": dtype, "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def make_checkpoint(folder, width=768, channels=4, card=None):
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        (folder / part).mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    unet = {"cross_attention_dim": width, "in_channels": channels, "sample_size": 64}
    (folder / "unet" / "config.json").write_text(json.dumps(unet))
    scheduler = {"prediction_type": "v_prediction", "timestep_spacing": "linspace"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    write_safetensors(folder / "unet" / "model.safetensors")
    if card:
        (folder / "card.json").write_text(json.dumps(card))
    return folder


def make_control(folder, width=768, card=None):
    folder.mkdir(parents=True)
    config = {"cross_attention_dim": width, "conditioning_embedding_out_channels": [16, 32]}
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", "F32")
    if card:
        (folder / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def data(tmp_path):
    settings = load_settings(tmp_path / "data")
    settings.paths.create()
    return settings


@pytest.mark.parametrize(("width", "base", "usable"), [(768, "sd1", True), (1024, "sd2", True), (2048, "sdxl", False)])
def test_a_checkpoint_folder_is_known_by_its_configuration(tmp_path, width, base, usable):
    found = identify_folder(make_checkpoint(tmp_path / "model", width))
    assert (found.kind, found.base, found.usable, found.precision) == ("checkpoint", base, usable, "fp16")
    assert (found.prediction_type, found.card.timestep_spacing) == ("v_prediction", "linspace")
    assert found.card.native_size == 512
    assert usable or found.reason


def test_an_inpainting_checkpoint_is_named_and_not_usable_yet(tmp_path):
    found = identify_folder(make_checkpoint(tmp_path / "model", channels=9))
    assert (found.variant, found.usable) == ("inpaint", False)
    assert "9 channels" in found.reason


def test_a_missing_part_is_named(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    (folder / "tokenizer").rmdir()
    assert identify_folder(folder).reason == "Its folder tokenizer is missing."


def test_a_controlnet_says_its_kind_by_card_or_by_name(tmp_path):
    named = identify_folder(make_control(tmp_path / "control_sd15_scribble"))
    assert (named.kind, named.base, named.control_kind, named.precision) == ("controlnet", "sd1", "scribble", "fp32")
    card = {"base": "starter-x", "control_kind": "depth"}
    told = identify_folder(make_control(tmp_path / "other", card=card))
    assert (told.base, told.control_kind) == ("starter-x", "depth")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("control_v11p_sd15_openpose", "pose"), ("sd-controlnet-canny", "canny"), ("T2I_Depth", "depth"), ("mystery", "")],
)
def test_names_speak_of_kinds(name, kind):
    assert guess_control_kind(name) == kind


def test_a_folder_that_is_nothing_we_know_says_so(tmp_path):
    assert identify_folder(tmp_path).kind == "unknown"
    (tmp_path / "config.json").write_text("{broken")
    assert "cannot be read" in identify_folder(tmp_path).reason


@pytest.mark.parametrize("data", [b"", b"\xff" * 20, struct.pack("<Q", 4) + b"[1]x", struct.pack("<Q", 10**12)])
def test_a_damaged_header_is_refused(tmp_path, data):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.safetensors|Extra|Expecting"):
        read_header(tmp_path / "x.safetensors")


def test_the_starter_is_found_with_its_control_model(data):
    library = Library(data)
    (starter,) = [e for e in library.entries("checkpoint") if e.path.is_relative_to(BUILTIN)]
    assert starter.base.startswith("starter-")
    assert starter.card.demonstration
    assert {"house", "night", "red"} <= set(starter.card.known_words)
    assert library.control_model_for("scribble", starter.base).base == starter.base


def test_own_models_are_found_and_other_studios_folders_are_read_in_place(data, tmp_path):
    make_checkpoint(data.paths.models / "checkpoints" / "mine")
    make_checkpoint(tmp_path / "webui" / "models" / "Stable-diffusion" / "theirs")
    make_control(tmp_path / "comfy" / "models" / "controlnet" / "canny-model")
    settings = load_settings(data.paths.root, models_from=(tmp_path / "webui", tmp_path / "comfy"))
    names = {e.name for e in Library(settings).entries()}
    assert {"mine", "theirs", "canny-model"} <= names


def test_a_single_file_is_listed_with_the_reason_why_not(data):
    write_safetensors(data.paths.models / "checkpoints" / "model.safetensors")
    (entry,) = [e for e in Library(data).entries() if e.name == "model"]
    assert not entry.usable
    assert "diffusers folder" in entry.reason


def test_the_id_is_the_content_wherever_it_lies(data):
    a = make_checkpoint(data.paths.models / "checkpoints" / "a")
    make_checkpoint(data.paths.models / "checkpoints" / "b")
    ids = {e.name: e.id for e in Library(data).entries()}
    assert ids["a"] == ids["b"]
    write_safetensors(a / "unet" / "model.safetensors", "BF16")
    changed = {e.name: e.id for e in Library(data).entries()}
    assert changed["a"] != changed["b"] == ids["b"]


def test_a_name_that_is_misspelled_gets_suggestions(data):
    with pytest.raises(ModelNotFoundError) as refused:
        Library(data).find("starter-dsk", "checkpoint")
    assert "starter-desk" in refused.value.hint


def test_a_control_model_for_another_base_is_named_in_the_refusal(data):
    with pytest.raises(ModelNotFoundError) as refused:
        Library(data).control_model_for("scribble", "sd1")
    assert "starter-" in refused.value.hint


def test_params_whose_model_has_changed_are_refused(data):
    with pytest.raises(ModelNotFoundError, match="tiny is not here any more"):
        Library(data).locate(params())


def test_a_damaged_cache_is_made_again(data):
    Library(data)
    for file in data.paths.root.glob("library.db*"):
        file.write_bytes(b"no database")
    assert Library(data).entries("checkpoint")


def test_a_card_with_unknown_entries_is_read(tmp_path):
    (tmp_path / "card.json").write_text('{"name": "x", "known_words": ["a"], "later": 1}')
    assert Card.read(tmp_path / "card.json").known_words == ("a",)
