import importlib.util
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from studio.errors import StorageError
from studio.training.method import Export
from studio.training.optimizers import KINDS
from studio.training.room import CLOSE, OPTIMIZERS, bytes_written, check_room, picture_bytes
from tests.training.lesson import Plain, params, session

INSTALLED = [
    name for name, kind in KINDS.items() if importlib.util.find_spec(kind.place.partition(":")[0].split(".")[0])
]


class Writing(Plain):
    def exports(self, layout=""):
        return [Export("lora", "kohya", ".safetensors", {"a": torch.zeros(100)}, {})]


@pytest.mark.parametrize(("ema", "copies"), [(0.0, 3), (0.9, 4)])
def test_three_states_every_save_and_every_sample_are_counted(ema, copies):
    method = Writing()
    learning = sum(4 * value.numel() for value in method.trained.state_dict().values())
    given = params(steps=12, save_every=5, measure_every=2, ema=ema)
    assert bytes_written(given, method) == 3 * copies * learning + (3 + 1) * 400
    shown = params(steps=12, sample_every=6, sample_prompts=("a", "b"), resolution=64, ema=ema)
    pictures = (2 + 1) * 2 * 64 * 64 * 3
    assert bytes_written(shown, method) == 3 * copies * learning + (1 + 1) * 400 + pictures
    assert pictures == picture_bytes(shown, 6)
    follows = replace(shown, method="controlnet", sample_prompts=())
    assert (
        bytes_written(follows, method) == bytes_written(replace(shown, sample_prompts=()), method) + 4 * 4 * 64 * 64 * 3
    )


@pytest.mark.parametrize("name", INSTALLED)
def test_no_optimizer_keeps_more_than_is_counted(tmp_path, name):
    run = session(tmp_path, params(steps=2, optimizer=name))
    run.run()
    kept = [value for one in run.optimizer.state_dict()["state"].values() for value in one.values()]
    bytes_kept = sum(t.numel() * t.element_size() for t in kept if isinstance(t, torch.Tensor) and t.numel() > 1)
    learning = sum(p.numel() * p.element_size() for group in run.optimizer.param_groups for p in group["params"])
    assert bytes_kept <= OPTIMIZERS[name] * learning
    assert OPTIMIZERS.keys() == KINDS.keys()


def test_a_disk_that_is_too_small_is_refused_with_how_much_and_where(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=2_000_000_000))
    there = tmp_path / "not yet" / "saves"
    with pytest.raises(StorageError) as refused:
        check_room(3_400_000_000, there, "States and saves")
    said = f"States and saves may take 3.4 GB in {there}, and its disk has 2.0 GB left."
    assert str(refused.value) == said
    assert "Make room" in refused.value.hint
    close = check_room(round(2e9 / CLOSE) + 1, there, "States and saves")
    assert "its disk has 2.0 GB left" in close
    assert check_room(round(2e9 / CLOSE) - 1, there, "States and saves") == ""
    assert "may take 1.5 MB" not in check_room(1_500_000, there, "Pictures")
