"""`models convert`: a pickled model as a safetensors file beside it. Nothing that is in a pickle is run."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from studio.errors import InvalidRequestError, StudioError
from studio.settings import BUILTIN

PICKLES = (".ckpt", ".pt", ".pth", ".bin")


def convert_model(flags: argparse.Namespace) -> int:
    """The command; its exit status. The file is read in a child process, the only one here that loads torch.

    Raises: InvalidRequestError, for a file that is not there or no pickle; StudioError, saying why it cannot be read.
    """
    source: Path = flags.file
    if not source.is_file() or source.suffix.lower() not in PICKLES:
        raise InvalidRequestError(
            f"{source} is no file that ends in {', '.join(PICKLES)}.",
            field="file",
            hint="Name the pickled model to convert.",
        )
    out: Path = flags.out or source.with_suffix(".safetensors")
    path = os.pathsep.join([str(BUILTIN), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "studio.engine.convert", str(source), str(out)]
    print(f"Reading {source.name}", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
    if done.returncode or not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise StudioError(f"{source.name} could not be converted: {last}", hint="python launch.py doctor may say more.")
    said = json.loads(done.stdout.splitlines()[-1])
    if "error" in said:
        raise StudioError(said["error"], hint=said["hint"])
    print(json.dumps(said) if flags.json else said["path"])
    return 0
