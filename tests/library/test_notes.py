import pytest

from studio.database import STUDIO_MIGRATIONS, Database
from studio.library.notes import Note, Notes


@pytest.fixture
def notes(tmp_path):
    return Notes(Database(tmp_path / "studio.db", STUDIO_MIGRATIONS))


def test_a_model_without_a_note_has_an_empty_one(notes):
    assert notes.get("a") == Note()
    assert notes.all() == {}


def test_a_change_leaves_the_other_fields(notes):
    notes.change("a", {"favourite": True, "tags": ("oil", "paint")})
    note = notes.change("a", {"notes": "good", "trigger_words": ["x"]})
    assert note == notes.get("a") == Note(favourite=True, tags=("oil", "paint"), notes="good", trigger_words=("x",))


def test_corrections_add_up_and_can_be_taken_back(notes):
    notes.change("a", {"kind": "lora", "base": "sd1"})
    notes.change("a", {"base": None, "control_kind": "depth"})
    assert notes.get("a").corrections == {"kind": "lora", "control_kind": "depth"}


def test_use_is_noted_beside_what_was_written(notes):
    notes.change("a", {"favourite": True})
    notes.used(["a", "b"], at=5.0)
    notes.used(["b"], at=7.0)
    assert notes.all() == {"a": Note(favourite=True, last_used=5.0), "b": Note(last_used=7.0)}
