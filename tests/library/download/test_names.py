import httpx
import pytest

from studio.errors import DownloadError
from studio.library.download.names import PATH_MAX, announced_name, check_suffix, looks_wrong, own_name, safe_name
from tests.library.download.kit import BODY


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("../../etc/passwd.safetensors", "passwd.safetensors"),
        ("..\\..\\windows\\a.safetensors", "a.safetensors"),
        ("C:\\a.safetensors", "a.safetensors"),
        ("/abs/a.safetensors", "a.safetensors"),
        ("a:b?*<c>|.safetensors", "a_b___c__.safetensors"),
        ("CON.safetensors", "_CON.safetensors"),
        ("lpt1.a.pt", "_lpt1.a.pt"),
        ("con", "_con"),
        (".hidden.safetensors", "hidden.safetensors"),
        ("trailing.pt. . ", "trailing.pt"),
        ("a\x00\r\n\tb.pt", "ab.pt"),
        ("evil\u202etp.exe.pt", "eviltp.exe.pt"),
        ("caf\u0065\u0301.pt", "caf\u00e9.pt"),
        ("a\udcff.pt", "a.pt"),
        ("日本語.safetensors", "日本語.safetensors"),
    ],
)
def test_names_are_made_safe_for_every_system(tmp_path, said, name):
    assert safe_name(said, tmp_path) == name


@pytest.mark.parametrize("letter", ["a", "語", "😀"])
def test_long_names_are_cut_before_their_ending(tmp_path, letter):
    name = safe_name(letter * 400 + ".safetensors", tmp_path)
    assert name.endswith(letter + ".safetensors")
    part = tmp_path / f".{name}.part.json"
    assert len(str(part)) <= PATH_MAX
    part.touch()  # this system takes it, too


@pytest.mark.parametrize("said", ["", "...", "..", "/", "\x00"])
def test_a_name_of_nothing_is_refused(tmp_path, said):
    with pytest.raises(DownloadError):
        safe_name(said, tmp_path)


def test_a_folder_with_too_long_a_path_is_refused(tmp_path):
    with pytest.raises(DownloadError):
        safe_name("a.safetensors", tmp_path / "d" / ("x" * 240))


def test_names_in_headers_may_be_in_any_spelling():
    def name(said, url="https://h/p/q.pt"):
        request = httpx.Request("GET", "https://cdn/blob")
        response = httpx.Response(200, headers={"content-disposition": said} if said else {}, request=request)
        return announced_name(response, httpx.URL(url))

    assert name("attachment; filename=a.pt; x=1") == "a.pt"
    assert name("inline; filename=\"a.pt\"; filename*=UTF-8''%E2%82%AC.pt") == "€.pt"
    assert name("attachment; filename*=nonsense''a%20b.pt; filename=b.pt") == "b.pt"
    assert name("attachment") == "q.pt"
    assert name("", "https://h/api/models/12") == "blob"
    assert name("", "https://h/%2e%2e%2fa.pt") == "a.pt"


def test_a_name_that_says_nothing_gives_way_to_the_repositorys():
    assert own_name("unet/diffusion_pytorch_model.fp16.safetensors", "o/canny") == "canny.safetensors"
    assert own_name("x/real.safetensors", "o/canny") == "real.safetensors"


def test_first_bytes_tell_a_model_from_the_rest():
    assert looks_wrong("a.safetensors", BODY[:16]) == ""
    assert looks_wrong("a.safetensors", b"PK\x03\x04" + bytes(12))
    assert looks_wrong("a.pt", b"PK\x03\x04" + bytes(12)) == ""
    assert looks_wrong("a.onnx", b"\x08\x06\x12\x07pytorch") == ""
    assert "a page or a message" in looks_wrong("a.onnx", b"<!doctype html>")
    assert looks_wrong("a.onnx", BODY[:16])


def test_onnx_files_are_for_annotators_alone():
    check_suffix("yolox_l.onnx", "annotator")
    for kind in ("", "checkpoint"):
        with pytest.raises(DownloadError, match="is no model file") as error:
            check_suffix("yolox_l.onnx", kind)
        assert ".onnx" not in error.value.hint
