"""The adapters of a picture as A1111 and its kin write them: tags in the prompt, and hashes beside the settings."""

import re
from collections.abc import Mapping
from dataclasses import replace

from studio.errors import InvalidRequestError
from studio.params import AdapterRef, GenerationParams
from studio.prompts.networks import NetworkTag, read_networks

HASH_LENGTH = 10  # of a file's sha256, as other programs and sites look it up (AutoV2)
LORA_HASHES, EMBEDDING_HASHES = "Lora hashes", "TI hashes"
TAGS = {"lora": "lora", "hypernetwork": "hypernet"}
FIELDS = ("name", "kind", "weight", "text_weight", "start", "end", "curve", "rank")


def with_tags(params: GenerationParams) -> str:
    """The prompt, and after it a tag for each adapter in the order of the stack."""
    return " ".join([params.prompt, *map(tag_of, params.adapters)]).strip()


def tag_of(ref: AdapterRef) -> str:
    """An adapter's tag: <lora:name:weight>, or <lora:name:text:unet>, and what only this studio reads after it."""
    weights = [number(ref.weight)]
    if ref.kind == "lora" and ref.text_weight not in (None, ref.weight):
        weights.insert(0, number(ref.text_weight))
    plain = AdapterRef(name=ref.name)
    ours = [f"{n}={getattr(ref, n)}" for n in ("start", "end", "curve") if getattr(ref, n) != getattr(plain, n)]
    rank = [f"dyn={ref.rank}"] if ref.rank is not None else []
    return f"<{':'.join([TAGS[ref.kind], _clean(ref.name), *weights, *rank, *ours])}>"


def hashes(params: GenerationParams) -> dict[str, str | None]:
    """The hashes of LoRAs and of embeddings, "name: hash, name: hash" each; None where there are none."""
    loras = {_clean(ref.name): ref.id[:HASH_LENGTH] for ref in params.adapters if ref.kind == "lora" and ref.id}
    embeddings = {ref.name: ref.id[:HASH_LENGTH] for ref in params.embeddings if ref.id}
    found = {LORA_HASHES: loras, EMBEDDING_HASHES: embeddings}
    return {key: ", ".join(f"{n}: {mark}" for n, mark in rows.items()) or None for key, rows in found.items()}


def without_tags(prompt: str, written: str) -> tuple[str, list[AdapterRef], list[str]]:
    """The prompt without its tags, their adapters, and sentences on those that could not be read.

    written: The hashes beside the settings, of which ours are the beginnings of content ids; "" where there are none.
    """
    read = read_networks(prompt)
    if not read.tags and not read.notes:
        return prompt, [], []
    ids, notes, found = _ids(written), list(read.notes), list[AdapterRef]()
    for tag in read.tags:
        try:
            found.append(_ref(tag, ids))
        except InvalidRequestError as error:
            notes.append(f"{tag.written[:80]} is left out: {error}")
    return read.text.strip(), found, notes


def number(value: float | None) -> str:
    """A number without needless zeros."""
    return f"{value:g}" if value is not None else ""


def _ref(tag: NetworkTag, ids: Mapping[str, str]) -> AdapterRef:
    ref = AdapterRef(**{name: getattr(tag, name) for name in FIELDS})
    return replace(ref, id=ids.get(tag.name, ""))


def _ids(written: str) -> dict[str, str]:
    pairs = (part.rpartition(":") for part in written.split(","))
    return {name.strip(): mark.strip() for name, _, mark in pairs if re.fullmatch(r"[0-9a-f]{8,64}", mark.strip())}


def _clean(name: str) -> str:
    """A name that neither ends a tag nor a list of hashes."""
    return re.sub(r"[<>:,]", "_", name)
