"""The tools that read the code, run as part of the suite: what they say is the message of the failure."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--quiet"),
        ("ruff", "format", "--check", "--quiet"),
        ("pyright", "--pythonpath", sys.executable),
    ],
    ids=("ruff check", "ruff format", "pyright"),
)
def test_nothing_is_found_by(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
