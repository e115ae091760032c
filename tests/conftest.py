"""What holds for the whole session: no network, no telemetry, and a data folder of the tests' own."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest

gc.disable()  # until all tests are collected: what imports make stays, and looking through it takes long
HOME = Path(tempfile.mkdtemp(prefix="maquette-tests-"))
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # else each takes all cores and waits for the other
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // int(workers)))
os.environ |= {  # read at import by gradio, transformers and diffusers, so before any test module is imported
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_TEMP_DIR": str(HOME / "gradio"),
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": str(HOME / "huggingface"),
    "STUDIO_DATA": str(HOME / "data"),
}

import studio.engine  # noqa: E402, F401  (before any test loads diffusers: see torchvision_ops)
from studio.ui import fast_import  # noqa: E402

fast_import.install()  # gradio would write a stub beside each of our components


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _own_folders():
    yield
    shutil.rmtree(HOME, ignore_errors=True)
