"""Where models lie: the studio's own folders, and the folders of A1111 and ComfyUI, read in place.

The folder names are those of stable-diffusion-webui 1.10 (modules/paths.py, sd_models.py, the ControlNet extension) and
of ComfyUI (folder_paths.py, extra_model_paths.yaml.example).
"""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from studio.settings import BUILTIN, Settings

log = logging.getLogger("studio.library")
PLACES = {  # the name of a folder, in small letters -> the kind that it is for; "" for several
    "checkpoints": "checkpoint",
    "stable-diffusion": "checkpoint",
    "diffusers": "checkpoint",
    "vae": "vae",
    "vae-approx": "taesd",
    "vae_approx": "taesd",
    "controlnet": "controlnet",
    "t2i_adapter": "t2i_adapter",
    "style_models": "t2i_adapter",
    "ip_adapter": "ip_adapter",
    "ipadapter": "ip_adapter",
    "image_encoders": "image_encoder",
    "clip_vision": "image_encoder",
    "loras": "lora",
    "lora": "lora",
    "lycoris": "lora",
    "embeddings": "embedding",
    "hypernetworks": "hypernetwork",
    "upscalers": "upscaler",
    "upscale_models": "upscaler",
    "esrgan": "upscaler",
    "realesrgan": "upscaler",
    "bsrgan": "upscaler",
    "swinir": "upscaler",
    "scunet": "upscaler",
    "dat": "upscaler",
    "hat": "upscaler",
}
SKIPPED = frozenset({"annotators", "configs", "controlnetpreprocessor", "custom_nodes"})  # not for us
BESIDE_MODELS = ("embeddings", "extensions/sd-webui-controlnet/models")  # A1111 keeps these outside models/
EXTRA_PATHS = "extra_model_paths.yaml"


@dataclass(frozen=True)
class Place:
    """A folder to look into.

    Fields:
        kind: What the folder is for, as in `models list`; "" if it may hold anything.
        files: Whether single files count; the starter pack is made of folders.
        root: What a person calls the place that it belongs to.
    """

    folder: Path
    kind: str
    root: str
    files: bool = True


def model_places(settings: Settings) -> list[Place]:
    """Every folder to look into, the starter pack first. A folder that is not there is left out."""
    places: dict[Path, Place] = {}
    foreign = [place for root in settings.models_from for place in _foreign(root)]
    for place in (builtin_place(), *_below(settings.paths.models, "data", others=False), *foreign):
        places.setdefault(place.folder, place)
    return list(places.values())


def builtin_place() -> Place:
    """The starter pack."""
    return Place(BUILTIN / "assets" / "starter", "", "starter", files=False)


def _foreign(root: Path) -> Iterator[Place]:
    """The folders of another studio: its installation, its folder of models, or any folder with models in it."""
    name = root.name or str(root)
    found = [*_installation(root, name), *_extra_paths(root, name)]
    if not found and (root / "ComfyUI" / "models").is_dir():  # the portable version wraps the installation
        found = [*_installation(root / "ComfyUI", name), *_extra_paths(root / "ComfyUI", name)]
    if not found:
        known = any(folder.name.lower() in PLACES for folder in _folders(root))
        found = (
            list(_below(root, name, others=True)) if known else [Place(root, PLACES.get(root.name.lower(), ""), name)]
        )
    yield from found


def _installation(root: Path, name: str) -> Iterator[Place]:
    if (root / "models").is_dir():
        yield from _below(root / "models", name, others=True)
        for path in BESIDE_MODELS:
            if (root / path).is_dir():
                yield Place(root / path, "controlnet" if "controlnet" in path else "embedding", name)


def _below(models: Path, name: str, *, others: bool) -> Iterator[Place]:
    """The folders of a folder of models; `others`: those with names that we do not know, too."""
    for folder in _folders(models):
        known = folder.name.lower()
        if known not in SKIPPED and (others or known in PLACES):
            yield Place(folder, PLACES.get(known, ""), name)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    except FileNotFoundError:  # as before the first start
        return []
    except OSError as error:
        log.warning("%s cannot be read: %s", folder, error)
        return []


def _extra_paths(root: Path, name: str) -> Iterator[Place]:
    """What ComfyUI's extra_model_paths.yaml names, in the folder or beside it."""
    for file in (root / EXTRA_PATHS, root.parent / EXTRA_PATHS):
        if file.is_file():
            for folder, kind in read_extra_paths(file):
                if folder.is_dir():
                    yield Place(folder, kind, name)
            return


def read_extra_paths(file: Path) -> list[tuple[Path, str]]:
    """The folders that an extra_model_paths.yaml names, each with its kind; empty if it cannot be read.

    Each section may have a base_path, relative to the file; a kind has one folder a line.
    """
    import yaml  # 20 ms to import, and few people have such a file

    try:
        data: Any = yaml.safe_load(file.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        log.warning("%s cannot be read: %s", file, error)
        return []
    sections = cast(dict[Any, Any], data).values() if isinstance(data, dict) else ()
    return [pair for section in sections if isinstance(section, dict) for pair in _section(file, cast(Any, section))]


def _section(file: Path, section: dict[Any, Any]) -> Iterator[tuple[Path, str]]:
    base = file.parent / _expanded(str(section.get("base_path") or "."))
    for kind, lines in section.items():
        name = str(kind).lower()
        if name in SKIPPED or name in ("base_path", "is_default") or not isinstance(lines, str):
            continue
        for line in _lines(lines):
            folder = base / _expanded(line)
            yield Path(os.path.normpath(folder)), PLACES.get(name, "")


def _lines(text: str) -> Iterable[str]:
    return filter(None, map(str.strip, text.splitlines()))


def _expanded(path: str) -> str:
    return os.path.expanduser(os.path.expandvars(path))
