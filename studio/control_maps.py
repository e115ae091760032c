"""The pictures of a request's controls: what is odd about a map or a mask, and which one a caption is made of."""

from collections.abc import Callable, Iterator

from PIL import Image, ImageStat

from studio import regions
from studio.errors import InvalidRequestError
from studio.inpainting import Size, on_black
from studio.library.control_kinds import REFERENCE, REFERENCE_ONLY
from studio.params import ControlUnit, GenerationRequest

PICTURES = (REFERENCE, REFERENCE_ONLY)  # what they show is not laid over the picture
LINES = ("scribble", "edges", "softedge", "lineart", "lines")
ASPECT_OFF = 0.02
MOSTLY = 128  # the mean of a map that is more light than dark
FITTED = {"crop": "cropped", "fill": "given black bars", "stretch": "stretched"}


def remarks(unit: ControlUnit, open_image: Callable[[str], Image.Image], size: Size) -> list[str]:
    """Sentences about the unit's map and mask. size: of the picture that the map covers, (width, height).

    Raises: InvalidRequestError, if the mask is black everywhere; AssetError.
    """
    about_map = () if unit.kind in PICTURES else _about_map(unit, open_image(unit.map), size)
    said = regions.remarks(unit, open_image) if unit.kind == regions.KIND else ()
    return [*about_map, *said, *(_about_mask(unit, open_image(unit.mask)) if unit.mask else ())]


def alike(given: Size, wanted: Size) -> bool:
    """Whether the two sizes have one aspect, but for rounding."""
    return abs(given[0] * wanted[1] / (given[1] * wanted[0]) - 1) <= ASPECT_OFF


def _about_map(unit: ControlUnit, image: Image.Image, size: Size) -> Iterator[str]:
    if not alike(image.size, size):
        found = f"{image.width} x {image.height} and was {FITTED[unit.resize_mode]} to fit {size[0]} x {size[1]} pixels"
        yield f"The {unit.kind} map measures {found}."
    seen = on_black(image)
    if image.mode == "RGBA" and image.getchannel("A").histogram()[255] < image.width * image.height:
        yield f"The {unit.kind} map is transparent in places, which count as black."
    one_color = all(image.width * image.height in channel.histogram() for channel in seen.split())
    if one_color and unit.kind != regions.KIND:
        yield f"The {unit.kind} map shows nothing: it has one colour everywhere."
    elif unit.kind in LINES and ImageStat.Stat(seen.convert("L")).mean[0] > MOSTLY:
        yield f"The {unit.kind} map is mostly white, but lines are read as light on black; the annotator invert helps."


def _about_mask(unit: ControlUnit, mask: Image.Image) -> Iterator[str]:
    darkest, lightest = on_black(mask).convert("L").getextrema()
    if not lightest:
        raise InvalidRequestError(
            f"The mask of the {unit.kind} control is black everywhere, so it would count nowhere.",
            field="controls",
            hint="Paint white where it counts, or leave the mask out: then it counts everywhere.",
        )
    if darkest == 255:
        yield f"The mask of the {unit.kind} control covers the whole picture, so it changes nothing."


def source_of(request: GenerationRequest) -> str:
    """The picture that a caption is made of: one that a map was made of, the first picture, or a reference.

    Raises: InvalidRequestError, if there is none.
    """
    sources = [unit.source for unit in request.controls]
    references = [unit.map for unit in request.controls if unit.kind in PICTURES]
    found = next(filter(None, [*sources, request.init_image, *references]), None)
    if found is None:
        raise InvalidRequestError(
            "There is no picture to write the prompt from.",
            field="prompt_mode",
            hint="Add a picture to change, a reference or a map from a photo, or type a prompt.",
        )
    return found
