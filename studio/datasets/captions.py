"""Captions beside pictures: read in whatever way they were written, written whole, changed in bulk."""

import re
from collections.abc import Mapping

from studio.datasets.folder import Picture
from studio.errors import InvalidRequestError
from studio.files import write_whole

LONGEST, CAPTION_BYTES = 4000, 64 * 1024
EDITS = ("prefix", "suffix", "replace", "remove", "fill")


def read_caption(picture: Picture) -> str | None:
    """What a person or a program wrote beside the picture, without blanks around it; None if nothing was."""
    for file in picture.captions:
        try:
            data = file.read_bytes()
        except OSError:
            continue
        return decoded(data).replace("\x00", "").strip() or None
    return None


def write_caption(picture: Picture, text: str) -> None:
    """Write it beside the picture; "" takes it away. Raises: InvalidRequestError; StorageError."""
    clean = checked(picture.name, text)
    first, *others = picture.captions
    if clean or any(file.exists() for file in others):
        write_whole(first, clean.encode())
    else:
        first.unlink(missing_ok=True)


def checked(name: str, text: object) -> str:
    """A caption that can be kept. Raises: InvalidRequestError, naming the picture."""
    if not isinstance(text, str):
        raise InvalidRequestError(f"The caption of {name[:80]} is no text.", field="captions")
    if len(text) > LONGEST:
        raise InvalidRequestError(
            f"The caption of {name[:80]} has {len(text)} characters.",
            field="captions",
            hint=f"Use at most {LONGEST}; a model reads the first 75 words or so.",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"The caption of {name[:80]} holds half a character at place {error.start + 1}.",
            field="captions",
            hint="Type it again.",
        ) from error
    return text.replace("\x00", "").strip()


def edited(captions: Mapping[str, str | None], do: str, text: str, replacement: str) -> dict[str, str]:
    """The captions that an edit changes, by picture, as they are then.

    Args:
        captions: By picture; None is none.
        do: prefix and suffix put `text` to those that there are; replace puts `replacement` in its place; remove takes
            it out; fill gives it to pictures without a caption.
    Raises: InvalidRequestError, if `do` is none of these, or `text` is empty.
    """
    if do not in EDITS:
        raise InvalidRequestError(f"do is {do[:40]!r}.", field="do", hint=f"Choose one of: {', '.join(EDITS)}.")
    if not text.strip():
        raise InvalidRequestError("There are no words to work with.", field="text", hint="Type them first.")
    made = {name: _edit(caption or "", do, text, replacement) for name, caption in captions.items()}
    return {name: caption for name, caption in made.items() if caption != (captions[name] or "")}


def _edit(caption: str, do: str, text: str, replacement: str) -> str:
    if do == "fill":
        return caption or text.strip()
    if not caption:
        return caption
    if do == "prefix":
        return _joined(text, caption)
    if do == "suffix":
        return _joined(caption, text)
    if do == "replace":
        return caption.replace(text, replacement).strip()
    return _tidy(caption.replace(text, "")) if text in caption else caption


def _joined(left: str, right: str) -> str:
    """The two with a blank between words."""
    apart = left[-1:].isspace() or right[:1].isspace() or right[:1] in ",.;:!?"
    return (left + ("" if apart else " ") + right).strip()


def _tidy(text: str) -> str:
    """Without the doubled blanks and commas that a word leaves behind."""
    once = re.sub(r"(\s*,\s*)+", ", ", re.sub(r"[ \t]{2,}", " ", text))
    return once.strip(" ,")


def decoded(data: bytes) -> str:
    """UTF-8 or UTF-16, by their marks; what is neither is Windows' Western table, which every byte has a place in."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
