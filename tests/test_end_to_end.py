"""The main job on the real application: the starter pack, the worker process, a browser and a mouse."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.control.reader import load_reader, read
from studio.gallery.png import read_made, read_png
from studio.inpainting import changeable, feathered
from studio.params import GenerationParams, GenerationRequest
from studio.segments import REGIONS
from studio.settings import BUILTIN
from tests.ui.conftest import ARGS, CHROMIUM, READY

pytestmark = pytest.mark.slow
PATIENCE = 180_000
HOUSE = [(0.0, 0.4), (0.5, 0.0), (1.0, 0.4), (0.92, 0.4), (0.92, 1.0), (0.08, 1.0), (0.08, 0.4), (1.0, 0.4)]
LEFT, RIGHT = (0.08, 0.3, 0.46), (0.48, 0.3, 0.46)  # x, y and side of the drawn house, as shares of the pad


class Served:
    """`python -m studio` in a process of its own."""

    def __init__(self, data):
        self.command = [sys.executable, "-m", "studio", "--data", str(data), "--port", "0", "--no-browser"]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, env=os.environ | {"CI": "1"})
        line = next(line for line in self.process.stdout if "ready at" in line)
        self.url = re.search(r"http://\S+", line)[0]

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return reply.read()

    def end(self):
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("data"))
    yield served
    served.end()


@pytest.fixture(scope="module")
def page(served):
    sync_api = pytest.importorskip("playwright.sync_api")
    if not os.path.exists(CHROMIUM):
        assert not os.environ.get("CI"), "browser tests need Chromium in CI"
        pytest.skip("there is no Chromium here")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(served.url)
        page.wait_for_selector(READY)
        yield page
        browser.close()


def draw_house(page, place):
    """Clear the pad and draw a house with the mouse, in one stroke."""
    page.locator("#sketch-pad canvas").scroll_into_view_if_needed()
    if page.is_enabled('#sketch-pad [aria-label="Clear the canvas"]'):
        page.click('#sketch-pad [aria-label="Clear the canvas"]')
    box, (x, y, side) = page.locator("#sketch-pad canvas").bounding_box(), place
    points = [(box["x"] + (x + u * side) * box["width"], box["y"] + (y + v * side) * box["height"]) for u, v in HOUSE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def generate(page, prompt, seed):
    """Type, press Generate, wait for the final picture; the job's id."""
    page.fill("#prompt textarea", prompt)
    page.fill("#seed-input", str(seed))
    page.press("#seed-input", "Tab")
    shown = page.query_selector("#result img[data-job]")
    before = shown.get_attribute("data-job") if shown else ""
    page.click("#generate")
    page.wait_for_selector(f'#result img[data-job]:not([data-job="{before}"])', timeout=PATIENCE)
    return page.get_attribute("#result img[data-job]", "data-job")


def picture_of(served, job_id):
    job = json.loads(served.get(f"/api/v1/jobs/{job_id}"))
    assert job["state"] == "done", job
    return job, served.get("/" + job["results"][0]["url"])


def drawn_area(place, size=128):
    """Where the house was drawn, filled."""
    x, y, side = place
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).polygon([((x + u * side) * size, (y + v * side) * size) for u, v in HOUSE], 255)
    return np.asarray(mask) > 0


