"""How a prompt is read, as the page shows it."""

import pytest
import torch
from safetensors.torch import save_file

from studio.messages import ModelLocation, Tokenize
from studio.worker.tokenize import SPANS_MAX, TOKENS_MAX, tokenize
from tests import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.tiny_pipeline().save_pretrained(folder)
    return tiny.location(folder)


@pytest.fixture
def read(checkpoint):
    def read(prompt, negative="", steps=10, **embeddings):
        said = tokenize(Tokenize("q", checkpoint, prompt, negative, steps, embeddings))
        assert not said.message
        return said.view

    return read


def shown(span):
    return [[(chip["text"], chip["weight"]) for chip in window] for window in span["windows"]]


def test_tokens_come_with_their_weights_in_windows(read):
    view = read("a (b:1.5) BREAK [c]", "no")
    assert (view["steps"], view["window"]) == (10, 14)
    told, untold = view["lines"]
    assert shown(told["spans"][0]) == [[("a", 1.0), ("b", 1.5)], [("c", 0.9091)]]
    assert (told["negative"], untold["negative"]) == (False, True)
    assert shown(untold["spans"][0]) == [[("n", 1.0), ("o", 1.0)]]


def test_spans_say_from_which_step_to_which(read):
    (told, _) = read("[a:b:.3]")["lines"]
    assert [(span["first"], span["last"], span["text"]) for span in told["spans"]] == [(1, 3, "a"), (4, 10, "b")]


def test_parts_come_with_their_weights(read):
    assert [line["weight"] for line in read("a :0.5 AND b")["lines"]] == [0.5, 1.0, 1.0]


def test_an_embedding_is_one_entry_with_its_vectors(read, tmp_path):
    save_file({"emb_params": torch.zeros(3, tiny.HIDDEN)}, tmp_path / "my-style.safetensors")
    place = ModelLocation("my-style", "e", str(tmp_path / "my-style.safetensors"), "embedding", "sd1")
    (told, _) = read("a (my-style:0.5)", **{"my-style": place})["lines"]
    assert told["spans"][0]["tokens"] == 4
    assert told["spans"][0]["windows"][0][1] == {
        "text": "my-style",
        "weight": 0.5,
        "embedding": "my-style",
        "vectors": 3,
    }


def test_what_is_long_is_counted_and_shown_in_part(read):
    (told, _) = read("a " * 5000)["lines"]
    assert told["spans"][0]["tokens"] == 5000
    assert sum(map(len, told["spans"][0]["windows"])) == TOKENS_MAX
    (told, _) = read("[a|b]", steps=150)["lines"]
    assert (len(told["spans"]), told["more"]) == (SPANS_MAX, 150 - SPANS_MAX)


def test_a_checkpoint_that_is_gone_is_told(tmp_path):
    gone = ModelLocation("gone", "", str(tmp_path / "gone"), "checkpoint", "sd1")
    said = tokenize(Tokenize("q", gone, "a", "", 4))
    assert said.message
    assert not said.view


def test_embeddings_inside_of_loras_are_entries_too(checkpoint, tmp_path):
    inside = {"bundle_emb.my-style.emb_params": torch.zeros(3, tiny.HIDDEN), "bundle_emb.one.clip_l": torch.zeros(16)}
    save_file(inside, tmp_path / "wax.safetensors")
    place = ModelLocation("wax", "w", str(tmp_path / "wax.safetensors"), "lora", "sd1")
    said = tokenize(Tokenize("q", checkpoint, "a my-style one", "", 10, inside=(place,)))
    chips = said.view["lines"][0]["spans"][0]["windows"][0]
    assert [(chip["text"], chip.get("vectors")) for chip in chips] == [("a", None), ("my-style", 3), ("one", 1)]
    assert said.view["inside"] == ["my-style", "one"]
    assert tokenize(Tokenize("q", checkpoint, "a my-styles", "", 10, inside=(place,))).view["inside"] == []


def test_regions_are_read_as_lines(checkpoint):
    view = tokenize(Tokenize("q", checkpoint, "a", "", 10, regions=("(b:1.5)", "[c:d:.3]"))).view
    first, second = view["regions"]
    assert shown(first["spans"][0]) == [[("b", 1.5)]]
    assert [(span["last"], span["text"]) for span in second["spans"]] == [(3, "c"), (10, "d")]
