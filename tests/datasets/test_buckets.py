import pytest

from studio.datasets.buckets import buckets, cut, step_of

RESOLUTIONS = (32, 64, 128, 256, 500, 512, 768, 1024)
SIZES = [(512, 512), (4000, 3000), (3000, 4000), (1920, 1080), (100, 101), (5000, 100), (1, 8000), (37, 911)]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_buckets_are_multiples_of_the_step_with_about_the_area(resolution):
    step, found = step_of(resolution), buckets(resolution)
    square = round(resolution / step) * step
    assert (square, square) in found
    assert {(height, width) for width, height in found} == set(found)
    assert all(side % step == 0 for size in found for side in size)
    assert all(0.7 <= width * height / square**2 <= 1 for width, height in found)


def test_steps_are_64_for_large_models_and_less_for_small_ones():
    assert [step_of(one) for one in (1024, 512, 256, 128, 32)] == [64, 64, 64, 32, 8]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", ["bucket", "center", "random"])
def test_every_picture_fills_its_bucket_and_is_enlarged_no_more_than_that(size, crop):
    found = cut(size, 512, crop, 1.0)
    left, top, right, bottom = found.box
    assert 0 <= left < right <= found.scaled[0]
    assert 0 <= top < bottom <= found.scaled[1]
    assert any(have == wanted for have, wanted in zip(found.scaled, found.size, strict=True))
    assert found.size in buckets(512)
    assert 0 <= found.lost < 1
    if crop != "bucket":
        assert found.size == (512, 512)


def test_the_bucket_loses_least():
    assert cut((4000, 3000), 512).size == (576, 448)
    assert cut((4000, 3000), 512).lost == pytest.approx(1 - 448 * 576 / (448 * 597))
    assert cut((512, 512), 512) == cut((1024, 1024), 512)
