"""What a person asks to be downloaded: one address, one file of a Hub repository, or a whole one."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote

from studio.errors import InvalidRequestError
from studio.library.download.names import FOLDERS, last_part
from studio.library.download.web import SHA256, checked_url, host_of, origin_of

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
REVISION = re.compile(r"[\w./+-]{1,200}")
HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
LINK = re.compile(r"/([^/]+/[^/]+)(?:/tree/([^/]+)|/(?:blob|resolve)/([^/]+)/(.+))?/?")
NOT_MODELS = ("datasets/", "spaces/", "api/", "docs/", "collections/", "papers/", "blog/")
FIELDS = ("url", "repo", "file", "revision", "kind", "sha256")
MAIN = "main"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A request, checked. Either `url` or `repo` is set; revision: a branch, tag or commit of the repository.

    Fields:
        kind: A kind of names.FOLDERS; "" to find out from the file itself.
        sha256: What the file must be, 64 hex digits; "" if the person does not say.
    """

    url: str = ""
    repo: str = ""
    file: str = ""
    kind: str = ""
    sha256: str = ""
    revision: str = MAIN

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], endpoint: str) -> Self:
        """Read a request. A link to a repository of the Hub, or to a file in one, is taken as that.

        endpoint: The Hub's address. Raises: InvalidRequestError, naming the field.
        """
        for name, value in data.items():
            if name not in FIELDS:
                raise InvalidRequestError(f"There is no field {name[:40]!r}.", field=name, hint=_known(FIELDS))
            if value is not None and not isinstance(value, str):
                raise InvalidRequestError(f"{name} must be text.", field=name)
        said = {name: str(data.get(name) or "").strip() for name in FIELDS}
        said["sha256"] = said["sha256"].lower()
        if said["kind"] not in ("", *FOLDERS):
            wrong = f"There is no kind {said['kind'][:40]!r}."
            raise InvalidRequestError(wrong, field="kind", hint=_known(tuple(FOLDERS)))
        if said["sha256"] and not SHA256.fullmatch(said["sha256"]):
            raise InvalidRequestError("sha256 must be 64 hexadecimal digits.", field="sha256", hint="Or leave it out.")
        if bool(said["url"]) == bool(said["repo"]):
            raise InvalidRequestError("Give either url or repo.", field="url", hint="repo is like owner/name.")
        if said["url"]:
            said |= _from_link(said["url"], endpoint) or {}
        said["revision"] = said["revision"] or MAIN
        if said["repo"]:
            _check_repo(said["repo"], said["file"], said["revision"])
        return cls(**said)

    @property
    def source(self) -> str:
        """A digest of where it comes from: requests of one source are the same download."""
        return hashlib.sha256("\n".join((self.url, self.repo, self.file, self.revision)).encode()).hexdigest()

    def to_dict(self) -> dict[str, str]:
        """The fields that are set: `from_dict` reads them."""
        return {name: value for name in FIELDS if (value := str(getattr(self, name)))}

    @property
    def title(self) -> str:
        """What to call it before its name is known."""
        if self.repo:
            return f"{self.repo}:{self.file}" if self.file else self.repo
        return last_part(checked_url(self.url)) or host_of(self.url)


def _from_link(text: str, endpoint: str) -> dict[str, str] | None:
    """The Hub's repository, revision and file that a link names; None for any other address."""
    url = checked_url(text)
    if origin_of(url) != origin_of(checked_url(endpoint)) and url.host.lower() not in HUB_HOSTS:
        return None
    path = url.raw_path.decode("ascii").partition("?")[0]
    found = LINK.fullmatch(path)
    if not found or not REPO.fullmatch(unquote(found[1])) or path.lstrip("/").startswith(NOT_MODELS):
        return None
    revision = unquote(found[2] or found[3] or MAIN)
    return {"url": "", "repo": unquote(found[1]), "revision": revision, "file": unquote(found[4] or "")}


def _check_repo(repo: str, file: str, revision: str) -> None:
    if not REPO.fullmatch(repo) or ".." in repo:
        hint = "It is like owner/name, as in the address of its page."
        raise InvalidRequestError(f"{repo[:100]!r} is no repository.", field="repo", hint=hint)
    if file and any(part in ("", ".", "..") for part in file.split("/")):
        hint = "Copy it from the repository's list of files."
        raise InvalidRequestError(f"{file[:100]!r} is no file of a repository.", field="file", hint=hint)
    if not REVISION.fullmatch(revision) or ".." in revision:
        hint = "It is the name of a branch or tag, or a commit."
        raise InvalidRequestError(f"{revision[:100]!r} is no revision.", field="revision", hint=hint)


def _known(names: tuple[str, ...]) -> str:
    return f"Known: {', '.join(names)}."
