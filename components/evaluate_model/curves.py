"""Curves and tables of a binary classifier, as lists for JSON."""

import numpy as np

from intermodal.intervals import wilson

_POINTS = 200


def _counts(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return thresholds from high to low, and the ones and zeros that score at least that."""
    values, places = np.unique(-scores, return_inverse=True)
    ones = np.cumsum(np.bincount(places, weights=labels, minlength=len(values)))
    zeros = np.cumsum(np.bincount(places, weights=1 - labels, minlength=len(values)))
    return -values, ones, zeros


def _thinned(length: int) -> np.ndarray:
    return np.unique(np.linspace(0, length - 1, min(_POINTS, length)).astype(int))


def roc(labels: np.ndarray, scores: np.ndarray) -> list[list[float]]:
    """Return the ROC curve as [false positive rate, true positive rate, threshold], about 200 points from (0, 0) to (1, 1)."""
    thresholds, ones, zeros = _counts(labels, scores)
    curve = [[float(zeros[i] / zeros[-1]), float(ones[i] / ones[-1]), float(thresholds[i])] for i in _thinned(len(thresholds))]
    return [[0.0, 0.0, 1.0], *curve]


def precision_recall(labels: np.ndarray, scores: np.ndarray) -> list[list[float]]:
    """Return the precision-recall curve as [recall, precision, threshold], about 200 points."""
    thresholds, ones, zeros = _counts(labels, scores)
    return [[float(ones[i] / ones[-1]), float(ones[i] / (ones[i] + zeros[i])), float(thresholds[i])] for i in _thinned(len(thresholds))]


def calibration(labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Return, for bins of equally many rows, the mean prediction, the share of ones and its 95% Wilson interval."""
    table = []
    for rows in np.array_split(np.argsort(scores, kind="stable"), bins):
        if len(rows):
            hits = int(labels[rows].sum())
            low, high = wilson(hits, len(rows))
            table.append({"predicted": float(scores[rows].mean()), "observed": hits / len(rows), "low": low, "high": high, "rows": len(rows)})
    return table


def threshold_table(labels: np.ndarray, scores: np.ndarray) -> list[dict[str, float]]:
    """Return, for thresholds from 0.05 to 0.95, the counts and what they make: precision, recall, F1, share flagged."""
    table = []
    for threshold in np.round(np.arange(0.05, 1.0, 0.05), 2):
        flagged = scores >= threshold
        tp, fp = int((flagged & (labels == 1)).sum()), int((flagged & (labels == 0)).sum())
        fn, tn = int((~flagged & (labels == 1)).sum()), int((~flagged & (labels == 0)).sum())
        precision, recall = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
        table.append(
            {
                "threshold": float(threshold),
                "precision": precision,
                "recall": recall,
                "f1": 2 * precision * recall / max(precision + recall, 1e-12),
                "flagged": (tp + fp) / len(labels),
                "tp": tp,
                "fp": fp,
                "tn": tn,
                "fn": fn,
            }
        )
    return table


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> tuple[list[str], list[list[int]]]:
    """Return class names and the confusion matrix, rows are true classes."""
    flagged = scores >= threshold
    matrix = [[int(((labels == true) & (flagged == predicted)).sum()) for predicted in (False, True)] for true in (0, 1)]
    return ["0", "1"], matrix
