import pytest

from studio.library.index import Library
from tests.library.headers import lora, write
from tests.library.kit import settings_in

BASE = "starter-0ff5dfae"
BLOCK = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture
def library(tmp_path):
    """The starter, two LoRAs of rank 4 for one of its layers, and a LoRA for SDXL."""
    settings = settings_in(tmp_path)
    shapes = {f"{BLOCK}.lora_down.weight": (4, 192), f"{BLOCK}.lora_up.weight": (128, 4), f"{BLOCK}.alpha": ()}
    (settings.paths.models / "loras").mkdir(parents=True, exist_ok=True)
    for name in ("ink", "oil"):
        write(settings.paths.models / "loras" / f"{name}.safetensors", shapes, metadata={"maquette.base": BASE})
    write(settings.paths.models / "loras" / "huge.safetensors", lora("sdxl", only="attn2"))
    return Library(settings)


@pytest.fixture
def models(library):
    return library.settings.paths.models
