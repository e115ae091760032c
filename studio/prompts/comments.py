"""What is written for people alone: # to the end of the line, and /* between these */."""

import re

BEGIN = re.compile(r"^[ \t]*+#|(?<!\\)#|/\*", re.MULTILINE)


def strip_comments(text: str) -> str:
    r"""The text without its comments.

    Syntax: `#` and what follows on its line; a line of nothing else goes as a whole. `/*` to the next `*/`; one that is
    never ended is text. `\#` is that character.
    Source: AUTOMATIC1111/stable-diffusion-webui, modules/processing_scripts/comments.py; SD.Next for `/* */`.
    """
    kept: list[str] = []
    start = place = 0
    last = text.rfind("*/")
    while match := BEGIN.search(text, place):
        place = match.end()
        if match[0] != "/*":
            newline = text.find("\n", place)
            end = len(text) if newline < 0 else newline + _is_whole_line(text, match.start())
        elif place <= last:
            end = text.index("*/", place) + 2
        else:
            continue
        kept.append(text[start : match.start()])
        start = place = end
    return "".join([*kept, text[start:]])


def _is_whole_line(text: str, start: int) -> bool:
    return start == 0 or text[start - 1] == "\n"
