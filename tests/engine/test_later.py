"""Modules in whose place something stands until they are used."""

import importlib
import sys

import pytest

from studio.engine import later

ROWS = """
import rows_told
rows_told.count += 1

def add(a, b):
    return a + b

LIMIT = 7
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A package `rows` with a module `rows.sums`, which counts how often it is loaded."""
    (tmp_path / "rows_told.py").write_text("count = 0\n")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "__init__.py").write_text("")
    (tmp_path / "rows" / "sums.py").write_text(ROWS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    later.install({"rows.sums": ("add",)})
    yield importlib.import_module("rows_told")
    for name in ("rows_told", "rows", "rows.sums"):
        sys.modules.pop(name, None)


def test_what_is_imported_and_not_used_is_not_loaded(told):
    rows = importlib.import_module("rows.sums")
    assert importlib.import_module("rows.sums") is rows
    assert importlib.import_module("rows").sums is rows
    assert not hasattr(rows, "__wrapped__")  # as those ask who look through all modules
    assert callable(rows.add)
    assert told.count == 0


def test_it_is_loaded_once_by_the_first_name_that_is_taken_out_of_it(told):
    early = importlib.import_module("rows.sums")
    assert (early.LIMIT, early.add(1, 2), told.count) == (7, 3, 1)
    real = importlib.import_module("rows.sums")
    assert real is not early
    assert importlib.import_module("rows").sums is real
    assert (real.LIMIT, early.LIMIT, told.count) == (7, 7, 1)


def test_a_function_that_was_taken_out_early_loads_it_when_it_is_called(told):
    add = importlib.import_module("rows.sums").add
    assert told.count == 0
    assert (add(2, b=3), told.count) == (5, 1)


def test_what_it_does_not_have_is_missing_as_ever(told):
    with pytest.raises(AttributeError, match="nowhere"):
        _ = importlib.import_module("rows.sums").nowhere


def test_what_is_loaded_already_stays(told):
    assert importlib.import_module("rows.sums").LIMIT == 7
    real, finders = importlib.import_module("rows.sums"), list(sys.meta_path)
    later.install({"rows.sums": ()})
    assert (importlib.import_module("rows.sums"), sys.meta_path) == (real, finders)


def test_a_beta_schedule_is_what_scipy_says():
    """diffusers takes it out of scipy.stats, in whose place something may stand."""
    from diffusers import EulerDiscreteScheduler
    from scipy.stats import beta

    scheduler = EulerDiscreteScheduler(use_beta_sigmas=True)
    scheduler.set_timesteps(4)
    sigmas = scheduler.sigmas
    shares = beta.ppf([1 - i / 3 for i in range(4)], 0.6, 0.6)
    expected = float(sigmas[3]) + shares * float(sigmas[0] - sigmas[3])
    assert sigmas[:4].numpy() == pytest.approx(expected, rel=1e-4)
