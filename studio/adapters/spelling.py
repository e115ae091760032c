"""Which layer a file means: the ways in which programs spell the layers of a UNet and of text encoders.

A name is flattened, dots to underscores, and looked up after its start; so the spellings with dots and with underscores
are one. Source: kohya-ss/sd-scripts, networks/lora.py; diffusers, utils/state_dict_utils.py; peft,
utils/save_and_load.py; KohakuBlueleaf/LyCORIS, lycoris/wrapper.py; Nerogar/OneTrainer, modules/util/convert/lora;
ComfyUI, comfy/lora.py.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from studio.library.names import DIFFUSERS, LDM, PLANS, unet_names

UNET, TEXT, TEXT_2 = "unet", "text_encoder", "text_encoder_2"
PARTS = (UNET, TEXT, TEXT_2)
WRAPPER = "base_model_model_"  # PEFT's models, around any other start
STARTS: tuple[tuple[str, tuple[str, ...]], ...] = (  # the first one that fits, and the parts that it may mean
    ("lora_unet_", (UNET,)),
    ("oft_unet_", (UNET,)),
    ("unet_", (UNET,)),
    ("model_diffusion_model_", (UNET,)),
    ("diffusion_model_", (UNET,)),
    ("text_encoder_2_", (TEXT_2,)),
    ("text_encoder_", (TEXT,)),
    *(
        (f"{start}clip_{letter}_", (part,))
        for start in ("", "text_encoders_")
        for letter, part in (("l", TEXT), ("h", TEXT), ("g", TEXT_2))
    ),
    ("lycoris_", PARTS),
    ("", PARTS),
)
ONE_ENCODER = (("lora_te_", (TEXT,)),)  # kohya's, for checkpoints with one text encoder, and with two
TWO_ENCODERS = (("lora_te1_", (TEXT,)), ("lora_te2_", (TEXT_2,)))
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
OLD_TEXT = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}  # diffusers before 0.17
WRAPPED = "text_model."  # before a text encoder's layers in files, whether or not the class has it
PROJECTION = "text_projection"  # of text_encoder_2, outside of that
TEXT_STARTS = ("", "text_model_", "transformer_text_model_")


@dataclass(frozen=True)
class Layers:
    """The layers of a checkpoint by part, by every flattened spelling, and the starts that its files have."""

    parts: Mapping[str, Mapping[str, str]]
    starts: tuple[tuple[str, tuple[str, ...]], ...]

    def find(self, stem: str) -> str:
        """The layer's path in the checkpoint, part first, that a file spells so; "" if it has none."""
        flat = stem.replace(".", "_").removeprefix(WRAPPER)
        for start, parts in self.starts:
            if flat.startswith(start):
                rest = flat[len(start) :]
                return next((path for part in parts if (path := self.parts[part].get(rest, ""))), "")
        return ""


def layers_of(parameters: Collection[str]) -> Layers:
    """All layers of a checkpoint with these parameters, which are named by part, path and `weight` or `bias`."""
    return _layers(tuple(parameters))


@lru_cache(maxsize=4)
def _layers(parameters: tuple[str, ...]) -> Layers:
    paths: dict[str, dict[str, None]] = {part: {} for part in PARTS}
    for name in parameters:
        part, _, rest = name.partition(".")
        if part in paths:
            paths[part][rest.rpartition(".")[0]] = None
    parts = {part: {flat: f"{part}.{path}" for path in found for flat in _text(path)} for part, found in paths.items()}
    parts[UNET] = {flat: f"{UNET}.{path}" for flat, path in _unet(paths[UNET])}
    return Layers(parts, (*(TWO_ENCODERS if paths[TEXT_2] else ONE_ENCODER), *STARTS))


def _text(path: str) -> Iterator[str]:
    """All flattened spellings of a text encoder's layer."""
    start, _, last = path.rpartition(".")
    flat = path.replace(".", "_")
    flats = [flat, f"{start.replace('.', '_')}_{OLD_TEXT[last]}"] if last in OLD_TEXT else [flat]
    for flat in flats:
        yield from (f"{beginning}{flat}" for beginning in TEXT_STARTS)


def _unet(paths: Collection[str]) -> Iterator[tuple[str, str]]:
    """All flattened spellings of a UNet's layers, and the layers."""
    ldm = ldm_paths(paths)
    for path in paths:
        for spelled in (path, ldm[path]) if path in ldm else (path,):
            yield spelled.replace(".", "_"), path
        attention, _, part = path.rpartition(".to_")
        if f"to_{part}" in ATTENTION:
            start, last = attention.replace(".", "_"), part.removesuffix(".0")
            yield f"{start}_processor_to_{last}", path
            yield f"{start}_to_{last}", path


def ldm_paths(paths: Collection[str]) -> dict[str, str]:
    """LDM's paths of a UNet's layers by diffusers'; none, if it is built like no UNet that LDM's code has."""
    for base in PLANS:
        pairs = zip(unet_names(base, DIFFUSERS), unet_names(base, LDM), strict=True)
        found = {name.rpartition(".")[0]: ldm.rpartition(".")[0] for name, ldm in pairs}
        if found.keys() == {*paths}:
            return found
    return {}
