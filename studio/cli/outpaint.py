"""A picture file on a larger canvas, with the mask of what is new."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from PIL import Image

from studio.errors import InvalidRequestError
from studio.gallery.decode import Limits, decode_image
from studio.inpainting import SURROUNDINGS, Size, grow, grown_mask


def outpaint(files: Mapping[str, bytes], sides: Sequence[int], fill: str | None) -> tuple[dict[str, bytes], Size]:
    """The picture and the mask on the larger canvas, as PNG files by the fields of a request, and the canvas's size.

    files: "init_image", and "mask_image" if a part of the picture is to change, too.
    Raises: InvalidRequestError, if there is no picture, or the canvas is too large; AssetError, for what is no picture.
    """
    if "init_image" not in files:
        raise InvalidRequestError(
            "--outpaint has no picture to go on from.", field="outpaint", hint="Give --init FILE."
        )
    picture = decode_image(files["init_image"], Limits())
    painted = decode_image(files["mask_image"], Limits()) if "mask_image" in files else None
    canvas = grow(picture, sides, SURROUNDINGS.get(fill or "original", "edge"))
    mask = grown_mask(painted, picture.size, sides)
    return {"init_image": _png(canvas), "mask_image": _png(mask)}, canvas.size


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
