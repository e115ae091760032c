"""Weights stored in 8 bits (float8_e4m3fn) with a scale for each layer, and widened when the layer works.

It halves what a half-precision UNet takes; the arithmetic stays that of the input's dtype. Not measured on a GPU yet.
"""

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.engine.streaming import mode_of

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max
SCALE_BYTES = 4
KEPT_WIDE = {  # first parts of names: what is small, and what every value passes through
    "conv_in",
    "conv_out",
    "time_embedding",
    "add_embedding",
    "class_embedding",
    "encoder_hid_proj",
    "controlnet_cond_embedding",
    "controlnet_down_blocks",
    "controlnet_mid_block",
}


class _Fp8Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, _widened(self, input.dtype), self.bias)


class _Fp8Conv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, _widened(self, input.dtype), self.bias)


STORED: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: _Fp8Linear, nn.Conv2d: _Fp8Conv2d}


class Fp8Layers:
    """The Linear and Conv2d layers of a UNet or control model in fp8 storage; norms, embeddings and ends stay wide.

    The layers get a class whose forward widens their weights, so compiled code takes them without breaks. Names in
    `state_dict()` stay; values are written with `write`, as a plain copy would forget the scale.

    Args:
        module: On any device. Keep it on the host and name `device` where it would not fit as it is.
        device: Where the stored weights go, one layer after another; None: each where it is.
        originals: Gives the weight of a name in its full precision, a file's mapping for instance; set it anew when
            another checkpoint is written. None: the weights are kept on the host.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device | None = None,
        originals: Callable[[str], Tensor] | None = None,
    ) -> None:
        self.module, self.device, self.originals = module, device, originals
        self._layers: dict[str, nn.Module] = {}
        self._origin: dict[str, tuple[torch.dtype, torch.device]] = {}
        self._kept: dict[str, Tensor] = {}
        self._names: dict[str, Tensor] = {}

    @staticmethod
    def bytes_of(module: nn.Module) -> int:
        """Exact bytes of the module's parameters and buffers in fp8 storage; it may lie on the meta device."""
        saved = sum(w.numel() * (w.element_size() - 1) - SCALE_BYTES for w in _wide_weights(module).values())
        return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers())) - saved

    @contextmanager
    def attached(self) -> Generator["Fp8Layers"]:
        """Store in fp8 until the block ends; the module has its own bits again then, even if the block raises."""
        self.attach()
        try:
            yield self
        finally:
            self.detach()

    def attach(self) -> None:
        """Store the weights.

        Raises: ValueError, if that is done already, or the module is being streamed; whatever the device raises, with
        the module as it was.
        """
        if self._layers or any(map(is_fp8, self.module.modules())):
            raise ValueError("this module is stored in fp8 already")
        self._refuse_streamed()
        self._names = self.module.state_dict(keep_vars=True)
        try:
            with mode_of(self.module):
                for name, layer in _layers(self.module).items():
                    self._store(name, layer)
        except BaseException:
            self.detach()
            raise

    def _store(self, name: str, layer: nn.Module) -> None:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        stored, scale = to_fp8(weight.detach().to(self.device or weight.device))
        self._layers[name], self._origin[name] = layer, (weight.dtype, weight.device)
        if self.originals is None:
            self._kept[name] = weight.data.cpu()  # itself, if it lies on the host
        weight.data = stored
        layer.register_buffer("fp8_scale", scale, persistent=False)
        layer.__class__ = STORED[type(layer)]

    def detach(self, device: torch.device | None = None) -> None:
        """Give every weight its own bits back, on the device that it came from, or on `device`; nothing if it is not
        attached. What was kept on the host costs nothing there.

        Raises: ValueError, if the module is being streamed.
        """
        self._refuse_streamed()
        with mode_of(self.module):
            for name, layer in self._layers.items():
                dtype, origin = self._origin[name]
                original = self._kept[name] if self.originals is None else self.originals(f"{name}.weight")
                layer.weight.data = original.to(device or origin, dtype)  # type: ignore[union-attr]
                if "fp8_scale" in layer._buffers:
                    del layer.fp8_scale
                    layer.__class__ = type(layer).__bases__[0]
        self._layers, self._origin, self._kept, self._names = {}, {}, {}, {}

    @torch.no_grad()
    def write(self, name: str, value: Tensor) -> None:
        """Copy a value into the tensor of that name in `state_dict()`, stored or not, while attached.

        Raises: KeyError.
        """
        layer_name, _, own = name.rpartition(".")
        if own != "weight" or layer_name not in self._layers:
            self._names[name].copy_(value)
            return
        layer = self._layers[layer_name]
        dtype, _device = self._origin[layer_name]
        stored, scale = to_fp8(value.to(dtype))
        layer.weight.copy_(stored)  # type: ignore[operator]
        layer.fp8_scale.copy_(scale)  # type: ignore[operator]
        if layer_name in self._kept:
            self._kept[layer_name].copy_(value)

    def _refuse_streamed(self) -> None:
        if "forward" in self.module.__dict__:
            raise ValueError("the module is being streamed; end that first")


def to_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight in fp8 and its scale, (), fp32: the smallest power of two that leaves no value above 448.

    As a power of two it costs no precision, and a weight that was fp8 before comes back bit for bit. NaN stays.
    """
    wide = weight.float()
    largest = wide.nan_to_num(0.0, 0.0, 0.0).abs().amax().item() if wide.numel() else 0.0
    fraction, exponent = math.frexp(largest / LARGEST)
    scale = math.ldexp(1.0, exponent - (fraction == 0.5)) if largest else 1.0
    return (wide / scale).to(FP8), torch.tensor(scale, device=weight.device)


def is_fp8(layer: nn.Module) -> bool:
    """Whether the layer's weight is stored in 8 bits now."""
    return type(layer) in STORED.values()


def supports_fp8(device: torch.device) -> bool:
    """Whether the device can widen fp8 values; MPS cannot."""
    try:
        probe = torch.tensor([1.5, -448.0], device=device).to(FP8).to(torch.float16)
        return probe.cpu().tolist() == [1.5, -448.0]
    except (RuntimeError, TypeError, NotImplementedError):
        return False


def _widened(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    return layer.weight.to(dtype) * layer.fp8_scale.to(dtype)  # type: ignore[operator]


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    """The layers that are stored, by name."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if type(layer) in STORED and name.split(".")[0] not in KEPT_WIDE
    }


def _wide_weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: layer.weight for name, layer in _layers(module).items()}  # type: ignore[misc]
