"""Gradio imports without writing type stubs."""

import subprocess
import sys

SCRIPT = """
import pathlib, sys
from studio.ui import fast_import
fast_import.install(); fast_import.install()
assert sum(type(f).__name__ == "_Finder" for f in sys.meta_path) == 1
import gradio.component_meta
assert gradio.component_meta.create_or_modify_pyi.__module__ == "studio.ui.fast_import"
import studio.ui.components.sketch_pad as ours
assert not pathlib.Path(ours.__file__).with_suffix(".pyi").exists()
assert "torch" not in sys.modules
"""


def test_no_stub_is_written_and_no_torch_imported():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=120)
