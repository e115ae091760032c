import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from studio.settings import BUILTIN
from studio.starter.control import strengthen
from studio.starter.judge import Judge, judge_loss, score, shrink, truth
from studio.starter.measure import edge_f1, set_exam, silhouette_iou
from studio.starter.text import TARGETS, attributes, tokenize
from studio.starter.unet import Words
from studio.starter.vae import new_vae, psnr, reconstruction_loss
from tests import tiny

PACK = BUILTIN / "assets" / "starter"


@pytest.fixture(scope="module")
def exam():
    return set_exam(12)


class Told:
    """Scenes of which only the captions count."""

    def __init__(self, captions):
        self.captions = captions

    def __len__(self):
        return len(self.captions)


def test_the_vaes_loss_falls_on_one_batch(exam):
    torch.manual_seed(0)
    vae, pictures = new_vae(), shrink(exam.images[:2])
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3)
    losses = []
    for _ in range(6):
        loss = reconstruction_loss(vae, pictures)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_attributes_tell_scenes_apart(exam):
    told = np.stack([attributes(scene.spec) for scene in exam.scenes])
    assert told.shape == (12, TARGETS)
    assert len(np.unique(told, axis=0)) == len({scene.spec for scene in exam.scenes})


def test_the_judges_truth_is_right_by_its_own_measure(exam):
    """A judge that says the truth scores 1 everywhere."""
    specs, centers = [s.spec for s in exam.scenes], [[p.x for p in s.placed] for s in exam.scenes]
    told = truth(np.stack([s.segments for s in exam.scenes]), specs, centers)

    class Oracle(Judge):
        def forward(self, pictures):
            answers = {"kind": (told.kind, 12), "color": (told.color, 11)}
            dense = {k: torch.nn.functional.one_hot(t, n).permute(0, 3, 1, 2) * 50.0 for k, (t, n) in answers.items()}
            flat = {"background": (told.background, 7), "plain": (told.plain.clamp(min=0), 10)}
            return dense | {k: torch.nn.functional.one_hot(t, n) * 50.0 for k, (t, n) in flat.items()}

    assert judge_loss(Oracle()(None), told).item() < 1e-3
    figures = score(Oracle(), exam.images, specs)
    assert figures["background"] == figures["color"] == figures["side"] == 1.0
    assert figures["object"] >= 0.95


def test_a_true_picture_follows_its_outline_and_a_blank_one_does_not(exam):
    scene = exam.scenes[0]
    assert edge_f1(scene.image, scene.outline) > 0.6
    assert edge_f1(np.zeros_like(scene.image), scene.outline) == 0


def test_silhouettes_of_plain_scenes_overlap_with_themselves(exam):
    plain = [s for s in set_exam(30).scenes if s.spec.plain]
    assert plain
    assert np.mean([silhouette_iou(s.image, s.segments > 2) for s in plain]) > 0.85


def test_psnr_of_a_known_error():
    a = torch.zeros(1, 3, 4, 4)
    assert psnr(a, a + 0.2) == pytest.approx(20.0, abs=1e-4)


def test_a_caption_that_is_mistold_names_the_other_side():
    tokenizer = CLIPTokenizer.from_pretrained(PACK / "desk" / "tokenizer", local_files_only=True)
    true, false = "a tree on the left and a house on the right", "a tree on the right and a house on the left"
    words = Words(tokenizer, Told([[true], ["a tree"]]))
    assert torch.equal(words.exchanged(tokenize(tokenizer, [true])), tokenize(tokenizer, [false]))
    assert torch.equal(words.draw(np.array([0, 1]), 0.0, mistold=1.0), tokenize(tokenizer, [false, "a tree"]))
    assert torch.equal(words.draw(np.array([0, 1]), 0.0), tokenize(tokenizer, [true, "a tree"]))


def test_a_strengthened_controlnet_adds_as_one_at_that_scale():
    pipe = tiny.tiny_pipeline()
    control = tiny.tiny_controlnet(pipe.unet)
    given = (torch.randn(1, 4, 16, 16), torch.tensor(7), torch.randn(1, 5, tiny.HIDDEN))
    drawn = torch.rand(1, 3, tiny.SIZE, tiny.SIZE)
    with torch.no_grad():
        wanted, middle = control(*given, controlnet_cond=drawn, conditioning_scale=1.4, return_dict=False)
        strengthen(control, 1.4)
        found, found_middle = control(*given, controlnet_cond=drawn, return_dict=False)
    for one, other in zip((*wanted, middle), (*found, found_middle), strict=True):
        torch.testing.assert_close(one, other)
