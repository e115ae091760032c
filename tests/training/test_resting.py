"""Parts that no step needs hold no memory while steps are taken, and are whole again for whoever needs them."""

import shutil

import pytest
import torch

from studio.engine import decoding
from studio.engine.modules import loaded_tensors
from studio.errors import ModelNotFoundError
from studio.training.base import REMEMBERED, Captions
from studio.training.resting import VAE, Resting
from studio.training.session import Session
from studio.training.step import Lesson
from tests.training.methods import kit
from tests.training.test_base import LONG
from tests.training.test_every_method import Given
from tests.training.test_session import everything

TEXT = "text_encoder"
CAPTIONS = (f"a {kit.TRIGGER} cat", "")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for base in ("sd1", "sdxl"):
        kit.pipeline(base).save_pretrained(root / base)
    return root


@pytest.fixture
def place(folders):
    return kit.location(folders / "sd1", "sd1")


@pytest.fixture
def engine():
    return kit.new_engine()


def held(module):
    return sum(tensor.numel() for tensor in loaded_tensors(module).values())


def test_what_rests_holds_nothing_and_comes_back_bit_for_bit_when_it_is_called(engine, place):
    checkpoint = engine.store.checkpoint(place)
    before, pixels = kit.fingerprints(checkpoint), torch.rand(1, 3, 32, 32)
    latents = decoding.encode(checkpoint.vae, pixels, warnings=[])
    resting = Resting(checkpoint)
    resting.rest((VAE, TEXT, "text_encoder_2"))
    assert resting.resting == {VAE, TEXT}
    assert held(checkpoint.vae) == held(checkpoint.prompts.text_encoders[0]) == 0
    assert torch.equal(decoding.encode(checkpoint.vae, pixels, warnings=[]), latents)
    assert resting.resting == {TEXT}
    assert kit.fingerprints(checkpoint) == before
    assert not resting.resting
    resting.rest((VAE, TEXT))
    resting.close()
    assert held(checkpoint.vae)
    assert not checkpoint.vae._state_dict_pre_hooks


def test_it_comes_back_though_its_folder_is_gone(engine, place, tmp_path):
    copy = shutil.copytree(place.path, tmp_path / "copy")
    checkpoint = engine.store.checkpoint(kit.location(copy, "sd1"))
    before, resting = kit.fingerprints(checkpoint), Resting(checkpoint)
    resting.rest((VAE,))
    shutil.rmtree(copy)
    assert kit.fingerprints(checkpoint) == before


def test_a_file_that_was_cut_short_is_said(engine, place, tmp_path):
    copy = shutil.copytree(place.path, tmp_path / "copy")
    checkpoint = engine.store.checkpoint(kit.location(copy, "sd1"))
    resting = Resting(checkpoint)
    resting.rest((VAE,))
    with next((copy / "vae").glob("*.safetensors")).open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(ModelNotFoundError, match=r"cannot be read again: .*shorter"):
        resting.wake()
    assert resting.resting == {VAE}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"method": "lora"}, {VAE, TEXT}),
        ({"method": "lora", "train_text_encoder": True}, {VAE}),
        ({"method": "dreambooth"}, {VAE, TEXT}),
        ({"method": "inversion"}, {VAE}),
        ({"method": "pivotal", "inversion_share": 0.5}, {VAE, TEXT}),
        ({"method": "hypernetwork"}, {VAE, TEXT}),
    ],
)
def test_a_run_does_without_them_and_ends_the_same(engine, place, tmp_path, given, expected):
    def run(folder, captions):
        engine.store.free()
        method = kit.build(engine, place, steps=4, batch=2, learning_rate=1e-3, **given)
        method.captions.expected = captions
        session = Session(method.params, Lesson(method, Given(prior=False), method.checkpoint.noise), folder)
        session.run()
        return session, method.resting.resting

    plain, nothing = run(tmp_path / "plain", ())
    spared, rested = run(tmp_path / "spared", CAPTIONS)
    assert nothing == set()
    assert rested == expected
    assert everything(spared) == everything(plain)


def test_pictures_and_exports_are_made_of_what_rests(engine, place):
    before = kit.fingerprints(engine.store.checkpoint(place))
    method = kit.build(engine, place, method="dreambooth")
    method.captions.expected = CAPTIONS
    with method.shown():
        picture = kit.picture(engine, place)
    method.before_step(0, 4)
    assert method.resting.resting == {VAE, TEXT}
    with method.shown():
        assert torch.equal(kit.picture(engine, place), picture)
    method.before_step(1, 4)
    (export,) = method.exports()
    assert all(tensor.numel() for tensor in export.tensors.values())
    method.before_step(2, 4)
    method.close()
    assert kit.fingerprints(engine.store.checkpoint(place)) == before


@pytest.mark.parametrize("base", ["sd1", "sdxl"])
@torch.no_grad()
def test_captions_that_were_read_ahead_say_the_same_and_call_nobody(folders, engine, base):
    checkpoint = engine.store.checkpoint(kit.location(folders / base, base))
    texts = ("a cat", LONG, "")
    plain = Captions(checkpoint.prompts, learning=True).read(texts)
    captions = Captions(checkpoint.prompts, expected=texts)
    assert captions.read_ahead()
    calls = []
    handles = [
        one.register_forward_hook(lambda *given: calls.append(given)) for one in checkpoint.prompts.text_encoders
    ]
    said = captions.read(texts)
    for handle in handles:
        handle.remove()
    assert not calls
    torch.testing.assert_close(said.words, plain.words)
    if plain.pooled is not None:
        torch.testing.assert_close(said.pooled, plain.pooled)


def test_more_captions_than_are_remembered_are_not_read_ahead(engine, place):
    prompts = engine.store.checkpoint(place).prompts
    assert not Captions(prompts, expected=[f"cat {number}" for number in range(REMEMBERED)]).read_ahead()
    assert not Captions(prompts).read_ahead()
    assert not Captions(prompts, expected=["a cat"], learning=True).read_ahead()
