"""The collector of garbage rests while something large is imported."""

import gc

import pytest

from studio.importing import uncollected


@pytest.fixture(autouse=True)
def _as_it_was():
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


def test_it_rests_meanwhile_and_works_again_afterwards():
    gc.enable()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_works_again_after_an_import_that_failed():
    gc.enable()
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_who_has_it_switched_off_keeps_it_off():
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_what_was_made_meanwhile_is_not_looked_through_later():
    with uncollected():
        made = [[] for _ in range(1000)]
    listed = {id(one) for one in gc.get_objects()}
    assert not any(id(one) in listed for one in made)
