import pytest
from PIL import Image, ImageFilter

from studio.datasets.captions import read_caption
from studio.datasets.doctor import Case, Finding, examine, has_word
from studio.datasets.folder import list_pictures
from studio.datasets.looks import Looks, look_at
from tests.datasets.kit import data, fill, picture


def findings(folder, resolution=96, trigger="sks") -> list[Finding]:
    pictures = list_pictures(folder)
    looks = Looks(folder.parent / "looks.json").all(pictures)
    cases = [Case(one.name, looks[one.name], read_caption(one), one.mask is not None) for one in pictures]
    return examine(cases, resolution, trigger)


def blurred(folder):
    picture(2).filter(ImageFilter.GaussianBlur(3)).save(folder / "2.png")
    return "blurred", ("2.png",)


def copied(folder):
    (folder / "9.png").write_bytes((folder / "1.png").read_bytes())
    (folder / "9.txt").write_text("a sks cup")
    return "duplicates", ("1.png", "9.png")


def saved_again(folder):
    picture(1).resize((200, 200)).save(folder / "9.jpg", quality=80)
    (folder / "9.txt").write_text("a sks cup")
    return "near-duplicates", ("1.png", "9.jpg")


def tiny(folder):
    picture(2, (40, 40)).save(folder / "2.png")
    return "tiny", ("2.png",)


def broken(folder):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    return "corrupt", ("2.png",)


def unreadable(folder):
    (folder / "scan.tif").write_bytes(b"II*\x00")
    return "corrupt", ("scan.tif",)


def unlabelled(folder):
    (folder / "2.txt").unlink()
    return "unlabelled", ("2.png",)


def none_labelled(folder):
    for file in folder.glob("*.txt"):
        file.unlink()
    return "unlabelled", tuple(f"{n}.png" for n in range(5))


def without_trigger(folder):
    (folder / "2.txt").write_text("a sksy cup")
    return "trigger", ("2.png",)


def wide(folder):
    picture(2, (600, 100)).save(folder / "2.png")
    return "cropped", ("2.png",)


def too_few(folder):
    for n in range(2, 5):
        (folder / f"{n}.png").unlink()
    return "few", ()


def identical(folder):
    for n in range(1, 5):
        (folder / f"{n}.png").write_bytes((folder / "0.png").read_bytes())
    return "identical", tuple(f"{n}.png" for n in range(5))


def transparent(folder):
    image = picture(2).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 20, 96))
    image.save(folder / "2.png")
    return "alpha", ("2.png",)


FAULTS = (blurred, copied, saved_again, tiny, broken, unreadable, unlabelled, none_labelled, without_trigger, wide)


@pytest.mark.parametrize("fault", [*FAULTS, too_few, identical, transparent])
def test_each_fault_is_found_with_its_pictures_and_no_other(tmp_path, fault):
    folder = fill(tmp_path / "set")
    kind, files = fault(folder)
    found = findings(folder)
    assert [(one.kind, one.files) for one in found] == [(kind, files)]
    assert found[0].text.endswith(".")


def test_a_healthy_dataset_is_left_in_peace(tmp_path):
    assert findings(fill(tmp_path / "set", 12)) == []


def test_a_photo_in_ratio_3_to_2_is_no_fault(tmp_path):
    assert findings(fill(tmp_path / "set", size=(768, 512)), resolution=512) == []


def test_without_a_resolution_sizes_are_not_judged(tmp_path):
    folder = fill(tmp_path / "set")
    tiny(folder)
    assert findings(folder, resolution=0) == []


def test_nothing_at_all_and_too_many_are_told(tmp_path):
    looks = [*Looks(tmp_path / "looks.json").all(list_pictures(fill(tmp_path / "set", 8))).values()]
    assert [one.kind for one in examine([])] == ["few"]
    many = [Case(f"{n}.png", looks[n % 8], "a cup") for n in range(1001)]
    assert "many" in [one.kind for one in examine(many)]


@pytest.mark.parametrize(
    ("text", "word", "there"),
    [("a sks cup", "sks", True), ("SKS, a cup", "sks", True), ("tasks", "sks", False), ("x (y)", "(y)", True)],
)
def test_a_word_is_no_part_of_another(text, word, there):
    assert has_word(text, word) == there


def test_what_was_seen_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    folder = fill(tmp_path / "set", 3)
    file = tmp_path / "looks.json"
    first = Looks(file).all(list_pictures(folder))
    opened = []
    monkeypatch.setattr("studio.datasets.looks.look_at", lambda path: opened.append(path.name) or look_at(path))
    assert Looks(file).all(list_pictures(folder)) == first
    assert opened == []
    (folder / "1.png").write_bytes(data(Image.new("RGB", (5, 5))))
    assert Looks(file).all(list_pictures(folder))["1.png"].width == 5
    assert opened == ["1.png"]
    file.write_text("{broken")
    assert len(Looks(file).all(list_pictures(folder))) == 3
