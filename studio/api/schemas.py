"""What the routes take and answer, for their documentation: JSON schemas of the requests, and of a refusal."""

from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter

from studio.params import GenerationRequest

REFUSAL: dict[str, Any] = {
    "type": "object",
    "required": ["detail", "hint"],
    "properties": {
        "detail": {"type": "string", "description": "What happened: the sentence that the page shows, too."},
        "field": {"type": "string", "description": "The field to blame, where there is one."},
        "hint": {"type": "string", "description": "What to do about it; may be empty."},
    },
}


def refusals(**described: str) -> dict[int | str, dict[str, Any]]:
    """The refusals of every route, for FastAPI's `responses`: s404="..." and so on."""
    content = {"application/json": {"schema": REFUSAL}}
    return {int(code[1:]): {"description": text, "content": content} for code, text in described.items()}


@cache
def request_schema() -> dict[str, Any]:
    """The JSON schema of a generation request."""
    schema = TypeAdapter(GenerationRequest).json_schema()
    inlined: dict[str, Any] = _inline(schema, schema.get("$defs", {}))
    inlined.pop("$defs", None)
    return inlined


def json_body(description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """The documentation of a body that is one JSON object."""
    content = {"application/json": {"schema": schema or {"type": "object"}}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def binary_body(description: str) -> dict[str, Any]:
    """The documentation of a body that is a file."""
    schema = {"type": "string", "format": "binary"}
    kinds = ("application/octet-stream", "image/png", "image/jpeg", "image/webp")
    content = {kind: {"schema": schema} for kind in kinds}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def file_answer(kind: str, description: str) -> dict[int | str, dict[str, Any]]:
    """The documentation of an answer that is a file."""
    return {200: {"description": description, "content": {kind: {"schema": {"type": "string", "format": "binary"}}}}}


def _inline(value: Any, definitions: dict[str, Any]) -> Any:
    """The schema with what it refers to in its place."""
    if isinstance(value, list):
        return [_inline(item, definitions) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    entries = cast(dict[str, Any], value)
    if isinstance(name := entries.get("$ref"), str):
        return _inline(definitions[name.rpartition("/")[2]], definitions)
    return {key: _inline(item, definitions) for key, item in entries.items()}
