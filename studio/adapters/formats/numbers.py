"""From what a file holds to what is calculated with."""

import torch
from torch import Tensor


def numbers(stored: Tensor, like: Tensor) -> Tensor:
    """The tensor in fp32, where `like` lies."""
    return stored.to(like.device, torch.float32)
