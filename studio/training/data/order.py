"""Which pictures a batch has, how they are mirrored, cut and called: all of it from numbers, nothing remembered.

A batch has pictures of one bucket. In a cycle of as many batches as there are pictures each bucket comes as often as
it has pictures, in a drawn order; within a bucket each picture comes once before one comes again, in an order that is
drawn anew each time. So after any number of cycles every picture was seen equally often, and no batch is short.
Processes that share a run take from one bucket at a time, which makes of their batches one that is as large as all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studio.training_params import TrainingParams

IMAGE_DROP = 0.05  # of the reference alone, and as often of it and the words: tencent-ailab/IP-Adapter, tutorial_train
PLACES = 5  # where along its longer side a picture may be cut, if that is drawn
CYCLE, BUCKET, ROW, CLASS = range(4)  # what a seed is for


@dataclass(frozen=True)
class Chance:
    """What is drawn for one row of a batch. place: 0 to 1, where it is cut; wordless: without its caption;
    blind: without its reference picture."""

    flip: bool
    place: float
    wordless: bool
    blind: bool


class Order:
    """The order of one run. counts: how many pictures each bucket has, 1 or more each."""

    def __init__(self, params: TrainingParams, counts: Sequence[int]) -> None:
        self.params, self.counts = params, tuple(counts)
        self._cycle: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))
        self._shuffled: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def batch(self, index: int) -> tuple[int, list[int]]:
        """The bucket of a batch, and which of the bucket's pictures are in it."""
        together, rank = divmod(index, self.params.processes)
        cycle, at = divmod(together, sum(self.counts))
        buckets = self._buckets(cycle)
        bucket = int(buckets[at])
        before = cycle * self.counts[bucket] + int((buckets[:at] == bucket).sum())
        first = (before * self.params.processes + rank) * self.params.batch
        return bucket, [self._picture(bucket, first + row) for row in range(self.params.batch)]

    def chances(self, index: int) -> list[Chance]:
        """What is drawn for each row of a batch; it follows from the row's number in the run."""
        first = index * self.params.batch
        return [self._chance(first + row) for row in range(self.params.batch)]

    def class_rows(self, index: int, count: int) -> list[int]:
        """Which of `count` pictures of the class stand beside the rows of a batch; each once before one comes again."""
        first = index * self.params.batch
        rounds = [divmod(first + row, count) for row in range(self.params.batch)]
        return [int(self._drawn(CLASS, number).permutation(count)[at]) for number, at in rounds]

    def _chance(self, row: int) -> Chance:
        flip, place, words, sight = map(float, self._drawn(ROW, row).random(4))
        return Chance(
            flip=self.params.flip and flip < 0.5,
            place=int(place * PLACES) / (PLACES - 1) if self.params.crop == "random" else 0.5,
            wordless=words < self.params.caption_dropout or (self._sees and IMAGE_DROP <= sight < 2 * IMAGE_DROP),
            blind=self._sees and sight < 2 * IMAGE_DROP,
        )

    @property
    def _sees(self) -> bool:
        return self.params.method == "ip_adapter"

    def _buckets(self, cycle: int) -> NDArray[np.int64]:
        if self._cycle[0] != cycle:
            each = np.repeat(np.arange(len(self.counts)), self.counts)
            self._cycle = cycle, self._drawn(CYCLE, cycle).permutation(each)
        return self._cycle[1]

    def _picture(self, bucket: int, number: int) -> int:
        """The number-th picture that a bucket ever gives."""
        round_, at = divmod(number, self.counts[bucket])
        if self._shuffled.get(bucket, (-1,))[0] != round_:
            self._shuffled[bucket] = round_, self._drawn(BUCKET, bucket, round_).permutation(self.counts[bucket])
        return int(self._shuffled[bucket][1][at])

    def _drawn(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng((self.params.seed, *numbers))
