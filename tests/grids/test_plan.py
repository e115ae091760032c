import itertools

import pytest

from studio.errors import InvalidRequestError
from studio.grids.plan import Axis, plan, read_axis
from studio.params import AdapterRef, ControlUnit, GenerationRequest

REQUEST = GenerationRequest(
    prompt="a red house",
    seed=3,
    adapters=(AdapterRef(name="ink", weight=0.5), AdapterRef(name="oil")),
    controls=(ControlUnit(kind="scribble", map="a" * 64),),
)


def test_every_combination_is_there_once_at_its_place():
    cells = plan(REQUEST, [Axis(field="seed", values=(1, 2, 3)), Axis(field="guidance_scale", values=(4.0, 5.0))])
    assert sorted(cell.place for cell in cells) == [(x, y) for x in range(3) for y in range(2)]
    assert all((c.request.seed, c.request.guidance_scale) == (c.place[0] + 1, c.place[1] + 4) for c in cells)


def test_what_is_dear_changes_least():
    axes = [
        Axis(field="num_inference_steps", values=(1, 2)),
        Axis(field="adapters.ink", values=(0.0, 1.0)),
        Axis(field="checkpoint", values=("a", "b")),
    ]
    cells = [cell.request for cell in plan(REQUEST, axes)]

    def changes(read):
        return sum(read(one) != read(other) for one, other in itertools.pairwise(cells))

    assert changes(lambda r: r.checkpoint) == 1
    assert changes(lambda r: r.adapters) == 3
    assert changes(lambda r: r.num_inference_steps) == 7


def test_a_weight_changes_in_its_place_of_the_stack_or_is_added():
    (cell,) = plan(REQUEST, [Axis(field="adapters.ink", values=(0.25,))])
    assert [(ref.name, ref.weight) for ref in cell.request.adapters] == [("ink", 0.25), ("oil", 1.0)]
    (cell,) = plan(REQUEST, [Axis(field="adapters.v1.5 pen", values=(0.25,))])
    assert [ref.name for ref in cell.request.adapters] == ["ink", "oil", "v1.5 pen"]


def test_words_are_put_where_the_first_ones_stand():
    cells = plan(REQUEST, [Axis(field="words", values=("red", "blue", "old green"))])
    assert [c.request.prompt for c in cells] == ["a red house", "a blue house", "a old green house"]


def test_every_control_follows_as_closely():
    cells = plan(REQUEST, [Axis(field="conditioning_scale", values=(0.0, 2.0))])
    assert [c.request.controls[0].conditioning_scale for c in cells] == [0.0, 2.0]


@pytest.mark.parametrize(
    ("field", "text", "values"),
    [
        ("seed", "1, 2,3", (1, 2, 3)),
        ("guidance_scale", " 4.5 , 7", (4.5, 7.0)),
        ("adapters.ink", "-0.5, 1", (-0.5, 1.0)),
        ("checkpoint", "a, b", ("a", "b")),
        ("words", 'red, "blue, old",', ("red", "blue, old")),
    ],
)
def test_values_are_read_as_they_are_typed(field, text, values):
    assert read_axis(field, text).values == values


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Axis(field="controls", values=(1,)), "cannot change 'controls'"),
        (lambda: Axis(field="adapters.", values=(1,)), "cannot change"),
        (lambda: Axis(field="seed", values=()), "no values"),
        (lambda: read_axis("seed", "1, two"), "'two' is no number"),
        (lambda: plan(REQUEST, []), "0 axes"),
        (lambda: plan(REQUEST, [Axis(field="seed", values=tuple(range(151)))]), "151 pictures"),
        (lambda: plan(REQUEST, [Axis(field="words", values=("green", "blue"))]), "stand in neither prompt"),
        (lambda: plan(REQUEST, [Axis(field="adapters.ink", values=(1e9,))]), "between -4 and 4"),
        (lambda: plan(REQUEST, [Axis(field="seed", values=("x",))]), "must be a whole number"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(make, says):
    with pytest.raises(InvalidRequestError, match=says):
        make()
