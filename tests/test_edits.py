import numpy as np
import pytest
from PIL import Image

from studio.access import LOCAL_USER, User
from studio.edits import add_edit, restored_edit
from studio.errors import AssetError
from studio.params import GenerationRequest
from tests.api.conftest import hashes, studio  # noqa: F401
from tests.api.kit import png
from tests.test_editing import STROKE

SIZE = (128, 128)


@pytest.fixture
def picture(studio):  # noqa: F811
    return {"id": studio.add_asset(png(size=(96, 64)), LOCAL_USER), "w": 96, "h": 64}


def test_without_a_picture_nothing_is_asked_for(studio):  # noqa: F811
    assert add_edit(studio, {"w": 512, "h": 512, "picture": None}, SIZE, LOCAL_USER) == {}


def test_a_picture_and_its_mask_become_fields_of_a_request(studio, picture):  # noqa: F811
    fields = add_edit(studio, {"picture": picture, "strokes": [STROKE], "strength": 0.9}, (96, 64), LOCAL_USER)
    params, warnings = studio.resolve(GenerationRequest.from_dict({"prompt": "a red house", **fields}))
    assert (params.init_image, params.strength, params.width, params.height) == (picture["id"], 0.9, 96, 64)
    assert studio.assets.open_image(params.mask_image).size == (96, 64)
    assert warnings == ()


def test_a_frame_gives_a_larger_picture_and_a_mask(studio, picture):  # noqa: F811
    fields = add_edit(studio, {"picture": picture, "frame": [0, 0, 32, 0]}, (96, 64), LOCAL_USER)
    canvas = studio.assets.open_image(fields["init_image"])
    assert canvas.size == (fields["width"], fields["height"]) == (128, 64)
    assert np.asarray(studio.assets.open_image(fields["mask_image"]))[:, 96:].all()


def test_what_made_a_picture_comes_back_and_asks_for_the_same(studio, picture):  # noqa: F811
    edit = {"picture": picture, "strokes": [STROKE], "frame": [8, 0, 0, 0], "alone": True, "fill": "fill", "blur": 1}
    fields = add_edit(studio, edit, SIZE, LOCAL_USER)
    back = restored_edit(studio, GenerationRequest.from_dict(fields), LOCAL_USER)
    again = add_edit(studio, back, SIZE, LOCAL_USER)
    assert {name: fields[name] for name in fields if name != "mask_image"} == {
        name: again[name] for name in again if name != "mask_image"
    }
    masks = [np.asarray(studio.assets.open_image(one["mask_image"])) > 127 for one in (fields, again)]
    assert np.array_equal(*masks)


def test_a_request_without_a_picture_brings_nothing_back(studio):  # noqa: F811
    assert restored_edit(studio, GenerationRequest(prompt="x"), LOCAL_USER) is None
    assert restored_edit(studio, GenerationRequest(prompt="x", init_image="ab" * 32), LOCAL_USER) is None


def test_the_picture_of_somebody_else_is_not_here(studio, picture):  # noqa: F811
    guest = User("ann", "guest")
    with pytest.raises(AssetError, match="not here"):
        add_edit(studio, {"picture": picture}, SIZE, guest)
    assert restored_edit(studio, GenerationRequest(init_image=picture["id"]), guest) is None


def test_a_transparent_picture_is_taken(studio):  # noqa: F811
    clear = studio.assets.put_image(Image.new("RGBA", (64, 64), (0, 0, 0, 0)))
    edit = {"picture": {"id": clear, "w": 64, "h": 64}, "frame": [8, 8, 8, 8]}
    fields = add_edit(studio, edit, (64, 64), LOCAL_USER)
    assert studio.assets.open_image(fields["init_image"]).getpixel((40, 40)) == (255, 255, 255)
