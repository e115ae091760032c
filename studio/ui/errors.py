"""How the page says that something failed: beside the thing, with what to do."""

from typing import Any

from studio.errors import StudioError

Notice = dict[str, Any]


def error_notice(error: StudioError) -> Notice:
    """What happened and what to do, for a notice line; the page shows it as a passing message too."""
    return {"kind": "error", "text": str(error), "hint": error.hint}


def quiet_notice(*sentences: str) -> Notice | None:
    """Something worth knowing that is no error; None clears the line."""
    text = " ".join(sentence for sentence in sentences if sentence)
    return {"kind": "quiet", "text": text, "hint": ""} if text else None
