import time
from pathlib import Path

import pytest

from studio.library.entry import ModelEntry
from studio.library.search import Query, search


def entry(name, kind="lora", base="sd1", **changed):
    plain = {
        "variant": "normal",
        "control_kind": "",
        "prediction_type": "",
        "format": "single file",
        "precision": "fp16",
        "bytes": 1,
        "usable": True,
        "reason": "",
        "id": "",
        "words": f"{name}\n{changed.pop('tag', '')}".casefold(),
    }
    return ModelEntry(name=name, path=Path(name), kind=kind, base=base, **plain | changed)


MODELS = [
    entry("Oil paint", favourite=True, bytes=5, last_used=3.0, modified=1.0),
    entry("ink", bytes=9, modified=9.0, tag="monochrome"),
    entry("big oil", kind="checkpoint", base="sdxl", bytes=99, usable=False, last_used=8.0),
    entry("Aquarelle", kind="vae", base="sdxl"),
]


def names(**query):
    return [row.name for row in search(MODELS, Query(**query)).rows]


def test_every_word_must_occur_in_any_order_and_case():
    assert names(text="PAINT oil") == ["Oil paint"]
    assert names(text="mono") == ["ink"]
    assert names(text="nothing") == []
    assert len(names()) == 4


@pytest.mark.parametrize(
    ("sort", "first"), [("name", "Aquarelle"), ("size", "big oil"), ("used", "big oil"), ("added", "ink")]
)
def test_the_order_is_as_asked(sort, first):
    assert names(sort=sort)[0] == first


def test_filters_narrow_the_list():
    assert names(kind="lora") == ["ink", "Oil paint"]
    assert names(base="sdxl", usable=True) == ["Aquarelle"]
    assert names(favourite=True) == ["Oil paint"]


def test_counts_are_of_what_another_choice_would_show():
    page = search(MODELS, Query(kind="lora"))
    assert page.counts == {"kind": {"checkpoint": 1, "lora": 2, "vae": 1}, "base": {"sd1": 2}}
    assert page.total == 2


def test_pages_follow_each_other():
    pages = [search(MODELS, Query(offset=at, limit=3)) for at in (0, 3)]
    assert [row.name for page in pages for row in page.rows] == names()
    assert [page.total for page in pages] == [4, 4]


def test_a_guest_finds_usable_models_by_their_names_alone():
    assert [row.name for row in search(MODELS, Query(favourite=True), guest=True).rows] == [
        "Aquarelle",
        "ink",
        "Oil paint",
    ]
    assert not search(MODELS, Query(text="monochrome"), guest=True).rows
    assert search(MODELS, Query(text="oil"), guest=True).counts["kind"] == {"lora": 1}


def test_ten_thousand_models_are_searched_while_one_types():
    many = [entry(f"model {number}", tag="oil") for number in range(10_000)]
    started = time.process_time()
    assert search(many, Query(text="model 99", sort="added")).total == 280
    assert time.process_time() - started < 0.5  # ten times what it takes
