import io

import pytest
from PIL import Image

from studio.access import LOCAL_USER
from studio.messages import RawImage
from studio.params import GenerationParams
from tests.api.kit import PROMPT

GUIDANCE = {"field": "guidance_scale", "text": "3, 5"}
SEEDS = {"field": "seed", "values": [1, 2]}


def start(client, *axes, **fields):
    return client.post("/api/v1/grids", json={"request": PROMPT | fields, "axes": list(axes)})


def finish(studio, job_id):
    """The job's picture, as if the worker had made it."""
    job = studio.jobs.required(job_id)
    params = GenerationParams.from_dict(job.params)
    raw = RawImage(width=8, height=8, rgb=bytes([200, 0, 0] * 64), seed=1)
    (item,) = studio.gallery.add(job.id, job.owner, params, (raw,))
    studio.jobs.claim()
    studio.jobs.finish(job.id, results=(item.id,), warnings=(), seconds={})


def test_a_grid_is_queued_in_its_order_with_one_seed(local, studio):
    answer = start(local, GUIDANCE, {"field": "num_inference_steps", "values": [2, 3]}, seed=None)
    assert answer.status_code == 201
    grid = answer.json()
    assert [cell["place"] for cell in grid["cells"]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    params = [studio.jobs.required(cell["job"]).params for cell in grid["cells"]]
    assert len({p["seed"] for p in params}) == 1
    assert [(p["guidance_scale"], p["num_inference_steps"]) for p in params] == [(3, 2), (3, 3), (5, 2), (5, 3)]
    assert local.get(f"/api/v1/grids/{grid['id']}").json()["total"] == 4


def test_a_sheet_shows_what_is_made(local, studio):
    grid = start(local, SEEDS).json()
    finish(studio, grid["cells"][0]["job"])
    now = local.get(f"/api/v1/grids/{grid['id']}").json()
    assert (now["done"], now["cells"][0]["state"]) == (1, "done")
    assert now["cells"][0]["picture"]["url"]
    answer = local.get(f"/api/v1/grids/{grid['id']}/sheet")
    assert answer.headers["content-type"] == "image/png"
    assert (200, 0, 0) in Image.open(io.BytesIO(answer.content)).get_flattened_data()


def test_what_is_left_of_a_grid_is_cancelled(local):
    grid = start(local, SEEDS).json()
    after = local.post(f"/api/v1/grids/{grid['id']}/cancel").json()
    assert [cell["state"] for cell in after["cells"]] == ["cancelled", "cancelled"]


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ([{"field": "guidance_scale", "values": [3, 99]}], "between 0 and 30"),
        ([{"field": "seed"}], "An axis has a field and values"),
        (["seed"], "An axis has a field and values"),
        ([], "0 axes"),
        ([{"field": "checkpoint", "values": ["gone"]}], "gone"),
    ],
)
def test_a_grid_with_one_wrong_picture_queues_none(local, studio, axes, says):
    answer = start(local, *axes)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert studio.list_jobs(LOCAL_USER) == []


def test_guests_make_small_grids_and_see_their_own(ann, bob):
    assert start(ann, {"field": "seed", "values": list(range(11))}).status_code == 403
    grid = start(ann, SEEDS).json()
    assert ann.get(f"/api/v1/grids/{grid['id']}").status_code == 200
    assert bob.get(f"/api/v1/grids/{grid['id']}").status_code == 404
    assert ann.get("/api/v1/grids/nonsense").status_code == 404
