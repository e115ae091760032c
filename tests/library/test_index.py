import json
import os
import sys
import threading
from dataclasses import replace

import pytest

from studio.database import STUDIO_MIGRATIONS, Database
from studio.errors import MissingError, ModelNotFoundError
from studio.library.hashes import read_sha256
from studio.library.index import Library
from studio.library.notes import Notes
from studio.library.rules.upscaler import Described
from studio.library.search import Query
from studio.settings import BUILTIN, load_settings
from tests.library import headers
from tests.library.kit import settings_in, write_model
from tests.params_only import params


@pytest.fixture
def folder(tmp_path):
    settings_in(tmp_path)
    return tmp_path / "data" / "models" / "loras"


def opened(tmp_path, *models_from, look=True):
    notes = Notes(Database(tmp_path / "data" / "studio.db", STUDIO_MIGRATIONS))
    return Library(load_settings(tmp_path / "data", models_from=models_from), notes, look=look)


def own(library):
    return [entry for entry in library.entries() if not entry.path.is_relative_to(BUILTIN)]


def test_the_first_start_shows_the_starter_pack_without_looking_further(tmp_path, folder):
    write_model(folder / "a.safetensors")
    library = opened(tmp_path, look=False)
    assert {entry.kind for entry in library.entries()} >= {"checkpoint", "controlnet"}
    assert not own(library)


def test_the_next_start_has_at_once_what_the_last_scan_found(tmp_path, folder):
    write_model(folder / "a.safetensors")
    opened(tmp_path)
    assert [entry.name for entry in own(opened(tmp_path, look=False))] == ["a"]


def test_after_an_update_of_the_rules_what_was_found_is_shown_and_marked_until_it_is_looked_at(tmp_path, folder):
    write_model(folder / "a.safetensors")
    found = opened(tmp_path)
    with found.cache.database.write() as tx:
        tx.execute("UPDATE models SET rules = 'older'")
    library = opened(tmp_path, look=False)
    assert [(entry.name, entry.old) for entry in own(library)] == [("a", True)]
    assert not any(entry.old for entry in library.entries() if entry not in own(library))
    library.refresh()
    assert library.entries() == found.entries()


def test_folders_that_are_not_asked_for_are_not_shown_and_not_forgotten(tmp_path, folder):
    write_model(tmp_path / "other" / "b.safetensors")
    assert [entry.name for entry in own(opened(tmp_path, tmp_path / "other"))] == ["b"]
    assert own(opened(tmp_path)) == []
    assert [entry.name for entry in own(opened(tmp_path, tmp_path / "other", look=False))] == ["b"]


def test_notes_and_corrections_follow_a_moved_file_and_outlive_the_cache(tmp_path, folder):
    file = write_model(folder / "a.safetensors")
    library = opened(tmp_path)
    (entry,) = own(library)
    changes = {"favourite": True, "tags": ["oil"], "notes": "thick", "kind": "embedding", "base": "sd1"}
    library.change(entry.key, changes)
    moved = file.rename(file.parent.parent / "embeddings" / "b.safetensors")
    library.cache.database.close()
    for name in (tmp_path / "data").glob("library.db*"):
        name.unlink()
    (found,) = own(opened(tmp_path))
    assert (found.path, found.name, found.favourite, found.tags, found.notes) == (moved, "b", True, ("oil",), "thick")
    assert (found.kind, found.base, set(found.corrected)) == ("embedding", "sd1", {"kind", "base"})


def test_a_correction_can_be_taken_back(tmp_path, folder):
    write_model(folder / "a.safetensors")
    library = opened(tmp_path)
    (before,) = own(library)
    library.change(before.key, {"kind": "vae", "control_kind": "depth"})
    assert library.change(before.key, {"kind": None, "control_kind": None}) == before


def test_a_corrected_prediction_type_reaches_the_card(tmp_path):
    library = opened(tmp_path)
    (desk,) = library.entries("checkpoint")
    assert library.change(desk.key, {"prediction_type": "v_prediction"}).card.prediction_type == "v_prediction"


