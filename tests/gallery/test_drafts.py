import pytest

from studio.errors import InvalidRequestError
from studio.gallery.drafts import MAX_BYTES, MAX_PER_OWNER, Drafts


@pytest.fixture
def drafts(database):
    return Drafts(database)


def test_a_draft_comes_back_as_it_was_saved_last(drafts):
    assert drafts.get("local", "b") == {}
    drafts.save("local", "b", {"prompt": "first"})
    body = {"prompt": "ünïcode 😀", "strokes": {"w": 9, "strokes": [{"p": [1, 2.5, 1]}]}, "seed": None}
    drafts.save("local", "b", body)
    assert drafts.get("local", "b") == body


def test_browsers_and_owners_do_not_see_each_others_drafts(drafts):
    drafts.save("local", "one", {"a": 1})
    drafts.save("guest", "one", {"a": 2})
    assert drafts.get("local", "one") == {"a": 1}
    assert drafts.get("local", "two") == {}


WRONG = {
    "too large": {"a": "x" * MAX_BYTES},
    "no object": [1],
    "no number": {"a": float("nan")},
    "no JSON": {"a": object()},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_draft_that_cannot_be_kept_leaves_the_older_one(drafts, body):
    drafts.save("local", "b", {"a": 1})
    with pytest.raises(InvalidRequestError, match="draft"):
        drafts.save("local", "b", body)
    assert drafts.get("local", "b") == {"a": 1}


@pytest.mark.parametrize("browser", ["", "x" * 101, "a b", "\ud800", "a\n"], ids=range(5))
def test_a_browser_needs_a_short_plain_name(drafts, browser):
    with pytest.raises(InvalidRequestError, match="1 to 100"):
        drafts.save("local", browser, {})
    with pytest.raises(InvalidRequestError, match="1 to 100"):
        drafts.get("local", browser)


def test_an_owner_cannot_fill_the_disk_with_browsers(drafts, database):
    drafts.save("other", "b", {"a": 0})
    for index in range(MAX_PER_OWNER + 5):
        drafts.save("guest", f"b{index}", {"a": index})
    with database.read() as tx:
        count = tx.execute("SELECT count(*) FROM drafts WHERE owner = 'guest'").fetchone()[0]
    assert count == MAX_PER_OWNER
    assert drafts.get("guest", f"b{MAX_PER_OWNER + 4}") == {"a": MAX_PER_OWNER + 4}
    assert drafts.get("other", "b") == {"a": 0}
