import json
import os
import struct

import pytest
import torch
from safetensors.torch import save_file

from studio.library.header import HEADER_MAX, HeaderError, read_header, read_tensors, read_values, shown
from tests.library import headers


def entry(start, end, shape=(2,), dtype="F16"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def raw(path, text, size=4):
    return headers.write_raw(path / "x.safetensors", text if isinstance(text, bytes) else text.encode(), size)


def refusal(path):
    with pytest.raises(HeaderError) as refused:
        read_header(path)
    return str(refused.value)


def test_a_header_says_names_shapes_types_and_places(tmp_path):
    file = tmp_path / "x.safetensors"
    values = torch.tensor([1.0, -2.5, 0.0])
    save_file({"a": torch.zeros(2, 3, dtype=torch.float16), "b": values}, file, metadata={"k": "v"})
    found = read_header(file)
    assert found.metadata == {"k": "v"}
    assert (found.tensors["a"].dtype, found.tensors["a"].shape, found.bytes) == ("F16", (2, 3), file.stat().st_size)
    with file.open("rb") as stream:
        stream.seek(found.data + found.tensors["b"].start)
        assert stream.read(12) == values.numpy().tobytes()


def test_metadata_may_be_anywhere_and_the_same_tensors_are_described_the_same(tmp_path):
    described, tables = '"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}', set()

    def tensors_in(table):
        tables.add(table)
        return read_tensors(table)

    for text in (
        "{" + described + "}",
        "{" + described + "}   ",
        '{"__metadata__":{"k":"v"},' + described + "}",
        '{ "__metadata__" : {"k": "a \\"word\\" and \\u0061"} ,\n' + described + "} ",
        "{" + described + ', "__metadata__": {"k": "v"}}',
    ):
        found = read_header(raw(tmp_path, text), tensors_in)
        assert found.tensors == {"a": ("F16", (2,), 0, 4)}
        assert found.data + 4 == found.bytes
        assert found.metadata.get("k", "v") in ("v", 'a "word" and a')
        assert ("k" in found.metadata) == ("__metadata__" in text)
    assert len(tables) == 1


def test_what_tensors_tell_is_asked_once():
    tensors, asked = read_tensors('{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}'), []

    def longest(tensors, least):
        asked.append(least)
        return max([least, *map(len, tensors)])

    assert [tensors.once(longest, least) for least in (0, 3, 0, 3)] == [1, 3, 1, 3]
    assert asked == [0, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_numbers_of_a_small_tensor_can_be_read(tmp_path, dtype):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.tensor([1.0, -2.5, 0.0], dtype=dtype)}, file)
    assert read_values(file, read_header(file), "a") == (1.0, -2.5, 0.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello, this is a text and no model", "no safetensors file"),
        (b"\0" * 100, "no safetensors file"),
        (b"{}", "no safetensors file"),
        (b"PK\x03\x04" + bytes(50), "is a pickle"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (struct.pack("<Q", 1 << 50) + b"{}" * 10, "longer than the file"),
    ],
)
def test_other_files_under_the_name_are_told_apart(tmp_path, content, words):
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    assert words in refusal(file)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": entry(0, 2), "b": entry(2, 4)}, "does not fit"),
        ({"a": entry(0, 4), "b": entry(2, 6)}, "overlap"),
        ({"a": entry(0, 4), "b": entry(6, 10)}, "gap"),
        ({"a": entry(2, 6)}, "gap"),
        ({"a": entry(0, 4, dtype="Q9")}, "no known type"),
        ({"a": entry(0, 4, dtype=["F16"])}, "not described"),
        ({"a": entry(0, 4, (-2, -1))}, "not described"),
        ({"a": entry(0, 4, (2.0,))}, "not described"),
        ({"a": entry(0, 4, (True, 2))}, "not described"),
        ({"a": entry(0, 4, (1,) * 40)}, "not described"),
        ({"a": entry(0, 4, ("x", 10**12))}, "not described"),
        ({"a": {"dtype": "F16"}}, "no known type"),
        ({"a": 7}, "not described"),
        ({"a": entry(0, 4), "__metadata__": {"k": 1}}, "metadata"),
        ({"a": entry(0, 4), "__metadata__": "x"}, "metadata"),
        ({"a": entry(0, 2, (1,))}, "belong to none"),
        ({"a": entry(0, 8, (4,))}, "is cut short"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, header, words):
    assert words in refusal(raw(tmp_path, json.dumps(header).ljust(100)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "twice"),
        (
            '{"__metadata__": {}, "__metadata__": {}, "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}',
            "twice",
        ),
        ('{"a": {"dtype": "F16", "shape": [2], "shape": [2], "data_offsets": [0, 4]}}', "twice"),
        ('{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}, "\\u0061": {}}', "twice"),
        (
            '{"__metadata__": {}, "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}, "__metadata__": {}}',
            "twice",
        ),
        (
            '{"__metadata__": {"k": "1", "k": "2"}, "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}',
            "twice",
        ),
        ('{"__metadata__": {}, }', "no JSON"),
        ('{"__metadata__": {}; "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}', "no JSON"),
        ('{"a": ', "no JSON"),
        ('{"a": [' + "[" * 100_000, "no JSON"),
        ('{"\\ud800": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}', "no UTF-8"),
        (b'{"\xff": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}', "no UTF-8"),
        ('{"a": {"dtype": "F16", "shape": [' + "9" * 5000 + '], "data_offsets": [0, 4]}}', "no JSON"),
    ],
)
def test_damaged_json_is_refused(tmp_path, text, words):
    assert words in refusal(raw(tmp_path, text))


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path):
    whole = headers.write(tmp_path / "x.safetensors", {"a": (3,), "b": (5,)}).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "x.safetensors").write_bytes(whole[:length])
        assert "x.safetensors" in refusal(tmp_path / "x.safetensors")


def test_a_header_of_100_mb_is_refused_unread(tmp_path):
    file = tmp_path / "x.safetensors"
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", 100_000_000) + b"{")
        stream.truncate(100_000_100)
    assert HEADER_MAX < 100_000_000
    assert "100 MB" in refusal(file)


def test_names_are_shown_printable_and_short(tmp_path):
    assert shown(os.fsdecode(b"caf\xe9\n.safetensors")) == "caf??.safetensors"
    assert len(shown("a" * 5000)) == 100
