"""IP-Adapters: pictures read as words are, through keys and values of their own in every cross-attention layer.

Source: Ye et al., arXiv:2308.06721; the layout of published files is that of the authors' h94/IP-Adapter.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection
from torch import Tensor, nn

TOKENS = 4
FIRST, APART = 1, 2  # files number all attention layers, self and cross in turn, and hold the cross ones
PLAIN = {"proj": "image_embeds", "norm": "norm"}  # names in published files, and in diffusers' class


class IPAdapter(nn.Module):
    """A projection of a picture's features to tokens, and for each cross-attention layer its keys and values.

    Fields:
        projection: Features to tokens (N, tokens, width of the words). A plain adapter takes the projected features of
            an image encoder, (N, D); one of the plus kind its last but one hidden states, (N, L, D).
        keys, values: Linear layers without bias, in the order of the UNet's cross-attention layers.
    """

    def __init__(self, projection: nn.Module, shapes: Sequence[tuple[int, int]]) -> None:
        """shapes: (out, in) features of each layer."""
        super().__init__()
        self.projection = projection
        self.keys = nn.ModuleList(nn.Linear(inputs, outputs, bias=False) for outputs, inputs in shapes)
        self.values = nn.ModuleList(nn.Linear(inputs, outputs, bias=False) for outputs, inputs in shapes)

    @property
    def plus(self) -> bool:
        """Whether it reads hidden states, not projected features."""
        return not isinstance(self.projection, ImageProjection)

    @classmethod
    def beside(cls, unet: nn.Module, features: int) -> "IPAdapter":
        """A new plain adapter for a UNet: its keys and values begin as those of the words.

        Args: features: width D of the image encoder's projected features.
        """
        layers = cross_attention_layers(unet)
        shapes = [tuple(layer.to_k.weight.shape) for layer in layers]
        made = cls(ImageProjection(features, shapes[0][1], TOKENS), shapes)
        with torch.no_grad():
            for layer, key, value in zip(layers, made.keys, made.values, strict=True):
                key.weight.copy_(layer.to_k.weight)
                value.weight.copy_(layer.to_v.weight)
        return made

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "IPAdapter":
        """Read the tensors of a published file. Raises: ValueError or KeyError, for a layout that this is not."""
        shapes = [tuple(state[f"ip_adapter.{number}.to_k_ip.weight"].shape) for number in _numbers(state)]
        if not shapes:
            raise ValueError("no layer of it has keys for pictures")
        projected = {name.removeprefix("image_proj."): t for name, t in state.items() if name.startswith("image_proj.")}
        made = cls(_projection(projected, shapes[0][1]), shapes)
        own = {f"projection.{name}": t for name, t in _renamed(projected).items()}
        for index, number in enumerate(_numbers(state)):
            own[f"keys.{index}.weight"] = state[f"ip_adapter.{number}.to_k_ip.weight"]
            own[f"values.{index}.weight"] = state[f"ip_adapter.{number}.to_v_ip.weight"]
        made.load_state_dict(own)
        return made.eval()

    def to_state(self) -> dict[str, Tensor]:
        """The tensors of a plain adapter under their published names. Raises: ValueError, for one of the plus kind."""
        if self.plus:
            raise ValueError("only plain IP-Adapters are written")
        names = {ours: theirs for theirs, ours in PLAIN.items()}
        state = {
            f"image_proj.{names[name.split('.')[0]]}.{name.split('.')[1]}": t
            for name, t in self.projection.state_dict().items()
        }
        for index, (key, value) in enumerate(zip(self.keys, self.values, strict=True)):
            number = FIRST + APART * index
            state[f"ip_adapter.{number}.to_k_ip.weight"] = key.weight
            state[f"ip_adapter.{number}.to_v_ip.weight"] = value.weight
        return {name: t.detach().clone() for name, t in state.items()}

    def tokens(self, features: Tensor) -> Tensor:
        """Features of N pictures as tokens, (N, tokens, width of the words)."""
        return self.projection(features)

    def keys_and_values(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each cross-attention layer, (N, tokens, width of the layer)."""
        return [(key(tokens), value(tokens)) for key, value in zip(self.keys, self.values, strict=True)]


def cross_attention_layers(unet: nn.Module) -> list[nn.Module]:
    """A UNet's cross-attention layers in the order in which IP-Adapter files number them."""
    names = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]  # type: ignore[operator]
    return [unet.get_submodule(name.removesuffix(".processor")) for name in names]


def layers_heard(unet: nn.Module, method: str) -> list[bool]:
    """Which cross-attention layers hear of a picture, in the order of `cross_attention_layers`.

    method: "full"; "style", the first blocks on the way up; "composition", the last ones on the way down and the
    middle. In SDXL these are single transformers of the blocks. Source: InvokeAI 6, the IP-Adapter methods.
    """
    names = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]  # type: ignore[operator]
    if method == "full":
        return [True] * len(names)
    way = "up_blocks." if method == "style" else "down_blocks."
    blocks = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names if name.startswith(way)))
    heard = [(blocks[0] if method == "style" else blocks[-1]) + "."]
    if unet.config.get("addition_embed_type") == "text_time":  # SDXL
        heard = [f"{heard[0]}attentions.1."]
    elif method == "composition":
        heard.append("mid_block.")
    return [name.startswith(tuple(heard)) for name in names]


def _numbers(state: Mapping[str, Tensor]) -> list[int]:
    ending = ".to_k_ip.weight"
    return sorted(int(name.split(".")[1]) for name in state if name.startswith("ip_adapter.") and name.endswith(ending))


def _projection(state: Mapping[str, Tensor], width: int) -> nn.Module:
    """The module that the image_proj tensors of a file fill."""
    if "proj.weight" in state:
        outputs, inputs = state["proj.weight"].shape
        return ImageProjection(inputs, width, outputs // width)
    if "latents" not in state:
        raise ValueError("this kind of IP-Adapter is not known here")
    hidden = state["latents"].shape[2]
    inner = state["layers.0.0.to_q.weight"].shape[0]
    return IPAdapterPlusImageProjection(
        embed_dims=state["proj_in.weight"].shape[1],
        output_dims=state["proj_out.weight"].shape[0],
        hidden_dims=hidden,
        depth=1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers.")),
        dim_head=64,
        heads=inner // 64,
        num_queries=state["latents"].shape[1],
    )


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The projection's tensors under the names of diffusers' classes."""
    if "proj.weight" in state:
        return {f"{PLAIN[name.split('.')[0]]}.{name.split('.')[1]}": t for name, t in state.items()}
    return dict(_of_resampler(state))


def _of_resampler(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    parts = {
        "0.norm1": "ln0",
        "0.norm2": "ln1",
        "0.to_q": "attn.to_q",
        "0.to_out": "attn.to_out.0",
        "1.0": "ff.0",
        "1.1": "ff.1.net.0.proj",
        "1.3": "ff.1.net.2",
    }
    for name, tensor in state.items():
        if not name.startswith("layers."):
            yield name, tensor
            continue
        _, layer, rest = name.split(".", 2)
        part, kind = rest.rsplit(".", 1)
        if part == "0.to_kv":
            key, value = tensor.chunk(2)
            yield f"layers.{layer}.attn.to_k.weight", key
            yield f"layers.{layer}.attn.to_v.weight", value
        else:
            yield f"layers.{layer}.{parts[part]}.{kind}", tensor
