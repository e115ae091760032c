"""Changes as products of low rank: put together exactly, or cut down to what matters most (SVD)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.delta import LowRank
from studio.errors import InvalidRequestError

RANK_MAX = 4096


@dataclass(frozen=True)
class Keep:
    """How much of a change is kept.

    Fields:
        rank: At most so many dimensions; 0 is as many as there are.
        energy: The fewest dimensions that hold this share of the sum of squares, 0 to 1; 1 is all of it.
    """

    rank: int = 0
    energy: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.rank <= RANK_MAX:
            raise InvalidRequestError(
                f"The rank is {self.rank}.", field="rank", hint=f"Choose a whole number from 1 to {RANK_MAX}."
            )
        if not 0 < self.energy <= 1:
            raise InvalidRequestError(
                f"The energy is {self.energy}.",
                field="energy",
                hint="Choose a share above 0 and up to 1, such as 0.95.",
            )

    def of(self, strengths: Tensor) -> int:
        """How many of the dimensions are kept, at least one. strengths: singular values, falling."""
        held = strengths.double().square().cumsum(0)
        count = len(strengths) if self.energy == 1 else int((held < self.energy * held[-1]).sum()) + 1
        return max(1, min(count, self.rank or count))


def together(changes: Sequence[tuple[LowRank, float]]) -> LowRank:
    """Weighted changes of one parameter as one: their factors side by side, so that nothing is lost but the rounding
    of `up` times its weight in fp32. Of one change alone the factors stay as they are."""
    if len(changes) == 1:
        low, weight = changes[0]
        return LowRank(low.up, low.down, low.scale * weight)
    up = torch.cat([low.up.float() * (low.scale * weight) for low, weight in changes], 1)
    return LowRank(up, torch.cat([low.down.float() for low, _ in changes]), 1.0)


def cut(low: LowRank, keep: Keep) -> LowRank:
    """A product cut down to the dimensions that matter most. Its whole matrix is never made."""
    up, down = torch.linalg.qr(low.up.float()), torch.linalg.qr(low.down.float().T)
    left, strengths, right = torch.linalg.svd(up.R @ down.R.T * low.scale, full_matrices=False)
    return _halved(up.Q @ left, strengths, right @ down.Q.T, keep)


def factored(change: Tensor, keep: Keep) -> LowRank:
    """A change of any sort, (out, in) or (out, in, kh, kw), as a product that comes nearest to it.

    A matrix that is longer than wide is made square first (QR), which takes a tenth of the time for wide kernels.
    """
    matrix = change.float().flatten(1)
    if matrix.shape[0] < matrix.shape[1]:
        turned = factored(matrix.T, keep)
        return LowRank(turned.down.T, turned.up.T, 1.0)
    long = torch.linalg.qr(matrix)
    left, strengths, right = torch.linalg.svd(long.R)
    count = keep.of(strengths)
    return _halved(long.Q @ left[:, :count], strengths[:count], right[:count], Keep())


def _halved(left: Tensor, strengths: Tensor, right: Tensor, keep: Keep) -> LowRank:
    """Each factor takes the square root of the strengths, so that half precision holds both alike."""
    count = keep.of(strengths)
    roots = strengths[:count].sqrt()
    return LowRank(left[:, :count] * roots, roots[:, None] * right[:count], 1.0)
