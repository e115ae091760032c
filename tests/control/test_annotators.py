"""The laws of every annotator that needs no download, and one law each on what it draws."""

import importlib
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from studio.control import blur, canny, invert, lineart, pixels, recolor, scribble, shuffle, softedge, threshold, tile
from tests.control.pictures import MODES, SIZES, grey, noise, square

ANNOTATORS = (blur, canny, invert, lineart, recolor, scribble, shuffle, softedge, threshold, tile)
DRAWS_LINES = (canny, lineart, scribble, softedge)
OUT_OF_RANGE = [
    (canny, {"low_threshold": 200.0, "high_threshold": 100.0}),
    (canny, {"low_threshold": 100.0, "high_threshold": 100.0}),
    (canny, {"low_threshold": -1.0}),
    (canny, {"high_threshold": 256.0}),
    (canny, {"low_threshold": float("nan")}),
    (scribble, {"threshold": 0.0}),
    (softedge, {"strength": 5.0}),
    (lineart, {"width": 0.0}),
    (lineart, {"contrast": float("nan")}),
    (threshold, {"limit": 256.0}),
    (blur, {"sigma": 0.0}),
    (tile, {"rate": 0.5}),
    (recolor, {"intensity": 2.0}),
    (recolor, {"gamma": 0.0}),
    (shuffle, {"size": 1.0}),
    (shuffle, {"seed": 1.5}),
    (shuffle, {"seed": float("inf")}),
]


def name(module):
    return module.__name__.rpartition(".")[2]


every = pytest.mark.parametrize("module", ANNOTATORS, ids=name)
lines = pytest.mark.parametrize("module", DRAWS_LINES, ids=name)


@every
@pytest.mark.parametrize("mode", MODES)
def test_pictures_of_every_mode_and_size_give_rgb_of_the_same_size(module, mode):
    for size in SIZES:
        made = module.annotate(noise(size, mode))
        assert (made.size, made.mode) == (size, "RGB")


@every
def test_the_same_picture_gives_the_same_bytes_and_is_left_as_it_was(module):
    image = noise()
    before = image.tobytes()
    assert module.annotate(image).tobytes() == module.annotate(noise()).tobytes()
    assert image.tobytes() == before


