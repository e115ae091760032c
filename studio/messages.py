"""What the web process and the generation worker say to each other: plain, versioned, picklable.

The first message to a worker is `Hello`; it answers `Ready`, then obeys one `Generate` at a time, while `Cancel`
and the questions are heard between two steps.
"""

from dataclasses import dataclass, field
from typing import Any

from studio.params import GenerationParams

PROTOCOL_VERSION = 1


@dataclass(frozen=True)
class ModelLocation:
    """A model the worker may load. `card` holds the checkpoint's card as plain values; control models have none."""

    name: str
    id: str
    path: str
    kind: str
    base: str
    card: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Hello:
    """Start-up facts. device: auto, cpu, cuda, cuda:N or mps; precision: auto, fp32, fp16 or bf16; folders as paths.

    annotators: Where annotators' weights lie, the first that has one counts.
    """

    assets: str
    cache: str = ""
    extensions: tuple[str, ...] = ()
    annotators: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "auto"
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class Prefetch:
    """Load these models now, so that the next picture does not wait for them."""

    checkpoint: ModelLocation
    controls: tuple[ModelLocation, ...] = ()
    vae: ModelLocation | None = None


@dataclass(frozen=True)
class Generate:
    """Run a job. `models` holds every model that the params name, by content id; turbo: compile beside the pictures."""

    job_id: str
    params: GenerationParams
    models: dict[str, ModelLocation]
    preview_every: int = 1
    turbo: bool = False


@dataclass(frozen=True)
class Cancel:
    """Stop that job at the next step; a job that is not running is ignored."""

    job_id: str


@dataclass(frozen=True)
class Identify:
    """Ask what spandrel knows of a file that may be an upscaler; answered by `Identified`. mark: its fingerprint."""

    path: str
    mark: str


@dataclass(frozen=True)
class Annotate:
    """Make a control map of an asset, between two steps if a job runs; answered by `Annotated`.

    options: every one that the annotator has. A later question of the same page, unless "", replaces an earlier one.
    size: (width, height) of the map, for which the picture is fitted by resize_mode first; None is the picture's own.
    """

    id: str
    asset: str
    annotator: str
    options: tuple[tuple[str, float], ...] = ()
    page: str = ""
    size: tuple[int, int] | None = None
    resize_mode: str = "crop"


@dataclass(frozen=True)
class Tokenize:
    """Ask how the text encoder reads a prompt, between two steps if a job runs; answered by `Tokenized`.

    steps: How many run; embeddings: those that the prompts name, by name; inside: LoRAs in whose files there may be
    more; regions: what each says. A later question of the same page, unless "", replaces an earlier one.
    """

    id: str
    checkpoint: ModelLocation
    prompt: str
    negative_prompt: str
    steps: int
    embeddings: dict[str, ModelLocation] = field(default_factory=dict[str, ModelLocation])
    page: str = ""
    inside: tuple[ModelLocation, ...] = ()
    regions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Residency:
    """Ask what is resident; answered by `Resident`."""


@dataclass(frozen=True)
class Free:
    """Unload every model; answered by `Resident`."""


@dataclass(frozen=True)
class Shutdown:
    """End the worker."""


@dataclass(frozen=True)
class Ready:
    """The worker can take jobs. kernel: which attention kernel runs; precision: the dtype that the probe chose; gpus:
    how many CUDA devices torch sees, which several processes of a training could share."""

    device: str
    device_name: str
    precision: str
    kernel: str
    versions: dict[str, str]
    gpus: int = 0


@dataclass(frozen=True)
class Loading:
    """How the checkpoint that was selected comes into memory. state: loading, ready, or failed with the reason."""

    name: str
    state: str
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Identified:
    """What spandrel says of the file that was asked for: the architecture, "" if it knows none, by how much a side
    grows, channels in and out. looked: False where there is no spandrel, so that nothing was found out."""

    path: str
    mark: str
    looked: bool = False
    family: str = ""
    scale: int = 0
    channels: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Annotated:
    """The map that was asked for, as 8-bit RGB rows; without one, what happened and what to do, as sentences.

    pose: the people that were found, as studio.skeleton has them, if the annotator looks for people.
    words: what the picture shows, in place of a map, if the annotator writes captions.
    detail: a traceback for the log, if it was a bug.
    """

    id: str
    width: int = 0
    height: int = 0
    rgb: bytes = b""
    pose: dict[str, Any] | None = None
    words: str = ""
    message: str = ""
    hint: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Tokenized:
    """How the prompt is read, as studio.worker.tokenize describes it; or what happened and what to do, as sentences.

    detail: a traceback for the log, if it was a bug.
    """

    id: str
    view: dict[str, Any] = field(default_factory=dict[str, Any])
    message: str = ""
    hint: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Progress:
    """phase: loading, encoding, denoising or decoding; step of steps; seconds_left is None while unknown."""

    job_id: str
    phase: str
    step: int
    steps: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class Preview:
    """A cheap look at the latents after `step`: a JPEG file as bytes."""

    job_id: str
    step: int
    jpeg: bytes


@dataclass(frozen=True)
class RawImage:
    """One finished picture: 8-bit RGB rows, with the seed that made it."""

    width: int
    height: int
    rgb: bytes
    seed: int


@dataclass(frozen=True)
class Result:
    """The pictures of a job. seconds: wall time by phase (load, encode, denoise, decode); costs: of a control of each
    kind, in a step that it was on.
    """

    job_id: str
    images: tuple[RawImage, ...]
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()
    costs: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Cancelled:
    """The job stopped because it was asked to."""

    job_id: str


@dataclass(frozen=True)
class Failed:
    """The job failed. message and hint are sentences for a person; detail is a traceback for the log."""

    job_id: str
    message: str
    hint: str
    detail: str = ""


@dataclass(frozen=True)
class Logged:
    """A line for logs/studio.log, which one process writes alone: level as logging numbers it, logger, text."""

    level: int
    logger: str
    text: str


@dataclass(frozen=True)
class Resident:
    """What is loaded: [{name, kind, bytes}], and memory in bytes {process, host_available, host_total}, with a GPU
    {device_used, device_total} too."""

    models: tuple[dict[str, Any], ...]
    memory: dict[str, int]
