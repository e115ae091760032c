from types import SimpleNamespace

import pytest

from studio.engine import readahead
from studio.engine.readahead import ReadAhead, weights
from tests import tiny


@pytest.fixture
def folder(tmp_path):
    for name, size in (("unet/model.safetensors", 10), ("vae/model.safetensors", 5), ("vae/config.json", 7)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    return tmp_path


def free(monkeypatch, size):
    monkeypatch.setattr(readahead.psutil, "virtual_memory", lambda: SimpleNamespace(available=size))


def test_weights_are_the_files_with_tensors(folder):
    names = [file.relative_to(folder).as_posix() for file in weights(tiny.location(folder))]
    assert names == ["unet/model.safetensors", "vae/model.safetensors"]
    single = folder / "unet/model.safetensors"
    assert weights(tiny.location(single)) == [single]


def test_what_has_no_room_is_left_alone(folder, monkeypatch):
    free(monkeypatch, 29)
    assert weights(tiny.location(folder)) == []
    free(monkeypatch, 31)
    assert len(weights(tiny.location(folder))) == 2


def test_a_model_that_is_gone_is_no_error(tmp_path):
    assert weights(tiny.location(tmp_path / "gone.safetensors")) == []
    ahead = ReadAhead()
    ahead.begin(tiny.location(tmp_path / "gone.safetensors"))
    assert ahead.wait(20)


def test_the_last_one_wins_and_everything_ends(folder, monkeypatch):
    read = []
    ahead = ReadAhead()
    real = ahead._read

    def note(location):
        read.append(location.name)
        real(location)

    monkeypatch.setattr(ahead, "_read", note)
    for name in ("unet", "vae"):
        ahead.begin(tiny.location(folder / name))
    while not ahead.wait(20):
        pass
    assert read[-1] == "vae"
