"""A person's own collection in a browser: a ComfyUI folder read in place, what does not fit, memory, downloads."""

import json
import shutil
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from itertools import count
from queue import SimpleQueue

import pytest

from studio.access import LOCAL_USER
from studio.library.download.queue import Downloads
from studio.library.hashes import read_sha256
from studio.settings import BUILTIN
from tests.api.test_downloads import embedding
from tests.library.cases import AUTOENCODERS, CHECKPOINTS, CONTROLS
from tests.library.download.stand_in import FREE, Answer, serving
from tests.library.headers import write
from tests.ui.test_models_in_browser import chosen, open_models, show

WRONG_CONTROL, WRONG_VAE, ELSEWHERE = "control_v11p_sd15_canny", "sdxl_vae", "from-the-yaml"


@pytest.fixture(scope="module", autouse=True)
def collection(served, tmp_path_factory):
    """A ComfyUI installation whose extra_model_paths.yaml names a folder on another disk."""
    if served.studio is None:
        pytest.skip("needs a studio of its own")
    comfy, disk = tmp_path_factory.mktemp("ComfyUI"), tmp_path_factory.mktemp("disk")
    for folder in ("controlnet", "vae"):
        (comfy / "models" / folder).mkdir(parents=True)
    write(comfy / "models" / "controlnet" / f"{WRONG_CONTROL}.safetensors", CONTROLS["control-sd1"].tensors)
    write(comfy / "models" / "vae" / f"{WRONG_VAE}.safetensors", AUTOENCODERS["vae-sdxl"].tensors)
    (disk / "ckpt").mkdir()
    write(disk / "ckpt" / f"{ELSEWHERE}.safetensors", CHECKPOINTS["sdxl"].tensors)
    (comfy / "extra_model_paths.yaml").write_text(f"disk:\n  base_path: {disk}\n  checkpoints: ckpt\n")
    library = served.studio.library
    library.settings = replace(library.settings, models_from=(comfy,))
    library.refresh()


def refusal_of(served, request):
    """The sentence with which the API refuses a request."""
    body = json.dumps(request).encode()
    asked = urllib.request.Request(f"{served.url}/api/v1/jobs", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=60)
    assert refused.value.code == 422
    said = json.load(refused.value)
    return f"{said['detail']} {said['hint']}"


def test_a_folder_that_the_yaml_names_is_listed_with_where_it_lies(page):
    panel = show(open_models(page), ELSEWHERE)
    assert "Checkpoint for SDXL" in panel.inner_text()
    assert "/ckpt/" in panel.locator(".mq-path").first.inner_text()


def test_what_does_not_fit_the_checkpoint_is_marked_with_the_sentence_of_the_api(page, served):
    panel = show(open_models(page), WRONG_CONTROL)
    assert page.inner_text("#models .mq-misfit") == "Does not fit"
    said = panel.locator("#model-misfit p").inner_text()
    assert "made for SD 1.5" in said
    unit = {"kind": "scribble", "model": WRONG_CONTROL, "map": ""}
    assert refusal_of(served, {"prompt": "a", "controls": [unit]}) == said


def test_the_mark_follows_the_checkpoint(page):
    show(open_models(page), WRONG_VAE)
    page.wait_for_selector("#model-misfit")
    show(page, ELSEWHERE)
    page.click("#model-use")
    chosen(page, ELSEWHERE)
    show(page, WRONG_VAE)
    assert page.locator("#model-misfit").count() == 0
    assert page.locator("#models .mq-misfit").count() == 0


def test_a_checkpoint_that_cannot_follow_the_sketch_says_so_before_generate(page):
    page.evaluate("name => window.maquette.emit('choose', {name})", ELSEWHERE)
    page.wait_for_selector("#canvas-notice >> text=There is no scribble ControlNet for SDXL")
    page.evaluate("window.maquette.emit('choose', {name: 'starter-desk'})")
    chosen(page, "starter-desk")
    page.wait_for_function("!/ControlNet/.test(document.querySelector('#canvas-notice').textContent)")


def test_the_vae_of_another_family_is_named_and_refused_beside_generate(page, served, monkeypatch):
    warmed = SimpleQueue()
    monkeypatch.setattr(served.studio, "prefetch", lambda *models: warmed.put(models))
    page.click("#more > button")
    page.click("#vae input")
    page.get_by_role("option", name=f"{WRONG_VAE} (made for SDXL)").click()
    assert warmed.get(timeout=60) == ("starter-desk", ("scribble",), WRONG_VAE)
    page.click("#generate")
    page.wait_for_selector("#notice [role=alert], #notice .mq-notice")
    said = refusal_of(served, {"prompt": "a", "vae": WRONG_VAE})
    assert " ".join(page.inner_text("#notice .mq-notice").split()) == said
    page.evaluate("window.maquette.emit('choose', {name: 'starter-desk'})")


