"""What people call base models and kinds of models, for sentences; the page has its own words for lists."""

BASES = {"sd1": "SD 1.5", "sd2": "SD 2", "sdxl": "SDXL", "sdxl-refiner": "the SDXL refiner"}
KINDS = {"vae": "VAE", "taesd": "preview decoder", "controlnet": "ControlNet", "lora": "LoRA"}


def base_word(base: str) -> str:
    """A base model as people call it."""
    return "the starter model" if base.startswith("starter-") else BASES.get(base, base)


def kind_word(kind: str) -> str:
    """A kind of model as people call it."""
    return KINDS.get(kind, kind.replace("_", " "))
