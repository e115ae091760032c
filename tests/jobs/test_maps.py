import threading

import pytest

from studio.errors import InvalidRequestError, JobError, WorkerError
from studio.jobs.maps import WAITING_MAX, Maps
from studio.messages import Annotate, Annotated, ModelLocation, Tokenize, Tokenized

MADE = Annotated("1", 1, 1, bytes(3))


def question(name, page=""):
    return Annotate(name, "a" * 64, "canny", page=page)


def test_an_answer_finds_who_asked():
    maps = Maps()
    first, second = maps.ask(question("1"), "ann"), maps.ask(question("2"), "bob")
    maps.heard(Annotated("2", 2, 2))
    maps.heard(MADE)
    assert maps.wait(first) == MADE
    assert maps.wait(second).width == 2


def test_of_one_page_the_last_question_counts():
    maps = Maps()
    old, other, new = (maps.ask(question(*which), "ann") for which in (("1", "p"), ("2", "q"), ("3", "p")))
    with pytest.raises(JobError, match="newer"):
        maps.wait(old)
    maps.heard(MADE)  # too late
    maps.heard(Annotated("3", 3, 3))
    maps.heard(Annotated("2", 2, 2))
    assert (maps.wait(new).width, maps.wait(other).width) == (3, 2)


def test_a_question_for_a_prompt_replaces_no_map_of_the_same_page():
    maps = Maps()
    made = maps.ask(question("1", "p"), "ann")
    place = ModelLocation("tiny", "", "", "checkpoint", "sd1")
    old, new = (maps.ask(Tokenize(name, place, "a", "", 4, page="p"), "ann") for name in ("2", "3"))
    with pytest.raises(JobError, match="newer reading"):
        maps.wait(old)
    maps.heard(MADE)
    maps.heard(Tokenized("3", {"steps": 4}))
    assert maps.wait(made) == MADE
    assert maps.wait(new).view == {"steps": 4}


def test_pages_of_two_people_do_not_meet():
    maps = Maps()
    first, _ = maps.ask(question("1", "p"), "ann"), maps.ask(question("2", "p"), "bob")
    maps.heard(MADE)
    assert maps.wait(first) == MADE


def test_one_person_may_wait_for_a_few_maps_at_once():
    maps = Maps()
    asked = [maps.ask(question(str(i)), "ann") for i in range(WAITING_MAX)]
    with pytest.raises(JobError, match="already"):
        maps.ask(question("more"), "ann")
    maps.ask(question("bobs"), "bob")
    maps.heard(Annotated("0", 1, 1))
    maps.wait(asked[0])
    maps.ask(question("more"), "ann")


def test_what_the_annotator_says_is_passed_on_and_a_bug_goes_to_the_log(caplog):
    maps = Maps()
    refused, broken = maps.ask(question("1"), "ann"), maps.ask(question("2"), "ann")
    maps.heard(Annotated("1", message="It needs a download.", hint="Download it."))
    maps.heard(Annotated("2", message="It failed.", hint="See the log.", detail="Traceback"))
    with pytest.raises(InvalidRequestError, match="needs a download"):
        maps.wait(refused)
    with pytest.raises(WorkerError, match="It failed"):
        maps.wait(broken)
    assert "Traceback" in caplog.text


def test_nobody_waits_for_ever():
    maps = Maps()
    with pytest.raises(WorkerError, match="no map"):
        maps.wait(maps.ask(question("1"), "ann"), seconds=0.01)
    asked = maps.ask(question("2"), "ann")
    threading.Timer(0.05, maps.give_up, ["It ended."]).start()
    with pytest.raises(WorkerError, match="It ended"):
        maps.wait(asked)
