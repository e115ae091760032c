import json
import os
from pathlib import Path

import pytest

from studio.errors import DownloadError
from studio.library.download.hub import Hub, HubFile, Listing, choose
from studio.library.download.web import Web
from tests.library.download.kit import BODY, HALF
from tests.library.download.stand_in import Answer, safetensors, serving

ENDPOINT = "https://huggingface.co"


def test_a_file_of_the_hub_is_checked_by_the_hubs_checksum(desk, server):
    server.hub_file("o/r", "sub/a.safetensors", BODY)
    assert desk.get(repo="o/r", file="sub/a.safetensors", kind="lora")["state"] == "done"
    server.answers["/o/r/resolve/main/b.safetensors"] = Answer(BODY, headers={"X-Linked-Etag": f'"{"0" * 64}"'})
    assert "checksum" in desk.get(repo="o/r", file="b.safetensors", kind="lora")["error"]
    assert list(desk.files()) == ["loras/a.safetensors"]


def test_the_token_goes_to_the_endpoint_alone(desk, server):
    with serving() as storage:
        storage.answers["/a.safetensors"] = Answer(BODY)
        server.answers["/o/r/resolve/main/a.safetensors"] = Answer(
            status=302, headers={"Location": f"{storage.url}/a.safetensors"}
        )
        desk.web = Web(lambda host, port: ["127.0.0.1"], proxies={})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("studio.library.download.web.is_public", lambda address: True)
            desk.downloads = desk.new()
            assert desk.get(repo="o/r", file="a.safetensors", kind="lora")["state"] == "done"
        assert all(headers.get("Authorization") == "Bearer hf_secret" for _, headers in server.heard)
        assert storage.heard
        assert not any("Authorization" in headers for _, headers in storage.heard)
    assert "hf_secret" not in json.dumps(desk.events)


def test_the_token_is_not_sent_to_addresses(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    desk.url("/a.safetensors")
    assert not any("Authorization" in headers for _, headers in server.heard)


PIPELINE = {
    "model_index.json": b"{}",
    "README.md": b"...",
    "sd.ckpt": b"PK",
    "sd.safetensors": BODY,
    "safety_checker/model.safetensors": BODY,
    "scheduler/scheduler_config.json": b"{}",
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges.txt": b"#",
    "text_encoder/config.json": b"{}",
    "text_encoder/model.safetensors": safetensors(100),
    "text_encoder/pytorch_model.bin": b"PK",
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": BODY,
    "unet/diffusion_pytorch_model.fp16.safetensors": safetensors(10),
    "unet/diffusion_pytorch_model.non_ema.safetensors": safetensors(11),
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.fp16.safetensors": safetensors(200),
    "vae/diffusion_pytorch_model.bin": b"PK",
}
WANTED = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
}


def test_a_pipeline_comes_as_a_folder_of_its_standard_files(desk, server):
    server.hub_list("o/sd", PIPELINE)
    view = desk.get(repo="o/sd", kind="checkpoint")
    assert (view["state"], view["error"], view["name"]) == ("done", "", "sd")
    assert {path.removeprefix("checkpoints/sd/") for path in desk.files()} == WANTED
    assert view["total"] == view["bytes"] == sum(file.stat().st_size for file in desk.files().values())
    assert desk.files()["checkpoints/sd/vae/diffusion_pytorch_model.safetensors"].read_bytes() == safetensors(200)


def test_a_folder_is_there_whole_or_not_at_all_and_goes_on_at_its_commit(desk, server):
    server.hub_list("o/sd", PIPELINE)
    broken = server.answers["/o/sd/resolve/c0ffee/unet/diffusion_pytorch_model.safetensors"]
    broken.cuts = [HALF, *[0] * 9]
    assert desk.get(repo="o/sd", kind="checkpoint")["state"] == "failed"
    assert all(path.startswith("checkpoints/.sd.part/") for path in desk.files())
    broken.cuts.clear()
    server.answers["/api/models/o/sd/revision/main"] = Answer(b'{"sha": "new", "siblings": []}')
    server.heard.clear()
    desk.downloads = desk.new()
    assert desk.get(repo="o/sd", kind="checkpoint")["state"] == "done"
    assert server.paths()[0] == "/api/models/o/sd/revision/c0ffee"
    assert desk.ranges("/o/sd/resolve/c0ffee/unet/diffusion_pytorch_model.safetensors") == [f"bytes={HALF}-"]
    assert {path.removeprefix("checkpoints/sd/") for path in desk.files()} == WANTED


def test_a_folder_that_cannot_be_moved_to_its_place_is_not_fetched_again(desk, server, monkeypatch):
    server.hub_list("o/sd", PIPELINE)
    really_rename = os.rename

    def rename(source, target):
        if Path(target).name == "sd":
            raise PermissionError(13, "Permission denied")
        really_rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", rename)
        assert desk.get(repo="o/sd", kind="checkpoint")["state"] == "failed"
    server.heard.clear()
    desk.downloads = desk.new()
    assert desk.get(repo="o/sd", kind="checkpoint")["state"] == "done"
    assert [path for path in server.paths() if "/resolve/" in path] == []
    assert {path.removeprefix("checkpoints/sd/") for path in desk.files()} == WANTED


