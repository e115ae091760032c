"""`python -m studio.training.respelling ORDER`: an embedding's file in another program's layout, bit for bit.

The order is JSON: {source, out, word, layout, base, checkpoint}; the last line of the output is {path} or {error, hint,
field, wrong_use}.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from studio.adapters.embeddings import read_embedding
from studio.engine.weights import open_weights
from studio.errors import InvalidRequestError, StorageError, StudioError
from studio.messages import ModelLocation
from studio.training.exporting import embedding_export, write_export
from studio.training.header import HASH


def respell(order: Mapping[str, str]) -> Path:
    """Write it beside nothing: `out` without its ending must be free. Returns: the file.

    Raises: InvalidRequestError, for a layout that it cannot have; ModelNotFoundError, if the source cannot be read;
        StorageError, also if what was written reads otherwise: it is removed then.
    """
    weights, out = open_weights(Path(order["source"])), Path(order["out"])
    rows = list(read_embedding(weights, order["word"]).vectors.values())
    location = ModelLocation(order["checkpoint"], "", "", "checkpoint", order["base"])
    try:
        export = embedding_export(rows, order["word"], location, order["layout"])
    except ValueError as error:
        raise InvalidRequestError(f"{str(error).capitalize()}.", field="layout") from error
    kept = {
        name: text for name, text in weights.metadata.items() if name.startswith(("ss_", "modelspec.")) if name != HASH
    }
    path = write_export(export, out.parent, out.name, kept)
    again = list(read_embedding(open_weights(path), order["word"]).vectors.values())
    if len(again) != len(rows) or not all(map(torch.equal, again, rows)):
        path.unlink()
        raise StorageError(f"{path.name} did not read as it was written.", hint="Look after the disk, and try again.")
    return path


def main(order: Mapping[str, str]) -> dict[str, Any]:
    """The last line."""
    try:
        return {"path": str(respell(order))}
    except StudioError as error:
        wrong = isinstance(error, InvalidRequestError)
        field = error.field if isinstance(error, InvalidRequestError) else ""
        return {"error": str(error), "hint": error.hint, "field": field, "wrong_use": wrong}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
