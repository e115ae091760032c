"""The table of masks: what is given, and what is refused or said before a worker hears of it."""

import pytest
from PIL import Image, ImageDraw

from studio.errors import AssetError, InvalidRequestError
from studio.library.index import Library
from studio.params import GenerationRequest
from studio.registry import load_registry
from studio.resolve import Resolver
from studio.settings import load_settings


def painted(size=(128, 128), box=(32, 32, 63, 63), mode="L"):
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    return mask.convert(mode)


def cut_out():
    mask = Image.new("RGBA", (128, 128), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (10, 10, 40, 40))
    return mask


PICTURES = {
    "square": lambda: Image.new("RGB", (128, 128), "red"),
    "large": lambda: Image.new("RGB", (1024, 1024), "red"),
    "wide": lambda: Image.new("RGB", (256, 128), "red"),
    "spot": painted,
    "colours": lambda: painted(mode="RGB"),
    "small": lambda: painted((64, 64), (16, 16, 31, 31)),
    "wide-mask": lambda: painted((256, 128)),
    "black": lambda: Image.new("L", (128, 128)),
    "grey": lambda: Image.new("L", (128, 128), 127),
    "clear": lambda: Image.new("RGBA", (128, 128), (255, 255, 255, 0)),
    "cut out": cut_out,
    "dust": lambda: painted((1024, 1024), (512, 512, 512, 512)),
    "white": lambda: Image.new("L", (128, 128), 255),
}


@pytest.fixture(scope="module")
def resolver(tmp_path_factory):
    settings = load_settings(tmp_path_factory.mktemp("masks"))
    settings.paths.create()
    return Resolver(Library(settings), load_registry(), PICTURES.__contains__, lambda name: PICTURES[name]())


def resolve(resolver, **fields):
    size = {"width": 128, "height": 128}
    return resolver.resolve(GenerationRequest(**{"prompt": "a red house", "init_image": "square", **size} | fields))


@pytest.mark.parametrize("mask", ["spot", "colours", "small", "cut out"])
def test_a_mask_of_any_mode_and_of_the_pictures_aspect_is_taken_as_it_is(resolver, mask):
    params, warnings = resolve(resolver, mask_image=mask)
    assert (params.mask_image, params.mask_padding, params.mask_blur, params.fill) == (mask, None, 4, "original")
    assert warnings == ()


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"mask_image": "black"}, "mask_image", "Nothing is white in the mask"),
        ({"mask_image": "grey"}, "mask_image", "Nothing is white"),
        ({"mask_image": "clear"}, "mask_image", "Nothing is white"),
        ({"mask_image": "dust", "init_image": "large"}, "mask_image", "128 x 128 pixels"),
        ({"mask_image": "spot", "init_image": None}, "mask_image", "needs a picture"),
        ({"mask_image": "spot", "mask_padding": -1}, "mask_padding", "between 0 and 512"),
        ({"mask_image": "spot", "mask_padding": 1000}, "mask_padding", "between 0 and 512"),
        ({"mask_image": "spot", "mask_blur": 65}, "mask_blur", "between 0 and 64"),
        ({"mask_image": "spot", "fill": "stars"}, "fill", "'stars'"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused(resolver, fields, field, said):
    with pytest.raises(InvalidRequestError, match=said) as refused:
        resolve(resolver, **fields)
    assert refused.value.field == field
    assert refused.value.hint


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mask_image": "white"}, "covers the whole picture"),
        ({"mask_image": "wide-mask"}, "The mask measures 256 x 128 and was stretched to 128 x 128"),
        ({"init_image": "wide"}, "The picture measures 256 x 128 and was stretched to 128 x 128"),
        ({"init_image": "wide", "mask_image": "wide-mask"}, "The picture measures 256 x 128"),
        ({"mask_padding": 8}, "mask_padding was left out"),
        ({"init_image": None, "mask_padding": 8}, "mask_padding was left out"),
    ],
)
def test_what_is_odd_is_said(resolver, fields, said):
    _, warnings = resolve(resolver, **fields)
    assert len(warnings) == 1
    assert said in warnings[0]


def test_the_painted_part_alone_needs_no_aspect_and_keeps_a_speck(resolver):
    assert resolve(resolver, init_image="wide", mask_image="wide-mask", mask_padding=32)[1] == ()
    params, warnings = resolve(
        resolver, init_image="large", mask_image="dust", mask_padding=0, mask_blur=0, fill="fill"
    )
    assert (params.mask_padding, params.mask_blur, params.fill) == (0, 0, "fill")
    assert warnings == ()


def test_a_mask_that_is_not_here_is_refused(resolver):
    with pytest.raises(AssetError, match="mask_image names a picture that is not here"):
        resolve(resolver, mask_image="gone")


def test_resolving_params_with_a_mask_again_gives_the_same(resolver):
    params, _ = resolve(resolver, mask_image="spot", mask_padding=16, mask_blur=2, fill="noise", strength=0.5)
    assert resolver.resolve(params.to_request()) == (params, ())
