import argparse
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from studio.adapters.writing import as_kohya
from studio.cli.commands import run
from studio.cli.models import open_library
from studio.cli.models_tools import order_of
from studio.cli.parser import parse
from studio.engine.rewriting import open_original
from studio.engine.tools import shapes_of
from studio.errors import InvalidRequestError, ModelNotFoundError
from studio.library.header import read_header
from studio.settings import load_settings
from tests import tiny
from tests.cli.test_commands import Fake
from tests.engine.test_tools import deltas, save


@pytest.fixture
def library(tmp_path):
    """A library with a LoRA and a checkpoint in it."""
    models = tmp_path / "data" / "models"
    tiny.tiny_pipeline().save_pretrained(models / "checkpoints" / "small")
    original = open_original(tiny.location(models / "checkpoints" / "small"))
    (models / "loras").mkdir(parents=True)
    save(models / "loras" / "cat.safetensors", as_kohya(deltas(original, 0), original.shapes, "starter-tiny"))
    return open_library(load_settings(tmp_path / "data"))


def order(library, *words):
    return order_of(parse(["models", *map(str, words), "--out", "out.safetensors"]), library)


def test_weights_stand_behind_names_and_paths(library, tmp_path):
    colon = tmp_path / "a:0.5"
    colon.write_bytes(b"x")
    found = order(library, "merge-loras", "cat:0.8", "cat:0.5:-1", "cat", colon, f"{colon}:2")
    assert found["weights"] == [(0.8, 0.8), (0.5, -1.0), (1.0, 1.0), (1.0, 1.0), (2.0, 2.0)]
    assert [Path(name).name for name in found["files"]] == ["cat.safetensors"] * 3 + ["a:0.5"] * 2
    assert Path(found["out"]) == Path("out.safetensors").absolute()


def test_what_is_not_said_is_usual(library):
    assert order(library, "extract", "small", "small")["rank"] == 32
    assert order(library, "extract", "small", "small", "--energy", "0.9")["rank"] == 0
    assert order(library, "merge", "small", "small")["share"] == 0.5
    assert order(library, "merge", "small", "small", "small")["share"] == 1.0
    mixed = order(library, "merge", "small", "small", "--share", "0.3", "--block", "unet.mid_block=0.1")
    assert (mixed["share"], mixed["blocks"]) == (0.3, [("unet.mid_block", 0.1)])
    assert order(library, "bake", "small", "cat")["checkpoint"].endswith("small")


WRONG = [
    (("merge", "small"), InvalidRequestError, "1 checkpoints are given"),
    (("merge", "small", "small", "--block", "unet"), InvalidRequestError, "no block with a share"),
    (("merge", "small", "gone"), ModelNotFoundError, "no checkpoint 'gone'"),
    (("resize", "small"), ModelNotFoundError, "no lora 'small'"),
    (("merge-loras", "cat:much"), ModelNotFoundError, "no lora 'cat:much'"),
]


@pytest.mark.parametrize(("words", "kind", "said"), WRONG)
def test_what_is_wrong_is_a_sentence(library, words, kind, said):
    with pytest.raises(kind, match=said):
        order(library, *words)


@pytest.fixture
def tool(tmp_path, capsys):
    def call(*words):
        status = run(["models", *map(str, words), "--data", str(tmp_path / "data")], Fake().programs)
        return status, capsys.readouterr()

    return call


def sd1_lora(file):
    shapes = shapes_of("sd1")
    named = deltas(argparse.Namespace(shapes=dict(list(shapes.items())[:40])), 0)
    save(file, as_kohya(named, shapes, "sd1"))


def test_a_lora_is_resized_in_a_process_of_its_own(tool, tmp_path):
    sd1_lora(tmp_path / "cat.safetensors")
    status, said = tool("resize", tmp_path / "cat.safetensors", "--rank", 1, "--out", tmp_path / "small.safetensors")
    assert status == 0, said.err
    assert said.out.strip() == str(tmp_path / "small.safetensors")
    assert "100 %" in said.err
    ranks = {
        tensor.shape[0]
        for name, tensor in load_file(tmp_path / "small.safetensors").items()
        if name.endswith("lora_down.weight")
    }
    assert ranks == {1}
    recipe = json.loads(read_header(tmp_path / "small.safetensors").metadata["maquette.recipe"])
    assert (recipe["tool"], recipe["rank"], recipe["inputs"][0]["name"]) == ("resize", 1, "cat.safetensors")


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(tool, tmp_path):
    sd1_lora(tmp_path / "cat.safetensors")
    words = ("respell", tmp_path / "cat.safetensors", "--to", "kohya", "--out", tmp_path / "x.safetensors")
    status, said = tool(*words)
    assert status == 2
    assert "is spelled as kohya already" in said.err
    assert not said.out
    assert not (tmp_path / "x.safetensors").exists()
    status, said = tool(*words, "--json")
    assert (status, said.out) == (2, "")
