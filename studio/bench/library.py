"""The model index at ten thousand files: how long it looks, searches, and what the page feels of it.

The files have real names and shapes in their headers and holes for weights: no disk is filled, and a scan reads of them
what it reads of real ones.
"""

import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studio.bench.figures import Figure
from studio.library.background import Scanner
from studio.library.index import Library
from studio.library.names import DIFFUSERS, LDM, clip_names, control_names, open_clip_names, unet_names, vae_names
from studio.library.search import Query
from studio.settings import BUILTIN, load_settings

COUNT = 10_000
SHARES = {  # of a collection: mostly LoRAs
    "Lora/sd1": 0.60,
    "Lora/sdxl": 0.15,
    "Stable-diffusion/sd1": 0.08,
    "Stable-diffusion/sdxl": 0.04,
    "ControlNet": 0.05,
    "VAE": 0.03,
    "embeddings": 0.05,
}
RANKS = (4, 8, 16, 32, 64, 128)  # of the LoRAs, in turns
TYPES = {"F16": 2, "F32": 4, "BF16": 2}  # and what all are stored in; bytes
TYPED = ("m", "mo", "mod", "mode", "model", "model 1", "model 12", "model 12 s", "model 12 sd", "xl", "no such thing")
REQUESTS = 200


def measure_library(folder: Path, count: int = COUNT) -> dict[str, Figure]:
    """The figures of the index for `count` files, which are made below the folder and deleted afterwards."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="maquette-models-") as made:
        root = Path(made)
        make_models(root / "webui" / "models", count)
        figures = scan_figures(root, count)
        return figures | page_figures(root)


def make_models(folder: Path, count: int) -> None:
    """Write the files, of several kinds, in the folders of A1111. About 100 KB each on the disk."""
    for place, share in SHARES.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        headers = [_header(names, dtype) for names in _names(place) for dtype in TYPES]
        for number in range(round(count * share)):
            header, size = headers[number % len(headers)]
            marked = b'{"__metadata__":{"number":"%d"},' % number + header[1:]
            with (folder / place / f"model {number} {place.replace('/', ' ')}.safetensors").open("wb") as stream:
                stream.write(struct.pack("<Q", len(marked)) + marked)
                stream.truncate(8 + len(marked) + size)


def scan_figures(root: Path, count: int) -> dict[str, Figure]:
    """Scanning in this process; searching as somebody types."""
    settings = load_settings(root / "data", models_from=(root / "webui",))
    settings.paths.create()
    library = Library(settings, look=False)
    scanner = Scanner(settings, library.load, lambda _: None)
    first, again = _scan_seconds(scanner), _scan_seconds(scanner)
    start, _ = _timed(lambda: Library(settings, look=False))
    found = [entry for entry in library.entries() if entry.path.is_relative_to(root)]
    unknown = sum(entry.kind == "unknown" for entry in found)
    typed = [_timed(lambda text=text: library.search(Query(text=text, sort="added")))[0] for text in TYPED]
    return {
        f"scan of {len(found):,} model files": Figure(first, "s", 40.0 * count / COUNT),
        "scan again, nothing changed": Figure(again, "s", 1.0),
        "search as you type, slowest": Figure(1000 * max(typed), "ms", 50.0),
        "the last scan's list at a start": Figure(start, "s"),
        "files whose kind was not known": Figure(unknown, "files", 0.0),
    }


def page_figures(root: Path) -> dict[str, Figure]:
    """How long the page takes while a scan of everything runs, over an idle studio's."""
    with serving(root / "data", root / "webui") as address:
        while _get(f"{address}api/v1/models?limit=1")["total"] < 1 or not _scan_is_done(address):
            time.sleep(0.2)
        idle = [_page_seconds(address) for _ in range(REQUESTS)]
        for file in root.rglob("*.safetensors"):
            os.utime(file)  # every file has to be looked into again
        busy = _during_a_scan(address)
    ratio = _p95(busy) / _p95(idle)
    return {
        "GET / during a scan, p95 / idle": Figure(ratio, "x", 1.5),
        "GET / idle, p95": Figure(1000 * _p95(idle), "ms"),
        "GET / requests during the scan": Figure(len(busy), "requests", better="higher"),
    }


