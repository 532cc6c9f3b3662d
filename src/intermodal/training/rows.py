"""A worker's rows of a part: read from the row groups that it needs, preprocessed once, and given out in batches."""

import itertools
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from intermodal.runtime.datasets import Dataset
from intermodal.runtime.disk import room
from intermodal.training.batches import Ahead, Batch
from intermodal.training.cluster import Cluster
from intermodal.training.order import SHARDS, Order

#: Up to so many bytes of all workers' rows stay in memory; more go to a file.
IN_MEMORY: Final = 256 << 20
#: Bytes of the rows that are shuffled among each other where not all stay in memory.
_WINDOWS: Final = 64 << 20
#: Bytes of batches made ahead, about, and their number.
_AHEAD_BYTES: Final = 64 << 20
_AHEAD: Final = 8
_FLOAT: Final = 4

#: Turns rows of a dataset into features, shape (rows, width), and labels, shape (rows,).
Convert = Callable[[pa.Table], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Source:
    """The rows of one part of a dataset.

    Attributes:
        examples: The dataset.
        part: Its split.
        rows: How many rows that has.
        columns: What `convert` needs.
        convert: Preprocessing.
        width: Columns of the features.
    """

    examples: Dataset
    part: str
    rows: int
    columns: Sequence[str]
    convert: Convert
    width: int


class Part:
    """A worker's rows of a part, preprocessed.

    Args:
        source: The rows.
        cluster: Which worker this is.
        batch: Rows of a step over all workers; more than there are: all.
        folder: A folder of this machine's disk for rows that do not stay in memory.
        seed: Of the shuffle; None: none.
        replicas: Devices of this worker: the padded rows of a batch are a multiple.
        in_memory: Bytes of all workers' rows up to which they stay in memory.

    Attributes:
        width: Columns of the features.
        order: Which rows make up a step.
        padded: Rows of each batch, padding included.
        seconds: What reading and preprocessing took.

    Raises:
        DataError: A file is damaged, or `convert` refuses a value.
        MachineError: The disk of the folder is full.
    """

    def __init__(
        self, source: Source, cluster: Cluster, batch: int, folder: Path, *, seed: int | None, replicas: int = 1, in_memory: int = IN_MEMORY
    ) -> None:
        started = time.perf_counter()
        self._worker, self._workers = cluster.index, cluster.count
        self.width = source.width
        size = source.rows * source.width * _FLOAT
        self._fits = size <= in_memory
        window = source.rows if self._fits else max(1, min(_WINDOWS, in_memory) // (source.width * _FLOAT * SHARDS))
        self.order = Order(source.rows, min(batch, source.rows), window, seed)
        self.padded = -(-self.order.largest(self._workers) // replicas) * replicas
        ranges = self.order.ranges(self._worker, self._workers)
        by_place = sorted(range(len(ranges)), key=lambda place: ranges[place][0])
        self._shifts = np.empty(len(ranges), np.int64)  # from a row's number in the part to its number in the store, by shard
        stored = 0
        for place in by_place:
            self._shifts[place] = stored - ranges[place][0]
            stored += ranges[place][1] - ranges[place][0]
        self._store: _Memory | _File = _Memory(stored, source.width) if self._fits else _File(stored, source.width, folder / source.part)
        with room(f"the preprocessed rows of {source.part!r}", folder):
            self._fill(source, [ranges[place] for place in by_place])
        self.seconds = time.perf_counter() - started

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def ahead(self, epoch: int, first: int = 0) -> Ahead:
        """Return the batches of an epoch from a step on, made ahead by a thread."""
        return Ahead(self.batches(epoch, first), self.batches_ahead(self.padded))

    def batches_ahead(self, padded: int) -> int:
        """Return how many batches of so many rows are made ahead at most."""
        return max(2, min(_AHEAD, _AHEAD_BYTES // (padded * (self.width + 2) * _FLOAT)))

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the worker's part of the batches of an epoch, from a step on."""
        order = self.order
        with closing(self._windows(epoch, first * order.batch // (order.shards * order.window))) as windows:
            loaded, window = -1, _NOTHING
            for step in range(first, order.steps):
                shards, positions = order.places(step, self._worker, self._workers)
                features = np.empty((self.padded, self.width), np.float32)
                labels = np.zeros(self.padded, np.float32)
                weights = np.zeros(self.padded, np.float32)
                count = len(positions)
                weights[:count] = 1
                features[count:] = 0
                numbers = positions // order.window
                for start, end in _runs(numbers):
                    while loaded < numbers[start]:
                        loaded, window = next(windows)
                    window.take(shards[start:end], positions[start:end] - loaded * order.window, features[start:end], labels[start:end])
                yield Batch(features, labels, weights, order.rows_of(step))

    def _windows(self, epoch: int, first: int) -> Generator[tuple[int, "_Window"]]:
        """Yield the windows of an epoch from one on, each with its number; the next is read while one is used."""
        count = -(-self.order.rows // (self.order.shards * self.order.window))
        if self._fits:
            yield from ((number, self._load(epoch, number)) for number in range(first, count))
            return
        with ThreadPoolExecutor(1, "windows") as reader:
            ahead = reader.submit(self._load, epoch, first)
            for number in range(first, count):
                window = ahead.result()
                if number + 1 < count:
                    ahead = reader.submit(self._load, epoch, number + 1)
                yield number, window

    def _load(self, epoch: int, window: int) -> "_Window":
        rows = self.order.window_rows(epoch, window, self._worker, self._workers)
        stored = rows + self._shifts[:, None]
        return self._store.window(stored, rows >= 0)

    def _fill(self, source: Source, ranges: list[tuple[int, int]]) -> None:
        for first, batch in source.examples.numbered(source.part, source.columns, ranges):
            for start, end in ranges:
                low, high = max(start, first), min(end, first + batch.num_rows)
                if low < high:
                    self._store.append(*source.convert(pa.Table.from_batches([batch.slice(low - first, high - low)])))


def _runs(numbers: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield where runs of one number start and end in an ascending array."""
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    return ((start, end) for start, end in itertools.pairwise(edges) if start < end)


@dataclass(frozen=True)
class _Window:
    """Rows in memory: those at `places[shard, position]` of two arrays."""

    features: np.ndarray
    labels: np.ndarray
    places: np.ndarray

    def take(self, shards: np.ndarray, positions: np.ndarray, features: np.ndarray, labels: np.ndarray) -> None:
        places = self.places[shards, positions]
        np.take(self.features, places, axis=0, out=features, mode="clip")  # without `clip` NumPy would copy once more
        np.take(self.labels, places, out=labels, mode="clip")


_NOTHING: Final = _Window(np.empty((0, 0), np.float32), np.empty(0, np.float32), np.empty((0, 0), np.int64))


class _Memory:
    """Rows in memory."""

    def __init__(self, rows: int, width: int) -> None:
        self._features, self._labels, self._filled = np.empty((rows, width), np.float32), np.empty(rows, np.float32), 0

    def append(self, features: Any, labels: np.ndarray) -> None:
        end = self._filled + len(labels)
        self._features[self._filled : end] = features
        self._labels[self._filled : end] = labels
        self._filled = end

    def window(self, stored: np.ndarray, _: np.ndarray) -> _Window:
        return _Window(self._features, self._labels, stored)

    def close(self) -> None:
        self._features, self._labels = np.empty((0, 0), np.float32), np.empty(0, np.float32)


class _File:
    """Rows in two files of this machine's disk."""

    def __init__(self, _: int, width: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._width = width
        self._features = (folder / "features.f32").open("w+b", buffering=0)
        self._labels = (folder / "labels.f32").open("w+b", buffering=0)

    def append(self, features: Any, labels: np.ndarray) -> None:
        _write(self._features.fileno(), np.ascontiguousarray(features, np.float32))
        _write(self._labels.fileno(), np.ascontiguousarray(labels, np.float32))

    def window(self, stored: np.ndarray, there: np.ndarray) -> _Window:
        """Read the rows of a window, run by run."""
        rows = np.sort(stored[there])
        features, labels = np.empty((len(rows), self._width), np.float32), np.empty(len(rows), np.float32)
        edges = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        for start, end in itertools.pairwise(edges):
            if start < end:
                _read(self._features.fileno(), features[start:end], int(rows[start]) * self._width * _FLOAT)
                _read(self._labels.fileno(), labels[start:end], int(rows[start]) * _FLOAT)
        return _Window(features, labels, np.searchsorted(rows, stored))

    def close(self) -> None:
        self._features.close()
        self._labels.close()


def _write(descriptor: int, values: np.ndarray) -> None:
    left = memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    while left:
        left = left[os.write(descriptor, left) :]


def _read(descriptor: int, values: np.ndarray, offset: int) -> None:
    left = memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    while left:
        count = os.preadv(descriptor, [left], offset)
        if not count:
            raise OSError("the file of preprocessed rows is shorter than it was written")
        left, offset = left[count:], offset + count
