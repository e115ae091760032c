import os
import sys

import pytest
import torch
from safetensors.torch import save_file

from studio.engine import upscalers
from studio.engine.upscalers import FAILURES, describe
from studio.library.rules.upscaler import PREFIXES, Described


@pytest.fixture
def esrgan():
    """A small ESRGAN's tensors by name."""
    if upscalers._registry() is None:
        pytest.skip("spandrel, or the torchvision that it needs, is not installed here")
    from spandrel.architectures.ESRGAN import ESRGAN

    return ESRGAN(num_blocks=1, num_filters=8, scale=2).state_dict()


class Registry:
    """Stands for spandrel's, with one architecture that fails in some way."""

    def __init__(self, error):
        self.error, self.architecture, self.asked = error, self, 0

    def architectures(self, order):
        return [self]

    def detect(self, tensors):
        self.asked += 1
        return True

    def load(self, tensors):
        raise self.error("as it is")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_an_upscaler_is_described_in_any_spelling(tmp_path, esrgan, prefix, ending):
    tensors, file = {f"{prefix}{name}": tensor for name, tensor in esrgan.items()}, tmp_path / f"a.{ending}"
    save_file(tensors, file) if ending == "safetensors" else torch.save(tensors, file)
    assert describe(file) == Described("ESRGAN", 2, (3, 3))


def test_an_upscaler_in_a_trainers_table_is_described(tmp_path, esrgan):
    torch.save({"params_ema": esrgan, "iter": 5}, tmp_path / "a.pth")
    assert describe(tmp_path / "a.pth") == Described("ESRGAN", 2, (3, 3))


def test_of_what_is_no_upscaler_nothing_is_said(tmp_path, esrgan):
    save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors")
    (tmp_path / "b.pth").write_bytes(b"text")
    torch.save(esrgan | {"model.0.weight": torch.ones(3)}, tmp_path / "c.pth")
    for name in ("a.safetensors", "b.pth", "c.pth", "gone.pth"):
        assert describe(tmp_path / name) == Described()


@pytest.mark.parametrize("error", [*FAILURES, NotImplementedError, torch.OutOfMemoryError])
def test_whatever_an_architecture_makes_of_a_file_nothing_falls_over(tmp_path, monkeypatch, error):
    registry = Registry(error)
    monkeypatch.setattr(upscalers, "_registry", lambda: registry)
    save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors")
    assert describe(tmp_path / "a.safetensors") == Described()
    assert registry.asked


def test_a_file_that_is_too_large_for_an_upscaler_is_not_opened(tmp_path, monkeypatch):
    registry = Registry(ValueError)
    monkeypatch.setattr(upscalers, "_registry", lambda: registry)
    monkeypatch.setattr(upscalers, "LARGEST", 10)
    save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors")
    assert describe(tmp_path / "a.safetensors") == Described()
    assert not registry.asked


def test_a_pickle_that_runs_code_is_not_run(tmp_path, monkeypatch):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    monkeypatch.setattr(upscalers, "_registry", lambda: Registry(ValueError))
    torch.save({"a": torch.ones(3), "b": Code()}, tmp_path / "a.pth")
    assert describe(tmp_path / "a.pth") == Described()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "why",
    [
        "raise ModuleNotFoundError('No module named torchvision')",
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "raise OSError('undefined symbol')",
        "import torch; torch.no_such_thing",
        "pass",
    ],
)
def test_where_spandrel_cannot_be_imported_there_is_nothing_to_say(tmp_path, monkeypatch, why):
    (tmp_path / "spandrel.py").write_text(why)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "spandrel"]:
        monkeypatch.delitem(sys.modules, name)
    upscalers._registry.cache_clear()
    try:
        save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors")
        assert describe(tmp_path / "a.safetensors") is None
    finally:
        upscalers._registry.cache_clear()
        sys.modules.pop("spandrel", None)
