"""How a picture lies in a frame of another size and aspect."""

from dataclasses import dataclass

from PIL import Image
from PIL.Image import Resampling as Scaling

from studio.inpainting import Size, on_black


@dataclass(frozen=True)
class Fit:
    """A picture scaled to `scaled`, its upper left corner at `corner` of the frame: below zero, where it is cut off."""

    scaled: Size
    corner: tuple[int, int]
    frame: Size

    @property
    def start(self) -> tuple[int, int]:
        """Where in the frame what is seen of the picture begins."""
        return max(0, self.corner[0]), max(0, self.corner[1])

    def shown(self, image: Image.Image, scaling: Scaling = Scaling.BICUBIC) -> Image.Image:
        """What the frame shows of the picture, as large as it is shown."""
        left, top = (max(0, -at) for at in self.corner)
        width, height = map(min, self.scaled, self.frame)
        small = image if image.size == self.scaled else image.resize(self.scaled, scaling)
        return small.crop((left, top, left + width, top + height))

    def laid(self, shown: Image.Image) -> Image.Image:
        """That on black, as large as the frame."""
        if shown.size == self.frame:
            return shown
        sheet = Image.new("RGB", self.frame)
        sheet.paste(shown, self.start)
        return sheet


def fit(given: Size, frame: Size, mode: str) -> Fit:
    """How a picture of the size `given` (width, height) is laid into the frame.

    mode: "stretch"; "crop", the middle of it; "fill", all of it on black.
    """
    if mode == "stretch":
        return Fit(frame, (0, 0), frame)
    factors = [wanted / side for wanted, side in zip(frame, given, strict=True)]
    factor = max(factors) if mode == "crop" else min(factors)
    width, height = (max(1, round(side * factor)) for side in given)
    return Fit((width, height), ((frame[0] - width) // 2, (frame[1] - height) // 2), frame)


def fitted(image: Image.Image, size: Size, mode: str, scaling: Scaling = Scaling.BICUBIC) -> Image.Image:
    """The picture in that size (width, height), RGB; what is transparent is black. mode: as for `fit`.

    scaling: NEAREST for a picture whose colours are names.
    """
    image = on_black(image)
    if image.size == size:
        return image
    found = fit(image.size, size, mode)
    return found.laid(found.shown(image, scaling))
