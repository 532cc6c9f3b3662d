"""Rows with the probabilities that both models gave them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intermodal.evaluation.intervals import BINS, Blocks, Estimate, Floats, estimate, group_blocks, jackknifed_metrics
from intermodal.evaluation.metrics import RISING

_OWN = ("label", "block", "challenger", "champion", "reference")


@dataclass(frozen=True)
class ScoredRows:
    """What `predictions.parquet` has.

    Attributes:
        label: 0 or 1, shape (rows,).
        challenger: Probabilities of the model that is judged, shape (rows,).
        champion: Probabilities of the champion, shape (rows,).
        reference: Probabilities of the reference, likewise; None without one.
        blocks: Which rows depend on each other.
        slices: The slice of each row, by column.
        bins: Of ranks, see `jackknifed_metrics`. Default: 4096.
    """

    label: Floats
    challenger: Floats
    champion: Floats
    reference: Floats | None
    blocks: Blocks
    slices: dict[str, NDArray[Any]]
    bins: int = BINS

    @classmethod
    def of(cls, predictions: pa.Table, *, ordered: bool, seed: int) -> "ScoredRows":
        """Read the predictions' table; `ordered` tells whether the order of its blocks is that of time."""
        label, challenger, champion = (predictions.column(name).to_numpy().astype(np.float64) for name in ("label", "challenger", "champion"))
        blocks = group_blocks(np.asarray(predictions.column("block").to_pylist()), ordered=ordered, seed=seed)
        names = [name for name in predictions.column_names if name not in _OWN]
        slices = {name: np.asarray(predictions.column(name).to_pylist(), dtype=object) for name in names}
        column = predictions.column("reference") if "reference" in predictions.column_names else None
        reference = column.to_numpy().astype(np.float64) if column is not None and not column.null_count else None
        return cls(label, challenger, champion, reference, blocks, slices)

    def part(self, rows: NDArray[np.bool_], bins: int) -> "ScoredRows":
        """Return some of the rows, without reference and slices."""
        return ScoredRows(self.label[rows], self.challenger[rows], self.champion[rows], None, self.blocks.of(rows), {}, bins)

    @cached_property
    def metrics(self) -> dict[str, Floats]:
        """The challenger's metrics, see `jackknifed_metrics`; each comparison takes them."""
        return jackknifed_metrics(self.label, self.challenger, self.blocks, self.bins)

    def worsening(self, metrics: list[str], other: Floats | None = None) -> dict[str, Estimate]:
        """Return by how much the challenger is worse in some metrics than the champion, or than other probabilities of the same rows."""
        if not metrics:
            return {}
        new, old = self.metrics, jackknifed_metrics(self.label, self.champion if other is None else other, self.blocks, self.bins)
        return {name: estimate((old[name] - new[name]) if name in RISING else (new[name] - old[name]), self.blocks) for name in metrics}
