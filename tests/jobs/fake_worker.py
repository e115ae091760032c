"""A worker that speaks the real messages from a real process, and does as its job's prompt says."""

import os
import time
from multiprocessing.connection import Connection

from studio.messages import (
    Annotate,
    Annotated,
    Cancel,
    Cancelled,
    Failed,
    Free,
    Generate,
    Identified,
    Identify,
    Prefetch,
    Preview,
    Progress,
    RawImage,
    Ready,
    Residency,
    Resident,
    Result,
    Shutdown,
)
from studio.worker.lines import last_words


def serve(connection: Connection) -> None:
    """Prompts: "dies" kills the process every time, "dies once" when its marker file is not there yet, "fails" fails,
    "slow" runs until it is cancelled, "deaf" shows a preview then and goes on; anything else gives a picture."""
    connection.recv()
    if (needed := os.environ.get("FAKE_WORKER_NEEDS")) and not os.path.exists(needed):
        os._exit(4)
    connection.send(Ready("cpu", "CPU", "fp32", "sdpa", {}))
    loaded: list[str] = []
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        match message:
            case Generate():
                connection.send(_run(connection, message))
            case Prefetch():
                loaded.append(message.checkpoint.name)
            case Identify():
                connection.send(Identified(message.path, message.mark, True, "ESRGAN", 4, (3, 3)))
            case Annotate():
                _annotate(connection, message)
            case Residency():
                connection.send(Resident(tuple({"name": name} for name in loaded), {"process": 1}))
            case Free():
                loaded.clear()
                connection.send(Resident((), {"process": 1}))
            case Shutdown():
                return


def fall(connection: Connection) -> None:
    """A worker that lacks what it needs."""
    with last_words(connection):
        raise ImportError("No module named 'paint'")


def refuse(_connection: Connection) -> None:
    """A worker that cannot start."""
    os._exit(3)


def _annotate(connection: Connection, question: Annotate) -> None:
    """Annotators: "silent" makes nothing, "dies" kills the process, "fails" fails; all else gives a black pixel."""
    match question.annotator:
        case "silent":
            pass
        case "dies":
            os._exit(9)
        case "fails":
            connection.send(Annotated(question.id, message="There is no ink.", hint="Buy ink."))
        case _:
            connection.send(Annotated(question.id, 1, 1, bytes(3)))


def _run(connection: Connection, message: Generate) -> Result | Failed | Cancelled:
    prompt, job_id = message.params.prompt, message.job_id
    connection.send(Progress(job_id, "denoising", 1, 2, 0.5))
    connection.send(Preview(job_id, 1, b"\xff\xd8preview"))
    if prompt == "dies" or (prompt.startswith("dies once ") and not os.path.exists(prompt[10:])):
        if prompt != "dies":
            open(prompt[10:], "w").close()
        time.sleep(0.05)
        os._exit(9)
    if prompt == "fails":
        return Failed(job_id, "There is no paint.", "Buy paint.")
    if prompt == "deaf":
        connection.recv()
        connection.send(Preview(job_id, 2, b"\xff\xd8preview"))
        connection.recv()
    if prompt == "slow":
        while not isinstance(cancel := connection.recv(), Cancel) or cancel.job_id != job_id:
            if isinstance(cancel, Shutdown):
                os._exit(0)
        return Cancelled(job_id)
    image = RawImage(8, 8, bytes(8 * 8 * 3), message.params.seed)
    return Result(job_id, (image,), {"denoise": 0.1}, ("Said on the way.",))
