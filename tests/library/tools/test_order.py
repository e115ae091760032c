import json
from dataclasses import fields

import pytest

from studio.errors import InvalidRequestError
from studio.library.tools.order import checkpoint_for, read_plan
from studio.library.tools.table import TOOLS


def order(library, models, **body):
    return json.loads(json.dumps(read_plan({"name": "made", **body}, library, models).order()))


def desk(library):
    return next(entry for entry in library.entries("checkpoint") if entry.base == "starter-0ff5dfae")


def test_the_process_knows_every_field_of_every_tool():
    from studio.engine import tools

    known = {field.name for field in fields(tools.Order)} | {"name"}
    assert {tool.name for tool in TOOLS} == set(tools.TOOLS)
    assert {field.name for tool in TOOLS for field in tool.fields} <= known


def test_loras_get_their_weights_and_the_checkpoint_that_tells_their_layers(library, models):
    files = ["ink", {"name": "oil", "weight": -0.5, "text_weight": 0}]
    told = order(library, models, tool="merge-loras", files=files, rank=8, precision="fp32")
    assert told["weights"] == [[1.0, 1.0], [-0.5, 0.0]]
    assert told["checkpoint"] == str(desk(library).path)
    assert (told["rank"], told["precision"], told["energy"]) == (8, "fp32", 1.0)
    assert told["out"] == str(models / "loras" / "made.safetensors")


def test_a_well_known_base_needs_no_checkpoint(library, models):
    told = order(library, models, tool="resize", files=["huge"])
    assert (told["checkpoint"], told["rank"]) == ("", 16)
    assert "weights" not in told


@pytest.mark.parametrize(("base", "found"), [("starter-0ff5dfae", True), ("unknown", True), ("", True), ("sd1", False)])
def test_what_does_not_say_its_base_may_be_a_starters(library, base, found):
    assert checkpoint_for(base, library) == (desk(library) if found else None)


def test_a_checkpoint_comes_out_in_the_form_of_the_first(library, models):
    name = desk(library).name
    assert order(library, models, tool="bake", checkpoint=name, files=["ink"])["out"].endswith("/checkpoints/made")
    assert order(library, models, tool="extract", files=[name, name])["out"].endswith("/loras/made.safetensors")


def test_what_is_not_said_is_usual(library, models):
    name = desk(library).name
    assert order(library, models, tool="merge", files=[name] * 2)["share"] == 0.5
    assert order(library, models, tool="merge", files=[name] * 3, share=None)["share"] == 1.0
    told = order(
        library, models, tool="merge", files=[name] * 2, share=0.3, blocks="unet.mid_block=0.1, text_encoder=0"
    )
    assert (told["share"], told["blocks"]) == (0.3, [["unet.mid_block", 0.1], ["text_encoder", 0.0]])
    assert order(library, models, tool="extract", files=[name] * 2, rank="", energy=None)["rank"] == 32


WRONG = [
    ({"tool": ["merge"]}, "tool", "no such tool"),
    ({"tool": "merge-loras", "files": ["ink", "huge"]}, "files", "huge is for sdxl, and .* for starter"),
    ({"tool": "bake", "files": ["ink"]}, "checkpoint", "No checkpoint is chosen"),
    ({"tool": "resize", "files": ["ink", "oil"]}, "files", "2 LoRAs are given"),
    ({"tool": "resize", "files": [7]}, "files", "There is no lora"),
    ({"tool": "resize", "files": ["ink"], "rank": True}, "rank", "Rank cannot be 'True'"),
    ({"tool": "resize", "files": ["ink"], "rank": 5000}, "rank", "Rank cannot be"),
    ({"tool": "respell", "files": ["ink"], "spelling": "own"}, "spelling", "Spelled for cannot be"),
    ({"tool": "merge-loras", "files": ["ink", {"name": "oil", "weight": float("inf")}]}, "files", "is no number"),
    ({"tool": "resize", "files": ["ink"], "name": "con"}, "name", "no name for a file"),
]


@pytest.mark.parametrize(("body", "field", "said"), WRONG)
def test_what_is_wrong_names_its_field(library, models, body, field, said):
    with pytest.raises(InvalidRequestError, match=said) as refused:
        order(library, models, **body)
    assert refused.value.field == field
    assert refused.value.hint


def test_a_block_without_a_share_is_refused(library, models):
    body = {"tool": "merge", "files": [desk(library).name] * 2, "blocks": "unet.mid_block"}
    with pytest.raises(InvalidRequestError, match="no block with a share") as refused:
        order(library, models, **body)
    assert refused.value.field == "blocks"
