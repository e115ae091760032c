import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import load_file

from studio.engine import pickles
from studio.engine.pickles import convert, read_pickle
from studio.engine.weights import open_weights
from studio.errors import ModelNotFoundError, StorageError
from studio.library.header import read_header
from studio.library.identify import identify
from studio.library.pickles import WRAPPERS, read_pickle_header

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(2, dtype=torch.bfloat16)}


class Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nest", [*WRAPPERS, None])
def test_tensors_are_found_where_programs_put_them(tmp_path, zipped, nest):
    held = TENSORS if nest is None else {nest: TENSORS, "epoch": 3, "name": "x"}
    torch.save(held, tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped)
    found = read_pickle(tmp_path / "m.ckpt", "m").tensors
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path, zipped):
    marker = tmp_path / "ran"
    held = {"state_dict": TENSORS, "callbacks": Runs(marker)}
    torch.save(held, tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelNotFoundError, match=r"m holds program code .*mkdir.*, which is never run") as refused:
        read_pickle(tmp_path / "m.ckpt", "m")
    assert ".safetensors" in refused.value.hint
    assert not marker.exists()
    with pytest.raises(ModelNotFoundError, match="program code"):
        convert(tmp_path / "m.ckpt", tmp_path / "m.safetensors")
    assert not marker.exists()
    assert not (tmp_path / "m.safetensors").exists()


def test_the_code_of_the_marker_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


class ModelCheckpoint:
    """What the training program of the original checkpoints left in them."""

    def __init__(self):
        self.best = 1


def test_classes_of_the_original_checkpoints_become_empty_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "INERT", (f"{__name__}.ModelCheckpoint",))
    torch.save({"state_dict": TENSORS, "callbacks": {ModelCheckpoint: ModelCheckpoint()}}, tmp_path / "m.ckpt")
    assert read_pickle(tmp_path / "m.ckpt", "m").tensors.keys() == TENSORS.keys()


def write_zip_without_pickle(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is no model", b"\x80\x02", b"PK\x03\x04broken", pickle.dumps([1, 2]), None]
)
def test_what_is_no_file_of_weights_is_a_sentence(tmp_path, content):
    file = tmp_path / "m.ckpt"
    write_zip_without_pickle(file) if content is None else file.write_bytes(content)
    with pytest.raises(ModelNotFoundError, match=r"m is damaged|m holds no tensors"):
        read_pickle(file, "m")


def test_a_file_that_is_cut_short_is_a_sentence(tmp_path):
    torch.save(TENSORS, tmp_path / "m.ckpt")
    data = (tmp_path / "m.ckpt").read_bytes()
    for length in range(0, len(data), 97):
        (tmp_path / "m.ckpt").write_bytes(data[:length])
        with pytest.raises(ModelNotFoundError):
            read_pickle(tmp_path / "m.ckpt", "m")


def test_converting_keeps_every_bit(tmp_path):
    tied = TENSORS["a.weight"]
    held = TENSORS | {"tied": tied, "turned": tied.T, "one": torch.tensor(3), "none": torch.empty(0, 4)}
    torch.save({"state_dict": held}, tmp_path / "m.ckpt")
    out = convert(tmp_path / "m.ckpt", tmp_path / "new" / "m.safetensors")
    found = load_file(out)
    assert found.keys() == held.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in held.items())


LAYERS = {f"linear.{n}.weight": torch.ones(shape) for n, shape in enumerate(((1536, 768), (768, 1536)))}
VECTORS = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 768))})


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        ({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 768)}, "name": "oil"}, "embedding"),
        ({"<cat-toy>": torch.ones(768)}, "embedding"),
        ({"string_to_token": {"*": 265}, "string_to_param": VECTORS, "name": "oil"}, "embedding"),
        ({768: [dict(LAYERS), dict(LAYERS)], "step": 5, "name": "oil"}, "hypernetwork"),
        ({768: (dict(LAYERS), dict(LAYERS)), "step": 5, "name": "oil"}, "hypernetwork"),
        ({"params_ema": {"body.0.weight": torch.ones(8, 3, 3, 3), "body.1.weight": torch.ones(8)}}, "upscaler"),
    ],
)
def test_what_was_converted_is_what_it_was(tmp_path, held, kind):
    torch.save(held, tmp_path / "oil.pt")
    convert(tmp_path / "oil.pt", tmp_path / "oil.safetensors")
    before, after = identify(tmp_path / "oil.pt"), identify(tmp_path / "oil.safetensors")
    assert before.kind == kind
    assert after == before
    assert (
        read_header(tmp_path / "oil.safetensors").tensors.keys()
        == read_pickle_header(tmp_path / "oil.pt").tensors.keys()
    )


def test_plain_values_at_the_top_are_kept_and_converted(tmp_path):
    said = {"layer_structure": [1, 1.5, 1], "activation_func": "relu", "is_layer_norm": True, "step": 5, "name": None}
    told = {"layer_structure": "[1, 1.5, 1]", "activation_func": "relu", "is_layer_norm": "true", "step": "5"}
    torch.save({768: (dict(LAYERS), dict(LAYERS)), **said, "more": {"x": 1}}, tmp_path / "oil.pt")
    found = open_weights(tmp_path / "oil.pt")
    assert found.metadata == told | {"name": "null"}
    assert set(found.names()) == {f"768.{side}.{name}" for side in (0, 1) for name in LAYERS}
    assert read_header(convert(tmp_path / "oil.pt", tmp_path / "oil.safetensors")).metadata.items() >= told.items()


def test_converting_writes_over_nothing(tmp_path):
    torch.save(TENSORS, tmp_path / "m.ckpt")
    (tmp_path / "m.safetensors").write_bytes(b"mine")
    with pytest.raises(StorageError, match="is there already"):
        convert(tmp_path / "m.ckpt", tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == b"mine"


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"m\.ckpt cannot be read"):
        convert(tmp_path / "m.ckpt", tmp_path / "m.safetensors")
