import json

import pytest
from PIL import Image
from starlette.testclient import TestClient

from studio.api import bodies
from studio.api.guard import Policy
from studio.api.routes import build_api
from studio.errors import (
    AssetError,
    ForbiddenError,
    InvalidRequestError,
    JobError,
    MissingError,
    ModelNotFoundError,
    StorageError,
    WorkerError,
)
from studio.params import GenerationRequest
from tests.api.kit import ANN, HOST, PROMPT, build, finished, png


def test_a_submitted_job_waits_with_nothing_left_to_choose(local):
    answer = local.post("/api/v1/jobs", json=PROMPT)
    assert answer.status_code == 201
    body = answer.json()
    assert body["job"]["state"] == "queued"
    assert body["params"]["seed"] == 7
    assert None not in (body["params"]["width"], body["params"]["scheduler"], body["params"]["checkpoint_id"])
    assert body["warnings"] == []
    assert local.get(f"/api/v1/jobs/{body['job']['id']}").json() == body["job"]
    assert [job["id"] for job in local.get("/api/v1/jobs").json()] == [body["job"]["id"]]


def test_what_was_put_right_is_said(local):
    body = local.post("/api/v1/jobs", json=PROMPT | {"width": 130}).json()
    assert body["params"]["width"] == 128
    assert "130" in body["warnings"][0]


def test_cancelled_jobs_can_be_tried_again(local):
    job_id = local.post("/api/v1/jobs", json=PROMPT).json()["job"]["id"]
    assert local.post(f"/api/v1/jobs/{job_id}/retry").status_code == 409
    assert local.post(f"/api/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert local.post(f"/api/v1/jobs/{job_id}/retry").json()["state"] == "queued"


def test_the_order_of_the_queue_can_be_changed(studio, local):
    first, second = (local.post("/api/v1/jobs", json=PROMPT).json()["job"]["id"] for _ in range(2))
    assert local.post(f"/api/v1/jobs/{second}/move", json={"before": first}).status_code == 200
    assert [job.id for job in studio.jobs.waiting()] == [second, first]
    assert local.post(f"/api/v1/jobs/{second}/move", json={"before": None}).status_code == 200
    assert [job.id for job in studio.jobs.waiting()] == [first, second]
    assert local.post(f"/api/v1/jobs/{second}/move", json={"before": "gone"}).status_code == 409
    assert local.post(f"/api/v1/jobs/{second}/move", json={"before": 5}).json()["field"] == "before"


def test_a_picture_comes_as_it_was_saved(studio, local):
    _, item = finished(studio, ANN)
    file = local.get(f"/api/v1/gallery/{item}/file")
    assert file.headers["content-type"] == "image/png"
    assert file.content == studio.gallery.get(item).path.read_bytes()
    assert "content-disposition" not in file.headers
    assert "attachment" in local.get(f"/api/v1/gallery/{item}/file?download=1").headers["content-disposition"]
    thumbnail = local.get(f"/api/v1/gallery/{item}/thumbnail")
    assert (thumbnail.headers["content-type"], thumbnail.content[:4]) == ("image/webp", b"RIFF")


def test_a_browser_that_has_a_picture_is_told_so(studio, local):
    _, item = finished(studio, ANN)
    first = local.get(f"/api/v1/gallery/{item}/file")
    again = local.get(f"/api/v1/gallery/{item}/file", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_file_that_was_removed_by_hand_is_missed(studio, local):
    _, item = finished(studio, ANN)
    studio.gallery.get(item).path.unlink()
    answer = local.get(f"/api/v1/gallery/{item}/file")
    assert (answer.status_code, answer.json()["hint"]) == (404, "Delete the entry.")


def test_a_picture_can_be_starred_deleted_and_brought_back(studio, local):
    _, item = finished(studio, ANN)
    assert local.post(f"/api/v1/gallery/{item}/star", json={"starred": True}).json()["starred"]
    assert [i["id"] for i in local.get("/api/v1/gallery?starred=true").json()] == [item]
    assert local.delete(f"/api/v1/gallery/{item}").json() == {"deleted": item}
    assert local.get(f"/api/v1/gallery/{item}").status_code == 404
    assert local.post(f"/api/v1/gallery/{item}/restore").json()["id"] == item
    assert local.post(f"/api/v1/gallery/{item}/star", json={"starred": 1}).json()["field"] == "starred"


def test_the_gallery_comes_in_pages_and_by_words(studio, local):
    items = [finished(studio, ANN)[1] for _ in range(3)]
    first = local.get("/api/v1/gallery?limit=2").json()
    assert [i["id"] for i in first] == items[:0:-1]
    assert [i["id"] for i in local.get(f"/api/v1/gallery?limit=2&before={first[-1]['id']}").json()] == items[:1]
    assert len(local.get("/api/v1/gallery?query=house").json()) == 3
    assert local.get("/api/v1/gallery?query=boat").json() == []


def test_a_picture_tells_the_request_that_makes_it_again(studio, local):
    _, item = finished(studio, ANN)
    request = local.get(f"/api/v1/gallery/{item}").json()["request"]
    assert local.post("/api/v1/jobs", json=request).json()["params"]["seed"] == 7
    restored = local.post(
        "/api/v1/settings-from-picture", content=local.get(f"/api/v1/gallery/{item}/file").content
    ).json()
    assert restored["request"]["prompt"] == PROMPT["prompt"]


def test_an_upload_comes_back_as_a_png(local):
    asset = local.post("/api/v1/assets", content=png("blue")).json()["id"]
    answer = local.get(f"/api/v1/assets/{asset}")
    assert answer.headers["content-type"] == "image/png"
    assert local.get(f"/api/v1/assets/{asset}/data").status_code == 404


def test_an_id_is_no_path(local):
    ids = ("..%2F..%2Fetc%2Fpasswd", "%2e%2e", "a" * 64, "x", "0" * 63 + "%00", "....//studio.db")
    assert {local.get(f"/api/v1/assets/{name}").status_code for name in ids} <= {404, 422}


def test_strokes_come_back_for_editing(studio, ann):
    strokes = {"w": 64, "h": 64, "strokes": [{"c": "#000000", "s": 4, "e": False, "p": [8, 8, 1, 40, 40, 1]}]}
    drawing = studio.add_strokes(strokes, (64, 64), ANN)
    assert ann.get(f"/api/v1/assets/{drawing.editor}/data").json()["strokes"]
    wanted = PROMPT | {"controls": [{"kind": "scribble", "map": drawing.map}]}
    assert ann.post("/api/v1/jobs", json=wanted).status_code == 201


def test_drafts_are_kept_for_each_browser(local):
    assert local.get("/api/v1/drafts/b1").json() == {}
    assert local.put("/api/v1/drafts/b1", json={"prompt": "tree"}).json() == {"saved": True}
    assert local.get("/api/v1/drafts/b1").json() == {"prompt": "tree"}
    assert local.get("/api/v1/drafts/b2").json() == {}


def test_drafts_of_guests_are_their_own(ann, bob):
    ann.put("/api/v1/drafts/b1", json={"prompt": "secret"})
    assert bob.get("/api/v1/drafts/b1").json() == {}


def test_what_there_is_to_choose_is_listed(local):
    models = local.get("/api/v1/models").json()["models"]
    assert {"starter-desk"} <= {m["name"] for m in models}
    assert not any("path" in m for m in models)
    assert {"ddim", "dpmpp_2m"} <= {s["name"] for s in local.get("/api/v1/schedulers").json()}
    assert "published-controlnet" in {p["name"] for p in local.get("/api/v1/presets").json()}
    status = local.get("/api/v1/status").json()
    assert (status["waiting"], status["user"]["role"]) == (0, "local")


def test_unknown_words_are_named(local):
    words = local.post("/api/v1/unknown-words", json={"prompt": "a red zeppelin"}).json()
    assert words == ["zeppelin"]


def test_the_description_of_the_routes_is_valid_and_complete(studio):
    described = build_api(studio).openapi()
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            assert route.get("description"), (method, path)
            assert "422" in route["responses"], (method, path)
            assert all(p.get("description") or p["in"] == "query" for p in route.get("parameters", []))
    schema = described["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(GenerationRequest.__dataclass_fields__)
    assert "$ref" not in json.dumps(schema)


def test_the_documentation_loads_nothing_from_elsewhere(local):
    page = local.get("/api/v1/docs")
    assert "POST /api/v1/jobs" in page.text
    assert "num_inference_steps" in page.text
    assert "http://" not in page.text
    assert "<script" not in page.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequestError("No.", field="seed"), 422),
        (ModelNotFoundError("No."), 422),
        (AssetError("No."), 422),
        (WorkerError("No."), 422),
        (ForbiddenError("No."), 403),
        (MissingError("No."), 404),
        (JobError("No."), 409),
        (bodies.TooLargeError("No."), 413),
        (StorageError("No."), 507),
    ],
)
def test_errors_have_a_status_a_sentence_and_a_hint(error, status):
    answer = bodies.refusal(error)
    assert answer.status_code == status
    body = json.loads(answer.body)
    assert (body["detail"], body["hint"]) == ("No.", error.hint)
    assert body.get("field") == getattr(error, "field", None)


