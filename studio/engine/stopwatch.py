"""How long parts of a step take, measured where they run."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Stopwatch:
    """Sums up spans by name. A GPU works behind the program's back, so its spans are marked in its own queue."""

    device: torch.device
    spans: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    marks: list[tuple[str, Any, Any]] = field(default_factory=list[Any])

    @contextmanager
    def __call__(self, name: str) -> Generator[None]:
        """Measure what the block does."""
        begin = self._mark()
        yield
        self.marks.append((name, begin, self._mark()))

    def means(self) -> dict[str, float]:
        """Seconds of a span of each name, on average; on a GPU this waits for its work."""
        if self.marks and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        for name, begin, end in self.marks:
            seconds = begin.elapsed_time(end) / 1000 if self.device.type == "cuda" else end - begin
            self.spans.setdefault(name, []).append(seconds)
        self.marks.clear()
        return {name: sum(spans) / len(spans) for name, spans in self.spans.items()}

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
