"""Decide whether a model may replace the champion, and write down why."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intermodal.components.gate_model.arguments import check_arguments
from intermodal.evaluation.intervals import BINS, Floats, Resampling, interval, resample, resampled_metrics
from intermodal.evaluation.metrics import RISING
from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.runtime.errors import DataError

_TITLES = {"auc": "AUC", "pr_auc": "PR-AUC", "log_loss": "log loss", "brier": "Brier score", "accuracy": "accuracy"}
_OWN = ("label", "block", "challenger", "champion")


@dataclass(frozen=True)
class Rules:
    """The component's arguments of the same names, of the comparison with the champion; see its contract."""

    metric: str
    tolerance: float
    confidence: float
    slice_minimum_rows: int
    slice_maximum_drop: float


def gate_model(
    *,
    evaluation_path: str,
    predictions_path: str | None,
    minimum: dict[str, float],
    maximum: dict[str, float],
    metric: str,
    tolerance: float,
    confidence: float,
    slice_minimum_rows: int,
    slice_maximum_drop: float,
    incomparable: str,
    seed: int,
    decision_path: str,
) -> bool:
    """Judge a model by the rules and write `decision.json`. See the component's contract.

    Returns:
        Whether every rule passed.

    Raises:
        ConfigurationError: A metric is unknown, or an argument out of range.
        DataError: The evaluation or the predictions cannot be read, or are not what `evaluate_model` writes.
    """
    check_arguments(
        minimum=minimum,
        maximum=maximum,
        metric=metric,
        tolerance=tolerance,
        confidence=confidence,
        slice_minimum_rows=slice_minimum_rows,
        slice_maximum_drop=slice_maximum_drop,
        incomparable=incomparable,
    )
    rules = Rules(metric, tolerance, confidence, int(slice_minimum_rows), slice_maximum_drop)
    files = [Path(evaluation_path) / "evaluation.json"]
    evaluation = read_json(files[0])
    models = evaluation.get("models") if isinstance(evaluation, dict) else None
    if not isinstance(models, dict) or "metrics" not in models.get("challenger", {}):
        raise DataError(f"{files[0]}: not what evaluate_model writes; give its output `evaluation`")
    version, error = evaluation.get("champion_version"), evaluation.get("champion_error")
    outcomes = _absolute(models["challenger"]["metrics"], minimum, maximum)
    uncompared = _uncompared(predictions_path, models.get("champion"), error)
    if predictions_path:
        files.append(Path(predictions_path) / "predictions.parquet")
    if uncompared is None:
        outcomes += _relative(_read(files[1]), rules, seed, str(version))
    elif error:
        outcomes.append(_incomparable(str(error), incomparable))
    passed = all(each["passed"] for each in outcomes)
    reasons = [each["text"] for each in outcomes if each["passed"] == passed]
    decision = {
        "verdict": "passed" if passed else "blocked",
        "rules": outcomes,
        "reasons": reasons or [uncompared or "there is no rule"],
        "uncompared": uncompared,
        "champion_version": version,
        "inputs": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }
    with whole_directory(decision_path) as folder:
        write_json(folder / "decision.json", decision)
    return passed


def _uncompared(predictions_path: str | None, champion: Any, error: Any) -> str | None:
    """Return why the model is not compared with a champion; None: it is."""
    if error:
        return str(error)
    if champion is None:
        return "there is no champion to compare with: only minimum and maximum count"
    return None if predictions_path else "there are no predictions to compare with the champion's: only minimum and maximum count"


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: not readable as Parquet ({error}); evaluate the model again") from error


def _outcome(name: str, passed: bool, text: str, value: float | None, bound: float | None, span: dict[str, float | None]) -> dict[str, Any]:
    return {"name": name, "passed": bool(passed), "text": text, "value": value, "bound": bound, "interval": [span.get("low"), span.get("high")]}


def _absolute(metrics: dict[str, dict[str, float | None]], minimum: dict[str, float], maximum: dict[str, float]) -> list[dict[str, Any]]:
    outcomes = []
    for side, bounds, sign, good, bad in (("minimum", minimum, 1, "at least", "below"), ("maximum", maximum, -1, "at most", "above")):
        for metric, bound in bounds.items():
            number = metrics.get(metric)
            if number is None:
                raise DataError(f"the evaluation has no metric {metric!r}, which {side} bounds; it has {', '.join(metrics) or 'none'}")
            value = number["value"]
            # An undefined metric (one class only) cannot be shown to meet a bound.
            passed = value is not None and sign * (value - bound) >= 0
            verdict = f"is {good if passed else bad} {bound:g}" if value is not None else f"is undefined and must be {good} {bound:g}"
            outcomes.append(_outcome(f"{side} {metric}", passed, f"{_TITLES[metric]} {_span(number)} {verdict}", value, bound, number))
    return outcomes