def shown_area(png):
    """What differs from the plain background."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)
    border = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), 0)
    return np.abs(pixels - border).sum(2) > 60


def overlap(a, b):
    return (a & b).sum() / max(1, (a | b).sum())


def test_the_picture_follows_the_strokes(page, served):
    overlaps = []
    for place, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        draw_house(page, place)
        job_id = generate(page, "a red house on a plain white background", 3)
        _, png = picture_of(served, job_id)
        here, there = (overlap(shown_area(png), drawn_area(p)) for p in (place, other))
        assert here > there + 0.15, f"{here:.2f} where it was drawn, {there:.2f} elsewhere"
        overlaps.append(here)
    assert np.mean(overlaps) > 0.5


def test_the_words_decide_the_colour_and_the_place(page, served):
    draw_house(page, LEFT)
    _, red = picture_of(served, generate(page, "a red house on a plain white background", 5))
    _, blue = picture_of(served, generate(page, "a blue house under a night sky", 5))
    colors = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))[drawn_area(LEFT)].mean(0) for png in (red, blue)]
    assert colors[0][0] - colors[0][2] > colors[1][0] - colors[1][2] + 60
    corners = [np.asarray(Image.open(io.BytesIO(png)).convert("L"))[:20].mean() for png in (red, blue)]
    assert corners[0] > corners[1] + 80


def test_the_file_holds_everything_that_made_it(page, served):
    draw_house(page, LEFT)
    job, png = picture_of(served, generate(page, "a red house in the snow", 11))
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (128, 128)
        assert image.text["parameters"].startswith("a red house in the snow\n")
    made = read_made(png)
    assert made.params == GenerationParams.from_dict(job["params"])
    request = read_png(png).request
    assert isinstance(request, GenerationRequest)
    assert request.controls[0].editor
    strokes = json.loads(served.get(f"/api/v1/assets/{request.controls[0].editor}/data"))
    assert len(strokes["strokes"]) == 1


def paint_over(page, place):
    """Paint over what was drawn there, to and fro with a wide brush."""
    page.locator("#edit-pad [aria-label='Brush size']").fill("64")
    page.locator("#edit-pad canvas").scroll_into_view_if_needed()
    box, (x, y, side) = page.locator("#edit-pad canvas").bounding_box(), place
    rows = [(x - 0.02 + (row % 2) * (side + 0.04), y - 0.02 + row * (side + 0.04) / 6) for row in range(7)]
    rows = [point for left, top in rows for point in ((left, top), (2 * x + side - left, top))]
    points = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in rows]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def test_what_is_painted_over_is_made_anew_and_the_rest_stays_bit_for_bit(page, served):
    draw_house(page, LEFT)
    generate(page, "a red house on a plain white background", 3)
    page.click("#tab-edit")
    page.click("#result .mq-actions >> text=To canvas")
    page.wait_for_function("document.querySelector('#edit-pad .mq-edit-picture').naturalWidth === 128")
    paint_over(page, LEFT)
    page.locator("#edit-pad [aria-label='How much to change']").fill("1")
    page.uncheck("#control-stack [data-unit=scribble] input[type=checkbox]")
    job, png = picture_of(served, generate(page, "a plain white background", 3))
    first, mask = (
        Image.open(io.BytesIO(served.get(f"/api/v1/assets/{job['params'][name]}")))
        for name in ("init_image", "mask_image")
    )
    kept = np.asarray(feathered(changeable(mask, first.size), job["params"]["mask_blur"])) == 0
    before, after = np.asarray(first.convert("RGB")), np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert kept.mean() > 0.2
    assert np.array_equal(after[kept], before[kept])
    redness = [float((p[..., 0].astype(int) - p[..., 2])[drawn_area(LEFT)].mean()) for p in (before, after)]
    assert redness[1] < redness[0] / 2
    page.check("#control-stack [data-unit=scribble] input[type=checkbox]")
    page.click("#edit-pad [aria-label='Take the picture off']")
    page.click("#tab-scribble")


def paint_near(page, area):
    """Paint that part of the depth tab near, to and fro with a wide, hard brush."""
    page.locator("#depth-pad canvas").scroll_into_view_if_needed()
    page.locator("#depth-pad [aria-label^='Brush size']").fill("48")
    box, (left, top, right, bottom) = page.locator("#depth-pad canvas").bounding_box(), area
    rows = np.linspace(top + 0.05, bottom - 0.05, 8)
    points = [(u, v) for v in rows for u in (left + 0.05, right - 0.05)]
    at = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def reading_of(png):
    """What the pack's annotator reads of a picture."""
    reader = load_reader(BUILTIN / "assets" / "starter" / "annotator.safetensors", len(REGIONS) + 1)
    return read(reader, Image.open(io.BytesIO(png)), list(REGIONS).index("person") + 1)


def red_picture():
    file = io.BytesIO()
    Image.new("RGB", (128, 128), (200, 40, 40)).save(file, "PNG")
    return {"name": "red.png", "mimeType": "image/png", "buffer": file.getvalue()}


def obeyed(png, posed):
    """How far the joints are from where they were posed, how near the left half's middle is, and how red all is."""
    seen, pixels = reading_of(png), np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)
    off = [float(np.nanmean(np.linalg.norm(person[:, :2] - posed, axis=1))) for person in seen.people]
    return min(off, default=1.0), seen.depth[20:120, 22:58].mean(), (pixels[..., 0] - pixels[..., 2]).mean()


