"""What is written for people alone: # to the end of the line, and /* between these */."""

import re

BEGIN = re.compile(r"^[ \t]*+#|(?<!\\)#|/\*", re.MULTILINE)


def strip_comments(text: str) -> str:
    r"""The text without its comments.

    Syntax: `#` and what follows on its line; a line of nothing else goes as a whole. `/*` to the next `*/`; one that is
    never ended is text. `\#` is that character.
    Source: AUTOMATIC1111/stable-diffusion-webui, modules/processing_scripts/comments.py; SD.Next for `/* */`.
    """
    found = comments(text)
    starts, ends = [*(start for start, _ in found), len(text)], [0, *(end for _, end in found)]
    return "".join(text[end:start] for end, start in zip(ends, starts, strict=True))


def comments(text: str) -> list[tuple[int, int]]:
    """Where the comments of a text start and end."""
    found: list[tuple[int, int]] = []
    place, last = 0, text.rfind("*/")
    while match := BEGIN.search(text, place):
        place = match.end()
        if match[0] != "/*":
            newline = text.find("\n", place)
            place = len(text) if newline < 0 else newline + _is_whole_line(text, match.start())
        elif place <= last:
            place = text.index("*/", place) + 2
        else:
            continue
        found.append((match.start(), place))
    return found


def _is_whole_line(text: str, start: int) -> bool:
    return start == 0 or text[start - 1] == "\n"
