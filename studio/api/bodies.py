"""Bodies of requests, read within limits, and refusals as answers."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError

from studio.errors import ForbiddenError, InvalidRequestError, JobError, MissingError, StorageError, StudioError

log = logging.getLogger("studio.api")
UPLOAD_MAX, JSON_MAX = 64 * 2**20, 4 * 2**20


class TooLargeError(StudioError):
    """A body that is longer than its route takes."""

    hint = "Send less."


STATUS: tuple[tuple[type[StudioError], int], ...] = (
    (ForbiddenError, 403),
    (MissingError, 404),
    (JobError, 409),
    (TooLargeError, 413),
    (StorageError, 507),
    (StudioError, 422),
)


def refusal(error: StudioError) -> Response:
    """The answer for an error: the sentence that the page shows too, and the field, if one is to blame."""
    body = {"detail": str(error), "hint": error.hint}
    if isinstance(error, InvalidRequestError):
        body["field"] = error.field
    return answer(next(code for kind, code in STATUS if isinstance(error, kind)), body)


def for_guests(error: StudioError) -> StudioError:
    """The error without the folders of the machine, which are not for guests; the log gets it whole."""
    if not isinstance(error, StorageError):
        return error
    log.error("%s", error.sentence())
    return StorageError("The studio cannot write to its disk.", hint="Tell the person who runs it.")


def wrong_parameter(error: RequestValidationError) -> Response:
    """The answer for a path or query parameter that is not of its kind."""
    first = cast(Mapping[str, Any], error.errors()[0])
    name = str(first["loc"][-1])
    return answer(422, {"detail": f"{name}: {first['msg']}.", "field": name, "hint": "See /api/v1/docs."})


def bug(error: Exception) -> Response:
    """The answer when we failed; the log gets the traceback."""
    log.error("a request met a bug", exc_info=error)
    body = {"detail": "The studio met an error of its own.", "hint": "logs/studio.log says more; please report it."}
    return answer(500, body)


def answer(status: int, body: Mapping[str, Any]) -> Response:
    """JSON in ASCII, whatever odd characters a sentence quotes."""
    return Response(json.dumps(body), status, media_type="application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """The body, refused as soon as it is longer than `limit` bytes. Raises: TooLargeError."""
    too_large = TooLargeError(f"The body is longer than {limit // 2**20} MB.")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limit:
        raise too_large
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object of finite numbers. Raises: InvalidRequestError, naming the field; TooLargeError."""
    try:
        data: Any = json.loads(await read_body(request, JSON_MAX) or b"{}")
        odd = _not_finite(data, "body")
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequestError(f"The body is no JSON: {reason}.", field="body") from error
    if not isinstance(data, dict):
        raise InvalidRequestError("The body is no JSON object.", field="body")
    if odd:
        raise InvalidRequestError(f"{odd} must be a finite number.", field=odd, hint="NaN and Infinity are no numbers.")
    return cast(dict[str, Any], data)


def _not_finite(value: Any, name: str) -> str:
    """The name nearest to the first NaN or Infinity; "" if there is none."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else name
    if isinstance(value, dict):
        pairs: Sequence[tuple[str, Any]] = list(cast(dict[str, Any], value).items())
    elif isinstance(value, list):
        pairs = [(name, item) for item in cast(list[Any], value)]
    else:
        return ""
    return next((odd for key, item in pairs if (odd := _not_finite(item, key))), "")
