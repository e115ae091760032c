import json
import os
import struct

import pytest

from studio.library.index import Library
from studio.library.verify import verify
from tests.library.kit import settings_in, write_model

NAN = {
    "F8_E4M3": b"\x00\xff\x7e\x00",
    "F8_E5M2": b"\x00\x00\x00\x7c",
    "F16": b"\x00\x7e\x00\x00",
    "F32": b"\x00\x00\xc0\x7f",
    "BF16": b"\x00\x00\x80\x7f",
}


def verdict(tmp_path):
    library = Library(settings_in(tmp_path))
    (entry,) = [e for e in library.entries() if e.name == "a"]
    return verify(library.cache, entry)


@pytest.fixture
def file(tmp_path):
    return write_model(tmp_path / "data" / "models" / "loras" / "a.safetensors", numbers=bytes(range(64)))


def test_a_sound_model_has_no_problem_and_its_hash(file, tmp_path):
    found = verdict(tmp_path)
    assert (found.problem, len(found.sha256)) == ("", 64)


def test_a_file_that_is_cut_short_is_named(file, tmp_path):
    file.write_bytes(file.read_bytes()[:-1])
    assert "cut short" in verdict(tmp_path).problem


def test_bytes_that_change_behind_the_back_of_the_clock_are_found(file, tmp_path):
    library = Library(settings_in(tmp_path))
    (entry,) = [e for e in library.entries() if e.name == "a"]
    library.content_id(entry)
    before = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "the disk lost some" in verify(library.cache, entry).problem


@pytest.mark.parametrize("dtype", NAN)
def test_values_that_are_no_numbers_are_found(file, tmp_path, dtype):
    header = {
        "w": {"dtype": dtype, "shape": [4 // {"F32": 4, "F16": 2, "BF16": 2}.get(dtype, 1)], "data_offsets": [0, 4]}
    }
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + NAN[dtype])
    assert "NaN or infinity in w" in verdict(tmp_path).problem


def test_the_largest_numbers_of_8_bits_are_numbers(file, tmp_path):
    for dtype, largest in (("F8_E4M3", b"\x7e\xfe\x00\x01"), ("F8_E5M2", b"\x7b\xfb\x00\x01")):
        text = json.dumps({"w": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}}).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + largest)
        assert not verdict(tmp_path).problem


def test_a_hash_that_a_download_promised_is_compared(file, tmp_path):
    promised = {"files": [{"name": "a.safetensors", "hashes": {"SHA256": "0" * 64}}]}
    file.with_suffix(".civitai.info").write_text(json.dumps(promised))
    assert "promises" in verdict(tmp_path).problem


def test_a_model_that_is_gone_is_a_sentence(file, tmp_path):
    library = Library(settings_in(tmp_path))
    (entry,) = [e for e in library.entries() if e.name == "a"]
    file.unlink()
    assert verify(library.cache, entry).problem == "It cannot be read: No such file or directory."
