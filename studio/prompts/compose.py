"""Several prompts in one: this AND that :0.5."""

import re

AND = re.compile(r"\bAND\b")
WEIGHT = re.compile(r":\s*+([+-]?(?:\d++\.?\d*+|\.\d++))\Z")


def split_and(text: str) -> list[tuple[str, float]]:
    """The prompts that AND joins, each with its weight.

    Syntax: `one AND another :0.5`. AND is a word of its own in capitals; a colon and a number at the end of a part are
    its weight, which may be negative; without them it is 1. A prompt without AND is one part of weight 1, as typed.
    Their guidance is summed: negative + the sum of weight x (part - negative) x guidance_scale.
    Source: AUTOMATIC1111/stable-diffusion-webui, modules/prompt_parser.py, get_multicond_prompt_list, where a single
    prompt that ends in a colon and a number is weighed too; here "16:9" stays as it is.
    """
    parts = AND.split(text)
    return [_weighed(part) for part in parts] if len(parts) > 1 else [(text, 1.0)]


def _weighed(part: str) -> tuple[str, float]:
    trimmed = part.rstrip()
    colon = trimmed.rfind(":")
    match = WEIGHT.match(trimmed, colon) if colon >= 0 else None
    return (part, 1.0) if match is None else (trimmed[:colon].rstrip(), float(match[1]))
