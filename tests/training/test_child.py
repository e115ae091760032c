"""The real process on the starter: from drawn pictures to a LoRA in the library, and on after a stop."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors.torch import load_file

from studio.access import LOCAL_USER
from studio.app import open_studio
from studio.settings import load_settings
from studio.starter.subjects import SUBJECTS, write_subjects

pytestmark = pytest.mark.slow
PATIENCE, STEPS = 300, 12


@contextmanager
def desk(folder):
    """A studio with a dataset of pictures, and its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with open_studio(load_settings(folder / "data", device="cpu"), worker=False) as opened:
            (dataset,) = write_subjects(opened.settings.paths.datasets, subjects=SUBJECTS[:1])
            yield opened, dataset.name


@pytest.fixture
def studio(tmp_path):
    with desk(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A studio for several tests, with a run that nothing came between: its name is `whole`."""
    with desk(tmp_path_factory.mktemp("shared")) as (opened, dataset):
        whole = opened.trainings.start(body(dataset, "whole"), LOCAL_USER)["id"]
        assert opened.trainings.wait(whole, LOCAL_USER, PATIENCE)["state"] == "done"
        yield opened, dataset, whole


def body(dataset, name, **settings):
    few = {
        "steps": STEPS,
        "batch": 1,
        "rank": 2,
        "sample_prompts": ["a sks cup"],
        "save_every": 0,
        "measure_every": 0,
        "sample_every": 0,
    }
    return {"name": name, "dataset": dataset, "class_word": "mushroom", "settings": few | settings}


def same_as_whole(opened, name):
    """Whether the LoRA of a run is, bit for bit, that of the run that nothing came between."""
    folder = opened.settings.paths.models / "loras"
    first, second = (load_file(folder / f"{each}.safetensors") for each in ("whole", name))
    return first.keys() == second.keys() and all((first[key] == second[key]).all() for key in first)


def test_a_lora_is_trained_and_is_in_the_library(shared):
    opened, _, whole = shared
    trainings = opened.trainings
    view = trainings.get(whole, LOCAL_USER)
    assert (view["state"], view["error"], view["step"]) == ("done", "", STEPS)
    (result,) = view["results"]
    assert (result["kind"], result["file"], result["key"] != "") == ("lora", "loras/whole.safetensors", True)
    entry = opened.library.find("whole", "lora")
    assert (entry.base, entry.usable) == (opened.library.find("starter-desk", "checkpoint").base, True)
    check_what_it_told(view, opened.settings.paths.training / whole)


def test_a_run_is_stopped_and_gone_on_with_bit_for_bit(shared):
    opened, dataset, _ = shared
    trainings = opened.trainings
    parts = trainings.start(body(dataset, "parts", save_every=STEPS // 2), LOCAL_USER)["id"]
    while not trainings.get(parts, LOCAL_USER)["saves"]:
        trainings.wait(parts, LOCAL_USER, 0.2)
    trainings.order(parts, "stop", LOCAL_USER)
    view = trainings.wait(parts, LOCAL_USER, PATIENCE)
    assert (view["state"], view["step"] < STEPS, view["kept"]) == ("stopped", True, view["step"])
    trainings.order(parts, "resume", LOCAL_USER)
    assert trainings.wait(parts, LOCAL_USER, PATIENCE)["state"] == "done"
    trainings.keep(parts, STEPS, LOCAL_USER)
    assert same_as_whole(opened, "parts")


def test_a_pause_ends_the_process_and_another_one_goes_on_bit_for_bit(shared):
    opened, dataset, _ = shared
    trainings = opened.trainings
    rested = trainings.start(body(dataset, "rested"), LOCAL_USER)["id"]
    while trainings.get(rested, LOCAL_USER)["state"] != "running":
        trainings.wait(rested, LOCAL_USER, 0.1)
    trainings.order(rested, "pause", LOCAL_USER)
    while trainings.get(rested, LOCAL_USER)["state"] != "paused" or trainings._course._child is not None:
        trainings.wait(rested, LOCAL_USER, 0.1)
    assert trainings.get(rested, LOCAL_USER)["step"] < STEPS
    trainings.order(rested, "go", LOCAL_USER)
    assert trainings.wait(rested, LOCAL_USER, PATIENCE)["state"] == "done"
    said = [event.get("name") for event in trainings.get(rested, LOCAL_USER)["log"]]
    assert said.count("loading") == 2
    assert same_as_whole(opened, "rested")


def test_a_process_that_is_left_while_it_scores_keeps_its_state_and_ends(studio):
    opened, dataset = studio
    trainings = opened.trainings
    run = trainings.start(body(dataset, "left", steps=40, measure_every=1), LOCAL_USER)["id"]
    while not scoring(trainings.get(run, LOCAL_USER)):
        trainings.wait(run, LOCAL_USER, 0.05)
    trainings.close()  # the end of its input, as when the studio is killed
    view = trainings.get(run, LOCAL_USER)
    assert (view["state"], view["resumable"]) == ("interrupted", True)
    begun = max(event["step"] for event in view["log"] if event["event"] == "step")
    assert begun not in [event["step"] for event in view["log"] if event["event"] == "measured"]
    states = sorted((opened.settings.paths.training / run / "state").iterdir())
    assert states[-1].name == f"step-{begun:07d}.safetensors"


def scoring(view):
    return view["step"] > 0 and view["phase"] == "scoring"


def check_what_it_told(run, folder: Path):
    told = [event["event"] for event in run["log"]]
    assert told[:2] == ["phase", "phase"]
    assert told[-1] == "done"
    assert {"estimate", "step", "measured", "samples", "saved", "verdict"} <= set(told)
    assert run["estimate"]["ok"]
    assert set(run["scores"][str(STEPS)]) == {"similarity", "nearest", "obedience", "drift"}
    assert sorted(file.name for file in (folder / "samples").iterdir()) == [f"{STEPS}-0.png", "base-0.png"]
    header = json.loads((folder / "header.json").read_text())
    assert header["ss_network_dim"] == "2"
    assert "ss_dataset_dirs" not in header


def test_what_cannot_be_done_is_said_by_the_process_too(studio):
    opened, dataset = studio
    trainings = opened.trainings
    run = trainings.start(body(dataset, "broken"), LOCAL_USER)["id"]
    (opened.settings.paths.training / run / "params.json").unlink(missing_ok=True)
    for picture in (opened.settings.paths.datasets / dataset).glob("*.png"):
        picture.write_bytes(b"no picture")
    view = trainings.wait(run, LOCAL_USER, PATIENCE)
    assert (view["state"], view["field"]) == ("failed", "dataset")
    assert "cannot be used" in view["error"]
