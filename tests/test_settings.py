import pytest

from studio.errors import StorageError
from studio.settings import BUILTIN, Paths, default_data_folder, load_settings, save_preferences


def test_without_a_file_there_are_defaults(tmp_path):
    settings = load_settings(tmp_path)
    assert settings.preferences.preview_every == 1
    assert settings.device == "auto"


def test_preferences_come_back_as_they_were_saved(tmp_path):
    settings = load_settings(tmp_path)
    saved = save_preferences(settings, {"checkpoint": 'odd "name" \\ here', "preview_every": 3})
    assert load_settings(tmp_path).preferences == saved.preferences


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = 1\nprecision = [\n\nb", "line 4"),
        ('precision = "fp7"', "'fp7'"),
        ("preview_every = 99", "99"),
        ('preview_every = "1"', "not of the right kind"),
        ("colour = 3", "unknown entry 'colour'"),
        ('checkpoint = "\\xff', "cannot be read"),
    ],
)
def test_a_broken_file_is_refused_with_what_is_wrong(tmp_path, text, says):
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(StorageError, match=says) as refused:
        load_settings(tmp_path)
    assert refused.value.hint


def test_a_wrong_change_leaves_the_file_as_it_was(tmp_path):
    settings = save_preferences(load_settings(tmp_path), {"preview_every": 2})
    with pytest.raises(StorageError):
        save_preferences(settings, {"preview_every": -1})
    assert load_settings(tmp_path).preferences.preview_every == 2


def test_an_unknown_device_is_refused(tmp_path):
    with pytest.raises(StorageError, match="no device 'abacus'"):
        load_settings(tmp_path, device="abacus")
    assert load_settings(tmp_path, device="cuda:1").device == "cuda:1"


def test_the_data_folder_is_beside_the_launcher_or_where_the_environment_says(tmp_path):
    assert default_data_folder({}) == BUILTIN / "data"
    assert default_data_folder({"STUDIO_DATA": str(tmp_path)}) == tmp_path


def test_every_folder_is_made(tmp_path):
    paths = Paths(root=tmp_path / "data")
    paths.create()
    assert (paths.models / "checkpoints").is_dir()
    assert paths.outputs.is_dir()
    assert not list(paths.root.glob(".writable*"))


def test_a_data_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written") as refused:
        Paths(root=tmp_path / "file" / "data").create()
    assert "--data" in refused.value.hint


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "two\nlines", "tab\t and \x7f", "ünïcode 🎨"])
def test_any_name_survives_being_saved(tmp_path, name):
    settings = save_preferences(load_settings(tmp_path), {"checkpoint": name})
    assert load_settings(tmp_path).preferences == settings.preferences


def test_a_file_of_a_windows_editor_is_read(tmp_path):
    (tmp_path / "settings.toml").write_bytes(b"\xef\xbb\xbfpreview_every = 3\r\n")
    assert load_settings(tmp_path).preferences.preview_every == 3


@pytest.mark.parametrize("device", ["cuda:", "cuda:x", "cpu:1", "gpu", "", "cuda:0\n"])
def test_a_device_that_cannot_be_is_refused(tmp_path, device):
    with pytest.raises(StorageError, match="no device"):
        load_settings(tmp_path, device=device)
