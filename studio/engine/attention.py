"""Our attention processor: one class for every layer, with the kernel behind it chosen once for the device."""

from collections.abc import Callable

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
SLICE_BYTES = 256 * 2**20


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's own, which chooses among flash, memory-efficient and plain. All (B, heads, length, width)."""
    return F.scaled_dot_product_attention(query, key, value)


def sliced(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Plain attention over slices of the query, so that no score matrix is larger than 256 MiB."""
    batch, heads, _, width = query.shape
    rows = max(1, SLICE_BYTES // max(1, batch * heads * key.shape[2] * query.element_size()))
    transposed = key.transpose(-1, -2) * width**-0.5
    parts = [(part @ transposed).softmax(-1) @ value for part in query.split(rows, dim=2)]
    return torch.cat(parts, dim=2)


def xformers(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """xformers' memory-efficient attention, whose kernels are CUDA-only."""
    from xformers.ops import memory_efficient_attention

    swapped = (t.transpose(1, 2).contiguous() for t in (query, key, value))
    return memory_efficient_attention(*swapped).transpose(1, 2)


KERNELS: dict[str, Kernel] = {"xformers": xformers, "sdpa": sdpa, "sliced": sliced}


def choose_kernel(device: torch.device, dtype: torch.dtype) -> str:
    """The first kernel that answers rightly on the device: xformers where CUDA is, then SDPA, then slices."""
    names = ["xformers", "sdpa", "sliced"] if device.type == "cuda" else ["sdpa", "sliced"]
    rng = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 16, 8, generator=rng).to(device, dtype) for _ in range(3))
    expected = sliced(query.float(), key.float(), value.float())
    for name in names:
        try:
            if torch.allclose(KERNELS[name](query, key, value).float(), expected, atol=0.02):
                return name
        except (ImportError, RuntimeError, NotImplementedError):
            continue
    return "sliced"


class AttentionProcessor:
    """What diffusers' attention layers call. Its class never changes, so that compiled code stays valid."""

    def __init__(self, kernel: str) -> None:
        self.kernel = KERNELS[kernel]

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend. hidden_states: (B, length, width) or (B, width, h, w); encoder_hidden_states: (B, words, width).

        Raises: ValueError, for an attention mask or a time embedding, which no UNet of ours has.
        """
        if attention_mask is not None or temb is not None:
            raise ValueError("this processor takes no attention mask and no time embedding")
        residual, shape = hidden_states, hidden_states.shape
        if hidden_states.ndim == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        said = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            said = attn.norm_encoder_hidden_states(said)
        query, key, value = (
            _heads(t, attn.heads) for t in (attn.to_q(hidden_states), attn.to_k(said), attn.to_v(said))
        )
        attended = self.kernel(query, key, value).transpose(1, 2).flatten(2).to(query.dtype)
        out = attn.to_out[1](attn.to_out[0](attended))
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor


def _heads(t: Tensor, heads: int) -> Tensor:
    """(B, length, width) to (B, heads, length, width / heads)."""
    return t.unflatten(2, (heads, -1)).transpose(1, 2)
