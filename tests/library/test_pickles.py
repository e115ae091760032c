import argparse
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from studio.library import pickles
from studio.library.header import HeaderError
from studio.library.pickles import read_pickle_header, read_pickle_values


def saved(path, content, **how):
    torch.save(content, path / "x.ckpt", **how)
    return path / "x.ckpt"


def with_program(path, program, records=()):
    """A zip archive as PyTorch writes it, around a program of one's own."""
    with zipfile.ZipFile(path / "x.ckpt", "w") as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/version", "3")
        for name, data in records:
            archive.writestr(f"x/{name}", data)
    return path / "x.ckpt"


def answer(file):
    """The names that were found, or the refusal's text."""
    try:
        return list(read_pickle_header(file).tensors)
    except HeaderError as error:
        return str(error)


def refusal(file):
    with pytest.raises(HeaderError) as refused:
        read_pickle_header(file)
    return str(refused.value)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_names_shapes_and_types_are_those_that_torch_loads(tmp_path):
    state = OrderedDict(
        a=torch.zeros(2, 3, dtype=torch.float16),
        b=torch.nn.Parameter(torch.arange(4.0)),
        c=torch.arange(3),
        d=torch.zeros((), dtype=torch.bfloat16),
        e=torch.zeros(4, 6)[1:3, ::2],
    )
    file = saved(tmp_path, {"state_dict": state, "global_step": 875000, "epoch": None, "lr": [1e-4]})
    found = read_pickle_header(file)
    types = {"F16": torch.float16, "F32": torch.float32, "I64": torch.int64, "BF16": torch.bfloat16}
    loaded = torch.load(file, weights_only=True)["state_dict"]
    assert {n: (tuple(t.shape), t.dtype) for n, t in loaded.items()} == {
        n: (i.shape, types[i.dtype]) for n, i in found.tensors.items()
    }
    assert found.metadata == {"global_step": "875000"}
    assert read_pickle_values(file, "b") == (0.0, 1.0, 2.0, 3.0)


def test_tables_within_tables_are_joined_with_dots(tmp_path):
    network = {"linear.0.weight": torch.zeros(4, 2)}
    found = read_pickle_header(saved(tmp_path, {768: [network, dict(network)], "step": 5, "name": "style"}))
    assert list(found.tensors) == ["768.0.linear.0.weight", "768.1.linear.0.weight"]
    assert found.metadata == {"step": "5", "name": "style"}


def test_an_embedding_in_a_parameter_dict_is_read(tmp_path):
    tokens = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.zeros(2, 768))})
    found = read_pickle_header(saved(tmp_path, {"string_to_token": {"*": 265}, "string_to_param": tokens}))
    assert found.tensors["string_to_param.*"].shape == (2, 768)


@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"state_dict": {"a": trap}}, lambda trap: [trap, 1]])
def test_code_in_a_pickle_is_refused_by_name_and_does_not_run(tmp_path, wrap):
    made = tmp_path / "made"
    file = saved(tmp_path, wrap(Trap(made)))
    said = refusal(file)
    assert "mkdir" in said
    assert "python launch.py models convert" in said
    assert not made.exists()
    torch.load(file, weights_only=False)  # the trap was a live one
    assert made.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'exit 1'\ntR.",
        b"\x80\x02cbuiltins\neval\nX\x04\x00\x00\x001+11\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02(cos\nsystem\no.",
        b"(ios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02ctorch\nload\n)R.",
    ],
)
def test_no_way_of_calling_something_gets_through(tmp_path, program):
    assert "x.ckpt" in refusal(with_program(tmp_path, program))


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"\x80\x02",
        b"}.trailing",
        b"\x80\x02X\xff\xff\xff\xffabc",
        b"\x80\x02}(((u.",
        b"\x80\x02}]]s.",
        b"\x80\x02h\x05.",
        b"\x80\x02ccollections\nOrderedDict\nNR.",
        b"\x80\x02U\x07storageQ.",
    ],
)
def test_programs_that_make_no_sense_are_refused_or_empty(tmp_path, program):
    found = answer(with_program(tmp_path, program))
    assert not found or "x.ckpt" in found


