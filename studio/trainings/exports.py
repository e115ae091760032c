"""Results of a run in the layouts of other programs, beside the results themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import InvalidRequestError, JobError, ModelNotFoundError, StudioError
from studio.library.download.fetch import Arrived
from studio.library.index import Library
from studio.library.pickles import header_of
from studio.library.tools.order import read_plan
from studio.library.tools.process import run_tool
from studio.trainings.results import free_name
from studio.trainings.run import Plain, Run, others

RESPELLING = "studio.training.respelling"


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """Writes them. models: the folder of all models; device: as in the settings; arrived: told of each new file."""

    library: Library
    models: Path
    device: str
    arrived: Callable[[Arrived], Plain | None]

    def export(self, run: Run, layout: object) -> list[Plain]:
        """Write all of the run's results that have that layout and are not in it: {name, kind, layout, file, key,
        tensors}, the tensors as counted in the new file.

        Raises: JobError, without a result; InvalidRequestError, naming the layouts that there are; ModelNotFoundError,
            if a result is not there any more; StudioError, if it cannot be written so.
        """
        if not run.results:
            raise JobError(f"{run.params.name} has no result.", hint="Keep one of its saves first.")
        wanted = [one for one in run.results if layout in others(one, run.params.base)]
        if not wanted:
            offered = sorted({name for one in run.results for name in others(one, run.params.base)})
            hint = f"Choose one of: {', '.join(offered)}." if offered else "Its layout is the only one of this method."
            raise InvalidRequestError(f"The result cannot be had as {str(layout)[:40]!r}.", field="layout", hint=hint)
        return [self._written(run, one, str(layout)) for one in wanted]

    def _written(self, run: Run, result: Plain, layout: str) -> Plain:
        source = Path(str(result["path"]))
        if not source.exists():
            raise ModelNotFoundError(f"{source.name} is not there any more.", hint="Keep one of the run's saves again.")
        name = free_name(source.parent, f"{source.stem}-{layout}")
        write = self._lora if result["kind"] == "lora" else self._embedding
        said = write(run, result, layout, name)
        if "error" in said:
            raise _error(said)
        path = Path(said["path"])
        row = self.arrived(Arrived(path=path, kind=str(result["kind"]), hashes={})) or {}
        return {
            "name": row.get("name", path.stem),
            "kind": result["kind"],
            "layout": layout,
            "file": path.relative_to(self.models).as_posix(),
            "key": row.get("key", ""),
            "tensors": len(header_of(path).tensors),
        }

    def _lora(self, _run: Run, result: Plain, layout: str, name: str) -> Plain:
        body = {"tool": "respell", "files": [result["name"]], "spelling": layout, "name": name}
        return run_tool(read_plan(body, self.library, self.models).order(), self.device)

    def _embedding(self, run: Run, result: Plain, layout: str, name: str) -> Plain:
        source, params = Path(str(result["path"])), run.params
        order = {
            "source": str(source),
            "out": str(source.with_name(name)),
            "word": params.trigger or source.stem,
            "layout": layout,
            "base": params.base,
            "checkpoint": params.checkpoint,
        }
        return run_tool(order, "cpu", module=RESPELLING)


def _error(said: Mapping[str, Any]) -> StudioError:
    if said.get("wrong_use"):
        return InvalidRequestError(str(said["error"]), field="layout", hint=str(said.get("hint", "")))
    return StudioError(str(said["error"]), hint=str(said.get("hint", "")))
