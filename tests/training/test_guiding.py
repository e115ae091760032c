from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from studio.training.guiding import Guide, agreement, followed, likeness, name_of


def line(x):
    image = Image.new("RGB", (64, 64))
    ImageDraw.Draw(image).line((x, 0, x, 63), fill="white", width=4)
    return image


def test_a_map_agrees_with_itself_most_and_with_none_least():
    assert agreement(line(20), line(20)) == pytest.approx(1.0)
    assert agreement(line(20), line(21)) > agreement(line(20), line(24)) > agreement(line(20), line(44))
    assert agreement(Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8))) == 1.0
    assert agreement(Image.new("RGB", (8, 8)), line(20)) == 0.0


def test_samples_follow_the_images_around_and_around():
    guide = Guide("scribble", [line(10), line(50)], ["a", "b"], partial(followed, lambda image: image))
    assert guide.given(3)["controls"][0].map == name_of(1)
    made = [np.asarray(line(x)) for x in (10, 50, 10)]
    assert guide.obedience(made) == pytest.approx(1.0)
    assert guide.obedience(made[1:]) < 0.1
    assert Guide("scribble", [line(1)], [""], None).obedience(made) is None


def test_pictures_obey_a_reference_as_far_as_an_encoder_sees_the_same_in_both():
    def see(image):
        return torch.tensor(image.getpixel((0, 0)), dtype=torch.float32)[None]

    red, green, both = (np.full((8, 8, 3), color, np.uint8) for color in ((9, 0, 0), (0, 9, 0), (9, 9, 0)))
    guide = Guide("reference", [Image.fromarray(one) for one in (red, green)], ["", ""], partial(likeness, see))
    assert guide.obedience([red, green]) == pytest.approx(1.0)
    assert guide.obedience([green, red]) == pytest.approx(0.0)
    assert guide.obedience([both, green]) == pytest.approx((0.5**0.5 + 1) / 2)
