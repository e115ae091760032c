import pytest
import torch
from safetensors.torch import save_file

from studio.adapters.embeddings import read_embedding
from studio.engine.weights import open_weights
from studio.errors import BaseModelMismatchError, ModelNotFoundError

ROWS = torch.randn(3, 768, generator=torch.Generator().manual_seed(0))
LARGE = torch.randn(3, 1280, generator=torch.Generator().manual_seed(1))


def pickled(held):
    def write(folder):
        torch.save(held, folder / "oil.pt")
        return folder / "oil.pt"

    return write


def plain(tensors):
    def write(folder):
        save_file(tensors, folder / "oil.safetensors")
        return folder / "oil.safetensors"

    return write


def read(write, folder):
    return read_embedding(open_weights(write(folder), "oil"), "oil")


PARAMETERS = torch.nn.ParameterDict({"*": torch.nn.Parameter(ROWS)})
A1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": ROWS}, "name": "other", "step": 5}
ONE_ENCODER = {
    "A1111": (pickled(A1111), "A1111"),
    "A1111 with a table of parameters": (pickled(A1111 | {"string_to_param": PARAMETERS}), "A1111"),
    "before A1111": (pickled(A1111 | {"string_to_token": {"*": torch.tensor(265)}}), "A1111"),
    "A1111 converted": (plain({"string_to_param.*": ROWS}), "A1111"),
    "kohya": (plain({"emb_params": ROWS}), "kohya"),
    "diffusers": (plain({"<oil>": ROWS}), "diffusers"),
    "diffusers pickled": (pickled({"<oil>": ROWS}), "diffusers"),
}


@pytest.mark.parametrize(("write", "layout"), ONE_ENCODER.values(), ids=ONE_ENCODER.keys())
def test_every_layout_gives_the_same_vectors(tmp_path, write, layout):
    embedding = read(write, tmp_path)
    (vectors,) = embedding.for_encoders([768])
    assert torch.equal(vectors, ROWS)
    assert (embedding.name, embedding.layout, embedding.left_out) == ("oil", layout, ())


def test_two_text_encoders_get_a_part_each(tmp_path):
    embedding = read(plain({"clip_g": LARGE, "clip_l": ROWS}), tmp_path)
    first, second = embedding.for_encoders([768, 1280])
    assert torch.equal(first, ROWS)
    assert torch.equal(second, LARGE)


def test_one_vector_may_lie_flat(tmp_path):
    (vectors,) = read(plain({"<oil>": ROWS[0].clone()}), tmp_path).for_encoders([768])
    assert torch.equal(vectors, ROWS[:1])


def test_half_precision_is_read_as_it_is(tmp_path):
    (vectors,) = read(plain({"emb_params": ROWS.half()}), tmp_path).for_encoders([768])
    assert torch.equal(vectors, ROWS.half().float())


def test_what_no_text_encoder_takes_is_named(tmp_path):
    tensors = {"clip_g": LARGE, "clip_l": ROWS, "clip_l_out": ROWS.clone(), "t5xxl": torch.ones(3, 4096)}
    assert set(read(plain(tensors), tmp_path).left_out) == {"clip_l_out", "t5xxl"}


MISMATCHED = [
    ({"emb_params": ROWS}, [1024], "a text encoder of width 768, and the checkpoint for a text encoder of width 1024"),
    ({"emb_params": ROWS}, [768, 1280], "width 768, and the checkpoint for text encoders of width 768 and 1280"),
    ({"clip_l": ROWS, "clip_g": LARGE}, [768], "text encoders of width 768 and 1280, and the checkpoint for a text"),
    ({"clip_g": LARGE}, [768, 1280], "a text encoder of width 1280, and the checkpoint for text encoders"),
]


@pytest.mark.parametrize(("tensors", "widths", "said"), MISMATCHED)
def test_another_width_is_refused_naming_both(tmp_path, tensors, widths, said):
    with pytest.raises(BaseModelMismatchError, match=said) as refused:
        read(plain(tensors), tmp_path).for_encoders(widths)
    assert "leave its name out" in refused.value.hint


BROKEN = [
    (pickled(A1111 | {"string_to_param": {"*": ROWS, "+": ROWS}}), "has 2 embeddings"),
    (plain({"<oil>": ROWS, "<wax>": ROWS.clone()}), "has 2 embeddings"),
    (plain({"emb_params": torch.full((1, 768), torch.inf)}), "not finite"),
    (plain({"emb_params": torch.ones(2, 3, 4)}), r"shape \(2, 3, 4\)"),
    (plain({"emb_params": torch.ones(0, 768)}), r"shape \(0, 768\)"),
    (plain({"emb_params": torch.ones(1, 768, dtype=torch.int64)}), "where vectors are expected"),
    (plain({"clip_l": ROWS, "clip_g": LARGE[:2].clone()}), "as many vectors"),
]


@pytest.mark.parametrize(("write", "said"), BROKEN)
def test_what_is_broken_is_refused_with_a_sentence(tmp_path, write, said):
    with pytest.raises(ModelNotFoundError, match=said):
        read(write, tmp_path)