def _span(number: dict[str, float | None]) -> str:
    value, low, high = (f"{each:.3f}" if (each := number.get(name)) is not None else "n/a" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _relative(predictions: pa.Table, rules: Rules, seed: int, version: str) -> list[dict[str, Any]]:
    label, challenger, champion = (predictions.column(name).to_numpy().astype(np.float64) for name in ("label", "challenger", "champion"))
    resampling = resample(np.asarray(predictions.column("block").to_pylist()), seed)
    worse = interval(_worsening(rules.metric, label, challenger, champion, resampling), rules.confidence)
    outcomes = [_compared(rules, worse, version)]
    for column in predictions.column_names:
        if column not in _OWN:
            values = np.asarray(predictions.column(column).to_pylist(), dtype=object)
            outcomes.append(_slices(column, values, label, challenger, champion, resampling, rules))
    return outcomes


def _compared(rules: Rules, worse: dict[str, float | None], version: str) -> dict[str, Any]:
    value, low, high = worse["value"], worse["low"], worse["high"]
    title, name = _TITLES[rules.metric], f"champion {rules.metric}"
    if value is None or low is None:
        return _outcome(name, False, f"{title} is undefined on these rows, so nothing shows the model no worse", value, rules.tolerance, worse)
    passed = low <= rules.tolerance
    allowed = f" and the tolerance of {rules.tolerance:g}" if rules.tolerance else ""
    text = (
        f"{title} is {abs(value):.4f} {'worse' if value > 0 else 'better'} than that of champion {version} "
        f"(worse by [{low:.4f}, {high:.4f}] over resampled blocks): {'not ' if passed else ''}worse beyond chance{allowed}"
    )
    return _outcome(name, passed, text, value, rules.tolerance, worse)


def _worsening(metric: str, label: Floats, challenger: Floats, champion: Floats, resampling: Resampling, bins: int = BINS) -> Floats:
    """Return by how much the challenger is worse, paired: (resamples + 1,), the first of the rows as they are."""
    new, old = (resampled_metrics(label, score, resampling, bins)[metric] for score in (challenger, champion))
    return old - new if metric in RISING else new - old


def _slices(
    column: str, values: NDArray[Any], label: Floats, challenger: Floats, champion: Floats, resampling: Resampling, rules: Rules
) -> dict[str, Any]:
    """Judge the slices of one column: one collapses when its AUC falls by more than allowed, and by more than chance gives."""
    names, counts = np.unique(values, return_counts=True)
    falls: dict[str, dict[str, float | None]] = {}
    for name in names[counts >= rules.slice_minimum_rows]:
        rows = values == name
        part = Resampling(resampling.codes[rows], resampling.weights)
        fall = interval(_worsening("auc", label[rows], challenger[rows], champion[rows], part, 512), rules.confidence)
        if fall["value"] is not None and fall["low"] is not None:
            falls[str(name)] = fall
    rule = f"slices {column}"
    if not falls:
        text = f"no {column} has {rules.slice_minimum_rows} rows with both classes, so none is judged"
        return _outcome(rule, True, text, None, rules.slice_maximum_drop, {"low": None, "high": None})
    worst = max(falls, key=lambda name: falls[name]["value"] or 0.0)
    value = falls[worst]["value"] or 0.0
    collapsed = [name for name, fall in falls.items() if (fall["value"] or 0.0) > rules.slice_maximum_drop and (fall["low"] or 0.0) > 0]
    if collapsed:
        listed = ", ".join(f"{name} (by {falls[name]['value']:.3f})" for name in collapsed)
        text = f"AUC falls by more than {rules.slice_maximum_drop:g} where {column} is {listed}"
    else:
        text = f"no {column} collapses: the largest fall of AUC is {value:.3f} at {worst}, allowed is {rules.slice_maximum_drop:g}"
    return _outcome(rule, not collapsed, text, value, rules.slice_maximum_drop, falls[worst])


def _incomparable(error: str, incomparable: str) -> dict[str, Any]:
    passed = incomparable == "pass"
    remedy = "`incomparable` lets that pass" if passed else "set `incomparable` to pass to replace it"
    return _outcome(
        "champion comparable", passed, f"the champion cannot score these rows: {error}; {remedy}", None, None, {"low": None, "high": None}
    )
