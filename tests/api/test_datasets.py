import io
import zipfile

import pytest
from PIL import Image

from studio.api import datasets
from studio.errors import AssetError
from studio.starter.measure import set_exam
from tests.api.kit import answer_maps
from tests.datasets.kit import data, fill, picture

AT = "/api/v1/datasets"


def send(client, name: str, files: dict[str, bytes]):
    return client.post(f"{AT}/{name}/files", files=[("files", (file, content)) for file, content in files.items()])


@pytest.fixture
def cup(studio):
    """A healthy dataset of five at the size that the starter takes."""
    return fill(studio.settings.paths.datasets / "cup", size=(128, 128))


def test_pictures_go_in_and_are_listed(local):
    assert local.post(AT, json={"name": "my cup"}).status_code == 201
    answer = send(local, "my cup", {"a.png": data(picture(0)), "a.txt": b"a cup", "b.png": b"nothing"})
    assert answer.json()["added"] == ["a.png"]
    assert [row["name"] for row in answer.json()["skipped"]] == ["b.png"]
    seen = local.get(f"{AT}/my cup").json()
    row = seen["pictures"][0]
    assert (row["file"], row["width"], row["height"], row["caption"], row["mask"]) == ("a.png", 96, 96, "a cup", False)
    assert {"few", "tiny"} <= {one["kind"] for one in seen["doctor"]}
    assert local.get(f"/{row['thumb']}").headers["content-type"] == "image/webp"
    listed = local.get(AT).json()
    assert [(one["name"], one["pictures"], one["captions"]) for one in listed] == [("my cup", 1, 1)]
    assert local.get(f"/{listed[0]['cover']}").status_code == 200


def test_a_healthy_dataset_has_no_findings_and_one_that_lacks_the_trigger_has(local, cup):
    assert local.get(f"{AT}/cup", params={"trigger": "sks"}).json()["doctor"] == []
    found = local.get(f"{AT}/cup", params={"trigger": "zwx", "resolution": 512}).json()
    assert {one["kind"] for one in found["doctor"]} == {"trigger", "tiny"}
    assert found["pictures"][0]["trouble"] == []


def test_the_trouble_of_a_picture_stands_beside_it(local, cup):
    (cup / "9.png").write_bytes((cup / "1.png").read_bytes())
    (cup / "8.png").write_bytes(b"no picture")
    rows = {row["file"]: row["trouble"] for row in local.get(f"{AT}/cup").json()["pictures"]}
    assert [one["kind"] for one in rows["9.png"]] == ["duplicates", "unlabelled"]
    assert "not a picture" in rows["8.png"][0]["text"]
    assert rows["0.png"] == []


def test_a_zip_goes_in_and_what_leads_out_of_it_does_not(local, studio):
    local.post(AT, json={"name": "cup"})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/a.png", data(picture(0)))
        archive.writestr("../../evil.png", data(picture(1)))
    answer = send(local, "cup", {"all.zip": buffer.getvalue(), "bad.zip": b"PK"}).json()
    assert answer["added"] == ["x/a.png"]
    assert [row["name"] for row in answer["skipped"]] == ["../../evil.png", "bad.zip"]
    assert not list(studio.settings.paths.root.rglob("evil*"))
    assert local.get(f"{AT}/cup/files/x/a.png").content == data(picture(0))


def test_captions_are_written_changed_in_bulk_and_put_back(local, cup):
    odd = 'eine „schöne“ Tasse\n😀 \\ "'
    assert local.put(f"{AT}/cup/captions", json={"0.png": odd}).json() == {"previous": {"0.png": "a sks cup"}}
    assert local.get(f"{AT}/cup").json()["pictures"][0]["caption"] == odd
    answer = local.post(f"{AT}/cup/captions/bulk", json={"do": "replace", "text": "cup", "with": "mug"}).json()
    assert answer["changed"] == {f"{n}.png": "a sks mug" for n in range(1, 5)}
    local.put(f"{AT}/cup/captions", json=answer["previous"])
    assert local.get(f"{AT}/cup").json()["pictures"][1]["caption"] == "a sks cup"


def test_a_mask_goes_in_is_shown_and_goes(local, cup):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    before = local.get(f"{AT}/cup/thumbs/0.png").content
    assert local.put(f"{AT}/cup/masks/0.png", content=data(mask)).json() == {"file": "0.png", "mask": True}
    assert Image.open(io.BytesIO(local.get(f"{AT}/cup/masks/0.png").content)).size == (128, 128)
    assert local.get(f"{AT}/cup").json()["pictures"][0]["mask"] is True
    assert local.get(f"{AT}/cup/thumbs/0.png").content != before
    assert local.delete(f"{AT}/cup/masks/0.png").json() == {"file": "0.png", "mask": False}
    assert local.get(f"{AT}/cup/masks/0.png").status_code == 404


def test_what_was_deleted_comes_back(local, cup):
    gone = local.delete(f"{AT}/cup/files/0.png").json()
    assert len(local.get(f"{AT}/cup").json()["pictures"]) == 4
    assert local.post(f"{AT}/restore", json={"undo": gone["undo"]}).json()["pictures"] == 5
    gone = local.delete(f"{AT}/cup").json()
    assert local.get(AT).json() == []
    assert local.post(f"{AT}/restore", json={"undo": gone["undo"]}).json()["name"] == "cup"


