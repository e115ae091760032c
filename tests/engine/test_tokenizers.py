import importlib.util

import pytest

from studio.engine.tokenizers import byte_letters, clip_tokenizer, read_vocabulary
from studio.errors import StartError

CAT = [49406, 320, 1125, 539, 320, 2368, 49407]


@pytest.mark.parametrize(("pads_with_end", "pad"), [(True, 49407), (False, 0)])
def test_a_photo_of_a_cat_has_the_known_ids(pads_with_end, pad):
    tokenizer = clip_tokenizer(pads_with_end=pads_with_end)
    assert tokenizer("a photo of a cat").input_ids == CAT
    padded = tokenizer("a photo of a cat", padding="max_length").input_ids
    assert padded == CAT + [pad] * (77 - len(CAT))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (49406, 49407, pad)
    assert tokenizer.model_max_length == 77


def test_unusual_texts_have_the_ids_that_open_clip_gives():
    # as open_clip.tokenizer.SimpleTokenizer of open_clip_torch 3.3.0 has them, without begin and end
    tokenizer = clip_tokenizer(pads_with_end=True)
    known = {
        "Hello, World! it's": [3306, 267, 1002, 256, 585, 568],
        "naïve 日本": [1097, 35689, 563, 39121, 19277, 361],
    }
    for text, ids in known.items():
        assert tokenizer(text, add_special_tokens=False).input_ids == ids


def test_the_vocabulary_is_read_once_and_has_every_id():
    vocabulary, merges = read_vocabulary()
    assert sorted(vocabulary.values()) == list(range(49408))
    assert len(merges) == 48894
    assert read_vocabulary()[0] is vocabulary


def test_every_byte_has_a_letter_of_its_own():
    assert len({*byte_letters()}) == 256
    assert all(letter.isprintable() and not letter.isspace() for letter in byte_letters())


def test_without_the_package_the_sentence_says_what_to_do(monkeypatch):
    read_vocabulary.cache_clear()
    clip_tokenizer.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(StartError, match="open_clip_torch is not installed"):
        clip_tokenizer(pads_with_end=True)