def test_odd_characters_in_a_sentence_do_no_harm():
    assert json.loads(bodies.refusal(InvalidRequestError("\ud800", field="\ud800")).body)["detail"] == "\ud800"


def test_a_bug_is_answered_without_a_traceback(studio, monkeypatch, caplog):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(studio.jobs, "list", broken)
    visitor = TestClient(build(studio, Policy()), base_url=f"http://{HOST}", raise_server_exceptions=False)
    answer = visitor.get("/api/v1/jobs")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "logs/studio.log" in answer.json()["hint"]
    assert "secret detail" in caplog.text


def test_a_long_body_is_refused_before_it_is_read(local, monkeypatch):
    monkeypatch.setattr("studio.api.bodies.JSON_MAX", 100)
    said = local.post("/api/v1/jobs", content=b"{" + b" " * 200)
    streamed = local.post("/api/v1/jobs", content=(b" " * 50 for _ in range(1000)))
    assert said.status_code == streamed.status_code == 413
    assert said.json()["detail"].startswith("The body is longer")


def test_pictures_are_put_in_upright(studio, local):
    from io import BytesIO

    buffer = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(buffer, "JPEG", exif=exif)
    asset = local.post("/api/v1/assets", content=buffer.getvalue()).json()["id"]
    assert studio.assets.open_image(asset).size == (10, 20)
