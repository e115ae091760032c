from pathlib import Path

import pytest

from studio.cli.parser import parse, with_command


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        ([], ["serve"]),
        (["--port", "80"], ["serve", "--port", "80"]),
        (["--data", "d", "doctor", "--json"], ["doctor", "--data", "d", "--json"]),
        (["--data=d", "--device", "cpu"], ["serve", "--data=d", "--device", "cpu"]),
        (["generate", "--out", "x.png"], ["generate", "--out", "x.png"]),
        (["--help"], ["--help"]),
    ],
)
def test_the_command_comes_first_and_is_serve_if_none_is_given(words, ordered):
    assert with_command(words) == ordered


def test_every_flag_of_serve_arrives():
    flags = parse(["--port", "0", "--listen", "--share", "--auth", "a:b", "--auth", "c:d", "--no-browser", "--offline"])
    assert (flags.command, flags.port, flags.auth) == ("serve", 0, ["a:b", "c:d"])
    assert flags.listen
    assert flags.share
    assert flags.no_browser
    assert flags.offline


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["generate", "--out", "x.png"],
        ["annotate", "canny", "x.jpg", "--out", "x.png"],
        ["models", "list"],
        ["bench"],
        ["doctor"],
    ],
)
def test_the_common_flags_fit_every_command(command):
    flags = parse([*command, "--data", "d", "--models-from", "a", "--models-from", "b", "--device", "cuda:1"])
    assert (flags.data, flags.models_from, flags.device) == (Path("d"), [Path("a"), Path("b")], "cuda:1")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["paint"], "paint"),
        (["generate"], "--out"),
        (["generate", "--out", "x.png", "--steps", "many"], "--steps"),
        (["--port", "70000"], "70000"),
        (["--port", "-1"], "--port"),
        (["serve", "--auth", "a:b", "--auth-file", "f"], "--auth-file"),
        (["--colour"], "--colour"),
        (["models"], "ACTION"),
        (["annotate", "canny"], "FILE"),
        (["annotate", "canny", "x.jpg"], "--out"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(words, named, capsys):
    with pytest.raises(SystemExit) as end:
        parse(words)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert "--help" in line


COMMANDS = ("serve", "generate", "annotate", "models", "train", "bench", "doctor", "test")


def test_help_names_the_commands_that_work(capsys):
    with pytest.raises(SystemExit) as end:
        parse(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"    {command} " in shown for command in COMMANDS)
