"""`python launch.py bench`: ratios measured side by side in one run, medians of interleaved repeats."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from studio.access import LOCAL_USER
from studio.bench.figures import Figure, Options
from studio.bench.store import store_suite
from studio.errors import InvalidRequestError
from studio.files import write_whole
from studio.params import GenerationRequest
from studio.services import Studio
from studio.settings import BUILTIN, Settings, load_settings

HAVE_PARTS = ("control", "training")
REPEATS = 15
SD15_REPEATS = 9  # 11 s each on two cores
PACKAGES = ("torch", "diffusers", "transformers", "gradio")


def run_suite(settings: Settings, suite: str, report: Path | None, options: Options) -> int:
    """Measure a suite and print its table; the exit status is 1 when a bar is missed."""
    if suite not in SUITES:
        raise InvalidRequestError(f"There is no suite {suite!r}.", field="suite", hint=f"Choose: {', '.join(SUITES)}.")
    if suite not in HAVE_PARTS:
        options.chosen(())
    figures = SUITES[suite](settings, options)
    print(f"{'figure':58} {'value':>10} {'bar':>10}")  # noqa: T201
    for name, figure in figures.items():
        bar = "" if figure.bar is None else f"{'<=' if figure.better == 'lower' else '>='} {figure.bar:g}"
        mark = ("" if figure.error is None else f" ± {figure.error:.2g}") + ("" if figure.ok else "  missed")
        print(f"{name:58} {figure.value:10.4g} {bar:>10} {figure.unit}{mark}")  # noqa: T201
    if report is not None:
        rows = {name: figure.to_dict() for name, figure in figures.items()}
        data = {"machine": machine(), "versions": versions(), "suites": {suite: rows}}
        write_whole(report, (json.dumps(data, indent=1) + "\n").encode())
    return 0 if all(figure.ok for figure in figures.values()) else 1


def main_suite(settings: Settings) -> dict[str, Figure]:
    """The figures of the main path: start, engine, queue, agreement, memory, cancelling."""
    with tempfile.TemporaryDirectory(prefix="maquette-bench-") as folder:
        fresh = replace(load_settings(Path(folder), device=settings.device), models_from=settings.models_from)
        figures = start_figures(Path(folder))
        figures |= engine_figures(fresh)
        figures |= shape_figures(fresh)
        return figures | studio_figures(fresh)


def engine_figures(settings: Settings) -> dict[str, Figure]:
    """The engine on the starter pack against its bare parts and against diffusers."""
    from studio.bench import engine as bench_engine

    bench = bench_engine.Bench.starter(settings)
    bare = interleaved([bench.ours, bench.bare])
    control = interleaved([bench.ours_with_control, bench.diffusers_with_control])
    agreement = bench_engine.agreements(settings)
    return {
        "engine.generate / bare UNet steps and decode, starter": Figure(bare[0] / bare[1], "x", 1.12),
        "diffusers ControlNet pipeline / ours": Figure(control[1] / control[0], "x", 1.0, "higher"),
        "engine.generate, 20 steps, starter": Figure(bare[0], "s"),
    } | {f"latents against diffusers, {name}": Figure(error, "relative", 1e-4) for name, error in agreement.items()}


def shape_figures(settings: Settings) -> dict[str, Figure]:
    """The engine on random weights in SD 1.5's shapes at 256 px, a few steps: 20 take minutes on a CPU."""
    from studio.bench import engine as bench_engine

    bench = bench_engine.Bench.random_sd15(settings)
    times = interleaved([bench.ours, bench.bare], SD15_REPEATS)
    return {"engine.generate / bare, SD 1.5 shapes at 256 px": Figure(times[0] / times[1], "x", 1.06)}


def studio_figures(settings: Settings) -> dict[str, Figure]:
    """From submitting to the picture in the gallery, against the engine's own time; steps from cancel to idle."""
    from studio.app import open_studio

    with open_studio(settings) as studio:
        request = GenerationRequest(prompt="a red house under a night sky", seed=1)
        finish(studio, request)
        ratios, walls = [], []
        for seed in range(REPEATS):
            started = time.perf_counter()
            job = finish(studio, replace(request, seed=seed))
            walls.append(time.perf_counter() - started)
            ratios.append(walls[-1] / sum(job.seconds.values()))
        steps = cancel_steps(studio, request)
    return {
        "submit to picture in the gallery / engine": Figure(statistics.median(ratios), "x", 1.15),
        "submit to picture in the gallery": Figure(statistics.median(walls), "s"),
        "cancel to worker idle": Figure(steps, "steps", 1.0),
    }


def finish(studio: Studio, request: GenerationRequest) -> Any:
    """Submit and wait for the end."""
    job = studio.submit(request, LOCAL_USER).job
    while job.state not in ("done", "failed", "cancelled"):
        time.sleep(0.002)
        job = studio.job(job.id, LOCAL_USER)
    if job.state != "done":
        raise InvalidRequestError(f"The bench's picture {job.state}: {job.error}", field="bench")
    return job


