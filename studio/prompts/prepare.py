"""From what was typed to what is said: styles, comments, wildcards and tags, in that order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from studio.prompts.check import complaints
from studio.prompts.comments import strip_comments
from studio.prompts.expand import expand
from studio.prompts.networks import NetworkTag, read_networks
from studio.prompts.styles import Style, apply_styles
from studio.prompts.wildcards import Lookup, no_wildcards


@dataclass(frozen=True)
class Sources:
    """What templates draw from: the lines of wildcard files, and styles by name, styles read anew for each prompt."""

    wildcards: Lookup = no_wildcards
    styles: Callable[[], Mapping[str, Style]] = field(default=dict[str, Style])


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Prompts with nothing left to draw. What is left in them are attention, BREAK, edits, turns and AND.

    tags: The adapters that the prompt names, in order. warnings: sentences for a person.
    """

    prompt: str
    negative_prompt: str
    tags: tuple[NetworkTag, ...] = ()
    warnings: tuple[str, ...] = ()


def prepare(prompt: str, negative_prompt: str, seed: int, sources: Sources | None = None) -> Prepared:
    """Apply styles, drop comments, draw variants and wildcards, take the tags of adapters out.

    A prompt that has nothing of these is given back as it is, blanks included. Tags count in the prompt alone: from a
    negative prompt they are taken out with a note. The negative prompt draws on its own, so that a change of one
    changes nothing in the other.
    """
    sources = sources or Sources()
    prompt, negative_prompt, notes = apply_styles(prompt, negative_prompt, sources.styles())
    prompt, drawn = expand(strip_comments(prompt), seed, sources.wildcards)
    negative_prompt, also_drawn = expand(strip_comments(negative_prompt), f"{seed} negative", sources.wildcards)
    said, unsaid = read_networks(prompt), read_networks(negative_prompt)
    notes += [*drawn, *also_drawn, *said.notes]
    if unsaid.tags:
        notes.append(f"{unsaid.tags[0].written[:80]} in the negative prompt switches nothing on; it was left out.")
    notes += [*complaints(said.text), *complaints(unsaid.text, negative=True)]
    return Prepared(prompt=said.text, negative_prompt=unsaid.text, tags=said.tags, warnings=tuple(dict.fromkeys(notes)))


def prepare_each(
    prompt: str, negative_prompt: str, seeds: Sequence[int], sources: Sources | None = None
) -> list[Prepared]:
    """What `prepare` makes for each picture, by its seed; the first one's adapters are for all of them.

    The first has the notes of all, and one if another picture's draw names other adapters: a job has one stack.
    """
    each = [prepare(prompt, negative_prompt, seed, sources) for seed in seeds]
    notes = dict.fromkeys(note for one in each for note in one.warnings)
    if any(one.tags != each[0].tags for one in each):
        notes["The prompt draws adapters too: all pictures of a job have those of the first."] = None
    return [replace(each[0], warnings=tuple(notes)), *each[1:]]
