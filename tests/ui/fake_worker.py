"""A worker for the page's tests: it speaks studio.messages and paints simple pictures, without torch.

Words in the prompt steer it: "slow" takes its time and stays in its last step until it is cancelled, "fail" fails,
"die" ends the process.
"""

import io
import os
from multiprocessing.connection import Connection
from typing import Any

from PIL import Image, ImageDraw

from studio.messages import (
    Annotate,
    Annotated,
    Cancel,
    Cancelled,
    Failed,
    Free,
    Generate,
    Hello,
    Identified,
    Identify,
    Preview,
    Progress,
    RawImage,
    Ready,
    Residency,
    Resident,
    Result,
    Shutdown,
    Tokenize,
    Tokenized,
)
from studio.prompts.attention import parse_attention
from studio.prompts.chunks import Cutter, Token
from studio.prompts.script import Line, read_script

STEP_SECONDS = 0.03


def main(connection: Connection) -> None:
    """Serve until Shutdown or until the other end is gone."""
    try:
        while True:
            message = connection.recv()
            if isinstance(message, Shutdown):
                return
            if isinstance(message, Hello):
                connection.send(Ready(device="cpu", device_name="Test", precision="fp32", kernel="none", versions={}))
            elif isinstance(message, Residency | Free):
                connection.send(Resident(models=(), memory={}))
            elif isinstance(message, Identify):
                connection.send(Identified(message.path, message.mark, True, "ESRGAN", 4, (3, 3)))
            elif isinstance(message, Annotate):
                connection.send(annotated(message))
            elif isinstance(message, Tokenize):
                connection.send(tokenized(message))
            elif isinstance(message, Generate) and not run(connection, message):
                return
    except (EOFError, OSError):
        return


def annotated(asked: Annotate) -> Annotated:
    """A grey map; two people, one on each side, whose joints all lie at one place."""
    joints = ([4.0, 4.0, 1.0] * 18, [12.0, 4.0, 1.0] * 18)
    pose = {"canvas_width": 16, "canvas_height": 16, "people": [{"pose_keypoints_2d": person} for person in joints]}
    return Annotated(asked.id, 8, 8, bytes([200] * 8 * 8 * 3), pose if "pose" in asked.annotator else None)


def tokenized(asked: Tokenize) -> Tokenized:
    """Every word is a token, and four of them fill a window; embeddings have two vectors each."""
    words: list[str] = []

    def tokenize(text: str) -> list[int]:
        words.extend(found := text.split())
        return list(range(len(words) - len(found), len(words)))

    def spans(line: Line) -> list[dict[str, Any]]:
        cutter, first, made = Cutter(tokenize, 4, 0, dict.fromkeys(asked.embeddings, 2)), 1, []
        for last, text in line.spans:
            windows = cutter.cut(parse_attention(text))
            chips = [[chip(token, words) for token in window if not token.row] for window in windows]
            count = sum(map(len, windows))
            made.append({"first": first, "last": last, "text": text, "windows": chips, "tokens": count})
            first = last + 1
        return made

    def shown(line: Line, negative: bool = False) -> dict[str, Any]:
        return {"negative": negative, "weight": line.weight, "spans": spans(line), "more": 0}

    script = read_script(asked.prompt, asked.negative_prompt, asked.steps)
    lines = [*map(shown, script.told), shown(script.untold, negative=True)]
    regions = [shown(read_script(text, "", asked.steps).told[0]) for text in asked.regions]
    view = {"steps": asked.steps, "window": 4, "lines": lines, "regions": regions, "inside": []}
    return Tokenized(asked.id, view)


def chip(token: Token, words: list[str]) -> dict[str, Any]:
    """A token as the page shows it."""
    named = {"embedding": token.embedding, "vectors": 2} if token.embedding else {"embedding": ""}
    return {"text": token.embedding or words[token.id], "weight": token.weight, **named}


def run(connection: Connection, job: Generate) -> bool:
    """One job; False when the worker should end."""
    prompt, total = job.params.prompt, job.params.num_inference_steps
    connection.send(Progress(job.job_id, "loading", 0, total))
    if "die" in prompt:
        os._exit(3)
    if "fail" in prompt:
        connection.send(Failed(job.job_id, "The device ran out of memory.", "Make the picture smaller."))
        return True
    seconds = STEP_SECONDS * (20 if "slow" in prompt else 1)
    for step in range(1, total + 1):
        stays = "slow" in prompt and step == total
        while connection.poll(None if stays else seconds):
            message = connection.recv()
            if isinstance(message, Cancel) and message.job_id == job.job_id:
                connection.send(Cancelled(job.job_id))
                return True
            if isinstance(message, Shutdown):
                return False
            if isinstance(message, Annotate):
                connection.send(annotated(message))
        connection.send(Progress(job.job_id, "denoising", step, total, seconds * (total - step)))
        if job.preview_every:
            connection.send(Preview(job.job_id, step, jpeg(paint(job, job.params.seed, step / total))))
    connection.send(Progress(job.job_id, "decoding", total, total, 0.0))
    images = tuple(raw(paint(job, job.params.seed + i, 1.0), job.params.seed + i) for i in range(job.params.count))
    spent = {"load": 0.4, "encode": 0.02, "denoise": seconds * total, "decode": 0.1}
    costs = {control.kind: 0.0123 for control in job.params.controls}
    connection.send(Result(job.job_id, images, spent, costs=costs))
    return True


def paint(job: Generate, seed: int, done: float) -> Image.Image:
    """A red house under a night sky, as far as it has come; the seed moves the moon."""
    width, height = job.params.width, job.params.height
    image = Image.new("RGB", (width, height), (18, 24, 58))
    draw = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return left * width, top * height, right * width, bottom * height

    moon = 0.1 + (seed % 70) / 100
    draw.ellipse(box(moon, 0.08, moon + 0.12, 0.2), fill=(240, 230, 190))
    draw.rectangle(box(0, 0.78, 1, 1), fill=(34, 70, 44))
    draw.rectangle(box(0.3, 0.5, 0.7, 0.79), fill=(176, 48, 36))
    draw.polygon(
        [(0.25 * width, 0.51 * height), (0.5 * width, 0.3 * height), (0.75 * width, 0.51 * height)], fill=(110, 34, 30)
    )
    draw.rectangle(box(0.45, 0.63, 0.55, 0.79), fill=(70, 30, 24))
    noise = Image.effect_noise((width, height), 90).convert("RGB")
    return Image.blend(noise, image, done)


def jpeg(image: Image.Image) -> bytes:
    """A small JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def raw(image: Image.Image, seed: int) -> RawImage:
    """The picture as a worker sends it."""
    return RawImage(width=image.width, height=image.height, rgb=image.tobytes(), seed=seed)
