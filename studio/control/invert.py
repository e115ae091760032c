"""Dark lines on white paper become the light lines on black that control models were taught."""

from PIL import Image

from studio.control.pixels import to_image, to_pixels


def annotate(image: Image.Image) -> Image.Image:
    """Exchange light and dark. Takes any mode and size; gives RGB of the same size."""
    return to_image(255 - to_pixels(image))