def test_pose_depth_and_reference_are_followed_together(page, served):
    page.click('#sketch-pad [aria-label="Clear the canvas"]')
    page.click("#tab-pose")
    page.click("#pose-editor [aria-label='Arms up']")
    page.focus(".mq-pose-stage > svg")
    for _ in range(10):
        page.keyboard.press("Shift+ArrowLeft")
    page.click("#tab-depth")
    paint_near(page, (0.15, 0.1, 0.47, 0.95))
    page.click("#tab-reference")
    page.set_input_files("#reference-pad input[type=file]", red_picture())
    page.wait_for_selector("#control-stack [data-unit=reference][data-filled]")
    job, together = picture_of(served, generate(page, "a person on a meadow", 4))
    pose, depth, reference = job["params"]["controls"]
    assert (pose["kind"], depth["kind"], reference["kind"]) == ("pose", "depth", "reference")
    posed = json.loads(served.get(f"/api/v1/assets/{pose['editor']}/data"))
    posed = np.array(posed["people"][0]["pose_keypoints_2d"]).reshape(18, 3)[:, :2] / 512
    page.uncheck("#control-stack [data-unit=reference] input[type=checkbox]")
    _, without_reference = picture_of(served, generate(page, "a person on a meadow", 4))
    for kind in ("pose", "depth"):
        page.uncheck(f"#control-stack [data-unit={kind}] input[type=checkbox]")
    _, words_alone = picture_of(served, generate(page, "a person on a meadow", 4))
    all_three, two, none = (obeyed(png, posed) for png in (together, without_reference, words_alone))
    assert all_three[0] < 0.06 < 0.12 < none[0]
    assert all_three[1] > none[1] + 0.1
    assert all_three[2] > two[2] + 1
    page.click("#tab-scribble")


def test_the_same_request_gives_the_same_pixels(served):
    wanted = {"prompt": "a yellow boat by the sea", "seed": 4}
    pixels = []
    for _ in range(2):
        body = json.dumps(wanted).encode()
        request = urllib.request.Request(served.url + "/api/v1/jobs", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            job_id = json.load(reply)["job"]["id"]
        _, png = wait_for(served, job_id)
        pixels.append(np.asarray(Image.open(io.BytesIO(png))).tobytes())
    assert pixels[0] == pixels[1]


def wait_for(served, job_id):
    with urllib.request.urlopen(served.url + "/api/v1/events", timeout=PATIENCE / 1000) as stream:
        for line in stream:
            if line.startswith(b"data:"):
                event = json.loads(line[5:])
                jobs = [event["job"]] if event["type"] == "job" else event.get("jobs", [])
                if any(job["id"] == job_id and job["state"] in ("done", "failed") for job in jobs):
                    return picture_of(served, job_id)
    raise AssertionError("the stream ended")


def test_the_web_process_never_loads_torch(served):
    if not os.path.exists(f"/proc/{served.process.pid}/maps"):
        pytest.skip("this system does not list a process's libraries")
    with open(f"/proc/{served.process.pid}/maps") as maps:
        assert "libtorch" not in maps.read()


def test_kill_9_of_the_server_loses_neither_the_queue_nor_what_was_typed(page, served):
    draw_house(page, RIGHT)
    page.fill("#prompt textarea", "a green house at sunset")
    page.wait_for_timeout(2500)  # drafts are saved when the hand rests
    body = json.dumps(
        {"prompt": "a pink fish on a plain blue background", "num_inference_steps": 150, "count": 4}
    ).encode()
    for _ in range(2):
        request = urllib.request.Request(served.url + "/api/v1/jobs", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=60).close()
    page.wait_for_selector("#cancel:visible")
    port = served.url.rpartition(":")[2].strip("/")
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait()
    served.command[served.command.index("--port") + 1] = port
    served.start()
    jobs = json.loads(served.get("/api/v1/jobs"))[:2]
    assert {job["state"] for job in jobs} <= {"queued", "running"}
    assert any("again" in job["note"] for job in jobs)
    page.goto(served.url)
    page.wait_for_selector(READY)
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a green house at sunset'")
    assert page.evaluate("document.querySelector('#sketch-pad [data-strokes]').dataset.strokes") == "1"
    for job in jobs:
        request = urllib.request.Request(served.url + f"/api/v1/jobs/{job['id']}/cancel", b"{}", method="POST")
        urllib.request.urlopen(request, timeout=60).close()
