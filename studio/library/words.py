"""What people call base models and kinds of models, for sentences; the page has its own words for lists."""

BASES = {"sd1": "SD 1.5", "sd2": "SD 2", "sdxl": "SDXL", "sdxl-refiner": "the SDXL refiner"}
KINDS = {
    "controlnet": "ControlNet",
    "ip_adapter": "IP-Adapter",
    "lora": "LoRA",
    "t2i_adapter": "T2I-Adapter",
    "taesd": "preview decoder",
    "vae": "VAE",
}


def base_word(base: str) -> str:
    """A base model as people call it."""
    return "the starter model" if base.startswith("starter-") else BASES.get(base, base)


def kind_word(kind: str) -> str:
    """A kind of model as people call it."""
    return KINDS.get(kind, kind.replace("_", " "))