def cancel_steps(studio: Studio, request: GenerationRequest) -> float:
    """How many steps the worker still makes after cancel was pressed."""
    seen: list[dict[str, Any]] = []
    publish = studio.events.publish

    def listen(event: dict[str, Any], owner: str | None = None) -> None:
        seen.append(event)
        publish(event, owner)

    studio.events.publish = listen  # type: ignore[method-assign]
    job = studio.submit(replace(request, num_inference_steps=150), LOCAL_USER).job
    while not any(e["type"] == "progress" and e["step"] >= 10 for e in seen):
        time.sleep(0.001)
    at = max(e["step"] for e in seen if e["type"] == "progress")
    studio.cancel(job.id, LOCAL_USER)
    while studio.job(job.id, LOCAL_USER).state == "running":
        time.sleep(0.001)
    studio.events.publish = publish  # type: ignore[method-assign]
    return max(e["step"] for e in seen if e["type"] == "progress") - at


def start_figures(folder: Path) -> dict[str, Figure]:
    """From the command to the page answering, over a bare gradio page's; the web process's memory."""
    flags = ["--data", str(folder / "served"), "--no-browser", "--port", "0"]
    serve = [sys.executable, str(BUILTIN / "launch.py"), *flags]
    bare = [sys.executable, "-c", BARE_PAGE]
    ours: list[float] = []
    theirs: list[float] = []
    memory: list[int] = []
    for _ in range(5):
        theirs.append(start_seconds(bare, lambda _pid: None))
        ours.append(start_seconds(serve, lambda pid: memory.append(resident_bytes(pid))))
    return {
        "start to page / bare gradio page": Figure(statistics.median(ours) / statistics.median(theirs), "x", 1.5),
        "start to page": Figure(statistics.median(ours), "s"),
        "memory of the web process": Figure(statistics.median(memory) / 1e6, "MB", 400.0),
    }


BARE_PAGE = """
import os
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr
with gr.Blocks() as page:
    gr.Textbox()
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
print("Studio ready at " + url, flush=True)
page.block_thread()
"""


def start_seconds(command: Sequence[str], look: Callable[[int], None]) -> float:
    """Seconds until the page that the command serves answers; `look` gets the process id then."""
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "CI": "true"}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "Studio ready at" in line)
            with urllib.request.urlopen(line.split()[-1], timeout=60) as reply:
                reply.read()
            seconds = time.perf_counter() - started
            look(process.pid)
            return seconds
        finally:
            process.terminate()


def interleaved(runs: Sequence[Callable[[], None]], repeats: int = REPEATS) -> list[float]:
    """Median seconds of each; one round to warm up, then all in turn, there and back, so that what comes and goes on
    the machine hits each alike."""
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(repeats):
        for index in list(range(len(runs)))[:: -1 if turn % 2 else 1]:
            started = time.perf_counter()
            runs[index]()
            times[index].append(time.perf_counter() - started)
    return [statistics.median(values) for values in times]


def paired(upper: Callable[[], float], lower: Callable[[], float], repeats: int) -> float:
    """What `upper` gives over what `lower` gives, the median of neighbours: what slows a machine down for seconds slows
    both of a pair. One pair warms up; each second one is the other way round."""
    ratios: list[float] = []
    for turn in range(repeats + 1):
        found = {run: run() for run in ((upper, lower) if turn % 2 else (lower, upper))}
        ratios.append(found[upper] / found[lower])
    return statistics.median(ratios[1:])


def seconds_of(run: Callable[[], None]) -> Callable[[], float]:
    """The run, timed."""

    def timed() -> float:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    return timed


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where the system does not say."""
    statm = Path(f"/proc/{pid}/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def machine() -> dict[str, Any]:
    """What was measured on."""
    return {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}


def versions() -> dict[str, str]:
    """What was measured with."""
    return {name: version(name) for name in PACKAGES}


def control_suite(settings: Settings, options: Options) -> dict[str, Figure]:
    """What a starter pack's controls obey, and what they cost."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it speaks of torchvision, which nothing here needs
    from studio.bench.control import suite

    return suite.control_suite(settings, options)


def adapters_suite() -> dict[str, Figure]:
    """What a change of the stack of adapters costs, and whether it is exact."""
    from studio.bench import adapters

    return adapters.adapters_suite()


def training_suite(settings: Settings, options: Options) -> dict[str, Figure]:
    """Whether what is trained is learned, in time, without harm, and never lost."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from studio.bench.training import suite

    return suite.training_suite(settings, options)


SUITES: dict[str, Callable[[Settings, Options], dict[str, Figure]]] = {
    "main": lambda settings, _options: main_suite(settings),
    "store": lambda settings, _options: store_suite(settings),
    "control": control_suite,
    "adapters": lambda _settings, _options: adapters_suite(),
    "training": training_suite,
}
