"""The pack's own CLIP tokenizer: byte-level BPE in which every word of a caption is one token."""

import json
import random
from pathlib import Path

from transformers import CLIPTokenizer

from studio.starter.captions import caption, words
from studio.starter.spec import HELD_OUT_KINDS, sample_spec

LENGTH = 32
START, END = "<|startoftext|>", "<|endoftext|>"
# Not in captions: what later trainers and people will say, so that it is a token of its own.
MORE = (
    "and with without near next to behind in front of under over above below the a an two "
    "sks striped teapot rocket umbrella chalk ink style photo of one three four gray turquoise castle dog cat"
)


def make_tokenizer(folder: Path) -> CLIPTokenizer:
    """Train it on captions, write vocab.json, merges.txt and the configuration into `folder`, and read it back."""
    merges = _merges([*_sentences(), *[" ".join((*words(), MORE, *HELD_OUT_KINDS))] * 5])
    alphabet = sorted(_alphabet())
    tokens = [*alphabet, *(c + "</w>" for c in alphabet), *("".join(pair) for pair in merges), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    made = CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=LENGTH)
    made.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def _sentences() -> list[str]:
    rng = random.Random(1)
    return [caption(sample_spec(rng), rng) for _ in range(12000)]


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return list(pre_tokenizers.ByteLevel.alphabet())


def _merges(sentences: list[str]) -> list[tuple[str, str]]:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=END))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pieces = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=1400,
        min_frequency=2,
        initial_alphabet=sorted(_alphabet()),
        end_of_word_suffix="</w>",
        special_tokens=[],
        show_progress=False,
    )
    bpe.train_from_iterator(sentences, trainer)
    found = json.loads(bpe.to_str())["model"]["merges"]
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in found)
    return [(a, b) for a, b in pairs]
