import os
import sys
import threading
from dataclasses import replace

import pytest

from studio.library import scan as scanning
from studio.library.cache import Cache
from studio.library.roots import Place
from studio.library.scan import Progress, scan
from tests.library.kit import write_model


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "library.db")


@pytest.fixture
def opened(monkeypatch):
    """The names of the models that were opened."""
    names = []
    identify = scanning.identify
    monkeypatch.setattr(scanning, "identify", lambda path, place, _: names.append(path.name) or identify(path, place))
    return names


def places(tmp_path, *kinds):
    return [Place(tmp_path / kind, kind, "data") for kind in kinds or ("lora",)]


def rows(cache, tmp_path, *kinds):
    return cache.rows(place.folder for place in places(tmp_path, *kinds))


def test_what_has_not_changed_is_not_opened_again(cache, tmp_path, opened):
    changed, same = (write_model(tmp_path / "lora" / name) for name in ("a.safetensors", "b.safetensors"))
    assert scan(cache, places(tmp_path)).changed == 2
    assert scan(cache, places(tmp_path)) == Progress("done", 2, 2, 2, 0)
    assert opened == [changed.name, same.name]
    write_model(changed, numbers=bytes(8))
    assert scan(cache, places(tmp_path)).changed == 1
    assert opened[2:] == [changed.name]


def test_a_changed_sidecar_is_read_without_opening_the_model(cache, tmp_path, opened):
    write_model(tmp_path / "lora" / "a.safetensors")
    scan(cache, places(tmp_path))
    (tmp_path / "lora" / "a.json").write_text('{"notes": "thick paint"}')
    (tmp_path / "lora" / "a.png").write_bytes(b"")
    assert scan(cache, places(tmp_path)).changed == 1
    (row,) = rows(cache, tmp_path)
    assert (row.said.notes, row.preview.name, opened) == ("thick paint", "a.png", ["a.safetensors"])


def test_models_that_are_gone_are_forgotten_and_those_of_other_places_are_kept(cache, tmp_path):
    gone = write_model(tmp_path / "lora" / "a.safetensors")
    write_model(tmp_path / "vae" / "b.safetensors")
    scan(cache, places(tmp_path, "lora", "vae"))
    gone.unlink()
    assert scan(cache, places(tmp_path)).changed == 1
    assert [row.path.name for row in rows(cache, tmp_path, "lora", "vae")] == ["b.safetensors"]


def test_rows_of_older_rules_are_made_again(cache, tmp_path, opened):
    write_model(tmp_path / "lora" / "a.safetensors")
    scan(cache, places(tmp_path))
    (new,) = rows(cache, tmp_path)
    cache.mark = "newer"
    (old,) = rows(cache, tmp_path)
    assert (new.old, old) == (False, replace(new, old=True))
    assert scan(cache, places(tmp_path)).changed == 1
    assert rows(cache, tmp_path) == [new]
    assert len(opened) == 2


def test_rows_of_older_rules_go_with_their_models(cache, tmp_path):
    gone = write_model(tmp_path / "lora" / "a.safetensors")
    scan(cache, places(tmp_path))
    cache.mark = "newer"
    gone.unlink()
    assert scan(cache, places(tmp_path)).changed == 1
    assert not rows(cache, tmp_path)


@pytest.mark.parametrize(
    ("identity", "shown"),
    [('{"kind": "lora", "card": null, "since": 9}', ["lora"]), ('["lora"]', []), ("no JSON", []), ("{}", [])],
)
def test_rows_of_other_rules_are_shown_as_far_as_they_can_be_read(cache, tmp_path, identity, shown):
    write_model(tmp_path / "lora" / "a.safetensors")
    scan(cache, places(tmp_path))
    with cache.database.write() as tx:
        tx.execute("UPDATE models SET identity = ?, rules = 'another'", (identity,))
    assert [row.identity.kind for row in rows(cache, tmp_path)] == shown
    scan(cache, places(tmp_path))
    assert [row.identity.kind for row in rows(cache, tmp_path)] == ["unknown"]


def test_a_file_that_vanishes_during_the_scan_is_left_out(cache, tmp_path, monkeypatch):
    file = write_model(tmp_path / "lora" / "a.safetensors")

    def walk(found):
        yield from found
        file.unlink()

    models = list(scanning.walk(places(tmp_path)))
    monkeypatch.setattr(scanning, "walk", lambda _: walk(models))
    assert scan(cache, places(tmp_path)).found == 0
    assert not rows(cache, tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_listed_and_tried_again(cache, tmp_path):
    file = write_model(tmp_path / "lora" / "a.safetensors")
    file.chmod(0)
    scan(cache, places(tmp_path))
    (row,) = rows(cache, tmp_path)
    assert not row.identity.usable
    file.chmod(0o600)
    assert scan(cache, places(tmp_path)).changed == 1


def test_a_file_that_cannot_be_opened_is_listed_and_tried_again(cache, tmp_path, monkeypatch):
    write_model(tmp_path / "lora" / "a.safetensors")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(scanning, "fingerprint", refuse)
        assert scan(cache, places(tmp_path)).found == 1
    assert len(rows(cache, tmp_path)) == 1
    assert scan(cache, places(tmp_path)).changed == 1
    assert scan(cache, places(tmp_path)).changed == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_that_are_no_text_are_kept_as_they_are(cache, tmp_path):
    file = write_model(tmp_path / "lora" / os.fsdecode(b"caf\xe9.safetensors"))
    scan(cache, places(tmp_path))
    assert [row.path for row in rows(cache, tmp_path)] == [file]
    assert scan(cache, places(tmp_path)).changed == 0


def test_a_moved_model_keeps_its_id(cache, tmp_path):
    file = write_model(tmp_path / "lora" / "a.safetensors")
    scan(cache, places(tmp_path))
    (row,) = rows(cache, tmp_path)
    cache.set_content(row.path, row.fingerprint, "its content")
    (tmp_path / "lora" / "sub").mkdir()
    file.rename(tmp_path / "lora" / "sub" / "b.safetensors")
    scan(cache, places(tmp_path))
    assert [(row.path.name, row.content) for row in rows(cache, tmp_path)] == [("b.safetensors", "its content")]


def test_progress_is_told_and_ends_at_the_total(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "SECONDS", -1)
    for name in "abc":
        write_model(tmp_path / "lora" / f"{name}.safetensors")
    told = []
    last = scan(cache, places(tmp_path), told.append)
    assert [progress.done for progress in told] == [1, 2, 3]
    assert (last.state, last.done, last.total) == ("done", 3, 3)


def test_two_scans_at_once_leave_the_same_list(cache, tmp_path):
    for number in range(50):
        write_model(tmp_path / "lora" / f"{number}.safetensors")

    def run():
        scan(cache, places(tmp_path))
        cache.database.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(cache, tmp_path)) == 50
