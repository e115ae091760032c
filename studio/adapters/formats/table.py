"""Every algorithm: the tensors by which it is known, those that it can use, and how it is built."""

from collections.abc import Callable
from dataclasses import dataclass

from studio.adapters.formats import full, glora, ia3, loha, lokr, lora, oft, rotated
from studio.adapters.formats.layer import Change, Layer


@dataclass(frozen=True)
class Algorithm:
    """One way to change a layer.

    Fields:
        signs: A layer that has one of these is changed in this way.
        roles: All that it can use.
        parameter: What of the layer it changes: `weight` or `bias`.
    """

    signs: tuple[str, ...]
    roles: frozenset[str]
    build: Callable[[Layer], Change]
    parameter: str = "weight"


def _single(role: str, build: Callable[[Layer], Change], parameter: str = "weight") -> Algorithm:
    """One that is stored in one tensor. Some programs write an alpha beside it that means nothing."""
    return Algorithm((role,), frozenset((role, "alpha")), build, parameter)


ALGORITHMS = (
    Algorithm(("down", "up", "mid"), lora.ROLES, lora.build),
    Algorithm(("up_bias",), frozenset(("up_bias", "up", "alpha", "scalar")), lora.build_bias, "bias"),
    Algorithm((*loha.HALVES[0], *loha.HALVES[1]), loha.ROLES, loha.build),
    Algorithm((*lokr.FIRST, *lokr.SECOND), lokr.ROLES, lokr.build),
    Algorithm(oft.BLOCKS, oft.ROLES, oft.build),
    Algorithm(("oft_R",), rotated.OFT_ROLES, rotated.build_oft),
    Algorithm(("boft_R",), rotated.BOFT_ROLES, rotated.build_boft),
    Algorithm(glora.PARTS, glora.ROLES, glora.build),
    Algorithm(("ia3", "on_input"), frozenset(("ia3", "on_input", "alpha")), ia3.build),
    _single("diff", full.build_difference),
    _single("set_weight", full.build_value),
    _single("w_norm", full.build_norm),
    _single("diff_b", full.build_bias, "bias"),
    _single("b_norm", full.build_norm_bias, "bias"),
)
BY_SIGN = {sign: algorithm for algorithm in ALGORITHMS for sign in algorithm.signs}
