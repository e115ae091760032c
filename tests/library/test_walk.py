import os
import sys

import pytest

from studio.library.roots import Place
from studio.library.walk import files_of, walk
from tests.library.kit import write_model


def names(folder, kind="checkpoint", files=True):
    return [found.path.relative_to(folder).as_posix() for found in walk([Place(folder, kind, "x", files)])]


def test_files_and_described_folders_are_found_however_deep_they_lie(tmp_path):
    write_model(tmp_path / "a.safetensors")
    write_model(tmp_path / "by" / "me" / "b.ckpt")
    write_model(tmp_path / "folder" / "unet" / "model.safetensors")
    (tmp_path / "folder" / "model_index.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("no model")
    assert names(tmp_path) == ["a.safetensors", "by/me/b.ckpt", "folder"]


def test_single_files_in_a_download_of_a_folder_are_models_of_their_own(tmp_path):
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "model_index.json").write_text("{}")
    write_model(tmp_path / "clone" / "pruned.safetensors")
    assert names(tmp_path) == ["clone", "clone/pruned.safetensors"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    write_model(tmp_path / ".cache" / "a.safetensors")
    write_model(tmp_path / ".b.safetensors")
    assert names(tmp_path, "lora") == []


def test_links_make_no_loops_and_list_nothing_twice(tmp_path):
    file = write_model(tmp_path / "deep" / "a.safetensors")
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "z.safetensors").symlink_to(file)
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path, "lora") == ["deep/a.safetensors"]


def test_a_linked_folder_is_looked_into(tmp_path):
    write_model(tmp_path / "elsewhere" / "a.safetensors")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "models") == ["link/a.safetensors"]


def test_an_empty_folder_among_checkpoints_is_said_to_be_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    assert names(tmp_path) == ["empty"]
    assert names(tmp_path, "lora") == []


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_need_not_be_utf8_and_may_be_long(tmp_path):
    odd = os.fsdecode(b"caf\xe9.safetensors")
    deep = tmp_path / ("d" * 130) / ("e" * 130)
    write_model(tmp_path / odd)
    write_model(deep / "x.safetensors")
    assert {found.path.name for found in walk([Place(tmp_path, "lora", "x")])} == {odd, "x.safetensors"}


def test_the_signature_changes_with_the_file_and_nothing_else(tmp_path):
    file = write_model(tmp_path / "a.safetensors")

    def signature():
        return next(walk([Place(tmp_path, "lora", "x")])).signature

    before = signature()
    (tmp_path / "a.json").write_text("{}")
    assert signature() == before
    os.utime(file, ns=(1, 1))
    assert signature() != before


def test_sidecars_belong_to_the_model_of_their_name(tmp_path):
    write_model(tmp_path / "a.safetensors")
    write_model(tmp_path / "b.safetensors")
    (tmp_path / "a.civitai.info").write_text("{}")
    (tmp_path / "a.preview.png").write_bytes(b"")
    a, b = walk([Place(tmp_path, "lora", "x")])
    assert set(a.sidecars) == {".civitai.info", ".preview.png"}
    assert (b.sidecars, b.beside) == ({}, "")


def test_pickles_are_a_folders_files_where_there_are_no_others(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x")
    (tmp_path / "config.json").write_text("{}")
    assert [file.name for file in files_of(tmp_path)] == ["config.json", "model.bin"]
    write_model(tmp_path / "model.safetensors")
    assert [file.name for file in files_of(tmp_path)] == ["config.json", "model.safetensors"]


def test_a_link_to_nowhere_beside_a_model_does_not_hide_it(tmp_path):
    for name in ("a", "b", "c"):
        write_model(tmp_path / f"{name}.safetensors")
    (tmp_path / "a.preview.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "nowhere.yaml")
    (tmp_path / "c.json").symlink_to("c.json")
    assert names(tmp_path) == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert not any(found.sidecars for found in walk([Place(tmp_path, "lora", "x")]))


def test_a_link_to_itself_among_a_folders_files_hides_no_other(tmp_path):
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "model_index.json").write_text("{}")
    (tmp_path / "clone" / "a.safetensors").symlink_to("a.safetensors")
    write_model(tmp_path / "clone" / "b.safetensors")
    assert names(tmp_path) == ["clone", "clone/b.safetensors"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_pipe_by_a_models_name_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")  # to open it is to wait for ever
    assert names(tmp_path, "lora") == []


def test_a_part_that_is_a_link_belongs_to_the_folder_and_loops_end(tmp_path):
    write_model(tmp_path / "shared" / "model.safetensors")
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    (folder / "vae").symlink_to(tmp_path / "shared")
    (folder / "up").symlink_to(tmp_path)
    (folder / "again").symlink_to(folder)
    found = [file.relative_to(folder).as_posix() for file in files_of(folder)]
    assert found == ["model_index.json", "vae/model.safetensors"]


def test_each_part_of_a_folder_has_its_own_kind_of_weights(tmp_path):
    write_model(tmp_path / "unet" / "model.safetensors")
    (tmp_path / "unet" / "model.bin").write_bytes(b"x")
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "model.bin").write_bytes(b"x")
    found = [file.relative_to(tmp_path).as_posix() for file in files_of(tmp_path)]
    assert found == ["unet/model.safetensors", "vae/model.bin"]
