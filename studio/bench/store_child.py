"""What the store suite measures, each part in a process of its own: `python -m studio.bench.store_child TASK JSON`."""

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.bench.store import Task
from studio.engine.attention import choose_kernel
from studio.engine.configs import CLASSES, CONFIGS, NOISE
from studio.engine.generate import Engine
from studio.engine.precision import DTYPES, choose_device, choose_precision
from studio.engine.save import save_checkpoint
from studio.engine.skeletons import expected_shapes
from studio.engine.store import Checkpoint, Store
from studio.engine.tokenizers import clip_tokenizer
from studio.params import GenerationParams
from studio.registry import load_registry

ROUNDS = 5
SWAPS = (2, 50)
NOISE_VALUES = 1 << 22
PIPELINES = {"sd1": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


def make_store(task: Task) -> Store:
    """A store as the worker makes it."""
    device, dtype = choose_device(task.device), DTYPES[task.precision]
    return Store(device, dtype, choose_kernel(device, dtype))


def choose(task: Task) -> dict[str, Any]:
    """The device and precision that the studio would take here."""
    device = choose_device(task.device)
    return {"device": device.type, "precision": choose_precision("auto", device).name}


def make(task: Task) -> dict[str, Any]:
    """Two checkpoints of random weights in the real shapes, and the folder of configurations that diffusers needs."""
    for seed, name in enumerate("ab"):
        parts = {part: random_weights(task, part, seed) for part in CONFIGS[task.base]}
        save_checkpoint(parts, task.base, Path(task.location(name).path))
    write_configs(task.configs, task.base)
    return {"bytes": Path(task.location("a").path).stat().st_size}


def random_weights(task: Task, part: str, seed: int) -> dict[str, Tensor]:
    """Weights that keep activations finite: scaled by what goes in; norms are ones, biases zeros."""
    dtype = DTYPES[task.precision]
    noise = torch.randn(NOISE_VALUES, generator=torch.Generator().manual_seed(seed))
    made = {}
    for name, shape in expected_shapes(CLASSES[part], CONFIGS[task.base][part]).items():
        if len(shape) < 2:
            made[name] = torch.full(shape, float(name.endswith("weight")), dtype=dtype)
            continue
        count = math.prod(shape)
        scaled = (noise[:count] / math.prod(shape[1:]) ** 0.5).to(dtype)
        made[name] = scaled.repeat(-(-count // len(scaled)))[:count].view(shape)
    return made


def write_configs(folder: Path, base: str) -> None:
    """A diffusers folder without weights."""
    index: dict[str, Any] = {"_class_name": PIPELINES[base], "safety_checker": [None, None]}
    index |= {"feature_extractor": [None, None], "image_encoder": [None, None]}
    for part, config in CONFIGS[base].items():
        owner = "transformers" if part.startswith("text") else "diffusers"
        index[part] = [owner, CLASSES[part]]
        named = {"_class_name": CLASSES[part], "architectures": [CLASSES[part]], "model_type": "clip_text_model"}
        _write_json(folder / part / "config.json", dict(config) | named)
        if part.startswith("text"):
            tokenizer = part.replace("text_encoder", "tokenizer")
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
            clip_tokenizer(pads_with_end=tokenizer == "tokenizer").save_pretrained(folder / tokenizer)
    index["scheduler"] = ["diffusers", "DDIMScheduler"]
    _write_json(folder / "scheduler" / "scheduler_config.json", NOISE | {"_class_name": "DDIMScheduler"})
    _write_json(folder / "model_index.json", index)


def swap(task: Task) -> dict[str, Any]:
    """Seconds of each swap, and of a plain copy of as many bytes of a file in memory into the same tensors."""
    store = make_store(task)
    first = store.checkpoint(task.location("a"))
    store.checkpoint(task.location("b"))
    sources = {name: Mapped(Path(task.location(name).path), DTYPES[task.precision]) for name in "ab"}
    swaps, copies = [], []
    for turn in range(ROUNDS + 1):  # the first to warm up
        for name in "ab":
            copies.append(timed(store.device, lambda source=sources[name]: source.copy_into(living(first))))
            store.current = None  # what lies in the modules now is no checkpoint: everything is copied again
            swaps.append(timed(store.device, lambda name=name: store.checkpoint(task.location(name))))
        if turn == 0:
            swaps.clear()
            copies.clear()
    return {"swap": swaps, "copy": copies}


class Mapped:
    """A file's bytes, mapped and already touched, as one row of numbers."""

    def __init__(self, file: Path, dtype: torch.dtype) -> None:
        count = file.stat().st_size // dtype.itemsize
        self.values = torch.from_file(str(file), shared=False, size=count, dtype=dtype)
        self.values.view(torch.uint8)[::4096].sum()

    @torch.inference_mode(mode=False)
    def copy_into(self, tensors: list[Tensor]) -> None:
        """One after the other, without regard to what belongs where."""
        start = 0
        for tensor in tensors:
            tensor.view(-1).copy_(self.values[start : start + tensor.numel()])
            start += tensor.numel()


def living(checkpoint: Checkpoint) -> list[Tensor]:
    """The weights in memory."""
    modules = (checkpoint.unet, checkpoint.vae, *checkpoint.prompts.text_encoders)
    return [parameter.data for module in modules for parameter in module.parameters()]


def pictures(task: Task) -> dict[str, Any]:
    """Whether A, after B was loaded, makes the picture that it made before; and that B makes another."""
    engine = Engine(store=make_store(task), schedulers=load_registry().schedulers, load_image=lambda _: None)
    models = {name: task.location(name) for name in "ab"}
    made = []
    for name in "aba":
        params = GenerationParams(
            prompt="a red house",
            checkpoint=name,
            checkpoint_id=name,
            width=128,
            height=128,
            num_inference_steps=2,
            guidance_scale=5.0,
            scheduler="ddim",
            seed=1,
        )
        made.append(engine.generate(params, models).pictures[0].tobytes())
    return {"same": made[0] == made[2], "other": made[0] != made[1]}


def memory(task: Task) -> dict[str, Any]:
    """Private bytes: of the live modules, at the most while swapping, and after few and many swaps."""
    store = make_store(task)
    before = private_bytes(store.device)
    with peak_bytes(store.device) as peak:
        store.checkpoint(task.location("a"))
        for turn in range(SWAPS[1]):
            store.checkpoint(task.location("ba"[turn % 2]))
            if turn + 1 == SWAPS[0]:
                few = private_bytes(store.device)
    live = sum(t.numel() * t.element_size() for t in living(store.current))
    return {"live": live, "peak": peak[0] - before, "few": few, "many": private_bytes(store.device)}


def private_bytes(device: torch.device) -> int:
    """Memory of this process that no file backs, and what it takes of the device."""
    lines = Path("/proc/self/status").read_text().splitlines()
    host = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
    return host + (torch.cuda.memory_allocated(device) if device.type == "cuda" else 0)


@contextmanager
def peak_bytes(device: torch.device) -> Generator[list[int]]:
    """The largest of the private bytes while the block runs, looked at every few milliseconds."""
    peak, done = [private_bytes(device)], threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], private_bytes(device))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak[0] = max(peak[0], private_bytes(device))


def load(task: Task) -> dict[str, Any]:
    """Seconds of the first load in a new process; imports do not count. used: until every weight was looked at once."""
    store = make_store(task)
    seconds = timed(store.device, lambda: store.checkpoint(task.location("a")))
    loaded = store.current
    assert loaded is not None
    return {"seconds": seconds, "used": seconds + timed(store.device, lambda: look_at(living(loaded)))}


def load_theirs(task: Task) -> dict[str, Any]:
    """The same by diffusers, offline, with its configurations at hand."""
    import diffusers

    diffusers.utils.logging.disable_progress_bar()
    device, kind = choose_device(task.device), getattr(diffusers, PIPELINES[task.base])
    options: dict[str, Any] = {"config": str(task.configs), "local_files_only": True}

    made: list[Any] = []

    def run() -> None:
        path, dtype = task.location("a").path, DTYPES[task.precision]
        made.append(kind.from_single_file(path, torch_dtype=dtype, **options).to(device))

    torch.zeros(1, device=device)
    seconds = timed(device, run)
    modules = [part for part in made[0].components.values() if isinstance(part, torch.nn.Module)]
    weights = [parameter.data for module in modules for parameter in module.parameters()]
    return {"seconds": seconds, "used": seconds + timed(device, lambda: look_at(weights))}


def look_at(tensors: list[Tensor]) -> None:
    """Touch each page, as a first picture does: what was only mapped is read now."""
    for tensor in tensors:
        tensor.reshape(-1)[::512].sum()


def timed(device: torch.device, run: Callable[[], object]) -> float:
    """Seconds until the device has done it."""
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _write_json(file: Path, value: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), "utf-8")


TASKS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "choose": choose,
    "make": make,
    "swap": swap,
    "pictures": pictures,
    "memory": memory,
    "load": load,
    "load_theirs": load_theirs,
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](Task(**json.loads(sys.argv[2])))))  # noqa: T201
