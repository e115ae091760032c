"""Styles: words with a name, for the prompt and for the negative prompt."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

TAG = re.compile(r"<style:([^<>:]+)>")
PLACE = "{prompt}"


@dataclass(frozen=True)
class Style:
    """What a style adds. `{prompt}` in it is where a person's words go; without it they come first."""

    prompt: str = ""
    negative_prompt: str = ""


def read_styles(text: str) -> dict[str, Style]:
    """The styles of an A1111 styles.csv, with the columns name, prompt (or text) and negative_prompt.

    Rows without a name are passed over.
    """
    rows = csv.DictReader(io.StringIO(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")))
    return {
        row["name"]: Style(row.get("prompt") or row.get("text") or "", row.get("negative_prompt") or "")
        for row in rows
        if row.get("name")
    }


def apply_styles(prompt: str, negative: str, styles: Mapping[str, Style]) -> tuple[str, str, list[str]]:
    """Prompt and negative prompt with the styles that the prompt names, and notes on those that are not there.

    Syntax: `<style:name>` in the prompt, any number of times. A style's words take the prompt in where they hold
    `{prompt}`, and else follow after a comma.
    Source: AUTOMATIC1111/stable-diffusion-webui, modules/styles.py; the tag is ours.
    """
    names = [name.strip() for name in TAG.findall(prompt)]
    prompt = TAG.sub("", prompt) if names else prompt
    for style in (styles[name] for name in names if name in styles):
        prompt, negative = _merged(style.prompt, prompt), _merged(style.negative_prompt, negative)
    missing = [name for name in dict.fromkeys(names) if name not in styles]
    return prompt, negative, [f"There is no style {name[:60]!r}; it was left out." for name in missing]


def _merged(style: str, words: str) -> str:
    if PLACE in style:
        return style.replace(PLACE, words.strip())
    return ", ".join(part for part in (words.strip(), style.strip()) if part) if style.strip() else words
