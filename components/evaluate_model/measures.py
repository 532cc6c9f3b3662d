"""The numbers of one model on one part, as `evaluation.json` holds them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intermodal.evaluation.intervals import Floats, Resampling, interval, resampled_metrics

POINTS = 200
LARGEST_SLICES = 50
_Z = 1.959964


def measure(label: Floats, score: Floats, resampling: Resampling, slices: dict[str, NDArray[np.object_]]) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return a model's numbers, and the resampled metrics they come from."""
    resampled = resampled_metrics(label, score, resampling)
    thresholds, true, false = _operating_points(label, score)
    positives, negatives = max(float(label.sum()), 1.0), max(float((1 - label).sum()), 1.0)
    kept = np.unique(np.linspace(0, len(thresholds) - 1, POINTS).round().astype(int))
    roc = [[0.0, 0.0, 1.0]] + [[false[i] / negatives, true[i] / positives, thresholds[i]] for i in kept]
    pr = [[true[i] / positives, true[i] / (true[i] + false[i]), thresholds[i]] for i in kept]
    numbers = {
        "metrics": {name: interval(values) for name, values in resampled.items()},
        "roc": [[float(value) for value in point] for point in roc],
        "pr": [[float(value) for value in point] for point in pr],
        "calibration": _calibration(label, score),
        "thresholds": [confusion(label, score, threshold / 20) for threshold in range(1, 20)],
        "slices": [each for column, values in slices.items() for each in _slices(label, score, resampling, column, values)],
    }
    return numbers, resampled


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


def _calibration(label: Floats, score: Floats, bins: int = 10) -> list[dict[str, Any]]:
    """Return mean prediction and observed share in bins of equal size, with Wilson (1927) intervals."""
    groups = np.array_split(np.argsort(score, kind="stable"), min(bins, len(score)))
    return [_wilson(float(score[rows].mean()), float(label[rows].mean()), len(rows)) for rows in groups]


def _wilson(predicted: float, observed: float, rows: int) -> dict[str, Any]:
    scale = 1 + _Z**2 / rows
    centre = (observed + _Z**2 / (2 * rows)) / scale
    half = _Z * np.sqrt(observed * (1 - observed) / rows + _Z**2 / (4 * rows**2)) / scale
    return {"predicted": predicted, "observed": observed, "low": float(max(centre - half, 0)), "high": float(min(centre + half, 1)), "rows": rows}


def _slices(label: Floats, score: Floats, resampling: Resampling, column: str, values: NDArray[np.object_]) -> list[dict[str, Any]]:
    names, counts = np.unique(values, return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")][:LARGEST_SLICES]
    found = []
    for name in frequent:
        rows = values == name
        resampled = resampled_metrics(label[rows], score[rows], Resampling(resampling.codes[rows], resampling.weights), bins=512)
        found.append(
            {"column": column, "value": str(name), "rows": int(rows.sum()), "positives": int(label[rows].sum())}
            | {metric: interval(resampled[metric]) for metric in ("auc", "log_loss")}
        )
    return found
