import pytest

from studio.prompts.check import complaints
from studio.prompts.comments import strip_comments
from studio.prompts.networks import read_networks
from studio.prompts.prepare import Sources, prepare
from studio.prompts.styles import Style, apply_styles, read_styles


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("a # b\nc", "a \nc"),
        ("# x\na", "a"),
        ("a\n  # x\nb", "a\nb"),
        ("a /* b */ c", "a  c"),
        ("a /* b\n */ c", "a  c"),
        ("a /* b", "a /* b"),
        (r"a \# b", r"a \# b"),
        ("a */ /* # b */ c /* d", "a */  c /* d"),
        ("# a /* b\nc */", "c */"),
    ],
)
def test_comments_go_and_the_rest_stays(typed, left):
    assert strip_comments(typed) == left


def only(prompt):
    (tag,) = read_networks(prompt).tags
    return tag


def test_weights_stand_by_place_or_by_key():
    assert only("<lora:x>").weight == 1.0
    assert (only("<lora:x:0.8>").weight, only("<lora:x:0.8>").text_weight) == (0.8, None)
    assert (only("<lora:x:0.5:1>").text_weight, only("<lora:x:0.5:1>").weight) == (0.5, 1.0)
    keyed = only("<lora:x:te=0.2:unet=.3:dyn=4>")
    assert (keyed.text_weight, keyed.weight, keyed.rank) == (0.2, 0.3, 4)
    assert only("<lora:x:te=0.5>").weight == 0.5
    assert only("<lora:x:1:start=.2:end=0.8:curve=rise>").end == 0.8
    assert (only("<hypernet:h:.5>").kind, only("<hypernet:h:.5>").weight) == ("hypernetwork", 0.5)


def test_tags_are_taken_out_and_keep_their_order():
    read = read_networks("a <lora:one:1> b <hypernet:two:0.5><lyco:three>")
    assert read.text == "a  b "
    assert [tag.name for tag in read.tags] == ["one", "two", "three"]
    assert not read.notes


@pytest.mark.parametrize(
    "prompt", ["<lora:x:abc>", "<lora:x:nan>", "<lora:x:1:inf>", "<lora:x:1:1:big>", "<lora:x:1:up=2>"]
)
def test_what_cannot_be_used_in_a_tag_is_told(prompt):
    read = read_networks(prompt)
    assert len(read.notes) == 1
    assert read.tags[0].weight == 1.0


def test_an_unknown_tag_is_told_and_what_is_none_stays():
    read = read_networks("I <3 you <foo:bar> a < b <lora:a")
    assert read.text == "I <3 you  a < b <lora:a"
    assert "<foo:bar>" in read.notes[0]


def test_styles_take_the_prompt_in_or_follow_it():
    styles = read_styles('name,prompt,negative_prompt\nfilm,"film of {prompt}, grain",blurry\nink,ink,\n,x,y\n')
    assert styles == {"film": Style("film of {prompt}, grain", "blurry"), "ink": Style("ink")}
    assert apply_styles("a cat <style:film>", "", styles) == ("film of a cat, grain", "blurry", [])
    assert apply_styles("a cat <style:ink><style:film>", "bad", styles)[:2] == (
        "film of a cat, ink, grain",
        "bad, blurry",
    )
    assert apply_styles(" a cat ", " bad", styles) == (" a cat ", " bad", [])


def test_a_style_that_is_not_there_is_told():
    prompt, _, notes = apply_styles("a cat <style:oil>", "", {})
    assert prompt == "a cat "
    assert "oil" in notes[0]


@pytest.mark.parametrize(
    ("prompt", "about"),
    [
        ("a (cat", "never closed"),
        ("a cat)", "closes nothing"),
        ("[a(b]c)", "other kind"),
        ("(a:1.2.3)", "no number"),
        ("[cat:dog]", "names no step"),
        ("[a|b:3]", "both : and |"),
        ("[a:b:c:3]", "too many colons"),
        ("a <lora:x", "never ends"),
    ],
)
def test_mistakes_are_told(prompt, about):
    assert about in complaints(prompt)[0]


@pytest.mark.parametrize(
    "prompt", ["", ":) hi ;-)", "(a:1.2) [b:c:.5] [d|e] [f]", r"\(x", "(red: a house)", "I <3 a < b", "a (b:-1)"]
)
def test_what_is_usual_is_not_complained_of(prompt):
    assert complaints(prompt) == []


def test_complaints_are_few_however_many_mistakes_there_are():
    assert len(complaints(")" * 5000)) == 4
    assert len(complaints("[a:b]" * 5000)) == 4
    assert len(complaints("(" * 5000)) == 1


def test_and_in_a_negative_prompt_is_told():
    assert complaints("cat AND dog") == []
    assert "negative" in complaints("cat AND dog", negative=True)[0]


@pytest.mark.parametrize("prompt", ["", " a  cat, \n dog ", r"a (b:1.2) [c:d:3] {x} :) \(y\) BREAK AND z"])
def test_a_prompt_without_templates_stays_as_typed(prompt):
    made = prepare(prompt, prompt.replace("AND", ""), 1)
    assert (made.prompt, made.tags) == (prompt, ())


def test_everything_is_done_in_its_order():
    styles = {"s": Style("{prompt}, __c__ <lora:l:0.5> # not this", "{x|x}")}
    sources = Sources(wildcards={"c": ["red"]}.get, styles=lambda: styles)
    made = prepare("a {cat|cat} <style:s>", "bad <lora:n:1> __none__", 3, sources)
    assert made.prompt.strip() == "a cat, red"
    assert made.negative_prompt == "bad  __none__, x"
    assert [tag.name for tag in made.tags] == ["l"]
    assert len(made.warnings) == 2
