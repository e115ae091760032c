"""What becomes of a job: its pictures kept, and how it is shown with them."""

from collections.abc import Callable
from typing import Any

from studio.gallery.index import Gallery
from studio.jobs.queue import Job
from studio.messages import Result
from studio.params import GenerationParams


def job_view(job: Job, gallery: Gallery) -> dict[str, Any]:
    """A job as plain values, with the links of those of its pictures that are still there."""
    items = [item for item_id in job.results if (item := gallery.get(item_id)) is not None]
    return job.to_dict() | {"results": [item.view() for item in items]}


def result_saver(gallery: Gallery) -> Callable[[Job, Result], tuple[int, ...]]:
    """What the dispatcher calls with finished pictures: file first, then row; the gallery ids."""

    def save(job: Job, result: Result) -> tuple[int, ...]:
        params = GenerationParams.from_dict(job.params)
        items = gallery.add(job.id, job.owner, params, result.images, seconds=result.seconds, warnings=result.warnings)
        return tuple(item.id for item in items)

    return save
