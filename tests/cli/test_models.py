import json
import re

import pytest

from studio.cli.commands import run
from studio.cli.models import file_size
from studio.database import open_studio_database
from studio.library.index import Library
from studio.library.notes import Notes
from studio.settings import BUILTIN
from tests.cli.test_commands import Fake
from tests.library.cases import LORAS
from tests.library.headers import write
from tests.library.kit import settings_in, write_model


@pytest.fixture
def models(tmp_path, capsys):
    def call(*words):
        status = run(["models", *words, "--data", str(tmp_path / "data")], Fake().programs)
        return status, capsys.readouterr()

    return call


@pytest.fixture
def file(tmp_path):
    return write_model(settings_in(tmp_path).paths.models / "loras" / "oil.safetensors")


def test_a_list_has_what_the_person_said(models, file, tmp_path):
    settings = settings_in(tmp_path)
    library = Library(settings, Notes(open_studio_database(settings.paths.studio_db)[0]))
    (entry,) = [e for e in library.entries() if not e.path.is_relative_to(BUILTIN)]
    library.change(entry.key, {"kind": "lora"})
    status, said = models("list", "--json")
    assert status == 0
    assert {"oil": "lora"}.items() <= {row["name"]: row["kind"] for row in json.loads(said.out)}.items()


def test_a_list_without_a_studio_makes_no_studio_db(models, file, tmp_path):
    assert models("list")[0] == 0
    assert not (tmp_path / "data" / "studio.db").exists()


def test_sound_models_are_counted(models, file):
    status, said = models("verify")
    assert status == 0
    assert "all are sound" in said.err
    assert str(file) in said.out


def test_a_damaged_model_is_named_and_the_status_says_so(models, file):
    file.write_bytes(file.read_bytes()[:-1])
    status, said = models("verify", "oil")
    assert status == 1
    assert "oil: oil.safetensors is cut short" in said.err
    status, said = models("verify", "--json")
    assert status == 1
    assert {row["name"]: row["ok"] for row in json.loads(said.out)}["oil"] is False


def test_a_model_that_is_not_there_is_wrong_use(models, file):
    status, said = models("verify", "gone")
    assert status == 2
    assert "no model 'gone'" in said.err


def test_a_list_is_sorted_by_kind_and_says_a_common_reason_once(models, tmp_path):
    count, usable = (int(number) for number in re.findall(r"\d+", models("list")[1].err))
    folder = settings_in(tmp_path).paths.models / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("ink", "oil"):
        write(folder / f"{name}.safetensors", LORAS["lora-flux"].tensors)
    _, said = models("list")
    heading, *rows = said.out[said.out.index("LoRAs, 2") :].splitlines()[:3]
    assert "It is for" in heading
    assert [row.split()[-1] for row in rows] == ["ink", "oil"]
    assert f"{count + 2} models, {usable} of which can be used" in said.err
    assert "starter-desk" in said.out


def test_a_list_can_be_narrowed(models, file):
    assert [row["name"] for row in json.loads(models("list", "OI", "--json")[1].out)] == ["oil"]
    usable = json.loads(models("list", "--usable", "--kind", "checkpoint", "--json")[1].out)
    assert [row["name"] for row in usable] == ["starter-desk"]
    status, said = models("list", "--kind", "poem")
    assert status == 2
    assert "Choose one of: checkpoint" in said.err


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (3_300, "3 KB"), (1_000_000, "1.0 MB"), (2_100_000_000, "2.1 GB")]
)
def test_a_size_is_told_in_the_largest_unit_that_it_fills(count, words):
    assert file_size(count) == words


def test_no_file_that_holds_something_is_listed_as_nothing(models, file):
    (row,) = [line for line in models("list")[1].out.splitlines() if " oil" in line]
    assert f" {file.stat().st_size} B " in row
