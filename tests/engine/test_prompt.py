"""The laws of reading prompts, against a naive reading of the same encoders."""

import math

import pytest
import torch

from studio.engine.prompt import PLAIN, PromptEncoder, Reader, Reading, Vectors
from studio.engine.weighting import WEIGHTINGS
from tests import tiny

VECTORS = torch.randn(3, tiny.HIDDEN, generator=torch.Generator().manual_seed(4))
STYLE = Reading(embeddings={"my-style": Vectors("one", (VECTORS, VECTORS))})


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture
def small(pipe):
    return PromptEncoder((Reader(pipe.tokenizer, pipe.text_encoder),), "weights")


@pytest.fixture(scope="module")
def sdxl():
    return tiny.tiny_sdxl_pipeline()


@pytest.fixture
def large(sdxl):
    readers = Reader(sdxl.tokenizer, sdxl.text_encoder), Reader(sdxl.tokenizer_2, sdxl.text_encoder_2)
    return PromptEncoder(readers, "weights", large=True)


def states(reader, text, pieces=None):
    """The states of one window, (16, width), with the ids of `text` or of its pieces one after the other."""
    tokenizer = reader.tokenizer
    words = [i for piece in pieces or [text] for i in tokenizer(piece, add_special_tokens=False).input_ids]
    ids = ([tokenizer.bos_token_id, *words, tokenizer.eos_token_id] + [tokenizer.pad_token_id] * 16)[:16]
    return reader.model(torch.tensor([ids]))[0][0]


def weights_of(reader, pieces):
    """One for each of the 16 places. pieces: [(text, weight)]."""
    row = [1.0]
    for piece, weight in pieces:
        row += [weight] * len(reader.tokenizer(piece, add_special_tokens=False).input_ids)
    return torch.tensor((row + [1.0] * 16)[:16])[:, None]


PIECES = [("a ", 1.0), ("cat", 1.5), (" b ", 1.0), ("dog", 0.4)]
TYPED = "a (cat:1.5) b (dog:0.4)"


def test_a_prompt_without_weights_is_what_the_encoder_says_bit_for_bit(small, pipe):
    ids = pipe.tokenizer("a cat", padding="max_length", return_tensors="pt").input_ids
    assert torch.equal(small.encode("a cat").tokens, pipe.text_encoder(ids)[0])


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_without_weights_every_weighting_says_the_same(small, weighting):
    assert torch.equal(small.encode("a cat", Reading(weighting=weighting)).tokens, small.encode("a cat").tokens)


def test_weights_multiply_and_the_mean_is_restored(small):
    (reader,) = small.readers
    plain = states(reader, "", [piece for piece, _ in PIECES])
    told = plain * weights_of(reader, PIECES)
    torch.testing.assert_close(small.encode(TYPED).tokens[0], told * (plain.mean() / told.mean()))
    torch.testing.assert_close(small.encode(TYPED, Reading(weighting="no_norm")).tokens[0], told)


def test_comfys_weights_go_from_the_empty_prompt(small):
    (reader,) = small.readers
    plain, empty = states(reader, "", [piece for piece, _ in PIECES]), states(reader, "")
    expected = empty + (plain - empty) * weights_of(reader, PIECES)
    torch.testing.assert_close(small.encode(TYPED, Reading(weighting="comfy")).tokens[0], expected)


def test_compels_small_weights_fade_into_the_prompt_without_the_words(small):
    (reader,) = small.readers
    empty = states(reader, "")

    def from_empty(pieces):
        plain = states(reader, "", [piece for piece, _ in pieces])
        return empty + (plain - empty) * weights_of(reader, pieces)

    share = math.tan((1 - 0.4) * math.pi / 2)
    expected = (from_empty(PIECES) + share * from_empty(PIECES[:3])) / (1 + share)
    torch.testing.assert_close(small.encode(TYPED, Reading(weighting="compel")).tokens[0], expected)


def test_none_reads_the_words_alone(small):
    plain = states(small.readers[0], "", [piece for piece, _ in PIECES])
    assert torch.equal(small.encode(TYPED, Reading(weighting="none")).tokens[0], plain)


def test_each_of_sdxls_encoders_restores_its_own_mean(large):
    said = large.encode("a (cat:1.5)")
    for number, reader in enumerate(large.readers):
        ids = reader.rows(reader.cutter({}).cut([("a ", 1.0), ("cat", 1.0)]))
        plain = reader.model(ids, output_hidden_states=True).hidden_states[-2][0]
        told = plain * weights_of(reader, [("a ", 1.0), ("cat", 1.5)])
        half = said.tokens[0][:, number * tiny.HIDDEN : (number + 1) * tiny.HIDDEN]
        torch.testing.assert_close(half, told * (plain.mean() / told.mean()))


def test_sdxls_pooled_prompt_knows_no_weights(large):
    assert torch.equal(large.encode("a (cat:1.5)").pooled, large.encode("a cat").pooled)


