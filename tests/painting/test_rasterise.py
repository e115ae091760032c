import numpy as np
import pytest
from PIL import Image

from studio.painting.clean import clean_painting
from studio.painting.rasterise import is_empty, rasterise
from studio.segments import REGIONS

SIDE = 64
ID = "ab" * 32
RNG = np.random.default_rng(3)
PHOTO = Image.fromarray(RNG.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
BASE = {"id": ID, "box": [0, 0, SIDE, SIDE]}
INVERT = {"kind": "invert"}
FLOOR = {"kind": "floor", "y": 32, "v": [0, 255]}


def brush(*points, s=12, soft=0.5, v=200, kind="brush"):
    return {"kind": kind, "p": [n for x, y in points for n in (x, y, 1)], "s": s, "soft": soft, "v": v}


def ball(x=32, y=32, r=20, v=100):
    return {"kind": "ball", "x": x, "y": y, "r": r, "v": v}


def box(turn, rx=20, ry=10, v=100):
    return {"kind": "box", "x": 32, "y": 32, "rx": rx, "ry": ry, "turn": turn, "v": v}


def depth(*ops, w=SIDE, h=SIDE, **rest):
    return clean_painting({"w": w, "h": h, "ops": list(ops), **rest}, "depth")


def light(*ops, size=(SIDE, SIDE), base=None, **rest):
    image = rasterise(depth(*ops, **({"base": BASE} if base else {}), **rest), *size, base)
    assert (image.mode, image.size) == ("RGB", size)
    channels = np.asarray(image, dtype=np.float64)
    assert np.ptp(channels, axis=-1).max() == 0
    return channels[..., 0]


def test_an_empty_painting_is_black():
    assert not light().any()
    assert is_empty(depth())
    assert is_empty(depth(brush((10, 10), v=0)))
    assert is_empty(depth(brush((10, 10)), brush((10, 10), s=20, soft=0, kind="erase")))
    assert not is_empty(depth(brush((10, 10))))
    assert not is_empty(depth(base=BASE), PHOTO)


def test_a_brush_is_as_near_as_it_says_and_fades_to_its_rim():
    row = light(brush((32, 32), s=40, soft=1, v=200))[32]
    assert row[32] == pytest.approx(200, abs=2)
    assert (np.diff(row[32:]) <= 0).all()
    assert row[54] == 0
    hard = light(brush((32, 32), s=40, soft=0, v=200))
    assert hard.sum() / 200 == pytest.approx(np.pi * 400, rel=0.01)


def test_a_stroke_covers_evenly_however_many_points_it_has():
    few, many = ((12, 32), (52, 32)), tuple((x, 32) for x in range(12, 53, 2))
    np.testing.assert_allclose(light(brush(*few)), light(brush(*many)), atol=1.01)


def test_pressure_widens_a_stroke_evenly():
    values = light({"kind": "brush", "p": [8, 32, 0.5, 56, 32, 2], "s": 10, "soft": 0, "v": 255})
    widths = values.sum(0)[12:52] / 255
    assert (np.diff(widths) > -0.5).all()
    assert widths[-1] > 2 * widths[0]


def test_far_over_near_is_far_since_order_matters():
    near, far = brush((32, 32), soft=0, v=250), brush((32, 32), soft=0, v=30)
    assert light(near, far)[32, 32] == 30
    assert light(far, near)[32, 32] == 250
    assert light(brush((32, 32)), INVERT)[32, 32] != light(INVERT, brush((32, 32)))[32, 32]


def test_inverting_twice_is_identity():
    painted = (FLOOR, brush((20, 20), (40, 50)), ball())
    np.testing.assert_array_equal(light(*painted, INVERT, INVERT), light(*painted))
    np.testing.assert_array_equal(light(*painted, INVERT), 255 - light(*painted))


def test_erasing_brings_back_what_was_under():
    erased = brush((8, 32), (56, 32), s=90, soft=0, kind="erase")
    np.testing.assert_array_equal(light(brush((20, 20)), ball(), erased, base=PHOTO), light(base=PHOTO))
    np.testing.assert_array_equal(light(FLOOR, ball(), erased), light(FLOOR))
    np.testing.assert_array_equal(light(ball(), INVERT, erased, base=PHOTO), 255 - light(base=PHOTO))


def test_a_base_of_the_same_size_is_taken_as_it_is():
    np.testing.assert_array_equal(light(base=PHOTO), np.asarray(PHOTO))


def test_a_base_lies_in_its_box_and_nowhere_else():
    where = {"id": ID, "box": [16, 8, 32, 48]}
    white = Image.new("L", (100, 30), 255)
    seen = np.asarray(rasterise(depth(base=where), SIDE, SIDE, white).convert("L"))
    assert (seen[8:56, 16:48] == 255).all()
    assert seen.sum() == 255 * 32 * 48


def test_a_larger_base_shrinks_to_its_mean():
    checks = Image.fromarray(np.indices((256, 256)).sum(0).astype(np.uint8) % 2 * 255)
    assert rasterise(depth(base=BASE), SIDE, SIDE, checks).convert("L").getextrema() == (128, 128)


@pytest.mark.parametrize("radius", [9, 20])
def test_a_balls_depth_is_the_exact_sphere(radius):
    values = light(ball(x=30, y=34, r=radius, v=60))
    ys, xs = np.indices(values.shape) + 0.5
    square = radius**2 - (xs - 30) ** 2 - (ys - 34) ** 2
    inside = square > 2 * radius  # clear of the rim, which is softened over one pixel
    front = np.sqrt(np.maximum(square, 0)) * 255 / SIDE
    assert inside.sum() > 100
    np.testing.assert_allclose(values[inside], (60 + front)[inside], atol=0.51)
    assert not values[square < -2 * radius].any()


@pytest.mark.parametrize("turn", [-45, -20, 20, 30, 45])
def test_a_turned_box_shows_two_faces_at_right_angles(turn):
    values = light(box(turn), w=256, h=256, size=(256, 256))[32, 14:50]
    corner = int(values.argmax())
    left, right = (
        np.polyfit(range(corner), values[:corner], 1)[0],
        np.polyfit(range(36 - corner), values[corner:], 1)[0],
    )
    assert left * right == pytest.approx(-((255 / 256) ** 2), rel=0.12)  # light grows by 255 / 256 a pixel of depth
    assert np.degrees(np.arctan(left)) % 90 == pytest.approx(turn % 90, abs=2)
    assert values.max() == pytest.approx(100 + 20, abs=2)


def test_a_box_seen_straight_on_is_flat():
    values = light(box(0), w=256, h=256, size=(256, 256))
    assert (values[22:42, 12:52] == np.floor(100 + 20 * 255 / 256 + 0.5)).all()
    assert values.astype(bool).sum() == 20 * 40


def test_a_box_is_mirrored_by_the_opposite_turn():
    np.testing.assert_allclose(light(box(30)), light(box(-30))[:, ::-1], atol=1)


def test_a_solid_hides_what_is_farther_and_is_hidden_by_what_is_nearer():
    assert light(brush((32, 32), v=20), ball(v=100))[32, 32] > 100
    assert light(brush((32, 32), soft=0, v=255), ball(v=0))[32, 32] == 255
    both = ball(x=24, v=60), ball(x=40, v=140)
    assert (light(*both) != light(*both[::-1])).mean() < 0.02  # the rims alone, which are softened


def test_a_floor_comes_nearer_evenly_from_the_horizon_down():
    column = light(FLOOR)[:, 10]
    assert not column[:32].any()
    np.testing.assert_allclose(np.diff(column[33:]), 255 / 32, atol=1)
    assert column[-1] > 250


def test_a_gradient_goes_over_the_whole_sheet():
    values = light({"kind": "gradient", "p": [16, 0, 48, 0], "v": [40, 200]})
    assert (values[:, :16] == 40).all()
    assert (values[:, 48:] == 200).all()
    assert values[:, 31:33].mean() == pytest.approx(120, abs=0.6)


def test_smoothing_keeps_the_mean_and_takes_the_edges():
    painted = brush((32, 32), s=20, soft=0)
    rough, soft = light(painted), light(painted, {"kind": "smooth", "s": 3})
    assert soft.mean() == pytest.approx(rough.mean(), rel=0.01)
    assert np.abs(np.diff(soft)).max() < 0.3 * np.abs(np.diff(rough)).max()
    np.testing.assert_array_equal(light(FLOOR, FLOOR, {"kind": "smooth", "s": 0.4}), light(FLOOR))


def test_a_painting_scales_with_the_size_asked_for():
    painted = (FLOOR, ball(), brush((10, 10), (50, 12)), box(30))
    small, large = light(*painted), light(*painted, size=(256, 256))
    assert np.abs(large.reshape(64, 4, 64, 4).mean((1, 3)) - small).mean() < 3


def test_what_is_beside_the_sheet_is_cut_off():
    assert not light(ball(x=-60), brush((150, 150)), brush((-50, 20)), ball(y=170), box(10) | {"x": 180}).any()
    assert light(ball(x=0))[32, 0] > 0


def regions(*ops, size=(SIDE, SIDE), base=None):
    rest = {"base": BASE} if base else {}
    return rasterise(clean_painting({"w": SIDE, "h": SIDE, "ops": list(ops), **rest}, "segments"), *size, base)


SKY = {"kind": "fill", "x": 5, "y": 5, "region": "sky"}
TREE = {"kind": "area", "p": [10, 10, 50, 10, 50, 50, 10, 50], "region": "tree"}


def test_regions_have_their_colours_and_no_others_at_any_size():
    line = {"kind": "brush", "p": [3, 60, 1, 60, 3, 1.5], "s": 7, "region": "person"}
    for size in ((SIDE, SIDE), (150, 201)):
        colors = {color for _, color in regions(SKY, TREE, line, size=size).getcolors()}
        assert colors == {REGIONS["sky"], REGIONS["tree"], REGIONS["person"]}


def test_nothing_painted_is_black():
    assert regions().getbbox() is None
    assert regions().getpixel((3, 3)) == (0, 0, 0)


def test_an_area_and_a_rectangle_cover_their_inside():
    rect = {"kind": "rect", "p": [50, 50, 10, 10], "region": "tree"}
    assert regions(TREE).tobytes() == regions(rect).tobytes()
    assert regions(TREE).getcolors() == [(1600, REGIONS["tree"]), (SIDE * SIDE - 1600, (0, 0, 0))]


def test_a_fill_stops_at_the_rim_of_what_hangs_together():
    filled = regions(TREE, SKY, {"kind": "fill", "x": 30, "y": 30, "region": "house"})
    assert filled.getpixel((30, 30)) == REGIONS["house"]
    assert filled.getpixel((60, 60)) == REGIONS["sky"]
    assert regions({**SKY, "x": -4}).getbbox() is None


def test_erasing_regions_brings_the_base_back():
    base = Image.new("RGB", (32, 32), (11, 22, 33))
    erased = {"kind": "erase", "p": [32, 32, 1], "s": 120}
    assert regions(SKY, TREE, erased, base=base).getcolors() == [(SIDE * SIDE, (11, 22, 33))]
    assert regions(SKY, TREE, erased).getbbox() is None


def test_a_base_of_regions_keeps_its_colours_when_it_is_stretched():
    base = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    colors = {color for _, color in base.getcolors(600)}
    assert {color for _, color in regions(base=base, size=(100, 90)).getcolors(600)} <= colors
