"""Windows as they could have been if the two models were equally good, drawn from the rows of one window.

What each block adds to the difference of the models is known from the jackknife, and is taken less its mean, so that nothing is different. A window
is drawn as runs of blocks that follow each other, from any place, of a length that is drawn too (the stationary bootstrap: Politis and Romano,
Journal of the American Statistical Association 89, 1994), which keeps what days have from the days before. In each run the models are exchanged by
chance: the sign of the difference is drawn. Blocks without an order are drawn one by one. All metrics and slices are drawn together.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intermodal.components.gate_model.scored_rows import ScoredRows
from intermodal.components.gate_model.slices import BINS
from intermodal.evaluation.intervals import Blocks, Floats, estimate
from intermodal.evaluation.metrics import MINIMUM_BLOCKS


@dataclass(frozen=True)
class Differences:
    """What each block of the window adds to how much worse the challenger is than the others.

    Attributes:
        added: Other model and metric to the blocks' shares, shape (blocks,); None where chance cannot be judged.
        present: Which blocks of the window have rows here, shape (blocks,).
        rows: How many rows there are.
    """

    added: dict[tuple[str, str], Floats | None]
    present: NDArray[np.bool_]
    rows: int

    @classmethod
    def of(cls, rows: ScoredRows, metrics: list[str], whole: NDArray[np.int64], blocks: int) -> "Differences":
        """Take the differences of rows.

        Args:
            rows: All of a window, or those of a slice.
            metrics: To compare.
            whole: The block of each of the rows in the window.
            blocks: How many blocks the window has.
        """
        here = np.zeros(blocks, bool)
        here[whole] = True
        added: dict[tuple[str, str], Floats | None] = {}
        for other in rows.others:
            for metric, values in rows.worsening(metrics, other).items():
                every = np.zeros(blocks)
                every[here] = (rows.blocks.count - 1) * (values[1:].mean() - values[1:])
                added[other, metric] = None if estimate(values, rows.blocks).error is None else every
        return cls(added, here, len(rows.label))


@dataclass(frozen=True)
class Window:
    """What the window's models differ by: over all rows, and in each slice that is large enough to be judged (None: it is not).

    Attributes:
        blocks: Of the window.
        whole: Of all rows.
        parts: By column, the name, the rows and the differences of each slice.
    """

    blocks: Blocks
    whole: Differences
    parts: dict[str, list[tuple[str, int, Differences | None]]]

    @classmethod
    def of(cls, rows: ScoredRows, metrics: list[str], slice_metrics: list[str], minimum_rows: int) -> "Window":
        """Take the differences of all rows and of each slice.

        Args:
            rows: Scored by the model, champion and reference.
            metrics: In which they are compared over all rows.
            slice_metrics: In which they are compared in a slice; empty: they are not.
            minimum_rows: Slices with fewer rows are not judged.
        """
        blocks = rows.blocks.count
        parts: dict[str, list[tuple[str, int, Differences | None]]] = {}
        for column in rows.slices if slice_metrics else ():
            values = rows.slices[column].astype(str)
            parts[column] = [
                (name, count, None if part is None else Differences.of(part, slice_metrics, rows.blocks.codes[values == name], blocks))
                for name, count, part in rows.parts(column, minimum_rows, BINS)
            ]
        return cls(rows.blocks, Differences.of(rows, metrics, rows.blocks.codes, blocks), parts)

    @property
    def run(self) -> int:
        """How many blocks a run has, on average: 1 where they have no order.

        The cube root of their number is how the best length grows (Hall, Horowitz and Jing, Biometrika 82, 1995).
        """
        return math.ceil(self.blocks.count ** (1 / 3)) if self.blocks.ordered else 1

    def draw(self, generator: np.random.Generator) -> "DrawnRows":
        """Draw a window in which the models are equally good."""
        count = self.blocks.count
        starts = generator.random(count) < 1 / self.run
        starts[0] = True
        run = np.cumsum(starts) - 1
        first = np.flatnonzero(starts)
        places = (generator.integers(0, count, len(first))[run] + np.arange(count) - first[run]) % count
        return DrawnRows(self, self.whole, places, generator.choice([-1.0, 1.0], len(first))[run])


@dataclass(frozen=True)
class DrawnRows:
    """A drawn window, or a slice of it, as the gate's rules look at it (`gate_model.scored_rows.Compared`).

    Attributes:
        window: That it is drawn from.
        of: The differences that it is drawn from.
        places: The block that stands in each place, shape (blocks,).
        signs: 1 or -1 in each place: which of the models is called the challenger.
    """

    window: Window
    of: Differences
    places: NDArray[np.int64]
    signs: Floats

    @property
    def blocks(self) -> Blocks:
        """Those that have rows."""
        count = int(self.of.present[self.places].sum())
        return Blocks(np.arange(count), count, self.window.blocks.ordered)

    @property
    def others(self) -> Mapping[str, object]:
        """The other models, of which there are no probabilities here, only differences."""
        return dict.fromkeys(other for other, _ in self.of.added)

    @property
    def slices(self) -> Mapping[str, object]:
        """The columns."""
        return self.window.parts

    @property
    def metrics(self) -> Mapping[str, Floats]:
        """None: bounds are not drawn, as they compare nothing."""
        return {}

    def worsening(self, metrics: list[str], other: str) -> dict[str, Floats]:
        """Return by how much the challenger is worse in this window, of all rows and without each block."""
        return {metric: self._worse(other, metric) for metric in metrics}

    def parts(self, column: str, minimum_rows: int, bins: int) -> "Iterator[tuple[str, int, DrawnRows | None]]":
        """Yield the slices of a column, drawn together with the whole."""
        for name, count, part in self.window.parts[column]:
            yield name, count, None if part is None else DrawnRows(self.window, part, self.places, self.signs)

    def _worse(self, other: str, metric: str) -> Floats:
        """Return values whose jackknife has just the drawn blocks' shares."""
        added, blocks = self.of.added[other, metric], self.blocks
        if added is None or blocks.count < MINIMUM_BLOCKS:
            return np.full(blocks.count + 1, np.nan)
        drawn = (self.signs * added[self.places])[self.of.present[self.places]]
        value = drawn.mean()
        return np.append(value, value - (drawn - value) / (blocks.count - 1))
