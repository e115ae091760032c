"""What a download may be called, where it goes, and whether its first bytes are those of a model."""

import re
import unicodedata
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import httpx

from studio.errors import DownloadError

FOLDERS = {
    "checkpoint": "checkpoints",
    "diffusers": "checkpoints",
    "vae": "vae",
    "taesd": "vae",
    "controlnet": "controlnet",
    "t2i_adapter": "t2i_adapter",
    "ip_adapter": "ip_adapter",
    "image_encoder": "image_encoders",
    "lora": "loras",
    "embedding": "embeddings",
    "hypernetwork": "hypernetworks",
    "upscaler": "upscalers",
    "annotator": "annotators",
}
SAFE, PICKLES = (".safetensors",), (".ckpt", ".pt", ".pth", ".bin")
SUFFIXES = (*SAFE, *PICKLES)
ONNX, ONNX_START = ".onnx", b"\x08"  # what some annotators open; the first field of its protocol buffer is a version
# What Windows forbids in names: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
FORBIDDEN = re.compile(r'[<>:"|?*]')
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
PATH_MAX, NAME_BYTES = 259, 200  # Windows' longest path; Linux' longest name is 255 bytes, and a part's is longer
PART_ROOM = len("..part.json")
STEM_MIN = 8
WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")  # what diffusers and transformers call weights
GENERIC = (*WEIGHTS, "pytorch_lora_weights", "learned_embeds", "adapter_model")
HEADER_MAX = 100_000_000
PROGRAMS = (b"MZ", b"\x7fELF", b"#!", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
TEXTS = (b"<!", b"<html", b"<head", b"<?xml", b"{", b"[")
ZIP, PICKLE = b"PK\x03\x04", re.compile(rb"\x80[\x02-\x05]")
SNIFFED = 16
DISPOSITION = re.compile(r'filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]+))', re.IGNORECASE)
DISPOSITION_EXTENDED = re.compile(r"filename\*\s*=\s*([\w-]+)'[^']*'([^;\s]+)", re.IGNORECASE)
PAGE_HINT = "Copy the address of the file itself, such as its download button's; some sites want a login first."


def safe_name(text: str, folder: Path) -> str:
    """A name of a file or folder that every system takes: the last part of `text`, odd characters as "_".

    It is cut so that the path, with what a part of it is called meanwhile, has room in 259 characters.
    Raises: DownloadError, if nothing is left, or the folder itself has too long a path.
    """
    last = text.replace("\\", "/").rpartition("/")[2]
    kept = (c for c in unicodedata.normalize("NFC", last) if unicodedata.category(c)[0] != "C")
    name = FORBIDDEN.sub("_", "".join(kept)).strip(". ")
    if RESERVED.fullmatch(name):
        name = f"_{name}"
    stem, suffix = _split(name)
    room = PATH_MAX - len(str(folder)) - 1 - PART_ROOM - len(suffix)
    if room < STEM_MIN:
        raise DownloadError(
            f"The folder's path is too long for another name: {folder}.", hint="Choose a shorter data folder."
        )
    stem = stem[:room].encode()[: NAME_BYTES - len(suffix)].decode(errors="ignore").rstrip(". ")
    if not stem:
        raise DownloadError(f"{text[:80]!r} gives no name for a file.", hint="Try another source.")
    return stem + suffix


def check_suffix(name: str, kind: str = "") -> None:
    """Raises: DownloadError, for a file that is no model by its name; of annotators some are ONNX files."""
    suffix = PurePosixPath(name).suffix.lower()
    taken = (*SUFFIXES, ONNX) if kind == "annotator" else SUFFIXES
    if suffix not in taken:
        raise DownloadError(
            f"{name[:120]} is no model file.", hint=f"Models end in {', '.join(taken[:-1])} or {taken[-1]}."
        )


def refuse_page(response: httpx.Response, name: str) -> None:
    """Raises: DownloadError, for a page of a website."""
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise DownloadError(f"The server sent a page instead of {name[:120]}.", hint=PAGE_HINT)


def announced_name(response: httpx.Response, first: httpx.URL) -> str:
    """What the server calls the file: its Content-Disposition, else the path asked for, else where that led."""
    said = response.headers.get("content-disposition", "")
    if found := DISPOSITION_EXTENDED.search(said):
        try:
            return unquote(found[2], found[1], "replace")
        except LookupError:  # a character set that Python does not know
            pass
    if found := DISPOSITION.search(said):
        return re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2].strip()
    asked, led = (last_part(url) for url in (first, response.request.url))
    return asked if PurePosixPath(asked).suffix.lower() in SUFFIXES else led or asked


def last_part(url: httpx.URL) -> str:
    """The last part of a URL's path, decoded."""
    return url.path.rstrip("/").rpartition("/")[2]


def looks_wrong(name: str, start: bytes) -> str:
    """Why a file that begins so is no model of that name; "" if it may be one. start: its first SNIFFED bytes."""
    if start.startswith(PROGRAMS):
        return f"{name} is a program, not a model."
    if name.lower().endswith(SAFE):
        length = int.from_bytes(start[:8], "little")
        if 2 <= length <= HEADER_MAX and start[8:9] == b"{":
            return ""
    elif name.lower().endswith(ONNX):
        if start.startswith(ONNX_START):
            return ""
    elif start.startswith(ZIP) or PICKLE.match(start):
        return ""
    if start.lstrip(b"\xef\xbb\xbf\r\n\t ").lower().startswith(TEXTS):
        return f"The server sent a page or a message instead of {name}."
    return f"{name} does not begin as such a file does."


def own_name(path: str, repo: str) -> str:
    """A Hub file's name; one that half of all repositories use gives way to the repository's."""
    file = PurePosixPath(path)
    stem = file.name.partition(".")[0]
    return repo.rpartition("/")[2] + file.suffix if stem in GENERIC else file.name


def _split(name: str) -> tuple[str, str]:
    """Stem and suffix; a long "suffix" is a part of the stem."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and len(suffix) <= 12 else (name, "")