def test_every_cut_and_every_flipped_byte_ends_in_an_answer(tmp_path):
    whole = saved(tmp_path, {"a": torch.zeros(3), "b": [torch.zeros(2, 2), "x"]}).read_bytes()
    for place in range(0, len(whole), 3):
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            (tmp_path / "x.ckpt").write_bytes(data)
            found = answer(tmp_path / "x.ckpt")
            assert isinstance(found, list) or "x.ckpt" in found


def test_tables_that_hold_themselves_and_one_another_end(tmp_path):
    loop = {}
    loop["again"] = loop
    many = []
    for _ in range(60):  # 2 to the power of 60 paths
        many = [many, many]
    file = saved(tmp_path, {"loop": loop, "many": many, "a": torch.zeros(1)})
    assert list(read_pickle_header(file).tensors) == ["a"]


def test_a_memo_with_a_huge_index_takes_no_memory(tmp_path):
    program = b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b"j" + struct.pack("<I", 2**32 - 1) + b"."
    assert not read_pickle_header(with_program(tmp_path, program)).tensors


def test_legacy_files_and_others_are_refused_with_their_reason(tmp_path):
    assert "before 1.6" in refusal(saved(tmp_path, {"a": torch.zeros(1)}, _use_new_zipfile_serialization=False))
    for content, words in ((b"", "is empty"), (b"text", "no file of weights"), (b"PK\x03\x04junk", "damaged")):
        (tmp_path / "x.ckpt").write_bytes(content)
        assert words in refusal(tmp_path / "x.ckpt")
    (tmp_path / "x.ckpt").write_bytes(struct.pack("<Q", 2) + b"{}")
    assert "safetensors" in refusal(tmp_path / "x.ckpt")
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "without weights" in refusal(tmp_path / "x.ckpt")


def test_what_a_training_leaves_in_a_checkpoint_is_named(tmp_path):
    file = saved(tmp_path, {"state_dict": {"a": torch.zeros(1)}, "args": argparse.Namespace(lr=1)})
    assert "argparse.Namespace" in refusal(file)


def test_the_notes_of_the_original_checkpoints_training_do_no_harm(tmp_path):
    """v1-5-pruned.ckpt has callbacks under their class, and numbers of numpy's."""
    number = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8K\x00K\x01\x87R(K\x03tb"
    best = number + b"U\x08\0\0\0\0\0\0\0\0\x86R"
    callback = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n}X\x04\x00\x00\x00best" + best + b"ss"
    program = b"\x80\x02}X\x09\x00\x00\x00callbacks}" + callback + b"X\x05\x00\x00\x00epochK\x07s."
    found = read_pickle_header(with_program(tmp_path, program))
    assert (found.tensors, found.metadata) == ({}, {"epoch": "7"})


def test_a_program_that_runs_is_told_from_weights(tmp_path):
    file = with_program(tmp_path, b"}.", [("code/__torch__.py", "def forward(): ...")])
    assert "TorchScript" in refusal(file)


def test_numbers_that_are_not_all_there_are_noticed(tmp_path):
    file = saved(tmp_path, {"a": torch.zeros(1000)})
    with zipfile.ZipFile(file) as archive:
        program = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    assert "not all there" in refusal(with_program(tmp_path, program, [("data/0", bytes(10))]))
    assert "not all there" in refusal(with_program(tmp_path, program))


def test_a_program_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "PROGRAM_MAX", 10)
    assert "packed" in refusal(saved(tmp_path, {"a": torch.zeros(1)}))


def test_every_name_on_the_list_is_one_that_torch_allows_too():
    from torch._weights_only_unpickler import _get_allowed_globals

    more = {"torch.nn.modules.container.ParameterDict", "__builtin__.set", "builtins.set"}
    assert set(pickles.ALLOWED) - more - set(pickles.INERT) <= set(_get_allowed_globals())


def test_pickles_of_our_own_data_have_the_instructions_that_are_known(tmp_path):
    stream = io.BytesIO()
    pickle.dump({"a": [1, 2.5, None, True, False, 300, 70000, -1, 2**40, (1,), (1, 2), (1, 2, 3), (1,) * 4]}, stream, 2)
    assert not read_pickle_header(with_program(tmp_path, stream.getvalue())).tensors
