"""BLIP: what a picture shows, in one sentence."""

from pathlib import Path
from typing import Any

from PIL import Image

from studio.control.networks import from_folder, to_tensor
from studio.control.pixels import check_option, to_pixels
from studio.control.weights import Weights

FOLDER = "blip-image-captioning-base"
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of OpenAI's CLIP
LEAST, MOST = 8, 64


def annotate(image: Image.Image, *, weights: Weights, longest: float = 24) -> str:
    """A caption, always the same one. longest: in tokens, 8 to 64.

    Raises: ValueError, ModelNotFoundError.
    Source: Li et al., arXiv:2201.12086; the length is that of AUTOMATIC1111's interrogator.
    """
    check_option("longest", longest, LEAST, MOST)
    with weights.network([FOLDER], _open) as captioner:
        return captioner.write(image, round(longest), weights.device)


class Captioner:
    """The network with the words that it writes."""

    def __init__(self, network: Any, words: Any) -> None:
        self.network, self.words = network, words

    def to(self, device: str) -> None:
        """Move to that device."""
        self.network.to(device)

    def write(self, image: Image.Image, longest: int, device: str) -> str:
        """The likeliest sentence, without a beam."""
        side = self.network.config.vision_config.image_size
        square = Image.fromarray(to_pixels(image)).resize((side, side), Image.Resampling.BICUBIC)
        said = self.network.generate(
            to_tensor(to_pixels(square), MEAN, SPREAD, device), max_new_tokens=longest, num_beams=1, do_sample=False
        )
        return self.words.decode(said[0][1:], skip_special_tokens=True).strip()


def _open(folder: Path) -> Captioner:
    from transformers import BertTokenizerFast, BlipForConditionalGeneration

    words = BertTokenizerFast.from_pretrained(folder, local_files_only=True)
    return Captioner(from_folder(BlipForConditionalGeneration, folder), words)
