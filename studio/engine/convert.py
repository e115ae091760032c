"""`python -m studio.engine.convert SOURCE OUT`: a pickle as safetensors, in a process that may be lost. Prints JSON."""

import json
import sys
from pathlib import Path

from studio.engine.pickles import convert
from studio.errors import StudioError


def main(source: str, out: str) -> dict[str, str]:
    """{"path"} of the file that was written, or {"error", "hint"}, saying why there is none."""
    try:
        return {"path": str(convert(Path(source), Path(out)))}
    except StudioError as error:
        return {"error": str(error), "hint": error.hint}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
