"""Our attention processor: one class for every layer, with the kernel behind it chosen once for the device."""

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, compiler
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from studio.engine.kept_words import KeptWords
from studio.engine.precision import device_name, installed, keep_choice, known_choices
from studio.engine.regional import Regions, grid_of

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
Changer = Callable[[Attention, Tensor, Tensor], tuple[Tensor, Tensor]]
SLICE_BYTES = 256 * 2**20
LAYERS = ((40, 4096), (64, 4096), (80, 1024), (160, 256))  # head width, length: SD 1.5 at 512 px, SDXL at 1024
WORDS = 77
GAIN = 1.1
ROUNDS = 5
EXACT = {torch.float32: 1e-4}  # half precisions round each product: 0.002 to 0.005 was seen for bf16 on a CPU
NEARLY = 0.02
FAILURES = (ImportError, RuntimeError, ValueError, OSError)


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's own, which chooses among flash, memory-efficient and plain. All (B, heads, length, width)."""
    return F.scaled_dot_product_attention(query, key, value)


@dataclass(frozen=True)
class Sdpa:
    """One kernel of torch's, and for shapes that it refuses, those that take any."""

    first: SDPBackend

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend; all (B, heads, length, width)."""
        with sdpa_kernel([self.first, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH], set_priority=True):
            return F.scaled_dot_product_attention(query, key, value)

    def alone(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """As a call, but by that kernel only. Raises: RuntimeError, if it cannot."""
        with sdpa_kernel(self.first):
            return F.scaled_dot_product_attention(query, key, value)


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's own where it holds the whole score matrix; in slices, where that would be larger than 256 MiB."""
    if query[..., 0].numel() * key.shape[2] * query.element_size() > SLICE_BYTES:
        return sliced(query, key, value)
    with sdpa_kernel(SDPBackend.MATH):
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


KERNELS: dict[str, Kernel] = {
    "sdpa-flash": Sdpa(SDPBackend.FLASH_ATTENTION),
    "sdpa-cudnn": Sdpa(SDPBackend.CUDNN_ATTENTION),
    "sdpa-efficient": Sdpa(SDPBackend.EFFICIENT_ATTENTION),
    "sdpa": sdpa,
    "xformers": xformers,
    "sdpa-math": plain,
    "sliced": sliced,
}
FRUGAL = {  # those that hold no score matrix there; the others are for where none of them is right
    "cuda": ("sdpa-flash", "sdpa-cudnn", "sdpa-efficient", "sdpa", "xformers"),
    "cpu": ("sdpa",),
}
LAST = ("sdpa-math", "sliced")


