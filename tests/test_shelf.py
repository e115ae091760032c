import json

import pytest

from studio.access import LOCAL_USER, User
from studio.database import open_studio_database
from studio.errors import ForbiddenError, InvalidRequestError, MissingError
from studio.library.index import Library
from studio.library.notes import Notes
from studio.settings import load_settings
from studio.shelf import Shelf, Wanted
from studio.stacks import SavedStacks
from tests.library.headers import lora, write
from tests.library.test_library import make_checkpoint

GUEST = User("ann", "guest")
INK = {"name": "ink", "weight": 0.5, "blocks": [["unet.mid_block", 0.0]], "end": 0.8}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    settings = load_settings(tmp_path_factory.mktemp("shelf"))
    settings.paths.create()
    models = settings.paths.models
    make_checkpoint(models / "checkpoints" / "big")
    for place in ("loras", "embeddings"):
        (models / place).mkdir(parents=True, exist_ok=True)
    metadata = {"modelspec.trigger_phrase": "sks dog, inked"}
    write(models / "loras" / "ink.safetensors", lora("sd1", only="mid_block"), metadata=metadata)
    (models / "loras" / "ink.json").write_text(json.dumps({"notes": "Best at half weight."}))
    write(models / "loras" / "oil.safetensors", lora("sdxl", only="attn1"))
    write(models / "embeddings" / "bad-hands.safetensors", {"emb_params": (2, 768)})
    database, _ = open_studio_database(settings.paths.studio_db)
    return Shelf(Library(settings, Notes(database)))


def names(page):
    return [row["name"] for row in page["adapters"]]


def test_only_what_fits_is_offered_and_the_rest_says_why(shelf):
    page = shelf.page(Wanted(checkpoint="big"), LOCAL_USER)
    assert names(page) == ["bad-hands", "ink"]
    assert page["misfits"] == 1
    oil = shelf.page(Wanted(checkpoint="big", fitting=False, text="oil"), LOCAL_USER)["adapters"][0]
    assert not oil["fits"]
    assert "made for SDXL" in oil["why"]


def test_a_row_brings_the_words_and_the_notes_of_its_file(shelf):
    (ink,) = shelf.page(Wanted(text="inked", kind="lora"), LOCAL_USER)["adapters"]
    assert ink["trigger_words"] == ["sks dog", "inked"]
    assert ink["notes"] == "Best at half weight."


def test_a_guest_sees_no_notes_and_searches_names_alone(shelf):
    assert names(shelf.page(Wanted(text="inked"), GUEST)) == []
    assert shelf.one("lora", "INK.safetensors", "big", GUEST)["notes"] == ""


def test_one_that_is_not_here_is_missing(shelf):
    with pytest.raises(MissingError):
        shelf.one("lora", "pen", "", LOCAL_USER)


def test_pages_follow_each_other(shelf):
    pages = [names(shelf.page(Wanted(offset=n, limit=1, fitting=False), LOCAL_USER)) for n in range(4)]
    assert pages == [["bad-hands"], ["ink"], ["oil"], []]


def test_what_fits_comes_before_what_does_not(shelf):
    write(shelf.library.settings.paths.models / "loras" / "able.safetensors", lora("sdxl", only="attn1"))
    shelf.library.refresh()
    assert names(shelf.page(Wanted(checkpoint="big", fitting=False, kind="lora"), LOCAL_USER)) == ["ink", "able", "oil"]


def test_of_ten_thousand_only_those_of_the_page_are_described(shelf, monkeypatch):
    many = shelf.library.entries("lora") * 5000
    monkeypatch.setattr(shelf.library, "entries", lambda kind=None: many)
    row, described = Shelf.row, []
    monkeypatch.setattr(
        Shelf, "row", lambda self, entry, *rest: described.append(entry.name) or row(self, entry, *rest)
    )
    assert shelf.page(Wanted(checkpoint="", text="ink", limit=60), LOCAL_USER)["total"] == 5000
    assert described == ["ink"] * 60


def test_a_stack_is_kept_as_it_was_without_content_ids(tmp_path):
    stacks = SavedStacks(tmp_path / "stacks")
    assert stacks.all() == []
    kept = stacks.keep(" Ink & wash ", [INK | {"id": "ab" * 32}, {"name": "m", "kind": "hypernetwork"}], LOCAL_USER)
    assert stacks.all() == [kept]
    assert kept.name == "Ink & wash"
    assert [(ref.name, ref.id, ref.end) for ref in kept.adapters] == [("ink", "", 0.8), ("m", "", 1.0)]
    stacks.remove("Ink & wash", LOCAL_USER)
    assert stacks.all() == []


def test_a_stack_that_cannot_be_read_is_passed_over(tmp_path):
    (tmp_path / "odd.toml").write_text("adapters = 3")
    (tmp_path / "torn.toml").write_bytes(b"[[adapters\xff")
    assert SavedStacks(tmp_path).all() == []


@pytest.mark.parametrize(
    ("name", "adapters", "field"),
    [
        ("../out", [INK], "name"),
        ("con", [INK], "name"),
        ("", [INK], "name"),
        ("a", [], "adapters"),
        ("a", 3, "adapters"),
        ("a", [{"name": "x", "weight": 9}], "weight"),
    ],
)
def test_a_stack_that_cannot_be_is_refused_by_name(tmp_path, name, adapters, field):
    with pytest.raises(InvalidRequestError) as refused:
        SavedStacks(tmp_path).keep(name, adapters, LOCAL_USER)
    assert refused.value.field == field


def test_guests_keep_no_stacks(tmp_path):
    with pytest.raises(ForbiddenError):
        SavedStacks(tmp_path).keep("a", [INK], GUEST)
    with pytest.raises(MissingError):
        SavedStacks(tmp_path).remove("a", LOCAL_USER)
