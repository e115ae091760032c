import json
import struct

import pytest
import torch

from studio.errors import ModelNotFoundError
from studio.library.card import Card
from studio.library.header import read_header
from studio.library.identify import guess_control_kind, identify_folder
from studio.library.index import Library
from studio.settings import BUILTIN, load_settings
from tests.library.headers import control, vae
from tests.library.headers import write as write_header
from tests.library.test_pickles import Trap
from tests.params_only import params


def write_safetensors(path, dtype="F16"):
    size = 8 if dtype == "F32" else 4
    header = json.dumps({"weight": {"dtype": dtype, "shape": [2], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


def make_checkpoint(folder, width=768, channels=4, card=None):
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        (folder / part).mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    unet = {"cross_attention_dim": width, "in_channels": channels, "sample_size": 64}
    (folder / "unet" / "config.json").write_text(json.dumps(unet))
    scheduler = {"prediction_type": "v_prediction", "timestep_spacing": "linspace"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    for part in ("unet", "vae", "text_encoder"):
        write_safetensors(folder / part / "model.safetensors")
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


def content_ids(library, *names):
    return [library.content_id(library.find(name, "checkpoint")) for name in names]


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


def test_an_inpainting_checkpoint_is_named(tmp_path):
    found = identify_folder(make_checkpoint(tmp_path / "model", channels=9))
    assert (found.variant, found.usable) == ("inpaint", True)


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
    assert "no kind that is known" in entry.reason


def test_the_id_is_the_content_wherever_it_lies(data):
    a = make_checkpoint(data.paths.models / "checkpoints" / "a")
    make_checkpoint(data.paths.models / "checkpoints" / "b")
    ids = content_ids(Library(data), "a", "b")
    assert ids[0] == ids[1]
    write_safetensors(a / "unet" / "model.safetensors", "BF16")
    changed = content_ids(Library(data), "a", "b")
    assert changed[0] != changed[1] == ids[1]


def test_a_name_that_is_misspelled_gets_suggestions(data):
    with pytest.raises(ModelNotFoundError) as refused:
        Library(data).find("starter-dsk", "checkpoint")
    assert "starter-desk" in refused.value.hint


def test_a_control_model_for_another_base_is_named_in_the_refusal(data):
    with pytest.raises(ModelNotFoundError) as refused:
        Library(data).control_model_for("scribble", "sd1")
    assert "the starter model" in refused.value.hint


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


@pytest.mark.parametrize("text", ['{"name": "x", "native_size": "big"}', '{"known_words": []}', "[]", "[" * 9000])
def test_a_card_that_makes_no_sense_makes_its_model_unusable_and_says_so(tmp_path, text):
    folder = make_checkpoint(tmp_path / "model")
    (folder / "card.json").write_text(text)
    found = identify_folder(folder)
    assert not found.usable
    assert "cannot be read" in found.reason


def test_weights_that_are_cut_short_are_named(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    file = folder / "vae" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert identify_folder(folder).reason == "The weights in vae cannot be read: model.safetensors is cut short."


def test_a_missing_shard_is_named(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    (folder / "unet" / "model.safetensors").rename(folder / "unet" / "model-00001-of-00002.safetensors")
    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "unet" / "model.safetensors.index.json").write_text(json.dumps(shards))
    assert identify_folder(folder).reason == "model-00002-of-00002.safetensors is missing in unet."


def test_weights_that_are_only_a_variant_are_taken(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    (folder / "unet" / "model.safetensors").rename(folder / "unet" / "model.fp16.safetensors")
    assert identify_folder(folder).usable


def test_weights_by_names_that_nobody_loads_are_no_weights(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    (folder / "unet" / "model.safetensors").rename(folder / "unet" / "mine.safetensors")
    assert "no weights in unet" in identify_folder(folder).reason


def test_the_precision_is_of_the_weights_that_are_loaded(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    write_safetensors(folder / "unet" / "model.fp16.safetensors")
    write_safetensors(folder / "unet" / "model.safetensors", "F32")
    assert identify_folder(folder).precision == "fp32"


def test_pickles_are_taken_where_there_is_nothing_else_and_never_run(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    file = folder / "vae" / "model.safetensors"
    file.unlink()
    torch.save({"weight": torch.zeros(2)}, folder / "vae" / "pytorch_model.bin")
    assert identify_folder(folder).usable
    torch.save({"weight": Trap(tmp_path / "made")}, folder / "vae" / "pytorch_model.bin")
    assert "wants to import" in identify_folder(folder).reason
    assert not (tmp_path / "made").exists()


def test_numbers_that_are_none_are_a_reason_and_no_crash(tmp_path):
    folder = make_checkpoint(tmp_path / "model", width=[320, 640])
    assert "cannot be read" in identify_folder(folder).reason


def test_models_sorted_into_folders_are_found(data):
    make_checkpoint(data.paths.models / "checkpoints" / "paint" / "oil" / "rembrandt")
    (data.paths.models / "checkpoints" / "empty").mkdir()
    entries = {e.name: e.usable for e in Library(data).entries()}
    assert entries["rembrandt"]
    assert entries["empty"] is False


def test_equal_names_are_told_apart_and_one_folder_is_listed_once(data):
    make_checkpoint(data.paths.models / "checkpoints" / "mine")
    make_checkpoint(data.paths.models / "checkpoints" / "more" / "mine")
    settings = load_settings(data.paths.root, models_from=(data.paths.root,))  # its models/checkpoints once more
    library = Library(settings)
    assert [e.name for e in library.entries("checkpoint") if not e.path.is_relative_to(BUILTIN)] == ["mine", "mine (2)"]
    assert library.find("mine (2)", "checkpoint").path.parent.name == "more"


def test_a_single_file_is_what_its_tensors_are_wherever_it_lies(data):
    write_header(data.paths.models / "checkpoints" / "small.safetensors", vae(""))
    write_header(data.paths.models / "checkpoints" / "control_canny.safetensors", control("sd1"))
    kinds = {e.name: (e.kind, e.control_kind) for e in Library(data).entries() if e.format == "single file"}
    assert kinds == {"small": ("vae", ""), "control_canny": ("controlnet", "canny")}


def test_a_model_is_read_from_end_to_end_when_it_is_first_used_and_then_known(data):
    make_checkpoint(data.paths.models / "checkpoints" / "large")
    library = Library(data)
    assert library.find("large", "checkpoint").id == ""
    (content,) = content_ids(library, "large")
    assert library.find("large", "checkpoint").id == content
    assert Library(data).find("large", "checkpoint").id == content


def test_a_waiting_job_finds_its_large_model_again_after_the_cache_is_gone(data):
    make_checkpoint(data.paths.models / "checkpoints" / "large")
    (content,) = content_ids(Library(data), "large")
    data.paths.library_db.unlink()
    found = Library(data).locate(params(checkpoint="large", checkpoint_id=content))
    assert found[content].name == "large"


def test_a_listing_is_plain_json(data):
    make_control(data.paths.models / "controlnet" / "depth")
    (entry,) = [e for e in Library(data).entries() if e.name == "depth"]
    listed = json.loads(json.dumps(entry.to_dict()))
    assert listed.items() >= {"kind": "controlnet", "base": "sd1", "control_kind": "depth", "usable": True}.items()
