"""Rows with the probabilities that the models gave them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intermodal.evaluation.intervals import BINS, Blocks, Floats, group_blocks, jackknifed_metrics
from intermodal.evaluation.metrics import RISING
from intermodal.runtime.errors import DataError

_OTHERS = ("champion", "reference")
_OWN = ("label", "block", "challenger", *_OTHERS)


class Compared(Protocol):
    """Rows on which a model is compared with others: real ones, or those that `measure_gate` draws."""

    @property
    def others(self) -> Mapping[str, Any]:
        """The other models: `champion`, `reference` or both."""

    @property
    def blocks(self) -> Blocks:
        """Which rows depend on each other."""

    @property
    def slices(self) -> Mapping[str, Any]:
        """The columns of slices."""

    @property
    def metrics(self) -> Mapping[str, Floats]:
        """The challenger's metrics, see `jackknifed_metrics`."""

    def worsening(self, metrics: list[str], other: str) -> dict[str, Floats]:
        """Return by how much the challenger is worse in some metrics than another model, of all rows and without each block."""

    def parts(self, column: str, minimum_rows: int, bins: int) -> "Iterator[tuple[str, int, Compared | None]]":
        """Yield the name of each slice of a column, how many rows it has, and these; None instead where they are fewer than the minimum."""


@dataclass(frozen=True)
class ScoredRows:
    """What `predictions.parquet` has.

    Attributes:
        label: 0 or 1, shape (rows,).
        challenger: Probabilities of the model that is judged, shape (rows,).
        others: Probabilities of the `champion` and of the `reference`, likewise, those that there are.
        blocks: Which rows depend on each other.
        slices: The slice of each row, by column.
        bins: Of ranks, see `jackknifed_metrics`. Default: 4096.
    """

    label: Floats
    challenger: Floats
    others: dict[str, Floats]
    blocks: Blocks
    slices: dict[str, NDArray[Any]]
    bins: int = BINS

    @classmethod
    def of(cls, predictions: pa.Table, *, ordered: bool, seed: int) -> "ScoredRows":
        """Read the predictions' table; `ordered` tells whether the order of its blocks is that of time.

        Raises:
            DataError: There are no rows, a column is missing, a label is not 0 or 1, or a probability is none.
        """
        absent = [name for name in _OWN[:3] if name not in predictions.column_names]
        if absent or not predictions.num_rows or predictions.column("block").null_count:
            what = f"no column {', '.join(absent)}" if absent else "rows without a block" if predictions.num_rows else "no rows"
            raise DataError(f"the predictions have {what}; give evaluate_model's output `predictions`")
        blocks = group_blocks(np.asarray(predictions.column("block").to_pylist()), ordered=ordered, seed=seed)
        names = [name for name in predictions.column_names if name not in _OWN]
        slices = {name: np.asarray(predictions.column(name).to_pylist(), dtype=object) for name in names}
        scored = [name for name in _OTHERS if name in predictions.column_names and predictions.column(name).null_count < predictions.num_rows]
        label = _numbers(predictions, "label", "not 0 or 1")
        return cls(label, _numbers(predictions, "challenger"), {name: _numbers(predictions, name) for name in scored}, blocks, slices)

    def parts(self, column: str, minimum_rows: int, bins: int) -> Iterator[tuple[str, int, "ScoredRows | None"]]:
        """Yield the name of each slice of a column, how many rows it has, and these; None instead where they are fewer than the minimum."""
        names, places, counts = np.unique(self.slices[column].astype(str), return_inverse=True, return_counts=True)
        for number, (name, count) in enumerate(zip(names, counts, strict=True)):
            yield str(name), int(count), self._part(places.reshape(-1) == number, bins) if count >= minimum_rows else None

    def _part(self, rows: NDArray[np.bool_], bins: int) -> "ScoredRows":
        others = {name: scores[rows] for name, scores in self.others.items()}
        return ScoredRows(self.label[rows], self.challenger[rows], others, self.blocks.of(rows), {}, bins)

    @cached_property
    def metrics(self) -> dict[str, Floats]:
        """The challenger's metrics, see `jackknifed_metrics`; each comparison takes them."""
        return jackknifed_metrics(self.label, self.challenger, self.blocks, self.bins)

    def worsening(self, metrics: list[str], other: str) -> dict[str, Floats]:
        """Return by how much the challenger is worse in some metrics than another, `champion` or `reference`, on the same rows.

        Values are those of all rows and without each block, see `jackknifed_metrics`.
        """
        if not metrics:
            return {}
        new, old = self.metrics, jackknifed_metrics(self.label, self.others[other], self.blocks, self.bins)
        return {name: (old[name] - new[name]) if name in RISING else (new[name] - old[name]) for name in metrics}


def _numbers(predictions: pa.Table, name: str, wrong: str = "no probability") -> Floats:
    found: Floats = predictions.column(name).to_numpy().astype(np.float64)
    right = (found >= 0) & (found <= 1) if name != "label" else (found == 0) | (found == 1)
    if not right.all():
        raise DataError(f"the predictions' column {name!r} is {wrong} in {int((~right).sum())} of {len(found)} rows; evaluate the model again")
    return found
