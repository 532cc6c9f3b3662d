"""Batches: what a worker gives its backend for one step."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

_AHEAD: Final = 8


@dataclass(frozen=True)
class Batch:
    """A worker's part of one step's rows, filled up to the same shape on every worker and in every step with rows of weight 0.

    Attributes:
        features: float32, shape (padded rows, width).
        labels: float32, shape (padded rows,).
        weights: float32, shape (padded rows,): 1 for a row, 0 for padding.
        rows: Rows of the step over all workers: what the sum of their losses is divided by.
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    rows: int


class Ahead:
    """Batches made ahead by a thread.

    Args:
        batches: The batches; iterated in the thread.
        ahead: How many may be ready at most.

    Attributes:
        waited: Seconds for which `next` had to wait, in all.
    """

    def __init__(self, batches: Iterable[Batch], ahead: int = _AHEAD) -> None:
        self.waited = 0.0
        self._ready: queue.Queue[Batch | BaseException | None] = queue.Queue(ahead)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._make, args=(batches,), name="batches", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.01)
            except queue.Empty:
                continue
        self._thread.join()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            began = time.perf_counter()
            batch = self._ready.get()
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    def _make(self, batches: Iterable[Batch]) -> None:
        last: BaseException | None = None
        try:
            for batch in batches:
                self._ready.put(batch)
                if self._ended.is_set():
                    return
        except BaseException as error:  # whoever takes the batches raises it
            last = error
        self._ready.put(last)
