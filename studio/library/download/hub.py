"""Repositories of the Hugging Face Hub: what lies in one, and which of its files are wanted.

Source: https://huggingface.co/docs/hub/api (GET /api/models/{repo}/revision/{revision}?blobs=true), and
https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables (HF_ENDPOINT, HF_TOKEN).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, cast
from urllib.parse import quote

from studio.errors import DownloadError, InvalidRequestError
from studio.library.download.names import PICKLES, RESERVED, SAFE, SUFFIXES, WEIGHTS
from studio.library.download.web import SHA256, Answer, Route, Web, checked_url, origin_of, refuse_status

DEFAULT_ENDPOINT = "https://huggingface.co"
LISTING_MAX = 16 * 2**20
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
SETTINGS = (".json", ".txt", ".model")
VARIANTS = ("", "fp16", "bf16", "fp32")  # in this order: an unmarked file is what the authors recommend
MARKED = re.compile(r"(?P<stem>[\w-]+?)(?:\.(?P<mark>[a-z][a-z0-9_]*))?(?P<shard>-\d{5}-of-\d{5})?$")
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
NAMED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a repository. size None and sha256 "": the Hub does not say. name: its path on our disk."""

    path: str
    name: str
    size: int | None = None
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A repository at one commit. files by path."""

    commit: str
    files: dict[str, HubFile]


@dataclass(frozen=True, kw_only=True)
class Hub:
    """The Hub that the person uses. named: HF_ENDPOINT was set, so its addresses may be private."""

    endpoint: str = DEFAULT_ENDPOINT
    token: str = ""
    named: bool = False

    @staticmethod
    def of(environment: Mapping[str, str]) -> "Hub":
        """From HF_ENDPOINT and HF_TOKEN. Raises: DownloadError, for an endpoint that is no address."""
        said = environment.get("HF_ENDPOINT", "").strip().rstrip("/")
        try:
            checked_url(said or DEFAULT_ENDPOINT)
        except InvalidRequestError as error:
            raise DownloadError(f"HF_ENDPOINT is of no use. {error}", hint="Write https:// and a host.") from error
        token = environment.get("HF_TOKEN", "").strip()
        return Hub(endpoint=said or DEFAULT_ENDPOINT, token=token if token.isascii() else "", named=bool(said))

    def route(self) -> Route:
        """How its addresses are reached."""
        origin = origin_of(checked_url(self.endpoint))
        trusted = frozenset({origin}) if self.named else frozenset[tuple[str, str, int]]()
        return Route(trusted=trusted, token=self.token, token_origin=origin)

    def file_url(self, repo: str, revision: str, path: str) -> str:
        """Where a file lies."""
        return f"{self.endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def list(self, repo: str, revision: str, web: Web) -> Listing:
        """What the repository holds. Raises: DownloadError, Interrupted."""
        url = f"{self.endpoint}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
        with web.get(url, self.route(), {"Accept": "application/json"}) as answer:
            refuse_status(answer.response)
            data = _read_json(answer, repo)
        rows = [row for row in _list(data.get("siblings")) if isinstance(row.get("rfilename"), str)]
        found = (_file(row) for row in rows)
        files = {file.path: file for file in found if _is_inside(file.path)}
        commit = data.get("sha")
        return Listing(commit=commit if isinstance(commit, str) and commit else revision, files=files)


def choose(listing: Listing, repo: str) -> tuple[bool, list[HubFile]]:
    """The files that are wanted of a whole repository, and whether they make a folder.

    A diffusers pipeline or model: its settings and one set of weights a part, safetensors before pickles, unmarked
    before half precision. Anything else must hold one model file. Raises: DownloadError, naming what there is.
    """
    files = listing.files
    if "model_index.json" in files:
        chosen = [files["model_index.json"]]
        for part in PARTS:
            chosen += _folder(files.values(), part)
        if not any(file.path.startswith("unet/") and file.name.endswith(SUFFIXES) for file in chosen):
            raise DownloadError(f"{repo} holds a pipeline without a UNet.", hint="Only Stable Diffusion can be used.")
        return True, chosen
    if "config.json" in files and (weights := _weights(files.values(), "")):
        return True, [files["config.json"], *weights]
    return False, [_only_model(files.values(), repo)]


def _folder(files: Iterable[HubFile], part: str) -> list[HubFile]:
    """The settings and the weights that lie directly in one part of a pipeline."""
    here = [file for file in files if str(PurePosixPath(file.path).parent) == part]
    named = ((PurePosixPath(file.path).name, file) for file in here)
    plain = ((name, file) for name, file in named if PLAIN.fullmatch(name) and not RESERVED.fullmatch(name))
    settings = [file for name, file in plain if name.endswith(SETTINGS) and not name.endswith(".index.json")]
    return settings + _weights(here, part)


def _weights(files: Iterable[HubFile], part: str) -> list[HubFile]:
    """The best set of weights in a folder, under unmarked names, with the index if it lies in shards."""
    sets: dict[tuple[bool, int], list[HubFile]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        found = MARKED.fullmatch(path.stem)
        if "/".join(path.parts[:-1]) != part or path.suffix not in (*SAFE, ".bin") or not found:
            continue
        mark = found["mark"] or ""
        if found["stem"] not in WEIGHTS or mark not in VARIANTS or (mark and found["shard"]):
            continue
        name = str(path.with_name(f"{found['stem']}{found['shard'] or ''}{path.suffix}"))
        taken = HubFile(path=file.path, name=name, size=file.size, sha256=file.sha256)
        sets.setdefault((path.suffix not in SAFE, VARIANTS.index(mark)), []).append(taken)
    if not sets:
        return []
    best = sets[min(sets)]
    whole = [file for file in best if "-of-" not in file.name]
    if whole:
        return whole[:1]
    return best + [file for file in files if file.path.endswith(".index.json") and _index_of(file, best[0], part)]


def _index_of(index: HubFile, shard: HubFile, part: str) -> bool:
    """Whether that is the table of contents of the shards: stem.suffix.index.json."""
    path = PurePosixPath(shard.name)
    stem = path.name.partition("-0")[0]
    return index.path == str(PurePosixPath(part) / f"{stem}{path.suffix}.index.json")


def _only_model(files: Iterable[HubFile], repo: str) -> HubFile:
    models = [file for file in files if PurePosixPath(file.path).suffix.lower() in SUFFIXES]
    safe = [file for file in models if file.path.lower().endswith(SAFE)]
    found = safe or [file for file in models if file.path.lower().endswith(PICKLES)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise DownloadError(f"{repo} holds no model file.", hint="Look at its page: it may be something else.")
    names = ", ".join(file.path for file in found[:NAMED_AT_ONCE]) + (", ..." if len(found) > NAMED_AT_ONCE else "")
    raise DownloadError(
        f"{repo} holds {len(found)} models: {names}.", hint=f"Say which file, as {repo}:{found[0].path}."
    )


def _file(row: Mapping[str, Any]) -> HubFile:
    path, lfs = str(row["rfilename"]), row.get("lfs")
    stored = cast(dict[str, Any], lfs) if isinstance(lfs, dict) else {}
    size, content = row.get("size"), str(stored.get("sha256", ""))
    known = size if isinstance(size, int) and size >= 0 else None
    return HubFile(path=path, name=path, size=known, sha256=content if SHA256.fullmatch(content) else "")


def _is_inside(path: str) -> bool:
    """Whether a path of a listing stays inside the repository."""
    return "\\" not in path and not any(part in ("", ".", "..") for part in path.split("/"))


def _read_json(answer: Answer, repo: str) -> dict[str, Any]:
    body = bytearray()
    for chunk in answer.response.iter_bytes():
        body += chunk
        if len(body) > LISTING_MAX:
            break
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DownloadError(f"The Hub's list of {repo} cannot be read.", hint="Check HF_ENDPOINT.") from error
    if not isinstance(data, dict):
        raise DownloadError(f"The Hub's list of {repo} is no list of files.", hint="Check HF_ENDPOINT.")
    return cast(dict[str, Any], data)


def _list(value: Any) -> list[dict[str, Any]]:
    rows = cast(list[Any], value) if isinstance(value, list) else []
    return [cast(dict[str, Any], row) for row in rows if isinstance(row, dict)]
