"""The order of rows: which rows make up a step, the same for every number of workers.

The rows are cut into shards, each a run of rows of nearly equal length. Position p of an epoch is taken from shard p modulo the number of shards, so
that each batch holds rows of all parts of the data, and a worker, which has every so many shards, holds an equal part of each batch. Within a shard
the order is drawn anew each epoch: its blocks are shuffled, and then the rows of each window of some blocks, which is what a worker has in memory.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHARDS: Final = 64
_BLOCKS_PER_WINDOW: Final = 8
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_ROWS, _BLOCKS = 0, 1

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """A pure function from seed, epoch and step to rows.

    Attributes:
        rows: Rows of the part, at least 1.
        batch: Rows of one step over all workers. The last step of an epoch may have fewer.
        window: Rows of a shard that are shuffled among each other, at least 1; shards that have fewer are shuffled whole.
        seed: Of the shuffle; None: the order is the same in every epoch.
    """

    rows: int
    batch: int
    window: int
    seed: int | None = None

    @property
    def shards(self) -> int:
        """Number of shards; each has a row at least."""
        return min(SHARDS, self.rows)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.rows / self.batch)

    def rows_of(self, step: int) -> int:
        """Return the rows of a step over all workers."""
        return min(self.batch, self.rows - step * self.batch)

    def ranges(self, worker: int, workers: int) -> list[tuple[int, int]]:
        """Return the runs of rows, first and end, of each shard of a worker: of the shards whose number is `worker` modulo `workers`."""
        return [(int(self._starts[shard]), int(self._starts[shard] + self._lengths[shard])) for shard in range(worker, self.shards, workers)]

    def largest(self, workers: int) -> int:
        """Return how many rows of one step a worker has at most."""
        cycles, rest = divmod(min(self.batch, self.rows), self.shards)
        counts = np.bincount(np.arange(self.shards) % workers, minlength=workers)
        twice = np.concatenate([np.arange(self.shards), np.arange(self.shards)]) % workers
        most = 0
        for worker in range(workers):
            before = np.concatenate([[0], np.cumsum(twice == worker)])
            most = max(most, int(cycles * counts[worker] + (before[rest : rest + self.shards] - before[: self.shards]).max()))
        return most

    def places(self, step: int, worker: int, workers: int) -> tuple[Numbers, Numbers]:
        """Return where a worker's rows of a step are: the places of their shards among the worker's, and their positions within these shards."""
        start = step * self.batch
        positions = np.arange(start, start + self.rows_of(step), dtype=np.int64)
        shards = positions % self.shards
        mine = shards % workers == worker
        return shards[mine] // workers, positions[mine] // self.shards

    def window_rows(self, epoch: int, window: int, worker: int, workers: int) -> Numbers:
        """Return the rows at the positions of a window of each shard of a worker, shape (shards, rows of a window); -1 past a shard's end."""
        shards = range(worker, self.shards, workers)
        first = window * self.window
        longest = min(self.window, max(int(self._lengths[shard]) for shard in shards) - first)
        found = np.full((len(shards), longest), -1, np.int64)
        for place, shard in enumerate(shards):
            size = min(self.window, int(self._lengths[shard]) - first)
            if size > 0:
                found[place, :size] = self._starts[shard] + self._within(epoch, shard, first, size)
        return found

    def _within(self, epoch: int, shard: int, first: int, size: int) -> Numbers:
        """Return the rows of a shard, counted from its first, at some positions."""
        if self.seed is None:
            return np.arange(first, first + size, dtype=np.int64)
        drawn = _random(self.seed, epoch, _ROWS, shard, first, size)
        places = first + np.argsort(drawn, kind="stable")
        length = int(self._lengths[shard])
        if length <= self.window:
            return places
        block = max(1, self.window // _BLOCKS_PER_WINDOW)
        blocks = length // block
        drawn = _random(self.seed, epoch, _BLOCKS, shard, 0, blocks + 1)
        shuffled = np.argsort(drawn[:blocks], kind="stable")
        number = np.minimum(places // block, blocks - 1)
        rows = np.where(places < blocks * block, shuffled[number] * block + places % block, places)
        # Turned by a drawn number of rows, so that it is not always the same rows that make up the short last block.
        turn = int(drawn[blocks] % np.uint64(length))
        return (rows + turn) % length

    @cached_property
    def _lengths(self) -> Numbers:
        least, more = divmod(self.rows, self.shards)
        return least + (np.arange(self.shards) < more).astype(np.int64)

    @cached_property
    def _starts(self) -> Numbers:
        """The first row of each shard. Shards that follow each other lie far apart in the data: a batch smaller than 64 is spread over it too."""
        stride = next(each for each in range(max(1, round(self.shards * _GOLDEN)), 2 * self.shards + 1) if math.gcd(each, self.shards) == 1)
        by_place = np.argsort(np.arange(self.shards) * stride % self.shards)
        starts = np.empty(self.shards, np.int64)
        starts[by_place] = np.cumsum(self._lengths[by_place]) - self._lengths[by_place]
        return starts


def _random(seed: int, epoch: int, kind: int, shard: int, first: int, count: int) -> NDArray[np.uint64]:
    """Return random numbers that depend on the arguments alone, whatever the version of NumPy: Philox, a generator with a counter."""
    words = np.array([0, kind << 32 | shard, first, 0], np.uint64)
    key = np.array([seed % 2**64, epoch], np.uint64)
    return np.random.Philox(counter=words, key=key).random_raw(count)