@pytest.mark.parametrize("prompt", ["(a:0)", "(" * 1000 + "a" + ")" * 1000, "(a:-1e2)", "[" * 1000 + "a"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_of_any_size_leave_numbers(small, prompt, weighting):
    assert small.encode(prompt, Reading(weighting=weighting)).tokens.isfinite().all()


def test_a_weight_beyond_measure_is_told(small):
    told = small.encode_script("(" * 1000 + "a" + ")" * 1000, "", 4)
    assert any("weight" in note for note in told.notes)
    assert not small.encode_script("(a:1.5)", "", 4).notes


def with_vectors(reader, places):
    """The states where the embeddings of these places are rows of VECTORS. places: an id, or a row of VECTORS."""
    model = reader.model
    ids = (
        [reader.tokenizer.bos_token_id, *(p if p >= 0 else 0 for p in places)] + [reader.tokenizer.eos_token_id] * 16
    )[:16]
    table = model.get_input_embeddings()
    given = table(torch.tensor([ids]))
    for i, place in enumerate(places, 1):
        if place < 0:
            given[0, i] = VECTORS[-place - 1]

    hook = table.register_forward_hook(lambda *_: given)
    try:
        return model(torch.tensor([ids]))[0][0]
    finally:
        hook.remove()


def test_an_embedding_stands_as_its_vectors(small):
    (reader,) = small.readers
    expected = with_vectors(reader, [*reader.tokens("a"), -1, -2, -3, *reader.tokens("b")])
    torch.testing.assert_close(small.encode("a my-style b", STYLE).tokens[0], expected)


def test_an_embedding_leaves_nothing_behind(small, pipe):
    before, vocabulary = small.encode("a my-style b").tokens, len(pipe.tokenizer)
    assert not torch.allclose(small.encode("a my-style b", STYLE).tokens, before, atol=1e-3)
    small.cache.clear()
    assert torch.equal(small.encode("a my-style b").tokens, before)
    assert len(pipe.tokenizer) == vocabulary
    assert not pipe.text_encoder.get_input_embeddings()._forward_hooks


def test_an_embedding_with_other_contents_is_another_prompt(small):
    other = Reading(embeddings={"my-style": Vectors("two", (VECTORS * 2,))})
    assert not torch.equal(small.encode("my-style", STYLE).tokens, small.encode("my-style", other).tokens)


def test_windows_count_the_vectors(small):
    assert small.encode_script("a b c d e f g h i j k l", "", 1).lines[0].at(1).tokens.shape[1] == 16
    assert small.encode_script("a b c d e f g h i j k l my-style", "", 1, STYLE).lines[0].at(1).tokens.shape[1] == 32


def test_sdxls_second_encoder_reads_the_embedding_too(large):
    one = Reading(embeddings={"x-y": Vectors("1", (VECTORS, VECTORS))})
    other = Reading(embeddings={"x-y": Vectors("2", (VECTORS, -VECTORS))})
    first, second = large.encode("x-y", one), large.encode("x-y", other)
    assert torch.equal(first.tokens[..., : tiny.HIDDEN], second.tokens[..., : tiny.HIDDEN])
    assert not torch.equal(first.tokens[..., tiny.HIDDEN :], second.tokens[..., tiny.HIDDEN :])
    assert not torch.equal(first.pooled, second.pooled)


def test_break_begins_a_window(small):
    told = small.encode("a BREAK b", windows=2).tokens
    assert torch.equal(told[:, :16], small.encode("a").tokens)
    assert torch.equal(told[:, 16:], small.encode("b").tokens)


def test_all_texts_of_a_script_are_equally_long_and_encoded_once(small, monkeypatch):
    read, real = [], PromptEncoder._encode
    monkeypatch.setattr(PromptEncoder, "_encode", lambda self, *args: read.append(args) or real(self, *args))
    told = small.encode_script("[a|b BREAK c] AND [a|b BREAK c]", "x", 10)
    assert len(read) == 5  # a and b BREAK c, each before AND and after it with other blanks, and x
    assert {said.tokens.shape[1] for line in (*told.lines, told.untold) for _, said in line.spans} == {32}


def test_words_change_after_their_step(small):
    told = small.encode_script("[a:b:2]", "", 4)
    assert [torch.equal(told.lines[0].at(step).tokens, small.encode("a").tokens) for step in (1, 2, 3, 4)] == [
        True,
        True,
        False,
        False,
    ]


def test_sdxls_empty_negative_prompt_is_nothing_but_an_empty_prompt_is_read(large):
    told = large.encode_script("", "", 1)
    assert not told.untold.at(1).tokens.any()
    assert told.lines[0].at(1).tokens.any()
    assert large.encode_script("", " ", 1).untold.at(1).tokens.any()


def test_a_prompt_of_twenty_thousand_tokens_is_cut_with_a_note(small):
    told = small.encode_script("word, " * 5000, "", 2)
    assert told.lines[0].at(1).tokens.shape[1] == 32 * 16
    assert "left out" in told.notes[0]


def test_another_key_never_answers(small):
    before = small.encode("a", PLAIN)
    small.key = "others"
    assert small.encode("a", PLAIN) is not before
