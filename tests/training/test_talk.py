import io
import json

from studio.training.talk import Talk


class Line:
    """An input that ends when it is told to."""

    def __init__(self, *lines):
        self.lines = lines

    def __iter__(self):
        return iter(self.lines)


def talk(folder, *lines):
    said = io.StringIO()
    return Talk(folder, said, Line(*lines)), said


def test_what_is_said_is_logged_but_for_steps_that_follow_closely(tmp_path):
    made, said = talk(tmp_path)
    made.phase("loading")
    for step in range(1, 50):
        made.say({"event": "step", "step": step, "steps": 49})
    assert len(said.getvalue().splitlines()) == 50
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged[0] == {"event": "phase", "name": "loading", "done": 0, "total": 0}
    assert [e["step"] for e in logged[1:]] == [1, 49]


def test_orders_come_one_by_one_and_the_end_of_all_is_stop(tmp_path):
    made, _ = talk(tmp_path, '{"do": "pause"}\n', "odd\n", '{"do": "dance"}\n', '{"do": "go"}\n')
    assert [made.command(True), made.command(True), made.command(True)] == ["pause", "go", None]
    assert made.left
    assert made.command(False) == "stop"


def test_while_nothing_is_said_there_is_no_order(tmp_path):
    class Silent:
        def __iter__(self):
            import threading

            threading.Event().wait()
            yield ""

    made = Talk(tmp_path, io.StringIO(), Silent())
    assert made.command(False) is None
    assert not made.left


def test_nobody_listening_and_a_full_disk_stop_nothing(tmp_path):
    class Gone(io.StringIO):
        def write(self, _text):
            raise BrokenPipeError

    made = Talk(tmp_path / "missing", Gone(), Line())
    made.phase("loading")
    assert made.left


def test_that_nobody_listens_is_known_before_it_is_asked_for_an_order(tmp_path):
    made, _ = talk(tmp_path, '{"do": "pause"}\n')
    assert made.ended.wait(10)
    assert not made.left
    assert made.command(False) == "pause"