@pytest.mark.parametrize(("module", "options"), OUT_OF_RANGE, ids=lambda value: str(value).partition("control.")[2][:9])
def test_options_out_of_range_are_refused(module, options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        module.annotate(noise(), **options)


@every
def test_importing_an_annotator_imports_no_torch_and_no_opencv(module):
    source = importlib.util.find_spec(module.__name__).loader.get_source(module.__name__)
    top = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert not [line for line in top if "cv2" in line or "torch" in line]


@lines
@pytest.mark.parametrize(("ink", "paper"), [("black", "white"), ("red", "white"), ("white", "black")])
def test_lines_stand_at_the_border_of_a_square_and_nowhere_else(module, ink, paper):
    drawn = grey(module.annotate(square(ink, paper)))
    for side in (drawn[64, 24:42], drawn[64, 86:104], drawn[24:42, 64], drawn[86:104, 64]):
        assert side.max() == 255
    assert max(drawn[:12].max(), drawn[:, :12].max(), drawn[60:68, 60:68].max()) < 5


@lines
def test_a_picture_of_one_colour_has_no_lines(module):
    assert grey(module.annotate(Image.new("RGB", (40, 30), (90, 140, 20)))).max() == 0


@lines
def test_what_is_transparent_is_white_paper(module):
    cut_out = square((0, 0, 0, 255), (0, 0, 0, 0), "RGBA")
    assert module.annotate(cut_out).tobytes() == module.annotate(square()).tobytes()


@lines
def test_sixteen_bits_are_read_as_their_upper_eight(module):
    shallow = square().convert("L")
    deep = Image.fromarray(np.asarray(shallow).astype(np.uint16) * 257)
    assert module.annotate(deep).tobytes() == module.annotate(shallow).tobytes()


def test_canny_draws_lines_of_one_pixel():
    drawn = grey(canny.annotate(square()))
    assert set(np.unique(drawn)) == {0, 255}
    assert [int((row > 0).sum()) for row in drawn[40:88]] == [2] * 48


def test_canny_finds_less_with_higher_thresholds():
    faint = square((140, 140, 140), "white")
    assert grey(canny.annotate(faint)).max() == 255
    assert grey(canny.annotate(faint, low_threshold=254, high_threshold=255)).sum() <= grey(canny.annotate(faint)).sum()
    assert grey(canny.annotate(square((235, 235, 235), "white"))).max() == 0
    assert grey(canny.annotate(square((235, 235, 235), "white"), low_threshold=10, high_threshold=20)).max() == 255


def test_a_sketch_is_black_and_white_and_has_fewer_lines_with_a_higher_threshold():
    drawn = [grey(scribble.annotate(noise(), threshold=limit)) for limit in (1, 16, 32, 64)]
    assert all(set(np.unique(values)) == {0, 255} for values in drawn)
    assert all(more.sum() > less.sum() for more, less in pairwise(drawn))


def test_a_sketch_of_a_large_picture_has_lines_as_wide_in_proportion():
    small, large = square().resize((512, 512), 0), square().resize((1024, 1024), 0)
    assert grey(scribble.annotate(large)).mean() == pytest.approx(grey(scribble.annotate(small)).mean(), rel=0.1)


def test_soft_edges_are_lighter_where_the_contrast_is():
    weak, strong = (grey(softedge.annotate(square(ink))).max() for ink in ((215, 215, 215), (175, 175, 175)))
    assert 0 < weak < strong < 255
    assert len(np.unique(grey(softedge.annotate(square())))) > 16


def test_soft_edges_leave_grain_out():
    grain = np.random.default_rng(0).normal(128, 4, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    assert grey(softedge.annotate(Image.fromarray(grain))).mean() < 1


def test_a_pencil_line_is_drawn_as_it_lies():
    paper = Image.new("RGB", (64, 64), "white")
    paper.paste((60, 60, 60), (0, 30, 64, 32))
    drawn = grey(lineart.annotate(paper))
    assert drawn[30:32].min() == 255
    assert drawn[:30].max() == drawn[32:].max() == 0


def test_pencil_lines_do_not_depend_on_how_bright_the_light_was():
    bright = square((200, 200, 200), (250, 250, 250))
    dim = square((100, 100, 100), (129, 129, 129))
    assert np.abs(grey(lineart.annotate(bright)) - grey(lineart.annotate(dim))).mean() < 2


def test_inverting_twice_changes_nothing():
    assert invert.annotate(invert.annotate(noise())).tobytes() == noise().tobytes()


def test_above_the_limit_is_white():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(4, axis=0))
    assert (grey(threshold.annotate(ramp, limit=99)) == np.where(np.arange(256) > 99, 255, 0)).all()


def test_a_blur_keeps_the_mean_and_takes_the_contrast():
    image, soft = np.asarray(noise()), np.asarray(blur.annotate(noise(), sigma=4))
    assert soft.mean() == pytest.approx(image.mean(), abs=3)
    assert soft.std() < image.std() / 4


def test_at_rate_one_a_tile_is_the_picture_and_higher_rates_are_coarser():
    assert tile.annotate(noise(), rate=1).tobytes() == noise().tobytes()
    detail = [np.abs(np.diff(grey(tile.annotate(noise(), rate=rate)))).mean() for rate in (1, 2, 4, 8)]
    assert all(finer > coarser for finer, coarser in pairwise(detail))


def test_recolouring_keeps_how_light_a_thing_is():
    red = Image.new("RGB", (4, 4), "red")
    assert set(grey(recolor.annotate(red)).flat) == {136}  # L of CIELAB, 53.2 of 100
    assert set(grey(recolor.annotate(red, intensity=1)).flat) == {255}
    grey_ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    assert recolor.annotate(grey_ramp, intensity=1).convert("L").tobytes() == grey_ramp.tobytes()
    assert grey(recolor.annotate(grey_ramp, intensity=1, gamma=2))[0, 128] == 64


def test_shuffling_moves_the_colours_and_keeps_them():
    halves = Image.new("RGB", (96, 64), "red")
    halves.paste("blue", (48, 0, 96, 64))
    stirred = np.asarray(shuffle.annotate(halves, size=32)).astype(int)
    assert (stirred[..., 1] == 0).all()
    assert (np.abs(stirred[..., 0] + stirred[..., 2] - 255) <= 2).all()
    assert (stirred != np.asarray(halves)).any(axis=2).mean() > 0.2
    assert not np.array_equal(stirred, np.asarray(shuffle.annotate(halves, size=32, seed=1)))


def test_a_shuffled_picture_has_no_torn_edges():
    ramp = Image.fromarray(np.linspace(0, 255, 512).astype(np.uint8)[None].repeat(512, axis=0))
    assert np.abs(np.diff(grey(shuffle.annotate(ramp)))).max() < 16


def test_palettes_with_a_transparent_colour_are_paper_too():
    image = square().convert("P")
    image.info["transparency"] = image.getpixel((0, 0))
    assert pixels.to_pixels(image)[0, 0].tolist() == [255, 255, 255]


def test_a_wide_blur_on_a_smaller_copy_is_the_same_blur():
    import cv2

    rows = np.asarray(square().resize((301, 203)))
    exact = cv2.GaussianBlur(rows.astype(np.float32), (0, 0), 13.0, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(pixels.blurred(rows, 13.0) - exact).max() < 3


@pytest.mark.parametrize("module", [scribble, lineart], ids=name)
def test_a_border_has_its_line_on_the_darker_side_alone(module):
    drawn = grey(module.annotate(square((190, 50, 40), (120, 170, 230))))
    assert drawn[64, 32:36].max() > 150
    assert drawn[64, :31].max() == 0


@lines
def test_a_red_thing_on_a_green_as_light_has_lines(module):
    assert grey(module.annotate(square((200, 40, 40), (40, 122, 40))))[60:68].max() > 150


@lines
def test_a_large_photo_is_drawn_as_a_smaller_one_in_its_own_size(module):
    large = grey(module.annotate(square().resize((2100, 2048), 0)))
    small = grey(module.annotate(square().resize((1050, 1024), 0)))
    assert large.shape == (2048, 2100)
    if module is not canny:
        assert large.mean() == pytest.approx(small.mean(), rel=0.1)