@dataclass(frozen=True)
class KernelChoice:
    """The kernel that runs, the measured seconds of those that are right here, and why the others were left out."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """Both in one line, for people."""
        timed = [f"{name} {1000 * seconds:.1f} ms" for name, seconds in self.seconds.items()]
        return ", ".join([*timed, *(f"{name}: {reason}" for name, reason in self.left_out.items())])


def choose_kernel(device: torch.device, dtype: torch.dtype) -> str:
    """The name of the kernel that `measure_kernels` chooses."""
    return measure_kernels(device, dtype).name


@torch.inference_mode()
def measure_kernels(device: torch.device, dtype: torch.dtype) -> KernelChoice:
    """The fastest kernel of those that answer rightly at the head widths of SD 1.5 and SDXL.

    Right is within 1e-4 of plain attention in fp32 (relative norm), within 0.02 in half precision. Kernels that hold
    whole scores are taken only where no other is right. Within a tenth of the fastest, the earlier in the list stands.
    """
    layers, left_out = _layers(device, dtype), dict[str, str]()
    right: list[str] = []
    for name in (*FRUGAL.get(device.type, ()), *LAST):
        if name in LAST and right:
            reason = "not needed"
        elif name == "sdpa" and device.type == "cuda" and not right:
            reason = "only its plain kernel answers here"
        else:
            reason = _fault(name, layers)
        if reason:
            left_out[name] = reason
        else:
            right.append(name)
    if not right:
        return KernelChoice("sliced", {}, left_out)
    seconds = _timed(right, layers) if len(right) > 1 else {right[0]: _run(KERNELS[right[0]], layers)}
    best = min(seconds.values())
    return KernelChoice(next(name for name in right if seconds[name] <= GAIN * best), seconds, left_out)


def remembered_kernel(device: torch.device, dtype: torch.dtype, file: Path) -> KernelChoice:
    """As `measure_kernels`, but measured once for this device, precision, torch and xformers, and kept in `file`, since
    another kernel rounds otherwise. Delete the file to measure again."""
    versions = f"torch {torch.__version__}, xformers {installed('xformers') or 'absent'}"
    key = f"{device_name(device)}, {str(dtype).removeprefix('torch.')}, {versions}"
    known = known_choices(file).get(key)
    if known is not None and known.get("name") in KERNELS:
        return KernelChoice(known["name"], dict(known.get("seconds", {})), dict(known.get("left_out", {})))
    chosen = measure_kernels(device, dtype)
    keep_choice(file, key, asdict(chosen))
    return chosen


Layer = tuple[Tensor, Tensor, Tensor]


def _layers(device: torch.device, dtype: torch.dtype) -> list[Layer]:
    """Queries, keys and values of attention layers; a CPU gets those of 256 px with two heads, which is quick."""
    heads, shrink = (2, 4) if device.type == "cpu" else (8, 1)
    rng = torch.Generator().manual_seed(0)

    def draw(length: int, width: int) -> Tensor:
        return torch.randn(1, heads, length, width, generator=rng).to(device, dtype)

    shapes = [(width, length // shrink, said) for width, length in LAYERS for said in (length // shrink, WORDS)]
    return [(draw(length, width) * 2, draw(said, width), draw(said, width)) for width, length, said in shapes]


def _fault(name: str, layers: list[Layer]) -> str:
    """Why that kernel cannot be used on these layers; "" if it answers rightly."""
    kernel = KERNELS[name]
    if isinstance(kernel, Sdpa):
        kernel = kernel.alone
    tolerance = EXACT.get(layers[0][0].dtype, NEARLY)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            worst = max(_error(kernel, layer) for layer in layers)
        except FAILURES as error:
            first = str(said[0].message if said else error) or type(error).__name__
            return first.strip().splitlines()[0][:160]
    return "" if worst <= tolerance else f"off by {worst:.2g}, which is more than {tolerance:g}"


def _error(kernel: Kernel, layer: Layer) -> float:
    """Relative norm of the difference from plain attention in fp32; infinite for what is no number."""
    expected = sliced(*(t.float() for t in layer))
    error = float(((kernel(*layer).float() - expected).norm() / expected.norm()).item())
    return error if error == error else float("inf")


def _timed(names: list[str], layers: list[Layer]) -> dict[str, float]:
    """The fastest of five runs of each, in turn, so that a busy moment hits each alike."""
    seconds = dict.fromkeys(names, float("inf"))
    for _ in range(ROUNDS):
        for name in names:
            seconds[name] = min(seconds[name], _run(KERNELS[name], layers))
    return seconds


def _run(kernel: Kernel, layers: list[Layer]) -> float:
    started = time.perf_counter()
    for layer in layers:
        result = kernel(*layer)
    result[0, 0, 0, 0].item()  # waits for the device
    return time.perf_counter() - started


@dataclass(frozen=True)
class PictureKeys:
    """What a layer attends to of a picture, beside its words.

    Fields:
        key, value: (B or 1, heads, tokens, head width); they do not depend on the step.
        scale: How much of it is added.
        mask: (1, 1, h, w), 0 to 1, where it counts; None is everywhere.
    """

    key: Tensor
    value: Tensor
    scale: float = 1.0
    mask: Tensor | None = None


@dataclass
class Reference:
    """Another picture's features in the self-attention layers.

    Fields:
        states: Hidden states by layer, (1, length, width), of the reference at this step.
        writing: The pass that is going on collects them; else it reads them.
        fidelity: 0 to 1; how much the unguided half keeps to itself, which brings the style out.
        guided: Whether the first half of the batch is the unguided one.
        mask: (1, 1, h, w), 0 to 1, where it counts; None is everywhere.
    """

    states: dict[int, Tensor] = field(default_factory=dict)
    writing: bool = False
    scale: float = 1.0
    fidelity: float = 0.5
    guided: bool = True
    mask: Tensor | None = None


@dataclass
class Slots:
    """What an attention layer may heed beside its words. One object serves all layers of a model; None is off.

    Fields:
        pictures: What each cross-attention layer reads of pictures, by the layer's id.
        hypernetworks: What changes the states that a layer makes its keys and its values of, one after the other:
            from the layer and both (B, length, width) to both.
        regions: Words of its own that each part of the picture hears, in cross-attention.
        references: Hidden states of other pictures, for self-attention.
        words: Keys and values of the words, which are kept from step to step; a hypernetwork hides them.
    """

    pictures: dict[int, list[PictureKeys]] | None = None
    hypernetworks: Sequence[Changer] | None = None
    regions: Regions | None = None
    references: Sequence[Reference] | None = None
    words: KeptWords | None = None


class AttentionProcessor:
    """What diffusers' attention layers call. Its class never changes, so that compiled code stays valid."""

    def __init__(self, kernel: str, slots: Slots | None = None) -> None:
        self.kernel = KERNELS[kernel]
        self.slots = slots or Slots()

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
        said = hidden_states if encoder_hidden_states is None else _normed(attn, encoder_hidden_states)
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        make = self._keys_and_values if encoder_hidden_states is None else self._of_words
        key, value = make(attn, said)
        attended = self.kernel(query, key, value)
        if encoder_hidden_states is None and self.slots.references is not None:
            own = Own(query, key, value, attended)
            attended = self._look_at(attn, hidden_states, own)
        if encoder_hidden_states is not None and self.slots.regions is not None:
            attended = self._in_regions(attn, query, attended, self.slots.regions)
        if encoder_hidden_states is not None and self.slots.pictures is not None:
            for seen in self.slots.pictures.get(id(attn), ()):
                attended = torch.add(attended, self._of_picture(query, seen), alpha=seen.scale)
        attended = attended.transpose(1, 2).flatten(2).to(query.dtype)
        out = attn.to_out[1](attn.to_out[0](attended))
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out if attn.rescale_output_factor == 1 else out / attn.rescale_output_factor

    def _of_words(self, attn: Attention, said: Tensor) -> tuple[Tensor, Tensor]:
        """As `_keys_and_values`, of words, whose keys and values may be kept. Compiled code must not know of that: it
        would hold only as long as nothing is kept."""
        if compiler.is_compiling() or self.slots.words is None or self.slots.hypernetworks:
            return self._keys_and_values(attn, said)
        return self.slots.words.of(attn, said, lambda: self._keys_and_values(attn, said))

    def _keys_and_values(self, attn: Attention, said: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, heads, length, head width), of what is attended to, (B, length, width)."""
        for_keys = for_values = said
        for changed in self.slots.hypernetworks or ():
            for_keys, for_values = changed(attn, for_keys, for_values)
        return split_heads(attn.to_k(for_keys), attn.heads), split_heads(attn.to_v(for_values), attn.heads)

    def _in_regions(self, attn: Attention, query: Tensor, attended: Tensor, regions: Regions) -> Tensor:
        """What was attended to, with the regions' words where they are, (B, heads, length, head width)."""
        told = regions.told(query)

        def attend(words: Tensor) -> Tensor:
            key, value = self._keys_and_values(attn, _normed(attn, words))
            return self.kernel(told, key.expand(len(told), -1, -1, -1), value.expand(len(told), -1, -1, -1))

        return regions.blended(attended, attend)

    def _of_picture(self, query: Tensor, seen: PictureKeys) -> Tensor:
        """What attention to a picture's tokens adds at a scale of 1, (B, heads, length, head width)."""
        rows = len(query)
        added = self.kernel(query, seen.key.expand(rows, -1, -1, -1), seen.value.expand(rows, -1, -1, -1))
        if seen.mask is not None:
            added = added * _mask_along(seen.mask, query.shape[2]).to(added)
        return added

    def _look_at(self, attn: Attention, hidden: Tensor, own: "Own") -> Tensor:
        """Self-attention that looks at references' features too; the pass over a reference only collects them.

        Source: Mikubill/sd-webui-controlnet, discussion 1236, "reference-only".
        """
        attended = own.attended
        for reference in self.slots.references or ():
            if reference.writing:
                reference.states[id(attn)] = hidden
                return own.attended
            if (bank := reference.states.get(id(attn))) is None:
                continue
            bank = bank.expand(len(hidden), -1, -1)
            key, value = self._keys_and_values(attn, bank)
            keys, values = torch.cat([own.key, key], 2), torch.cat([own.value, value], 2)
            change = self.kernel(own.query, keys, values) - own.attended
            if reference.guided:
                half = len(change) // 2
                change = torch.cat([change[:half] * (1 - reference.fidelity), change[half:]])
            if reference.mask is not None:
                change = change * _mask_along(reference.mask, own.query.shape[2]).to(change)
            attended = attended + change * reference.scale
        return attended


@dataclass(frozen=True)
class Own:
    """What a self-attention layer has without a reference: heads (B, heads, length, head width), and what they gave."""

    query: Tensor
    key: Tensor
    value: Tensor
    attended: Tensor


# diffusers asks for it at every call, and finding it out takes as long as a small kernel.
AttentionProcessor.__call__.__dict__["__signature__"] = inspect.signature(AttentionProcessor.__call__)


def _mask_along(mask: Tensor, length: int) -> Tensor:
    """A mask (1, 1, h, w) over the positions of a layer, (1, 1, length, 1); rows first, of the mask's aspect."""
    small = F.interpolate(mask.float(), size=grid_of(mask, length), mode="bicubic", antialias=False)
    return small.reshape(1, 1, length, 1)


def _normed(attn: Attention, said: Tensor) -> Tensor:
    return attn.norm_encoder_hidden_states(said) if attn.norm_cross else said


def split_heads(t: Tensor, heads: int) -> Tensor:
    """(B, length, width) to (B, heads, length, width / heads)."""
    return t.unflatten(2, (heads, -1)).transpose(1, 2)