def test_the_same_folder_again_is_done_and_another_one_is_kept(desk, server):
    server.hub_list("o/sd", PIPELINE)
    desk.get(repo="o/sd", kind="checkpoint")
    desk.downloads = desk.new()
    server.heard.clear()
    assert desk.get(repo="o/sd", kind="checkpoint")["state"] == "done"
    assert server.paths() == ["/api/models/o/sd/revision/main"]
    server.hub_list("p/sd", PIPELINE | {"unet/config.json": b'{"other": 1}'})
    assert "already" in desk.get(repo="p/sd", kind="checkpoint")["error"]
    assert desk.files()["checkpoints/sd/unet/config.json"].read_bytes() == b"{}"


def test_parts_of_two_repositories_of_one_name_are_not_mixed(desk, server):
    server.hub_list("o/sd", PIPELINE)
    server.answers["/o/sd/resolve/c0ffee/vae/config.json"].status = 404
    assert desk.get(repo="o/sd", kind="checkpoint")["state"] == "failed"
    other = PIPELINE | {"text_encoder/model.safetensors": safetensors(99)}
    server.hub_list("p/sd", other)
    assert desk.get(repo="p/sd", kind="checkpoint")["state"] == "done"
    assert desk.files()["checkpoints/sd/text_encoder/model.safetensors"].read_bytes() == safetensors(99)


def listing(*paths):
    return Listing(commit="c", files={path: HubFile(path=path, name=path) for path in paths})


WEIGHTS = "diffusion_pytorch_model"
SHARDS = [f"{WEIGHTS}-0000{number}-of-00002.safetensors" for number in (1, 2)]
INDEX = f"{WEIGHTS}.safetensors.index.json"


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        ([f"{WEIGHTS}.safetensors", f"{WEIGHTS}.bin"], [f"{WEIGHTS}.safetensors"]),
        ([f"{WEIGHTS}.fp16.safetensors", f"{WEIGHTS}.bin"], [f"{WEIGHTS}.fp16.safetensors"]),
        ([f"{WEIGHTS}.fp16.safetensors", f"{WEIGHTS}.safetensors"], [f"{WEIGHTS}.safetensors"]),
        ([f"{WEIGHTS}.bin", "README.md", "sample.png"], [f"{WEIGHTS}.bin"]),
        ([INDEX, *SHARDS], [*SHARDS, INDEX]),
        ([INDEX, *SHARDS, f"{WEIGHTS}.safetensors"], [f"{WEIGHTS}.safetensors"]),
    ],
)
def test_a_model_of_one_part_comes_as_a_folder(weights, chosen):
    is_folder, files = choose(listing("config.json", *weights), "o/r")
    assert is_folder
    assert [file.path for file in files] == ["config.json", *chosen]
    assert not any(".fp16" in file.name for file in files)  # the library takes no marked names


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (("a.safetensors", "a.ckpt", "README.md"), "a.safetensors"),
        (("x/a.safetensors", "b.bin"), "x/a.safetensors"),
        (("learned_embeds.bin", "README.md"), "learned_embeds.bin"),
        (("config.json", "odd.safetensors"), "odd.safetensors"),
    ],
)
def test_the_one_model_of_a_repository_comes_as_a_file(paths, chosen):
    is_folder, files = choose(listing(*paths), "o/r")
    assert not is_folder
    assert [file.path for file in files] == [chosen]


def test_of_many_models_the_person_must_choose(desk, server):
    server.hub_list("o/r", {f"{name}.safetensors": BODY for name in "abcdefghijkl"})
    view = desk.get(repo="o/r", kind="lora")
    assert "12 models: a.safetensors, b.safetensors" in view["error"]
    assert "o/r:a.safetensors" in view["hint"]


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"siblings": 5}', b'{"siblings": [5, {"rfilename": "../a.pt"}]}', b"[" * 100_000]
)
def test_a_listing_that_is_none_is_refused(desk, server, body):
    server.answers["/api/models/o/r/revision/main"] = Answer(body)
    assert desk.get(repo="o/r", kind="lora")["state"] == "failed"


def test_odd_names_in_a_listing_write_nothing_outside(desk, server):
    odd = {"unet/../../../evil.json": b"{}", "unet/..\\evil.json": b"{}", "vae/con.json": b"{}", "unet/a:b.json": b"{}"}
    server.hub_list("o/sd", PIPELINE | odd)
    assert desk.get(repo="o/sd", kind="checkpoint")["state"] == "done"
    assert {path.removeprefix("checkpoints/sd/") for path in desk.files()} == WANTED


def test_the_endpoint_of_the_environment_counts():
    assert Hub.of({}).endpoint == ENDPOINT
    assert Hub.of({"HF_ENDPOINT": "https://mirror.example/"}).file_url("o/r", "main", "a b.pt") == (
        "https://mirror.example/o/r/resolve/main/a%20b.pt"
    )
    with pytest.raises(DownloadError):
        Hub.of({"HF_ENDPOINT": "mirror"})
