from types import SimpleNamespace

import pytest

from studio.bench.training import controls
from studio.datasets.store import DatasetStore
from studio.settings import BUILTIN, load_settings

PACK = BUILTIN / "assets" / "starter"
OWN = {
    "controlnet-drawn-scribble": "controlnet-scribble",
    "t2i-adapter-drawn-scribble": "t2i-adapter-scribble",
    "ip-adapter-drawn": "ip-adapter",
}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Of the pack's own models, in the place of what a run makes; a ControlNet took a minute."""
    folder = tmp_path_factory.mktemp("bench")
    paths = load_settings(folder).paths
    datasets = DatasetStore(folder / "datasets", folder / "trash", folder / "cache")
    desk = SimpleNamespace(studio=SimpleNamespace(settings=SimpleNamespace(paths=paths), datasets=datasets))
    taught = []

    def pressed(_desk, method, name):
        taught.append((method, [picture.name for picture in datasets.pictures(controls.DATASET)]))
        (folder / name).symlink_to(PACK / OWN[name])
        return 60.0, folder / name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controls, "press", pressed)
        patch.setattr(controls, "COUNT", 3)
        yield controls.control_figures(desk, PACK, 8, lambda _line: None), taught


def test_all_three_learn_from_the_same_pictures(figures):
    assert figures[1] == [
        (method, ["000.png", "001.png", "002.png"]) for method in ("controlnet", "t2i_adapter", "ip_adapter")
    ]


def test_models_that_are_known_to_obey_are_seen_to(figures):
    found, _ = figures
    assert found["controlnet: from press to usable card"].value == 60.0
    for title in ("controlnet", "t2i_adapter"):
        way = found[f"{title}, sketch, F1: way from off to the ceiling"]
        assert way.value > 15
        assert (way.bar, way.unit) == (None, "%")
    assert found["ip_adapter, other words: likeness, on - off"].value > 0
