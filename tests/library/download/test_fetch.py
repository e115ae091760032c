import errno
import hashlib
import os

import pytest

from tests.library.download.kit import BODY, HALF
from tests.library.download.stand_in import Answer


def test_without_a_kind_the_file_itself_tells_where_it_goes(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    desk.kind = "controlnet"
    view = desk.url("/a.safetensors", kind="")
    assert (view["state"], view["kind"], list(desk.files())) == ("done", "controlnet", ["controlnet/a.safetensors"])


def test_what_cannot_be_told_waits_for_its_kind_without_being_fetched_again(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, headers={"ETag": '"v1"'})
    view = desk.url("/a.safetensors", kind="")
    assert view["state"] == "failed"
    assert "say its kind" in view["hint"]
    assert set(desk.files()) == {".incoming/.a.safetensors.part", ".incoming/.a.safetensors.part.json"}
    server.heard.clear()
    assert desk.url("/a.safetensors", kind="vae")["state"] == "done"
    assert (desk.ranges("/a.safetensors"), list(desk.files())) == ([None], ["vae/a.safetensors"])


def test_a_folder_of_an_unknown_kind_waits_too(desk, server):
    server.hub_list("o/net", {"config.json": b"{}", "diffusion_pytorch_model.safetensors": BODY})
    assert desk.get(repo="o/net")["state"] == "failed"
    server.heard.clear()
    assert desk.get(repo="o/net", kind="controlnet")["state"] == "done"
    assert server.paths() == ["/api/models/o/net/revision/c0ffee"]
    assert set(desk.files()) == {"controlnet/net/config.json", "controlnet/net/diffusion_pytorch_model.safetensors"}


def test_a_kind_whose_folder_is_on_another_disk_gets_its_file_too(desk, server, monkeypatch):
    server.answers["/a.safetensors"] = Answer(BODY)
    desk.kind = "lora"
    really_rename = os.rename

    def rename(source, target):
        if source.parent.name == ".incoming" and target.parent.name != ".incoming":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        really_rename(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert desk.url("/a.safetensors", kind="")["state"] == "done"
    assert list(desk.files()) == ["loras/a.safetensors"]


def digests(desk):
    """The sha256 of every file that is here."""
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in desk.files().items()}


@pytest.mark.parametrize("kind", ["lora", ""])
@pytest.mark.parametrize("cuts", [[], [0, HALF]])
def test_the_sha256_of_what_came_is_handed_on_whole_or_in_parts(desk, server, kind, cuts):
    server.answers["/a.safetensors"] = Answer(BODY, headers={"ETag": '"v1"'}, cuts=cuts)
    desk.kind = "lora"
    desk.url("/a.safetensors", kind=kind)
    assert desk.hashes == digests(desk) == {"loras/a.safetensors": hashlib.sha256(BODY).hexdigest()}


def test_so_is_that_of_a_file_that_was_here_and_was_compared(desk, server):
    server.hub_file("o/r", "a.safetensors", BODY)
    for said in ({}, {"sha256": hashlib.sha256(BODY).hexdigest()}):
        desk.get(repo="o/r", file="a.safetensors", kind="lora", **said)
        assert desk.hashes == digests(desk)
        desk.hashes.clear()
        desk.get(repo="o/r", file="a.safetensors", kind="lora", **said)
        assert desk.hashes == digests(desk)


def test_so_are_those_of_a_folder_and_no_others(desk, server):
    server.hub_list("o/net", {"config.json": b"{}", "diffusion_pytorch_model.safetensors": BODY})
    desk.get(repo="o/net", kind="controlnet")
    assert desk.hashes == digests(desk)
    desk.hashes.clear()
    desk.get(repo="o/net", kind="controlnet")  # it is here: only what the Hub's checksum was compared with is known
    assert desk.hashes.items() <= digests(desk).items()
