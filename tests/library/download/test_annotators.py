"""The weights of annotators come as any download does, and are found where they were put."""

import pytest

from studio.annotators import register_annotators
from studio.hookspecs import AnnotatorSpec, WeightsSpec
from studio.library.annotators import AnnotatorFiles
from studio.library.download.hub import DEFAULT_ENDPOINT
from studio.library.download.names import check_suffix, own_name
from studio.library.download.wanted import Wanted
from tests.library.download.stand_in import safetensors

FILE = WeightsSpec(name="far.safetensors", repo="o/r", file="x/far.safetensors")
FOLDER = WeightsSpec(name="net-hf", repo="o/net-hf")
ROW = AnnotatorSpec(name="far", label="Far", kind="edges", module="far", weights=(FILE, FOLDER))
ROWS = [row for row in register_annotators() if any(weights.repo for weights in row.weights)]


def test_a_file_and_a_folder_arrive_where_they_are_looked_for(desk, server):
    server.hub_file("o/r", "x/far.safetensors", safetensors())
    server.hub_list("o/net-hf", {"config.json": b"{}", "model.safetensors": safetensors(), "README.md": b"#"})
    files = AnnotatorFiles((desk.models / "annotators",))
    for body in files.downloads(ROW):
        assert desk.get(**body)["state"] == "done"
    assert files.ready(ROW)
    assert sorted(desk.files()) == [
        "annotators/far.safetensors",
        "annotators/net-hf/config.json",
        "annotators/net-hf/model.safetensors",
    ]
    assert files.downloads(ROW) == []


def test_a_file_whose_download_was_stopped_is_not_taken_for_whole(desk, server):
    server.hub_file("o/r", "x/far.safetensors", safetensors(), cuts=[8, *[0] * 9])
    files = AnnotatorFiles((desk.models / "annotators",))
    assert desk.get(**files.downloads(ROW)[0])["state"] == "failed"
    assert files.find(FILE.name) is None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_asked_for_gets_the_name_that_is_looked_for(row, tmp_path):
    bodies = AnnotatorFiles((tmp_path,)).downloads(row)
    for body, weights in zip(bodies, row.weights, strict=True):
        wanted = Wanted.from_dict(body, DEFAULT_ENDPOINT)
        if wanted.file:
            check_suffix(weights.name, body["kind"])
            assert own_name(wanted.file, wanted.repo) == weights.name
        else:
            assert wanted.repo.endswith(f"/{weights.name}")
