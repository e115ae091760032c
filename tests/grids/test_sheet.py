from PIL import Image

from studio.grids.sheet import SIDE_MAX, Layout, draw_sheet

COLOURS = {(0, 0): "red", (1, 0): "green", (0, 1): "blue"}


def test_pictures_stand_where_their_labels_say():
    layout = Layout((("a", "b"), ("c", "d")), (64, 48))
    sheet = draw_sheet(layout, lambda place: Image.new("RGB", (64, 48), COLOURS[place]) if place in COLOURS else None)
    whole = [sheet.getpixel((x, y)) for x in range(0, sheet.width, 4) for y in range(0, sheet.height, 4)]
    assert {(255, 0, 0), (0, 128, 0), (0, 0, 255)} < set(whole)
    across = [x for x in range(sheet.width) if sheet.getpixel((x, 60)) in ((255, 0, 0), (0, 128, 0))]
    assert len(across) == 128


def test_a_third_axis_stands_in_blocks_below():
    one = draw_sheet(Layout((("a",), ("b",)), (64, 64)), lambda _: None)
    three = draw_sheet(Layout((("a",), ("b",), ("x", "y", "z")), (64, 64)), lambda _: None)
    assert three.height > 2 * one.height


def test_a_sheet_of_many_large_pictures_stays_of_a_size_that_opens():
    layout = Layout((tuple(map(str, range(40))), ("a long label " * 9,)), (1024, 1024))
    assert max(draw_sheet(layout, lambda _: None).size) < 2 * SIDE_MAX
