"""Captions in training say what the engine reads in prompts."""

import pytest
import torch

from studio.engine.prompt import Reading
from studio.engine.store import Store
from studio.errors import InvalidRequestError
from studio.training.base import Captions
from studio.training.methods.build import build_method
from tests import tiny
from tests.training.methods import kit

LONG = " ".join("abcdefghij" * 3)  # a window has 14 words here
TEXTS = ("a cat", LONG, "a cat", "dog, dog")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for base in kit.BASES:
        kit.pipeline(base).save_pretrained(root / base)
    return root


@pytest.fixture(params=kit.BASES)
def checkpoint(request, folders):
    return kit.new_engine().store.checkpoint(kit.location(folders / request.param, request.param))


@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize("clip_skip", [0, 1])
@torch.no_grad()
def test_captions_say_what_the_engine_reads(checkpoint, learning, clip_skip):
    captions = Captions(checkpoint.prompts, clip_skip, learning=learning)
    for _ in range(2):
        said = captions.read(TEXTS)
        for row, text in enumerate(TEXTS):
            expected = checkpoint.prompts.encode(text, Reading(clip_skip=clip_skip), windows=3)
            torch.testing.assert_close(said.words[row], expected.tokens[0])
            if said.pooled is not None:
                torch.testing.assert_close(said.pooled[row], expected.pooled[0])


@torch.no_grad()
def test_no_caption_says_what_no_negative_prompt_does(checkpoint):
    said = Captions(checkpoint.prompts).read(("a cat", ""))
    told = checkpoint.prompts.encode_script("a cat", "", 1)
    torch.testing.assert_close(said.words[1], told.untold.at(1).tokens[0])
    torch.testing.assert_close(said.words[0], told.lines[0].at(1).tokens[0])


def test_captions_without_learning_have_no_gradients_and_are_read_once(checkpoint):
    captions = Captions(checkpoint.prompts)
    checkpoint.prompts.text_encoders[0].requires_grad_(True)
    assert not captions.read(("a cat",)).words.requires_grad
    checkpoint.prompts.text_encoders[0].requires_grad_(False)
    calls = []
    handle = checkpoint.prompts.text_encoders[0].register_forward_hook(lambda *given: calls.append(given))
    captions.read(("a cat", "a cat"))
    captions.read(("dog", "a cat"))
    handle.remove()
    assert len(calls) == 1


def test_vectors_that_are_written_to_are_read_again(checkpoint):
    rows = tuple(torch.randn(2, tiny.HIDDEN) for _ in checkpoint.prompts.readers)
    captions = Captions(checkpoint.prompts, vectors={kit.TRIGGER: rows})
    before = captions.read((f"a {kit.TRIGGER}",)).words
    rows[0].add_(1.0)
    after = captions.read((f"a {kit.TRIGGER}",)).words
    assert not torch.equal(before, after)


def test_what_cannot_learn_is_refused(folders, tmp_path):
    pipe = kit.pipeline("sd1")
    pipe.unet = tiny.tiny_inpainting_unet()
    pipe.save_pretrained(tmp_path / "filling")
    for folder, base in ((tmp_path / "filling", "sd1"), (folders / "sdxl", "sdxl-refiner")):
        place = kit.location(folder, base)
        with pytest.raises(InvalidRequestError) as refused:
            kit.build(kit.new_engine(), place)
        assert refused.value.field == "checkpoint"


HALVED = {
    "lora": {"train_text_encoder": True, "conv_rank": 2},
    "dora": {"method": "lora", "dora": True},
    "dreambooth": {"train_text_encoder": True},
    "inversion": {},
    "pivotal": {},
    "hypernetwork": {},
    "controlnet": {"unlocked_decoder": True},
    "t2i_adapter": {},
    "ip_adapter": {},
}


@pytest.mark.parametrize(
    ("base", "held", "precision"), [("sd1", torch.bfloat16, "fp32"), ("sdxl", torch.float32, "bf16")]
)
@pytest.mark.parametrize("name", HALVED)
def test_what_learns_is_fp32_beside_weights_and_sums_in_half_precision(folders, name, base, held, precision):
    store = Store(torch.device("cpu"), held, "sdpa")
    checkpoint = store.checkpoint(kit.location(folders / base, base))
    params = kit.params(**{"method": name, "base": base, "precision": precision} | HALVED[name])
    torch.manual_seed(0)
    method = build_method(params, checkpoint, features=12)
    rng = torch.Generator().manual_seed(4)
    maps, features = torch.rand(2, 3, tiny.SIZE, tiny.SIZE, generator=rng), torch.randn(2, 12, generator=rng)
    losses = kit.learn(method, kit.batch(maps=maps, features=features), steps=6, rate=1e-2)
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in method.trained.parameters()} == {torch.float32}
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.trained.parameters())
    method.close()