def test_generate_tells_how_far_a_checkpoint_is_read_for_the_first_time(page, served, monkeypatch):
    """Generate waits for a disk that gives half of a file and then nothing, until it is let go on."""
    folder = served.studio.settings.paths.models / "checkpoints" / "heavy"
    shutil.copytree(BUILTIN / "assets" / "starter" / "desk", folder)
    card = folder / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"name": "heavy"}))
    (folder / "notes.bin").write_bytes(bytes(4 << 20))
    served.studio.library.refresh()
    go = threading.Event()

    def slow(file, told):
        told(file.stat().st_size // 2)
        assert file.name != "notes.bin" or go.wait(120)
        told(file.stat().st_size // 2)
        return read_sha256(file)

    monkeypatch.setattr("studio.library.hashes.read_sha256", slow)
    monkeypatch.setattr(served.studio.library.hashes, "_clock", count().__next__)
    monkeypatch.setattr(served.studio, "prefetch", lambda *_: None)
    page.wait_for_function("window.maquette.state.greeted")  # while the disk gives nothing, nothing is told again
    page.evaluate("window.maquette.emit('choose', {name: 'heavy'})")
    chosen(page, "heavy")
    page.click("#generate")
    page.wait_for_selector("#reading >> text=/Reading heavy for the first time: [1-9][0-9]? %/")
    go.set()
    page.wait_for_selector("#reading [role=progressbar]", state="detached")
    page.wait_for_selector("#result img[data-job]:visible")
    page.evaluate("window.maquette.emit('choose', {name: 'starter-desk'})")


def test_memory_is_freed_from_the_meter(page, served, monkeypatch):
    memory = {"process": 2**30, "host_total": 16 * 10**9, "host_available": 12 * 10**9}
    models = [{"name": "starter-desk", "kind": "checkpoint", "bytes": 19_000_000}]
    page.wait_for_function("maquette.state.worker.state === 'ready'")
    monkeypatch.setattr(served.studio, "residency", lambda: None)
    served.studio.events.publish({"type": "resident", "models": models, "memory": memory}, "local")
    page.click("#memory-meter")
    page.click("#free-memory")
    page.wait_for_selector("text=The models are unloaded.")


def test_a_download_arrives_in_the_list(page, served):
    around = served.studio.downloads._around
    served.studio.downloads._around = replace(around, free=lambda folder: FREE)
    with serving() as server:
        server.answers["/wet-ink.safetensors"] = Answer(embedding())
        open_models(page).click("#models-get summary")
        page.fill("#download-source", f"{server.url}/wet-ink.safetensors")
        assert not page.is_visible("#download-file")
        page.click("#download-start")
        page.wait_for_selector("#downloads [data-state=done]")
        page.get_by_role("button", name="Show wet-ink").click()
        page.wait_for_selector(".mq-details h2 >> text=wet-ink")
        assert (served.studio.settings.paths.models / "embeddings" / "wet-ink.safetensors").is_file()
        page.get_by_role("button", name="Take wet-ink").click()
        page.wait_for_selector("#downloads [data-state=done]", state="detached")
    served.studio.downloads._around = around


def test_a_download_of_another_checksum_fails_beside_its_name(page, served):
    with serving() as server:
        server.answers["/wrong.safetensors"] = Answer(embedding())
        open_models(page).click("#models-get summary")
        page.fill("#download-source", f"{server.url}/wrong.safetensors")
        page.fill("#download-sha256", "0" * 64)
        page.click("#download-start")
        page.wait_for_selector("#downloads [data-state=failed] .mq-download-error")
        assert not list(served.studio.settings.paths.models.rglob("wrong.safetensors"))


def restart_downloads(studio):
    """Stop the downloads, and begin with what a new start of the studio finds. Returns: set when one waits."""
    studio.downloads.close()
    asleep = threading.Event()
    tell, arrived, old = studio.events.publish, studio.models.arrived, studio.downloads
    around = replace(old._around, free=lambda folder: FREE, sleep=lambda seconds, stop: (asleep.set(), stop.wait(60)))
    studio.downloads = Downloads(old.places, tell=tell, arrived=arrived, ledger=old._ledger, surroundings=around)
    return asleep


def test_downloads_of_before_a_restart_are_paused_and_go_on(page, served):
    """One whose link may hold a key says that it is needed once more: this browser did not ask for it."""
    asleep = restart_downloads(served.studio)
    with serving() as server:
        cut = Answer(embedding(), headers={"ETag": '"v1"'}, cuts=[0, 1000])
        server.answers["/half.safetensors"] = cut
        for name in ("half.safetensors", "key.safetensors?token=hush"):
            served.studio.downloads.add({"url": f"{server.url}/{name}"}, LOCAL_USER, at_machine=True)
        assert asleep.wait(60)
        restart_downloads(served.studio)
        cut.cuts.clear()
        page.reload()
        open_models(page).click("#models-get summary")
        row = page.locator("#downloads [data-state=cancelled]", has_text="half")
        row.get_by_text("paused · 1 KB of 3 KB").wait_for()
        locked = page.locator("#downloads [data-state=cancelled]", has_text="give its link once more")
        assert locked.count() == 1
        assert locked.get_by_role("button", name="Go on").count() == 0
        row.get_by_role("button", name="Go on").click()
        page.locator("#downloads [data-state=done]", has_text="half").wait_for()
        assert "bytes=1000-" in [headers.get("Range") for _, headers in server.heard]


def test_an_answer_that_is_older_than_an_event_does_not_bring_the_old_state_back(page, served):
    """The list is asked for, the download fails, and only then the answer comes in."""
    held = []

    def hold_first_list(route):
        if route.request.method == "GET" and not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/v1/downloads", hold_first_list)
    with serving() as server:
        server.answers["/late.safetensors"] = Answer(embedding())
        open_models(page).click("#models-get summary")
        page.fill("#download-source", f"{server.url}/late.safetensors")
        page.fill("#download-sha256", "0" * 64)
        page.click("#download-start")
        page.wait_for_selector("#downloads [data-state=failed]")
        answer = held[0].fetch()
        held[0].fulfill(response=answer, body=answer.text().replace('"failed"', '"running"'))
        page.wait_for_timeout(300)
        assert page.locator("#downloads [data-state=failed]", has_text="late").count() == 1
        page.unroute("**/api/v1/downloads")
