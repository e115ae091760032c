import numpy as np
import pytest
from PIL import Image

from studio.control.fitting import fit, fitted


def wide():
    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (0, 0, 10, 20))
    return image


def test_maps_of_another_aspect_are_cropped_filled_or_stretched():
    cropped, filled, stretched = (np.asarray(fitted(wide(), (16, 16), mode)) for mode in ("crop", "fill", "stretch"))
    assert cropped[..., 1].min() > 230
    assert filled[:3].max() == filled[-3:].max() == 0
    assert stretched[:, :3, 1].max() < 26


@pytest.mark.parametrize("mode", ["crop", "fill", "stretch"])
@pytest.mark.parametrize("given", [(1, 500), (500, 1), (7, 3), (64, 63)])
def test_every_size_fits_into_every_frame(given, mode):
    found = fit(given, (64, 40), mode)
    assert found.laid(found.shown(Image.new("RGB", given))).size == (64, 40)


def test_a_picture_of_the_frames_size_stays():
    assert fitted(wide(), (40, 20), "crop").tobytes() == wide().tobytes()


def test_what_is_transparent_is_black():
    clear = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    assert fitted(clear, (8, 8), "crop").getbbox() is None


def test_what_a_frame_shows_begins_where_it_is_laid():
    assert fit((40, 20), (16, 16), "fill").start == (0, 4)
    assert fit((40, 20), (16, 16), "crop").start == (0, 0)


def test_colours_that_are_names_do_not_mix():
    regions = Image.new("RGB", (7, 7), (6, 230, 230))
    regions.paste((150, 5, 61), (2, 2, 5, 5))
    for mode in ("crop", "fill", "stretch"):
        kept = fitted(regions, (40, 40), mode, Image.Resampling.NEAREST)
        assert {color for _, color in kept.getcolors()} == {(6, 230, 230), (150, 5, 61)}
    assert len(fitted(regions, (40, 40), "crop").getcolors()) > 2