def test_a_folder_of_the_machine_is_copied_in(local, tmp_path):
    source = fill(tmp_path / "photos", 2)
    local.post(AT, json={"name": "cup"})
    assert local.post(f"{AT}/cup/folder", json={"path": str(source)}).json()["captions"] == 2
    assert len(list(source.iterdir())) == 4


def test_captions_are_made_where_there_are_none(studio, local, cup, monkeypatch):
    heard = answer_maps(studio, monkeypatch)
    told = []
    monkeypatch.setattr(studio.events, "publish", lambda event, owner=None: told.append(event))
    (cup / "1.txt").unlink()
    Image.fromarray(set_exam(1).images[0]).save(cup / "1.png")
    made = datasets.desk_of(studio).caption("cup", datasets.LOCAL_USER)
    assert [question.annotator for question, _ in heard] == ["starter_caption"]
    assert local.get(f"{AT}/cup").json()["pictures"][1]["caption"] == made["captions"]["1.png"] != ""
    assert [event["state"] for event in told if event["type"] == "dataset"] == ["captioning", "done"]


def test_captions_can_be_stopped_and_one_that_fails_is_told(studio, local, cup):
    desk = datasets.desk_of(studio)
    for n in range(5):
        (cup / f"{n}.txt").unlink()
    calls = []

    def words(_png):
        calls.append(1)
        if len(calls) == 1:
            raise AssetError("It is odd.")
        desk.stop_captions("cup", datasets.LOCAL_USER)
        return "a cup"

    desk.words = words
    made = desk.caption("cup", datasets.LOCAL_USER)
    assert made["captions"] == {"1.png": "a cup"}
    assert made["skipped"][0]["reason"].startswith("It is odd.")
    assert len(calls) == 2


BAD = [
    ("post", "", {"json": {"name": "../x"}}, 422, "The name is"),
    ("post", "", {"json": {"name": 5}}, 422, "must be text"),
    ("post", "", {"json": {"name": "cup"}}, 422, "already"),
    ("get", "/none", {}, 404, "no dataset"),
    ("get", "/...", {}, 404, "no dataset"),
    ("get", "/cup/files/..%2F..%2Fstudio.db", {}, 404, "no picture"),
    ("get", "/cup/files/none.png", {}, 404, "no picture"),
    ("get", "/cup/masks/0.png", {}, 404, "no mask"),
    ("put", "/cup/captions", {"json": {"none.png": "x"}}, 404, "no picture"),
    ("put", "/cup/captions", {"json": {"0.png": 5}}, 422, "no text"),
    ("put", "/cup/captions", {"json": {"0.png": "x" * 5000}}, 422, "5000"),
    ("post", "/cup/captions/bulk", {"json": {"do": "shout", "text": "x"}}, 422, "do is"),
    ("post", "/cup/captions/bulk", {"json": {"do": "prefix", "text": 5}}, 422, "must be text"),
    ("put", "/cup/masks/0.png", {"content": b"no picture"}, 422, "not a picture"),
    ("put", "/cup/masks/0.png", {"content": data(Image.new("L", (8, 8)))}, 422, "black everywhere"),
    (
        "post",
        "/cup/files",
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        422,
        "cannot be read",
    ),
    ("post", "/cup/files", {"json": {}}, 422, "No files"),
    ("post", "/cup/files", {"content": b"", "headers": {"content-length": str(5 * 2**30)}}, 413, "GB"),
    ("post", "/none/files", {"files": {"files": ("a.png", b"x")}}, 404, "no dataset"),
    ("post", "/cup/folder", {"json": {"path": "/no/such"}}, 422, "no folder"),
    ("post", "/restore", {"json": {"undo": "../.."}}, 404, "trash"),
    ("delete", "/cup/files/none.png", {}, 404, "no picture"),
    ("delete", "/none", {}, 404, "no dataset"),
]


@pytest.mark.parametrize(("method", "path", "more", "status", "said"), BAD)
def test_bad_requests_are_refused_in_a_sentence(local, cup, method, path, more, status, said):
    answer = local.request(method, AT + path, **more)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]
    assert answer.json()["detail"].endswith(".")


def test_an_upload_that_grows_too_long_is_cut_off(local, cup, monkeypatch):
    monkeypatch.setattr(datasets, "FILES_BYTES", 1000)

    def body():
        for _ in range(100):
            yield b"x" * 100

    answer = local.post(
        f"{AT}/cup/files", content=body(), headers={"content-type": "multipart/form-data; boundary=----x"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["", "/cup", "/cup/files/0.png", "/cup/thumbs/0.png", "/cup/masks/0.png"])
def test_guests_see_nothing_of_it(ann, cup, path):
    assert ann.get(AT + path).status_code == 403


def test_guests_change_nothing(ann, cup):
    for method, path in (("post", ""), ("delete", "/cup"), ("post", "/cup/caption"), ("put", "/cup/masks/0.png")):
        assert ann.request(method, AT + path, content=b"{}").status_code == 403
    assert send(ann, "cup", {"a.png": data(picture(7))}).status_code == 403
    assert len(list(cup.iterdir())) == 10
