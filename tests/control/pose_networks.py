"""The two networks of DWPose in torch, of any width, and as the ONNX files that are published.

Sources: Ge et al., arXiv:2107.08430 (YOLOX-l: a focus, CSPDarknet, a pyramid both ways, heads without anchors); Lyu et
al., arXiv:2212.07784 (CSPNeXt-l); Jiang et al., arXiv:2303.07399 (the head of RTMPose); Hua et al., arXiv:2202.10447
(its gated attention unit). Blocks and widths of the large ones are the defaults.
"""

import math
import warnings
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

POOLS, POINTS, CROP = (5, 9, 13), 133, (288, 384)


class Conv(nn.Sequential):
    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(after), nn.SiLU())


class Block(nn.Module):
    """Darknet's: 1x1 and 3x3. CSPNeXt's: 3x3, then 5x5 of each channel and 1x1."""

    def __init__(self, width: int, add: bool, deep: bool) -> None:
        super().__init__()
        wide = (Conv(width, width, 5, groups=width), Conv(width, width))
        layers = (Conv(width, width, 3), *wide) if deep else (Conv(width, width), Conv(width, width, 3))
        self.layers, self.add = nn.Sequential(*layers), add

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.add else self.layers(x)


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.mix(F.adaptive_avg_pool2d(x, 1)))


class Stage(nn.Module):
    """Half of the channels go through the blocks, half beside them."""

    def __init__(self, before: int, after: int, blocks: int, add: bool = True, deep: bool = False) -> None:
        super().__init__()
        half = after // 2
        self.main, self.short, self.last = Conv(before, half), Conv(before, half), Conv(after, after)
        self.blocks = nn.Sequential(*(Block(half, add, deep) for _ in range(blocks)))
        self.attention = Attention(after) if deep else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.attention(torch.cat((self.blocks(self.main(x)), self.short(x)), 1)))


class Pools(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = Conv(width, width // 2), Conv(width * 2, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(torch.cat([x, *(F.max_pool2d(x, side, 1, side // 2) for side in POOLS)], 1))


class Head(nn.Module):
    """Of each cell: its box, whether there is something, and the 80 classes."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.stem = Conv(before, width)
        self.of_class, self.of_place = (nn.Sequential(Conv(width, width, 3), Conv(width, width, 3)) for _ in range(2))
        self.classes, self.box, self.thing = (nn.Conv2d(width, said, 1) for said in (80, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        place = self.of_place(x)
        return torch.cat((self.box(place), self.thing(place).sigmoid(), self.classes(self.of_class(x)).sigmoid()), 1)


class Yolox(nn.Module):
    """(1, 3, 640, 640) to (1, 8400, 85), boxes not yet decoded, as its authors export it."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = [width * 2**level for level in range(5)]
        self.stem = nn.Sequential(Conv(12, w[0], 3), Conv(w[0], w[1], 3, 2), Stage(w[1], w[1], 3))
        self.to3 = nn.Sequential(Conv(w[1], w[2], 3, 2), Stage(w[2], w[2], 9))
        self.to4 = nn.Sequential(Conv(w[2], w[3], 3, 2), Stage(w[3], w[3], 9))
        self.to5 = nn.Sequential(Conv(w[3], w[4], 3, 2), Pools(w[4]), Stage(w[4], w[4], 3, add=False), Conv(w[4], w[3]))
        self.up4 = nn.Sequential(Stage(w[4], w[3], 3, add=False), Conv(w[3], w[2]))
        self.up3 = Stage(w[3], w[2], 3, add=False)
        self.step4, self.down4 = Conv(w[2], w[2], 3, 2), Stage(w[3], w[3], 3, add=False)
        self.step5, self.down5 = Conv(w[3], w[3], 3, 2), Stage(w[4], w[4], 3, add=False)
        self.heads = nn.ModuleList(Head(before, w[2]) for before in w[2:])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]), 1)
        three = self.to3(self.stem(x))
        four = self.to4(three)
        five = self.to5(four)
        up4 = self.up4(torch.cat((F.interpolate(five, scale_factor=2.0), four), 1))
        seen3 = self.up3(torch.cat((F.interpolate(up4, scale_factor=2.0), three), 1))
        seen4 = self.down4(torch.cat((self.step4(seen3), up4), 1))
        seen5 = self.down5(torch.cat((self.step5(seen4), five), 1))
        said = [head(seen).flatten(2) for head, seen in zip(self.heads, (seen3, seen4, seen5), strict=True)]
        return torch.cat(said, 2).permute(0, 2, 1)


class ScaleNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.gain = width**-0.5, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x / (torch.norm(x, dim=2, keepdim=True) * self.scale).clamp(min=1e-5) * self.gain


class GatedAttention(nn.Module):
    def __init__(self, width: int = 256, keys: int = 128) -> None:
        super().__init__()
        self.parts = [2 * width, 2 * width, keys]
        self.norm = ScaleNorm(width)
        self.into, self.out = nn.Linear(width, sum(self.parts), bias=False), nn.Linear(2 * width, width, bias=False)
        self.gamma, self.beta = nn.Parameter(torch.rand(2, keys)), nn.Parameter(torch.rand(2, keys))
        self.kept = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        gate, values, base = torch.split(F.silu(self.into(self.norm(x))), self.parts, dim=2)
        queries, keys = torch.unbind(base.unsqueeze(2) * self.gamma[None, None, :] + self.beta, dim=2)
        likeness = torch.bmm(queries, keys.permute(0, 2, 1)) / math.sqrt(self.parts[2])
        return self.kept * x + self.out(gate * torch.bmm(torch.square(F.relu(likeness)), values))


class RtmPose(nn.Module):
    """(B, 3, 384, 288) to (B, 133, 576) and (B, 133, 768): how likely each half pixel along and down is."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = [width * 2**level for level in range(5)]
        layers: list[nn.Module] = [
            Conv(3, width // 2, 3, 2),
            Conv(width // 2, width // 2, 3),
            Conv(width // 2, width, 3),
        ]
        for before, after, blocks in zip(w, w[1:], (3, 6, 6, 3), strict=False):
            last = after == w[4]
            layers += [Conv(before, after, 3, 2), *([Pools(after)] if last else [])]
            layers.append(Stage(after, after, blocks, add=not last, deep=True))
        self.backbone, self.points = nn.Sequential(*layers), nn.Conv2d(w[4], POINTS, 7, padding=3)
        cells = CROP[0] // 32 * (CROP[1] // 32)
        self.mix = nn.Sequential(ScaleNorm(cells), nn.Linear(cells, 256, bias=False), GatedAttention())
        self.along, self.down = (nn.Linear(256, 2 * side, bias=False) for side in CROP)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.mix(self.points(self.backbone(x)).flatten(2))
        return self.along(x), self.down(x)


def seeing_somebody(width: int) -> Yolox:
    """A detector with random weights that finds people as large as the sheet."""
    network = Yolox(width)
    for head in network.heads:
        nn.init.constant_(head.thing.bias, -9)
    last = network.heads[2]
    nn.init.constant_(last.thing.bias, 3)
    nn.init.constant_(last.classes.bias, 3)
    nn.init.constant_(last.box.bias, math.log(20))
    return network


def export(network: nn.Module, file: Path) -> None:
    """Write the network as it is published; a pose network takes any number of people at once.

    torch needs the package onnx only to add functions that people wrote for operators of their own.
    """
    pose = isinstance(network, RtmPose)
    seen, said = (
        torch.zeros(1, 3, *(CROP[::-1] if pose else (640, 640))),
        ["simcc_x", "simcc_y"] if pose else ["output"],
    )
    any_number = {name: {0: "batch"} for name in ("input", *said)} if pose else None
    unchanged = patch.object(onnx_proto_utils, "_add_onnxscript_fn", lambda written, _operators: written)
    with unchanged, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (seen,), file, dynamo=False, opset_version=11, input_names=["input"], output_names=said,
            dynamic_axes=any_number,
        )  # fmt: skip
