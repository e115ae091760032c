"""Where everything lies, and what the person prefers: read once at start, from the command line and settings.toml."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from studio.errors import StorageError
from studio.files import write_whole

BUILTIN = Path(__file__).resolve().parent.parent
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
MODEL_FOLDERS = (
    "checkpoints",
    "vae",
    "controlnet",
    "t2i_adapter",
    "ip_adapter",
    "image_encoders",
    "loras",
    "embeddings",
    "hypernetworks",
    "upscalers",
    "annotators",
)


@dataclass(frozen=True, kw_only=True)
class Paths:
    """The data folder and what lies in it."""

    root: Path

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def assets(self) -> Path:
        return self.root / "assets"

    @property
    def thumbnails(self) -> Path:
        return self.root / "cache" / "thumbnails"

    @property
    def page_cache(self) -> Path:
        return self.root / "cache" / "page"

    @property
    def trash(self) -> Path:
        return self.root / "trash"

    @property
    def presets(self) -> Path:
        return self.root / "presets"

    @property
    def extensions(self) -> Path:
        return self.root / "extensions"

    @property
    def training(self) -> Path:
        return self.root / "training"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def studio_db(self) -> Path:
        return self.root / "studio.db"

    @property
    def library_db(self) -> Path:
        return self.root / "library.db"

    @property
    def settings_file(self) -> Path:
        return self.root / "settings.toml"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    def create(self) -> None:
        """Make every folder. Raises: StorageError, if the data folder cannot be written."""
        folders = [self.models / name for name in MODEL_FOLDERS]
        folders += [self.outputs, self.assets, self.thumbnails, self.page_cache, self.trash]
        folders += [self.presets, self.extensions, self.logs, self.training, self.datasets]
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StorageError(
                f"The data folder {self.root} cannot be written ({error.strerror}).",
                hint="Choose another folder with --data.",
            ) from error


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What a person sets once, in settings.toml.

    Fields:
        checkpoint: The checkpoint to begin with; "" for the first that is usable.
        precision: auto measures which of fp32, fp16 and bf16 is fastest and exact enough.
        preview_every: Steps between two live previews; 0 shows none.
        turbo: Whether models are compiled beside the pictures, which are then a little different.
    """

    checkpoint: str = ""
    precision: str = "auto"
    preview_every: int = 1
    turbo: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise StorageError(f"precision is {self.precision!r}.", hint=f"Choose one of: {', '.join(PRECISIONS)}.")
        if not 0 <= self.preview_every <= 50:
            raise StorageError(f"preview_every is {self.preview_every}.", hint="Choose a whole number from 0 to 50.")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run of the studio goes by. device: auto, cpu, cuda, cuda:N or mps; models_from: folders read in place."""

    paths: Paths
    device: str = "auto"
    models_from: tuple[Path, ...] = ()
    offline: bool = False
    preferences: Preferences = Preferences()


def default_data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """STUDIO_DATA, or `data` beside launch.py."""
    return Path(environment.get("STUDIO_DATA") or BUILTIN / "data")


def load_settings(data: Path, *, device: str = "auto", models_from: tuple[Path, ...] = ()) -> Settings:
    """Read settings.toml of the data folder, if there is one.

    Raises: StorageError, naming the line, for a file that cannot be read, and naming the setting for a wrong one.
    """
    if not DEVICE.fullmatch(device):
        raise StorageError(f"There is no device {device!r}.", hint="Choose auto, cpu, cuda, cuda:N or mps.")
    paths = Paths(root=data.expanduser().resolve())
    preferences = _read_preferences(paths.settings_file)
    return Settings(paths=paths, device=device, models_from=models_from, preferences=preferences)


def save_preferences(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Change some preferences and write the file. Raises: StorageError, for a wrong value or a folder that is full."""
    preferences = _checked({**asdict(settings.preferences), **changes}, "The settings")
    lines = [f"{name} = {_toml(value)}\n" for name, value in asdict(preferences).items()]
    write_whole(settings.paths.settings_file, "".join(lines).encode())
    return replace(settings, preferences=preferences)


def _read_preferences(file: Path) -> Preferences:
    try:
        data = tomllib.loads(file.read_text("utf-8-sig"))  # Windows editors put a mark before the text
    except FileNotFoundError:
        return Preferences()
    except (OSError, ValueError) as error:
        raise StorageError(f"{file} cannot be read: {error}.", hint="Mend the line, or delete the file.") from error
    return _checked(data, str(file))


def _checked(data: Mapping[str, Any], where: str) -> Preferences:
    known = asdict(Preferences())
    for name, value in data.items():
        if name not in known:
            raise StorageError(f"{where} has an unknown entry {name!r}.", hint=f"Known: {', '.join(known)}.")
        if type(value) is not type(known[name]):
            raise StorageError(f"{where}: {name} is {value!r}, which is not of the right kind.", hint="Mend it.")
    return Preferences(**data)


def _toml(value: str | int | bool) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's texts are TOML's, but for DEL
