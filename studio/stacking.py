"""The adapters and embeddings of a request, found in the library and checked against the checkpoint."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from studio.errors import InvalidRequestError, ModelNotFoundError
from studio.library.fit import fits, misfit
from studio.library.index import Library, ModelEntry
from studio.library.words import base_word, kind_word
from studio.params import ADAPTER_KINDS, AdapterRef, EmbeddingRef
from studio.prompts.embeddings import find_embeddings, near_misses
from studio.prompts.networks import NetworkTag

NUMBERED = re.compile(r" \(\d+\)$")  # how the library tells files of one name apart
SHORTEST_ID = 8
NEAR_MAX = 5


@dataclass(frozen=True)
class Stacking:
    """Finds what a request names. `said` takes a sentence for each thing that a person should know."""

    library: Library
    checkpoint: ModelEntry
    said: list[str]

    def adapters(self, refs: Sequence[AdapterRef]) -> tuple[AdapterRef, ...]:
        """The stack with every adapter's name and content id; those of weight 0 are left out.

        Raises: ModelNotFoundError, with names that are spelled alike; BaseModelMismatchError; InvalidRequestError.
        """
        found = [self._adapter(ref) for ref in refs if ref.weight or ref.text_weight]
        names = [ref.name for ref in found]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.said.append(f"{name} is in the stack {names.count(name)} times; its weights add up.")
        return tuple(found)

    def tagged(self, tags: Iterable[NetworkTag]) -> list[AdapterRef]:
        """Adapters that tags of a prompt name. Raises: InvalidRequestError, for a weight or a rank out of range."""
        names = ("name", "kind", "weight", "text_weight", "start", "end", "curve", "rank")
        return [AdapterRef(**{name: getattr(tag, name) for name in names}) for tag in tags]

    def embeddings(self, *texts: str) -> tuple[EmbeddingRef, ...]:
        """The embeddings that these texts name; what nearly is one is said, and what is one for another base."""
        entries = self.library.entries("embedding")
        here, others = dict[str, ModelEntry](), dict[str, ModelEntry]()
        for entry in entries:
            fitting = entry.usable and fits(entry, self.checkpoint)
            (here if fitting else others).setdefault(NUMBERED.sub("", entry.name), entry)
            (here if fitting else others).setdefault(entry.name, entry)
        if not entries:
            return ()
        self._say_what_is_no_embedding(texts, here, others)
        named = dict.fromkeys(found.name for text in texts for found in find_embeddings(text, here))
        return tuple(EmbeddingRef(name=name, id=self.library.content_id(here[name])) for name in named)

    def _say_what_is_no_embedding(
        self, texts: Iterable[str], here: dict[str, ModelEntry], others: dict[str, ModelEntry]
    ) -> None:
        known = [*here, *others]
        for text in texts:
            taken = set(here)
            for found in find_embeddings(text, known):
                if found.name not in taken:
                    taken.add(found.name)
                    self.said.append(self._stranger(others[found.name]))
            self.said.extend(miss.sentence for miss in near_misses(text, known)[:NEAR_MAX])

    def _stranger(self, entry: ModelEntry) -> str:
        """That an embedding is read as plain words."""
        refusal = misfit(entry, self.checkpoint)
        why = str(refusal) if refusal and entry.usable else f"{entry.name} cannot be used: {entry.reason}"
        return f"{why} In the prompt it is read as plain words."

    def _adapter(self, ref: AdapterRef) -> AdapterRef:
        entry = self.entry(ref)
        if not entry.usable:
            raise InvalidRequestError(f"{entry.name} cannot be used: {entry.reason}", field="adapters")
        if (refusal := misfit(entry, self.checkpoint, self.library.entries(entry.kind))) is not None:
            raise refusal
        if entry.base == "unknown":
            made = base_word(self.checkpoint.base)
            self.said.append(f"{entry.name} does not say for which base model it was made; it is tried on {made}.")
        content = self.library.content_id(entry)
        if ref.id and not content.startswith(ref.id):
            self.said.append(f"{entry.name} is another file than the one of that name in these settings.")
        return replace(ref, name=entry.name, id=content)

    def entry(self, ref: AdapterRef) -> ModelEntry:
        """The file that is meant: of one name that which fits, and one that was renamed by its content.

        Raises: ModelNotFoundError, with names that are spelled alike, or the kind that has it.
        """
        entries = self.library.entries(ref.kind)
        same = [e for e in entries if len(ref.id) >= SHORTEST_ID and e.id.startswith(ref.id)]
        alike = [e for e in entries if is_called(e, ref.name)]
        chosen = [e for e in same if e in alike] or [e for e in alike if e.name == ref.name]
        if chosen and not fits(chosen[0], self.checkpoint):
            chosen = [e for e in alike if e.usable and fits(e, self.checkpoint)] or chosen
        if chosen := chosen or same or alike:
            return chosen[0]
        return self._missing(ref)

    def _missing(self, ref: AdapterRef) -> ModelEntry:
        """Raises: ModelNotFoundError, always: with names that are spelled alike, or the kind that has it."""
        hints = {kind: f"It is a {kind_word(kind)}: give its kind." for kind in ADAPTER_KINDS}
        hints["embedding"] = "It is an embedding: write its name into the prompt."
        for kind, hint in hints.items():
            if any(is_called(e, ref.name) for e in self.library.entries(kind)):
                raise ModelNotFoundError(f"There is no {kind_word(ref.kind)} {ref.name[:80]!r}.", hint=hint)
        return self.library.find(ref.name, ref.kind)


def is_called(entry: ModelEntry, name: str) -> bool:
    """Whether the name means that file: in any case, with a folder before it or the file's ending after it."""
    last = re.sub(r"\.(safetensors|ckpt|pt|bin)$", "", name.rpartition("/")[2].casefold())
    return last in (entry.name.casefold(), NUMBERED.sub("", entry.name).casefold())
