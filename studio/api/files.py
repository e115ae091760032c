"""Files as answers."""

from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse

from studio.errors import MissingError


def send_file(request: Request, path: Path, kind: str, name: str | None = None) -> Response:
    """A file of ours; a browser that has it already is told so. Raises: MissingError, if it was removed by hand."""
    try:
        found = path.stat()
    except OSError as error:
        raise MissingError(f"The file {path.name} was removed from the disk.", hint="Delete the entry.") from error
    tag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type=kind, filename=name, headers=headers, stat_result=found)
