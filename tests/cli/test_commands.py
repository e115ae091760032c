import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studio.cli.commands import Programs, run
from studio.errors import InvalidRequestError, ModelNotFoundError, StartError, WorkerError
from studio.settings import BUILTIN


class Fake:
    """Programs that write down how they were called, or fail with `error`."""

    def __init__(self, error=None):
        self.calls = []
        self.error = error
        self.programs = Programs(
            serve=self.called("serve"),
            open_studio=self.called("open_studio"),
            bench=self.called("bench"),
            doctor=self.called("doctor"),
        )

    def called(self, name):
        def program(*values):
            self.calls.append((name, *values))
            if self.error:
                raise self.error
            return 0

        return program


def test_serve_gets_its_flags_by_name(tmp_path):
    fake = Fake()
    assert run(["--data", str(tmp_path), "--port", "0", "--auth", "a:b", "--offline"], fake.programs) == 0
    ((name, settings, options),) = fake.calls
    assert name == "serve"
    assert settings.paths.root == tmp_path
    assert settings.offline
    assert options == {
        "port": 0,
        "listen": False,
        "share": False,
        "auth_file": None,
        "auth": ("a:b",),
        "no_browser": False,
    }


def test_bench_gets_its_flags_by_name(tmp_path):
    fake = Fake()
    run(["bench", "--suite", "control", "--pack", "p", "--scenes", "8", "--part", "costs"], fake.programs)
    ((_, _, flags),) = fake.calls
    given = {"suite": "control", "pack": Path("p"), "scenes": 8, "part": ["costs"]}
    assert flags == {"json": None, "pictures": None, **given}


def test_folders_and_device_reach_the_settings(tmp_path):
    fake = Fake()
    run(["doctor", "--models-from", str(tmp_path), "--device", "cuda:1", "--json"], fake.programs)
    ((_, settings, as_json),) = fake.calls
    assert (settings.models_from, settings.device, as_json) == ((tmp_path,), "cuda:1", True)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequestError("Wrong\nfield.", field="x"), 2),
        (ModelNotFoundError("No model."), 2),
        (StartError("The port is taken."), 1),
        (WorkerError("It ended."), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_an_error_for_people_is_one_line(error, status, capsys):
    assert run(["doctor"], Fake(error).programs) == status
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(["doctor"], Fake(ZeroDivisionError()).programs)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["doctor", "--device", "toaster"], "no device 'toaster'"),
        (["doctor", "--models-from", "/no/such/folder"], "is no folder"),
        (["test"], "python launch.py test"),
        (["generate", "--prompt", "x", "--out", "x.jpg"], "is no PNG file"),
        (["annotate", "canny", "gone.jpg", "--out", "x.jpg"], "is no PNG file"),
        (["annotate", "canny", "gone.jpg", "--out", "x.png"], "gone.jpg cannot be read: No such file"),
        (["annotate", "canny", "gone.jpg", "--out", "x.png", "--option", "low"], "--option low is no option"),
    ],
)
def test_a_flag_that_cannot_be_used_is_explained(words, sentence, capsys):
    fake = Fake()
    assert run(words, fake.programs) in (1, 2)
    assert sentence in capsys.readouterr().err
    assert not fake.calls


def test_models_are_listed_with_the_agreed_fields(tmp_path, capsys):
    assert run(["models", "list", "--data", str(tmp_path), "--json"], Fake().programs) == 0
    rows = json.loads(capsys.readouterr().out)
    agreed = "name path kind base variant control_kind prediction_type format precision bytes usable reason".split()
    assert rows
    assert all(set(agreed) <= set(row) for row in rows)


def studio(*words, cwd):
    environment = {**os.environ, "PYTHONPATH": str(BUILTIN)}
    command = [sys.executable, "-P", "-m", "studio", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_process_ends_with_the_status_and_one_line(tmp_path):
    done = studio("generate", "--prompt", "x", "--out", "x.txt", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_the_command_line_loads_nothing_heavy(tmp_path):
    script = (
        "import sys; import studio.__main__; from studio.cli.parser import build_parser; build_parser();"
        "print([m for m in ('torch', 'gradio', 'numpy', 'PIL', 'fastapi', 'sqlite3') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(BUILTIN)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