def test_copies_have_keys_of_their_own_and_share_their_notes(tmp_path, folder):
    write_model(folder / "a.safetensors")
    write_model(folder / "sub" / "a.safetensors")
    library = opened(tmp_path)
    first, second = own(library)
    assert (first.name, second.name) == ("a", "a (2)")
    assert library.copies(first) == [second]
    assert library.get(second.key) == second
    library.change(second.key, {"favourite": True})
    assert [entry.favourite for entry in own(library)] == [True, True]


def test_files_that_look_alike_but_differ_are_no_copies_once_they_were_read(tmp_path, folder):
    numbers = bytearray(1 << 19)
    write_model(folder / "a.safetensors", numbers=bytes(numbers))
    numbers[1 << 17] = 1
    write_model(folder / "b.safetensors", numbers=bytes(numbers))
    library = opened(tmp_path)
    assert len(library.copies(own(library)[0])) == 1
    for entry in own(library):
        library.content_id(entry)
    assert library.copies(own(library)[0]) == []


def test_what_is_used_is_noted_with_its_time(tmp_path, folder):
    write_model(folder / "a.safetensors")
    library = opened(tmp_path)
    content = library.content_id(own(library)[0])
    library.mark_used([content, "another"], at=9.0)
    assert own(library)[0].last_used == own(opened(tmp_path))[0].last_used == 9.0


def test_selecting_starts_the_hash_and_asking_for_it_waits_for_the_rest(tmp_path, folder, monkeypatch):
    write_model(folder / "a.safetensors")
    library = opened(tmp_path)
    (entry,) = own(library)
    go, read = threading.Event(), []

    def slow(file, told):
        assert go.wait(60)
        read.append(file)
        return "5e1f"

    monkeypatch.setattr("studio.library.hashes.read_sha256", slow)
    assert library.start_hashing([entry])
    go.set()
    assert library.content_id(entry) == own(library)[0].sha256 == "5e1f"
    assert len(read) == 1
    assert not library.start_hashing(own(library))


def test_a_file_that_was_replaced_since_the_scan_is_not_taken_for_the_old_one(tmp_path, folder):
    file = write_model(folder / "a.safetensors", numbers=b"old!")
    library = opened(tmp_path)
    old = library.content_id(own(library)[0])
    queued = params(checkpoint="a", checkpoint_id=old)
    assert library.locate(queued)[old].id == old
    write_model(file, numbers=b"new!")
    os.utime(file, ns=(1, 1))
    with pytest.raises(ModelNotFoundError, match="files of the model a have changed"):
        library.locate(queued)
    assert own(library)[0].id == read_sha256(file) != old
    library.refresh()
    assert library.content_id(own(library)[0]) == read_sha256(file)


def test_a_file_that_was_deleted_since_the_scan_keeps_its_id_for_who_still_holds_it(tmp_path, folder):
    file = write_model(folder / "a.safetensors")
    library = opened(tmp_path)
    content = library.content_id(own(library)[0])
    file.unlink()
    assert library.locate(params(checkpoint="a", checkpoint_id=content))[content].id == content


def test_a_file_whose_name_says_nothing_is_named_by_its_folder(tmp_path, folder):
    write_model(folder / "oil paint" / "adapter_model.safetensors")
    write_model(folder / "model.safetensors")
    assert {entry.name for entry in own(opened(tmp_path))} == {"oil paint", "model"}


