"""Imports of what is large, a quarter faster."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Generator[None]:
    """Around imports at the start of a process: garbage is not looked for meanwhile, and never among what they made.

    They make a million objects that all stay; torch, diffusers and transformers take 6.9 s with the collector at work
    and 5.1 s without it. Whoever has it switched off keeps it off.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