def _scan_seconds(scanner: Scanner) -> float:
    """From asking for a scan to having its models."""
    started = time.perf_counter()
    scanner.start()
    while not scanner.wait(60):
        pass
    return time.perf_counter() - started


@contextmanager
def serving(data: Path, models: Path) -> Iterator[str]:
    """A studio of its own in a process; its address, with a slash."""
    flags = ["--data", str(data), "--models-from", str(models), "--no-browser", "--port", "0"]
    command = [sys.executable, str(BUILTIN / "launch.py"), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"CI": "true"}) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "Studio ready at" in line)
            yield f"{line.split()[-1]}/"
        finally:
            process.terminate()


def _during_a_scan(address: str) -> list[float]:
    """Seconds of GET /, one after the other, while a scan runs."""
    request = urllib.request.Request(f"{address}api/v1/models/scan", method="POST", data=b"")
    urllib.request.urlopen(request, timeout=60).close()
    seconds: list[float] = []
    while not seconds or not _scan_is_done(address):
        seconds += [_page_seconds(address) for _ in range(5)]
    return seconds


def _scan_is_done(address: str) -> bool:
    return _get(f"{address}api/v1/models/scan")["state"] == "done"


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def _page_seconds(address: str) -> float:
    started = time.perf_counter()
    with urllib.request.urlopen(address, timeout=60) as answer:
        answer.read()
    return time.perf_counter() - started


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


def _timed(call: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    value = call()
    return time.perf_counter() - started, value


def _header(names: Mapping[str, tuple[int, ...]], dtype: str) -> tuple[bytes, int]:
    """A header without metadata, and the length of the data that it speaks of."""
    offset, table = 0, dict[str, Any]()
    for name, shape in names.items():
        end = offset + TYPES[dtype] * math.prod(shape)
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    return json.dumps(table).encode(), offset


def _names(place: str) -> list[Mapping[str, tuple[int, ...]]]:
    """The sorts of files in a folder: what trainers and their settings make different, stays different."""
    kind, _, base = place.partition("/")
    match kind:
        case "Lora":
            return [_lora_names(base, rank, text) for rank in RANKS for text in (True, False)]
        case "Stable-diffusion":
            return [_checkpoint_names(base)]
        case "ControlNet":
            return [control_names("sd1", DIFFUSERS)]
        case "VAE":
            return [vae_names(LDM)]
        case _:
            return [{"emb_params": (vectors, 768)} for vectors in (1, 4, 8)]


def _lora_names(base: str, rank: int, text: bool) -> dict[str, tuple[int, ...]]:
    """kohya's names: down, up and alpha for each projection of the UNet's attention, and of CLIP if asked for."""
    names: dict[str, tuple[int, ...]] = {}
    layers = {f"unet_{name}": shape for name, shape in unet_names(base, DIFFUSERS).items() if ".attentions." in name}
    encoder = "te1" if base == "sdxl" else "te"
    layers |= {f"{encoder}_{name}": s for name, s in clip_names(768, 12).items() if text and ".layers." in name}
    for name, shape in layers.items():
        if name.endswith(".weight") and len(shape) == 2:
            layer = "lora_" + name.removesuffix(".weight").replace(".", "_")
            names[f"{layer}.lora_down.weight"] = (rank, shape[1])
            names[f"{layer}.lora_up.weight"] = (shape[0], rank)
            names[f"{layer}.alpha"] = ()
    return names


def _checkpoint_names(base: str) -> dict[str, tuple[int, ...]]:
    clip = "conditioner.embedders.0.transformer." if base == "sdxl" else "cond_stage_model.transformer."
    parts: dict[str, Mapping[str, tuple[int, ...]]] = {
        "model.diffusion_model.": unet_names(base, LDM),
        "first_stage_model.": vae_names(LDM),
        clip: clip_names(768, 12),
    }
    if base == "sdxl":
        second = {**open_clip_names(1280, 32), "text_projection": (1280, 1280)}
        parts["conditioner.embedders.1.model."] = second
    return {f"{prefix}{name}": shape for prefix, names in parts.items() for name, shape in names.items()}
