import pytest

from studio.errors import InvalidRequestError
from studio.library.download.wanted import Wanted

ENDPOINT = "https://huggingface.co"


def test_links_to_the_hub_are_read_as_what_they_name():
    def read(path, **more):
        wanted = Wanted.from_dict({"url": f"{ENDPOINT}/{path}", **more}, "http://mirror.example")
        return wanted.repo, wanted.revision, wanted.file

    assert read("o/r") == ("o/r", "main", "")
    assert read("o/r/tree/v2") == ("o/r", "v2", "")
    assert read("o/r/blob/refs%2Fpr%2F1/a/b%20c.pt?download=true#x") == ("o/r", "refs/pr/1", "a/b c.pt")
    assert read("o/r/resolve/main/a.pt") == ("o/r", "main", "a.pt")
    assert read("datasets/o/resolve/main/a.pt")[0] == ""
    assert read("o/r/discussions/3")[0] == ""


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "https://h/a.pt", "repo": "o/r"}, "url"),
        ({"repo": "../x"}, "repo"),
        ({"repo": "o"}, "repo"),
        ({"repo": "o/r/x"}, "repo"),
        ({"repo": "o/r", "file": "../a.pt"}, "file"),
        ({"repo": "o/r", "file": "/a.pt"}, "file"),
        ({"repo": "o/r", "kind": "virus"}, "kind"),
        ({"repo": "o/r", "sha256": "12"}, "sha256"),
        ({"repo": "o/r", "revision": "../x"}, "revision"),
        ({"repo": 5}, "repo"),
        ({"repo": "o/r", "path": "/etc"}, "path"),
        ({"url": "ftp://h/a.pt"}, "url"),
        ({"url": "https://huggingface.co/o/r/blob/main/..%2fa.pt"}, "file"),
    ],
)
def test_a_wrong_request_is_refused_with_its_field(body, field):
    with pytest.raises(InvalidRequestError) as refused:
        Wanted.from_dict(body, ENDPOINT)
    assert refused.value.field == field
