"""The gate: rules over a model's numbers, and a record of the decision."""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from intermodal.artifacts import read_json, whole_directory, write_json
from intermodal.errors import ConfigurationError
from intermodal.intervals import LOSSES, METRICS, Blocks, estimate

_KEYS = ("minimum", "maximum", "metric", "tolerance", "confidence", "slices")
_NAMES = {"auc": "AUC", "pr_auc": "PR-AUC", "log_loss": "log loss", "brier": "Brier score", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Outcome:
    """One rule applied."""

    name: str
    passed: bool
    text: str
    value: float | None
    bound: float | None
    interval: list[float | None] | None


def gate_model(evaluation_path: str, predictions_path: str, rules: Mapping[str, Any], seed: int, decision_path: str) -> bool:
    """Apply the rules, write the decision, and return whether the model passed.

    Args:
        evaluation_path: As `evaluate_model` writes it.
        predictions_path: As `evaluate_model` writes them.
        rules: See the contract.
        seed: Of the bootstrap.
        decision_path: Where `decision.json` goes.

    Raises:
        ConfigurationError: A rule or a metric is unknown.
        DataError: An input cannot be read.
    """
    _check(rules)
    evaluation = read_json(Path(evaluation_path) / "evaluation.json")
    measured = evaluation["models"]["challenger"]["metrics"]
    outcomes = [_bounded(metric, float(bound), measured[metric], least=True) for metric, bound in rules.get("minimum", {}).items()]
    outcomes += [_bounded(metric, float(bound), measured[metric], least=False) for metric, bound in rules.get("maximum", {}).items()]
    if evaluation["models"].get("champion"):
        outcomes.append(_against_champion(Path(predictions_path), rules, int(seed)))
        outcomes += _slices(evaluation["models"], rules.get("slices") or {})
    passed = all(outcome.passed for outcome in outcomes)
    reasons = [outcome.text for outcome in outcomes if outcome.passed == passed]
    if evaluation.get("champion_error"):
        reasons.append(f"the champion cannot score these rows and was not compared: {evaluation['champion_error']}")
    elif not evaluation["models"].get("champion"):
        reasons.append("there is no champion yet to compare with")
    with whole_directory(decision_path) as folder:
        write_json(
            folder / "decision.json",
            {
                "verdict": "passed" if passed else "blocked",
                "rules": [asdict(outcome) for outcome in outcomes],
                "reasons": reasons,
                "rule": dict(rules),
                "inputs": {"evaluation": _digest(Path(evaluation_path)), "predictions": _digest(Path(predictions_path))},
            },
        )
    return passed


def _check(rules: Mapping[str, Any]) -> None:
    for key in rules:
        if key not in _KEYS:
            raise ConfigurationError(f"gate: there is no rule {key!r}; {_nearest(key, _KEYS)}")
    for metric in [*rules.get("minimum", {}), *rules.get("maximum", {}), rules.get("metric", "log_loss")]:
        if metric not in METRICS:
            raise ConfigurationError(f"gate: there is no metric {metric!r}; {_nearest(metric, METRICS)}")


def _nearest(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _bounded(metric: str, bound: float, measured: Mapping[str, float | None], *, least: bool) -> Outcome:
    value = measured["value"]
    passed = value is not None and (value >= bound if least else value <= bound)
    shown = "undefined" if value is None else f"{value:.4f}{_bracketed(measured['low'], measured['high'])}"
    relation = ("at least" if passed else "below") if least else ("at most" if passed else "above")
    text = f"{_NAMES[metric]} {shown} is {relation} {bound:g}"
    return Outcome(f"{'minimum' if least else 'maximum'} {metric}", passed, text, value, bound, [measured["low"], measured["high"]])


def _against_champion(predictions: Path, rules: Mapping[str, Any], seed: int) -> Outcome:
    """Compare on paired differences: the challenger fails when even the favourable end of the interval is worse by more than the tolerance."""
    metric, tolerance, confidence = rules.get("metric", "log_loss"), float(rules.get("tolerance", 0)), float(rules.get("confidence", 0.95))
    table = pq.read_table(predictions / "predictions.parquet", columns=["label", "block", "challenger", "champion"])
    labels = np.asarray(table.column("label")).astype(float)
    grouped = table.column("block").null_count == 0
    blocks = Blocks(np.asarray(table.column("block").combine_chunks().dictionary_encode().indices) if grouped else None, table.num_rows, seed=seed)
    one, other = (estimate(labels, np.asarray(table.column(name)), blocks, metrics=(metric,))[metric] for name in ("challenger", "champion"))
    difference = one.minus(other)
    low, high = difference.interval(confidence)
    worse = low > tolerance if metric in LOSSES else high < -tolerance
    words = "is worse than the champion's beyond chance" if worse else "is not worse than the champion's beyond chance"
    text = f"{_NAMES[metric]} {words}: paired difference {difference.value:+.4f}{_bracketed(low, high, sign=True)} over {blocks.number} blocks"
    return Outcome(f"champion {metric}", not worse, text, difference.value, tolerance, [low, high])


def _slices(models: Mapping[str, Any], rule: Mapping[str, Any]) -> list[Outcome]:
    """Return an outcome for every slice whose AUC falls too far below the champion's, and one for all when none does."""
    least, drop = int(rule.get("minimum_rows", 200)), float(rule.get("maximum_drop", 0.05))
    champion = {(each["column"], each["value"]): each for each in models["champion"]["slices"]}
    compared, fallen = 0, []
    for each in models["challenger"]["slices"]:
        other = champion.get((each["column"], each["value"]))
        if each["rows"] < least or other is None or each["auc"]["value"] is None or other["auc"]["value"] is None:
            continue
        compared += 1
        fall = other["auc"]["value"] - each["auc"]["value"]
        if fall > drop:
            name = f"{each['column']}={each['value']}"
            text = f"slice {name}: AUC {each['auc']['value']:.4f} falls {fall:.4f} below the champion's {other['auc']['value']:.4f}, more than {drop:g}"
            fallen.append(Outcome(f"slice {name}", False, text, -fall, -drop, None))
    if fallen or not compared:
        return fallen
    return [Outcome("slices", True, f"no AUC of {compared} slices falls more than {drop:g} below the champion's", None, drop, None)]


def _bracketed(low: float | None, high: float | None, *, sign: bool = False) -> str:
    return "" if low is None or high is None else f" [{low:{'+' if sign else ''}.4f}, {high:{'+' if sign else ''}.4f}]"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
