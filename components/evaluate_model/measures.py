"""The numbers of one model on one part, as `evaluation.json` holds them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intermodal.evaluation.intervals import CALIBRATION_BINS, Blocks, Floats, calibration_bins, interval, jackknifed_metrics

POINTS = 200
LARGEST_SLICES = 50
_Z = 1.959964


def measure(label: Floats, score: Floats, blocks: Blocks, slices: dict[str, NDArray[np.object_]]) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return a model's numbers, and the metrics without each block that their intervals come from."""
    jackknifed = jackknifed_metrics(label, score, blocks)
    thresholds, true, false = _operating_points(label, score)
    positives, negatives = max(float(label.sum()), 1.0), max(float((1 - label).sum()), 1.0)
    kept = np.unique(np.linspace(0, len(thresholds) - 1, POINTS).round().astype(int))
    roc = [[0.0, 0.0, 1.0]] + [[false[i] / negatives, true[i] / positives, thresholds[i]] for i in kept]
    pr = [[true[i] / positives, true[i] / (true[i] + false[i]), thresholds[i]] for i in kept]
    numbers = {
        "metrics": {name: measured(name, values, blocks) for name, values in jackknifed.items()},
        "roc": [[float(value) for value in point] for point in roc],
        "pr": [[float(value) for value in point] for point in pr],
        "calibration": _calibration(label, score, blocks),
        "thresholds": [confusion(label, score, threshold / 20) for threshold in range(1, 20)],
        "slices": [each for column, values in slices.items() for each in _slices(label, score, blocks, column, values)],
    }
    return numbers, jackknifed


def _operating_points(label: Floats, score: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the distinct scores, highest first, and how many positives and negatives reach each."""
    negated, inverse = np.unique(-score, return_inverse=True)
    inverse = inverse.reshape(-1)
    return -negated, np.bincount(inverse, label).cumsum(), np.bincount(inverse, 1 - label).cumsum()


def confusion(label: Floats, score: Floats, threshold: float) -> dict[str, Any]:
    """Return counts and rates of calling every row at or above a threshold positive; a rate without rows is None."""
    called, true = score >= threshold, label == 1
    tp, fp = int((called & true).sum()), int((called & ~true).sum())
    fn, tn = int((~called & true).sum()), int((~called & ~true).sum())
    return {
        "threshold": threshold,
        "precision": tp / (tp + fp) if tp + fp else None,
        "recall": tp / (tp + fn) if tp + fn else None,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        "flagged": (tp + fp) / len(label),
        "tp": tp,
        "fp": fp,
        "tn": tn,
        "fn": fn,
    }


def measured(metric: str, values: Floats, blocks: Blocks) -> dict[str, float | None]:
    """Return a metric's value with its 95 % interval; without one where no block changes it (an AUC of 1, equal predictions): chance is not seen."""
    numbers = interval(values, blocks)
    if numbers["low"] == numbers["high"]:
        numbers |= {"low": None, "high": None}
    return _bounded(metric, numbers)


def _bounded(metric: str, numbers: dict[str, float | None]) -> dict[str, float | None]:
    """Return an interval cut where the metric ends: at 0 and, but for log loss, at 1."""
    highest = np.inf if metric == "log_loss" else 1.0
    return {name: None if each is None else float(np.clip(each, 0.0, highest)) for name, each in numbers.items()}


def _calibration(label: Floats, score: Floats, blocks: Blocks) -> list[dict[str, Any]]:
    """Return mean prediction and observed share in bins of equal size, with intervals from the blocks."""
    bins = calibration_bins(score)
    found = []
    for number in range(CALIBRATION_BINS):
        rows = bins == number
        if rows.any():
            within = blocks.of(rows)
            counts, positives = (np.bincount(within.codes, of, within.count) for of in (None, label[rows]))
            with np.errstate(invalid="ignore", divide="ignore"):
                shares = np.append(positives.sum(), positives.sum() - positives) / np.append(counts.sum(), counts.sum() - counts)
            observed = _bounded("observed", interval(shares, within))
            if observed["low"] == observed["high"] is not None:  # one class alone: the blocks do not differ, and say nothing about chance
                observed |= _wilson(float(shares[0]), int(rows.sum()))
            cell = {"predicted": float(score[rows].mean()), "observed": observed["value"], "low": observed["low"], "high": observed["high"]}
            found.append(cell | {"rows": int(rows.sum())})
    return found


def _wilson(share: float, rows: int) -> dict[str, float | None]:
    """Return the 95 % score interval of a share of independent rows (Wilson, 1927)."""
    scale = 1 + _Z**2 / rows
    centre = (share + _Z**2 / (2 * rows)) / scale
    half = _Z * np.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2)) / scale
    return {"low": float(max(centre - half, 0)), "high": float(min(centre + half, 1))}


def _slices(label: Floats, score: Floats, blocks: Blocks, column: str, values: NDArray[np.object_]) -> list[dict[str, Any]]:
    names, counts = np.unique(values, return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")][:LARGEST_SLICES]
    found = []
    for name in frequent:
        rows = values == name
        within = blocks.of(rows)
        jackknifed = jackknifed_metrics(label[rows], score[rows], within, bins=512)
        found.append(
            {"column": column, "value": str(name), "rows": int(rows.sum()), "positives": int(label[rows].sum()), "blocks": within.count}
            | {metric: measured(metric, jackknifed[metric], within) for metric in ("auc", "log_loss")}
        )
    return found