def test_sidecars_are_shown_until_the_person_writes(tmp_path, folder):
    write_model(folder / "a.safetensors")
    said = {"notes": "theirs", "activation text": "oil", "sd version": "SDXL"}
    (folder / "a.json").write_text(json.dumps(said))
    library = opened(tmp_path)
    (entry,) = own(library)
    assert (entry.notes, entry.trigger_words, entry.base) == ("theirs", ("oil",), "sdxl")
    changed = library.change(entry.key, {"notes": "", "trigger_words": ["mine"]})
    assert (changed.notes, changed.trigger_words) == ("", ("mine",))


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_name_that_is_no_text_can_be_listed_searched_and_sent(tmp_path, folder):
    write_model(folder / os.fsdecode(b"caf\xe9.safetensors"))
    library = opened(tmp_path)
    (entry,) = library.search(Query(text="caf")).rows
    assert entry.name == "caf\ufffd"
    json.dumps(entry.to_dict(), ensure_ascii=False).encode()
    assert library.content_id(entry)


def test_a_key_that_is_gone_is_a_sentence(tmp_path, folder):
    with pytest.raises(MissingError):
        opened(tmp_path).get("gone")


def test_many_files_of_one_name_take_no_time_to_tell_apart(tmp_path, folder):
    for number in range(300):
        write_model(folder / str(number) / "a.safetensors", x=str(number))
    assert len({entry.name for entry in own(opened(tmp_path))}) == 300


ESRGAN = Described("ESRGAN", 4, (3, 3))


@pytest.fixture
def upscalers(tmp_path, folder):
    """A folder of upscalers with one that the table knows and one that it does not; unknown ones lie elsewhere too."""
    place = folder.parent / "upscalers"
    headers.write(place / "known.safetensors", headers.UPSCALERS["ESRGAN"])
    write_model(place / "strange.safetensors")
    write_model(folder / "elsewhere.safetensors", x="1")
    return place


def named(library, name):
    return next(entry for entry in own(library) if entry.name == name)


def test_the_worker_is_asked_of_upscalers_and_of_what_is_unknown_among_them(tmp_path, upscalers):
    library = opened(tmp_path)
    assert {entry.name for entry in library.entries() if library.may_upscale(entry)} == {"known", "strange"}


@pytest.mark.parametrize("name", ["known", "strange"])
def test_what_spandrel_says_is_kept_and_not_asked_again(tmp_path, upscalers, name):
    library = opened(tmp_path)
    before = named(library, name)
    assert library.confirm(before.path, before.fingerprint, ESRGAN) == before.key
    for later in (library, opened(tmp_path)):
        entry = named(later, name)
        assert (entry.kind, entry.family, entry.scale, entry.channels) == ("upscaler", "ESRGAN", 4, (3, 3))
        assert "spandrel" in entry.evidence
        assert not later.may_upscale(entry)
    assert named(library, "elsewhere").kind == "unknown"


@pytest.mark.parametrize("name", ["known", "strange"])
def test_where_spandrel_knows_nothing_the_table_stands(tmp_path, upscalers, name):
    library = opened(tmp_path)
    before = named(library, name)
    library.confirm(before.path, before.fingerprint, Described())
    assert named(library, name) == replace(before, asked=True)


def test_an_answer_about_a_file_that_was_replaced_or_is_gone_is_dropped(tmp_path, upscalers):
    library = opened(tmp_path)
    before = library.entries()
    assert not library.confirm(upscalers / "known.safetensors", "another", ESRGAN)
    assert not library.confirm(upscalers / "gone.safetensors", "mark", ESRGAN)
    assert library.entries() == before


def test_no_answer_makes_an_upscaler_of_another_kind(tmp_path, folder):
    headers.write(folder / "a.safetensors", headers.lora("sd1"))
    library = opened(tmp_path)
    before = named(library, "a")
    library.confirm(before.path, before.fingerprint, ESRGAN)
    assert named(library, "a") == replace(before, asked=True)


def test_a_changed_file_is_asked_about_again(tmp_path, upscalers):
    library = opened(tmp_path)
    entry = named(library, "known")
    library.confirm(entry.path, entry.fingerprint, ESRGAN)
    headers.write(entry.path, headers.UPSCALERS["Real-ESRGAN"])
    os.utime(entry.path, ns=(1, 1))
    library.refresh()
    assert library.may_upscale(named(library, "known"))
