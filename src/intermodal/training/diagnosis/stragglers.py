"""A worker that is slower than the others, whose steps wait for it."""

import statistics
import sys
from collections.abc import Callable
from typing import Final

import numpy as np

from intermodal.training.cluster import Cluster

#: From how many times the others' time on a worker is slow.
SLOW: Final = 1.5
#: Windows in a row in which it must be.
_WINDOWS: Final = 2
#: Seconds of the slowest worker that a window must have to be judged: less is noise.
_SECONDS: Final = 0.5


class Stragglers:
    """How long each worker takes for what it does by itself: its rows of the validation.

    Workers that make steps together take equal time for a step, whoever is slow. In a validation they do not wait for each other: how long each takes
    for a row tells which one is slow, and costs nothing. The seconds are added up as everything is, so all see the same numbers.

    Args:
        cluster: Which worker this is. The chief speaks.
        total: Sums an array over all workers.
    """

    def __init__(self, cluster: Cluster, total: Callable[[np.ndarray], np.ndarray]) -> None:
        self._cluster, self._total = cluster, total
        self._window, self._all = np.zeros((2, cluster.count)), np.zeros((2, cluster.count))
        self._slow_windows, self._suspect, self._named = 0, -1, -1

    def look(self, seconds: float, rows: float) -> None:
        """Add up what each worker took for its rows; all call it together.

        A worker that is slow in two windows in a row is named, once, and once more when it keeps up again.
        """
        if self._cluster.count == 1:
            return
        mine = np.zeros((2, self._cluster.count))
        mine[:, self._cluster.index] = seconds, rows
        self._window += self._total(mine)
        seconds_of, rows_of = self._window
        if rows_of.min() > 0 and seconds_of.max() >= _SECONDS:
            self._judge(seconds_of / rows_of, int(rows_of.max()))
            self._all += self._window
            self._window = np.zeros_like(self._window)

    def numbers(self) -> dict[str, float]:
        """Return which worker was the slowest over all, and how many times as long as the others' median it took; nothing for one worker."""
        seconds, rows = self._all + self._window
        if self._cluster.count == 1 or not rows.all():
            return {}
        slowest, ratio = _slowest(seconds / rows)
        return {"slowest_worker": float(slowest), "slowest_worker_ratio": round(ratio, 3)}

    def _judge(self, each: np.ndarray, rows: int) -> None:
        """Judge seconds a row, by worker."""
        slowest, ratio = _slowest(each)
        if ratio < SLOW:
            if self._named >= 0:
                self._say(f"worker {self._named} keeps up with the others again")
            self._slow_windows, self._suspect, self._named = 0, -1, -1
            return
        self._slow_windows = self._slow_windows + 1 if slowest == self._suspect else 1
        self._suspect = slowest
        if self._slow_windows >= _WINDOWS and self._named != slowest:
            self._named = slowest
            others = each[slowest] / ratio
            where = f" ({self._cluster.addresses[slowest]})" if len(self._cluster.addresses) > slowest else ""
            self._say(
                f"worker {slowest}{where} is slow: {1e6 * each[slowest]:.3g} ms for 1,000 rows of the validation, {ratio:.1f} times the others' "
                f"{1e6 * others:.3g} ms, over {rows:,} rows, and in every step the others wait for it; look at what else its machine does"
            )

    def _say(self, line: str) -> None:
        if self._cluster.chief:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _slowest(each: np.ndarray) -> tuple[int, float]:
    """Return the worker that took longest, and how many times the median of the others."""
    slowest = int(np.argmax(each))
    others = statistics.median(np.delete(each, slowest).tolist())
    return slowest, float(each[slowest] / max(others, 1e-9))
