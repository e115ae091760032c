import pytest

from studio.library.tools.order import read_plan
from studio.library.tools.size import about

LAYER = 4 * (192 + 128)  # numbers of one of the LoRAs


def size(library, models, **body):
    return about(read_plan({"name": "made", **body}, library, models))[1]


CASES = [
    ({"tool": "merge-loras", "files": ["ink", "oil"]}, 2 * LAYER * 2),
    ({"tool": "merge-loras", "files": ["ink", "oil"], "rank": 2}, LAYER // 2 * 2),
    ({"tool": "merge-loras", "files": ["ink", "oil"], "precision": "fp32"}, 2 * LAYER * 4),
    ({"tool": "resize", "files": ["ink"], "rank": 1}, LAYER // 4 * 2),
    ({"tool": "resize", "files": ["ink"], "rank": 99}, LAYER * 2),
]


@pytest.mark.parametrize(("body", "wanted"), CASES)
def test_factors_count_by_rank_and_precision(library, models, body, wanted):
    assert size(library, models, **body) == pytest.approx(wanted, abs=8)


def test_a_checkpoint_stays_as_large_as_it_is_and_an_extract_grows_with_its_rank(library, models):
    desk = next(entry for entry in library.entries("checkpoint") if entry.base.startswith("starter"))
    assert size(library, models, tool="bake", checkpoint=desk.name, files=["ink"]) == desk.bytes
    pair = {"tool": "extract", "files": [desk.name] * 2}
    small, large = (size(library, models, **pair, rank=rank) for rank in (2, 4))
    assert 0 < small < large <= 2 * small < desk.bytes


def test_the_sentence_says_what_comes_out(library, models):
    plan = read_plan({"tool": "merge-loras", "files": ["ink", "oil"], "energy": 0.9, "name": "both"}, library, models)
    text, _ = about(plan)
    assert text == (
        "One LoRA that does at a weight of 1 what these 2 LoRAs do at their weights: both.safetensors, at most 5.1 KB."
    )
