"""Decide whether a model may replace the champion, and write down why."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intermodal.components.gate_model.rules import Rules, parse_rules
from intermodal.evaluation.intervals import BINS, RISING, Floats, Resampling, interval, resample, resampled_metrics
from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.runtime.errors import DataError

_TITLES = {"auc": "AUC", "pr_auc": "PR-AUC", "log_loss": "log loss", "brier": "Brier score", "accuracy": "accuracy"}
_OWN = ("label", "block", "challenger", "champion")


def gate_model(*, evaluation_path: str, predictions_path: str, rules: dict[str, Any], seed: int, decision_path: str) -> bool:
    """Judge a model by the rules and write `decision.json`. See the component's contract.

    Returns:
        Whether every rule passed.

    Raises:
        ConfigurationError: A rule or metric is unknown or out of range.
        DataError: The evaluation or the predictions cannot be read.
    """
    parsed = parse_rules(rules)
    files = [Path(evaluation_path) / "evaluation.json", Path(predictions_path) / "predictions.parquet"]
    evaluation, predictions = read_json(files[0]), _read(files[1])
    version = evaluation.get("champion_version")
    outcomes = _absolute(evaluation["models"]["challenger"]["metrics"], parsed)
    if evaluation["models"]["champion"] is not None:
        outcomes += _relative(predictions, parsed, seed, str(version))
    elif evaluation.get("champion_error"):
        outcomes.append(_incomparable(str(evaluation["champion_error"]), parsed))
    passed = all(each["passed"] for each in outcomes)
    decision = {
        "verdict": "passed" if passed else "blocked",
        "rules": outcomes,
        "reasons": [each["text"] for each in outcomes if each["passed"] == passed],
        "champion_version": version,
        "inputs": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }
    with whole_directory(decision_path) as folder:
        write_json(folder / "decision.json", decision)
    return passed


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: not readable as Parquet ({error}); evaluate the model again") from error


def _outcome(name: str, passed: bool, text: str, value: float | None, bound: float | None, span: dict[str, float | None]) -> dict[str, Any]:
    return {"name": name, "passed": bool(passed), "text": text, "value": value, "bound": bound, "interval": [span["low"], span["high"]]}


def _absolute(metrics: dict[str, dict[str, float | None]], rules: Rules) -> list[dict[str, Any]]:
    outcomes = []
    for side, bounds, sign, good, bad in (("minimum", rules.minimum, 1, "at least", "below"), ("maximum", rules.maximum, -1, "at most", "above")):
        for metric, bound in bounds.items():
            number = metrics[metric]
            value = number["value"]
            # An undefined metric (one class only) cannot be shown to meet a bound.
            passed = value is not None and sign * (value - bound) >= 0
            told = f"is {good if passed else bad} {bound:g}" if value is not None else f"is undefined and must be {good} {bound:g}"
            outcomes.append(_outcome(f"{side} {metric}", passed, f"{_TITLES[metric]} {_span(number)} {told}", value, bound, number))
    return outcomes


def _span(number: dict[str, float | None]) -> str:
    value, low, high = (f"{each:.3f}" if (each := number[name]) is not None else "n/a" for name in ("value", "low", "high"))
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
    for name in names[counts >= rules.minimum_rows]:
        rows = values == name
        part = Resampling(resampling.codes[rows], resampling.weights)
        fall = interval(_worsening("auc", label[rows], challenger[rows], champion[rows], part, 512), rules.confidence)
        if fall["value"] is not None and fall["low"] is not None:
            falls[str(name)] = fall
    rule = f"slices {column}"
    if not falls:
        text = f"no {column} has {rules.minimum_rows} rows with both classes, so none is judged"
        return _outcome(rule, True, text, None, rules.maximum_drop, {"low": None, "high": None})
    worst = max(falls, key=lambda name: falls[name]["value"] or 0.0)
    value = falls[worst]["value"] or 0.0
    collapsed = [name for name, fall in falls.items() if (fall["value"] or 0.0) > rules.maximum_drop and (fall["low"] or 0.0) > 0]
    if collapsed:
        told = ", ".join(f"{name} (by {falls[name]['value']:.3f})" for name in collapsed)
        text = f"AUC falls by more than {rules.maximum_drop:g} where {column} is {told}"
    else:
        text = f"no {column} collapses: the largest fall of AUC is {value:.3f} at {worst}, allowed is {rules.maximum_drop:g}"
    return _outcome(rule, not collapsed, text, value, rules.maximum_drop, falls[worst])


def _incomparable(error: str, rules: Rules) -> dict[str, Any]:
    passed = rules.incomparable == "pass"
    remedy = "the rules let that pass" if passed else "set the gate's incomparable to pass to replace it"
    return _outcome(
        "champion comparable", passed, f"the champion cannot score these rows: {error}; {remedy}", None, None, {"low": None, "high": None}
    )
