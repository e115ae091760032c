import json

import pytest

from studio.engine.working_sets import KEPT, RunSize, WorkingSets

SDXL = RunSize(architecture="sdxl", width=1024, height=1024, batch=2)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "working_sets.json"


def test_the_first_guess_is_the_formula():
    guess = SDXL.guess()
    assert guess.denoise == int(2 * 128 * 128 * 2 * 0.01 * 0.8 * 2**20)
    assert guess.decode == 2178 * 64 * 128 * 128 * 2
    assert guess.tiled == 2178 * 64 * 64 * 64 * 2


def test_more_area_more_pictures_and_more_units_are_guessed_larger():
    small = RunSize(architecture="sd1", width=512, height=512, batch=2)
    larger = [
        RunSize(architecture="sd1", width=768, height=512, batch=2),
        RunSize(architecture="sd1", width=512, height=512, batch=4),
        RunSize(architecture="sd1", width=512, height=512, batch=2, units=("controlnet",)),
        RunSize(architecture="sd1", width=512, height=512, batch=2, value_bytes=4),
    ]
    assert all(size.guess().denoise > small.guess().denoise for size in larger)
    assert len({size.key for size in (small, *larger)}) == 5


def test_the_order_of_units_does_not_matter():
    a, b = (RunSize(architecture="sd1", width=64, height=64, batch=1, units=u) for u in (("x", "y"), ("y", "x")))
    assert a.key == b.key


def test_what_was_measured_is_expected_next_time(file):
    WorkingSets(file).learn(SDXL, "denoise", 123, rung=0)
    again = WorkingSets(file).expected(SDXL)
    assert (again.denoise, again.decode) == (123, SDXL.guess().decode)


def test_without_a_file_it_learns_for_the_session():
    sets = WorkingSets()
    sets.learn(SDXL, "decode", 123, rung=0)
    assert sets.expected(SDXL).decode == 123


def test_a_run_on_a_higher_rung_teaches_upwards_only(file):
    sets = WorkingSets(file)
    heard = []
    for peak, rung in [(500, 1), (300, 3), (700, 3), (600, 1), (800, 0), (100, 0), (50, 1)]:
        sets.learn(SDXL, "denoise", peak, rung)
        heard.append(sets.expected(SDXL).denoise)
    assert heard == [500, 500, 700, 600, 800, 100, 100]


@pytest.mark.parametrize("broken", ["", "[]", "{broken", '{"a": 1}', '{"a": {"denoise": {"peak": "much"}}}', "\udcff"])
def test_a_broken_file_is_no_file(file, broken):
    file.write_bytes(broken.encode("utf-8", "surrogateescape"))
    sets = WorkingSets(file)
    assert sets.expected(SDXL) == SDXL.guess()
    sets.learn(SDXL, "decode", 7, rung=0)
    assert WorkingSets(file).expected(SDXL).decode == 7


def test_the_file_keeps_the_latest_sizes(file):
    sets = WorkingSets(file)
    sets.peaks = {str(i): {} for i in range(KEPT)}
    sets.learn(SDXL, "tiled", 7, rung=0)
    kept = json.loads(file.read_text())
    assert len(kept) == KEPT
    assert "0" not in kept
    assert SDXL.key in kept


def test_a_disk_that_is_full_ends_nothing(tmp_path):
    (tmp_path / "taken").write_text("")
    sets = WorkingSets(tmp_path / "taken" / "working_sets.json")
    sets.learn(SDXL, "denoise", 9, rung=0)
    assert sets.expected(SDXL).denoise == 9


@pytest.mark.parametrize(("phase", "peak"), [("sleep", 1), ("denoise", -1)])
def test_what_cannot_be_a_peak_is_refused(file, phase, peak):
    with pytest.raises(ValueError, match="no peak"):
        WorkingSets(file).learn(SDXL, phase, peak, rung=0)
