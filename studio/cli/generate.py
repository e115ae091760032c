"""`generate`: flags in, pictures out, progress on stderr."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.cli.backends import Backend, LocalBackend, Plain, RemoteBackend
from studio.cli.request import build_request
from studio.errors import InvalidRequestError, StudioError, WorkerError
from studio.files import write_whole
from studio.lock import running_studio
from studio.services import Studio
from studio.settings import Settings

ENDED = ("done", "failed", "cancelled")
OpenStudio = Callable[..., AbstractContextManager[Studio]]


def generate(flags: argparse.Namespace, settings: Settings, open_studio: OpenStudio) -> int:
    """Run one job to its end. Exit status: 0 done, 1 failed or cancelled. Raises: StudioError for wrong use."""
    check_out(flags.out)
    with backend(settings, open_studio) as studio:
        submitted = studio.submit(build_request(flags, studio.keep))
        job = follow(studio, submitted["job"]["id"], Progress(sys.stderr.isatty()))
        paths = save(studio, job, flags.out)
    report = summary(job, submitted, paths)
    for warning in report["warnings"]:
        print(f"Note: {warning}", file=sys.stderr)
    if job["state"] != "done":
        print(report["error"], file=sys.stderr)
    if flags.json:
        print(json.dumps(report))
    elif job["state"] == "done":
        print("\n".join(map(str, paths)))
    return 0 if job["state"] == "done" else 1


def check_out(path: Path, endings: tuple[str, ...] = (".png",)) -> None:
    """Refuse a target that cannot be written before any work is done."""
    if path.suffix.lower() not in endings:
        hint = f"Let its name end in {' or '.join(endings)}."
        raise InvalidRequestError(f"--out {path} is no PNG file.", field="out", hint=hint)
    if path.is_dir():
        raise InvalidRequestError(f"--out {path} is a folder.", field="out", hint="Name a file in it.")


@contextmanager
def backend(settings: Settings, open_studio: OpenStudio) -> Generator[Backend]:
    """The studio that serves the data folder; one of our own, if no other process holds the folder."""
    lock, told = settings.paths.lock, False
    while (running := running_studio(lock)) is not None and not running.port:
        if not told:
            print(f"Waiting for another command on {settings.paths.root}.", file=sys.stderr)
        told = True
        time.sleep(0.2)  # that command ends, or is a studio that says its port once it serves
    if running is not None:
        yield RemoteBackend(running)
        return
    with open_studio(settings) as studio:
        yield LocalBackend(studio)


def follow(studio: Backend, job_id: str, progress: "Progress") -> Plain:
    """Wait for the job's end, showing how far it is; Ctrl+C cancels it."""
    try:
        for event in studio.events():
            if event is None or event["type"] not in ("progress", "preview"):
                job = studio.job(job_id)
                if job["state"] in ENDED:
                    return job
            elif event.get("job_id") == job_id and event["type"] == "progress":
                progress.show(event)
    except KeyboardInterrupt:
        studio.cancel(job_id)
        return studio.job(job_id) | {"state": "cancelled", "error": "Cancelled.", "hint": ""}
    finally:
        progress.end()
    raise WorkerError("The studio stopped while the job ran.")


@dataclass
class Progress:
    """Progress on stderr: one line that changes on a terminal, a line for each phase elsewhere."""

    terminal: bool
    last: str = ""

    def show(self, event: Plain) -> None:
        """Tell the phase, the step and the time left."""
        left = event.get("seconds_left")
        text = f"{event['phase']}" + (f", step {event['step']} of {event['steps']}" if event["step"] else "")
        if self.terminal:
            print(f"\r{text + (f', {left:.0f} s left' if left else ''):<60}", end="", file=sys.stderr, flush=True)
        elif event["phase"] != self.last:
            print(event["phase"], file=sys.stderr, flush=True)
        self.last = event["phase"]

    def end(self) -> None:
        """Leave the changing line."""
        if self.terminal and self.last:
            print(file=sys.stderr)


def save(studio: Backend, job: Plain, out: Path) -> list[Path]:
    """Write the job's pictures beside each other: FILE.png, FILE-2.png, ..."""
    paths: list[Path] = []
    for number, item in enumerate(job["results"], start=1):
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        write_whole(path, studio.picture(item))
        paths.append(path)
    return paths


def summary(job: Plain, submitted: Plain, paths: list[Path]) -> dict[str, Any]:
    """The outcome, as --json prints it."""
    params: Plain = submitted["params"]
    phases: dict[str, float] = job.get("seconds") or {}
    denoise = phases.get("denoise", 0.0)
    steps = len(paths) * max(1, int(params["num_inference_steps"] * params["strength"]))
    error = StudioError(job["error"], hint=job["hint"]).sentence() if job["state"] != "done" else ""
    return {
        "status": job["state"],
        "images": [{"path": str(p), "seed": item["seed"]} for p, item in zip(paths, job["results"], strict=True)],
        "seconds": round(sum(phases.values()), 3),
        "steps_per_second": round(steps / denoise, 3) if denoise else None,
        "params": params,
        "warnings": list(dict.fromkeys([*submitted["warnings"], *job["warnings"]])),
        **({"error": error} if error else {}),
    }
