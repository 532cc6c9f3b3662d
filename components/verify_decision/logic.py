"""A decision of the gate, made again by whoever doubts it."""

import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from intermodal.components.evaluate_model.measures import measured
from intermodal.components.gate_model.logic import DECISION, EVALUATION, PREDICTIONS, gate_model
from intermodal.components.gate_model.scored_rows import ScoredRows
from intermodal.evaluation.intervals import jackknifed_metrics
from intermodal.runtime.artifacts import read_json, whole_file
from intermodal.runtime.errors import ConfigurationError, DataError

#: Relative difference of two numbers that were computed on different machines.
_TOLERANCE = 1e-6


def verify_decision(*, decision_path: str, evaluation_path: str, predictions_path: str | None, verification_path: str) -> bool:
    """Judge a model again and write what differs as Markdown. See the component's contract.

    Raises:
        DataError: The decision, or what it was made of, cannot be read, or was not written by this version's `gate_model`.
    """
    file = Path(decision_path) / DECISION
    decision = read_json(file)
    if not isinstance(decision, dict) or not {"verdict", "rules", "inputs", "arguments"} <= decision.keys():
        raise DataError(f"{file}: not what gate_model writes; give its output `decision`, of this version of intermodal")
    inputs = {EVALUATION: Path(evaluation_path) / EVALUATION}
    if predictions_path:
        inputs[PREDICTIONS] = Path(predictions_path) / PREDICTIONS
    differences = list(_other_inputs(decision["inputs"], inputs))
    if not differences:
        if predictions_path:
            differences += _other_metrics(inputs[EVALUATION], inputs[PREDICTIONS], int(decision["arguments"]["seed"]))
        differences += _other_rules(decision, _again(file, decision["arguments"], evaluation_path, predictions_path))
    lines = [
        f"# The decision {'does not stand' if differences else 'stands'}",
        f"It says *{decision['verdict']}*, by {len(decision['rules'])} rules, of {' and '.join(decision['inputs'])}.",
        *(f"- {each}" for each in differences or ["The inputs have the recorded hashes, and every rule comes to the same numbers and verdict."]),
    ]
    if not differences and predictions_path:
        lines.append("- The metrics of the evaluation are those of the predictions.")
    with whole_file(verification_path) as scratch:
        scratch.write_text("\n".join([lines[0], "", lines[1], "", *lines[2:]]) + "\n", encoding="utf-8")
    return not differences


def _other_inputs(recorded: Mapping[str, str], given: Mapping[str, Path]) -> Iterator[str]:
    """Yield the inputs that are not those that the decision was made of."""
    for name, path in given.items():
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"{path}: it cannot be read ({error.strerror}); give the folder that has {name}") from error
        if name not in recorded:
            yield f"The decision was made without {name}; leave it out."
        elif recorded[name] != content:
            yield f"{name} is another: its SHA-256 is {content[:12]}…, the decision was made of {recorded[name][:12]}…"
    for name in recorded.keys() - given.keys():
        yield f"The decision was made of {name} too; give it."


def _other_metrics(evaluation: Path, predictions: Path, seed: int) -> Iterator[str]:
    """Yield the metrics of the evaluation that the predictions do not have."""
    recorded = read_json(evaluation)
    rows = ScoredRows.of(pq.read_table(predictions), ordered=bool(recorded.get("ordered")), seed=seed)
    for model, score in {"challenger": rows.challenger, **rows.others}.items():
        numbers = (recorded["models"].get(model) or {}).get("metrics", {})
        values = jackknifed_metrics(rows.label, score, rows.blocks) if numbers else {}
        for name in values.keys() & numbers.keys():
            now, before = measured(name, values[name], rows.blocks), numbers[name]
            if not all(_same(before[each], now[each]) for each in now if each in before):
                yield f"{name} of the {model} is {_span(now)} by the predictions, and {_span(before)} in the evaluation."


def _span(numbers: Mapping[str, float | None]) -> str:
    value, low, high = ("undefined" if (found := numbers.get(name)) is None else f"{found:.6g}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _again(file: Path, arguments: Mapping[str, Any], evaluation_path: str, predictions_path: str | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            gate_model(
                **arguments,
                evaluation_path=evaluation_path,
                predictions_path=predictions_path,
                decision_path=f"{folder}/decision",
                summary_path=f"{folder}/summary",
            )
        except (TypeError, ConfigurationError) as error:
            raise DataError(
                f"{file}: this version's gate_model does not take its arguments ({error}); use the version that made the decision"
            ) from error
        found: dict[str, Any] = read_json(Path(folder, "decision", DECISION))
    return found


def _other_rules(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a rule, and the whole, comes to when it is judged again."""
    before, now = ({rule["name"]: rule for rule in each["rules"]} for each in (recorded, found))
    for name in [*before, *(each for each in now if each not in before)]:
        one, other = before.get(name), now.get(name)
        if one is None or other is None:
            yield f"The rule {name!r} {'is not in the decision' if one is None else 'is only in the decision'}."
        elif one["verdict"] != other["verdict"]:
            yield f"The rule {name!r} comes to *{other['verdict']}*, the decision says *{one['verdict']}*: {other['text']}."
        elif not all(map(_same, [one["value"], one["bound"], *one["interval"]], [other["value"], other["bound"], *other["interval"]])):
            yield f"The rule {name!r} comes to other numbers: {other['text']}; the decision says: {one['text']}."
    for name in ("champion_version", "reference_version", "supersedes_reference", "window"):
        if recorded.get(name) != found[name]:
            yield f"`{name}` comes to {json.dumps(found[name])}, the decision says {json.dumps(recorded.get(name))}."
    if recorded["verdict"] != found["verdict"]:
        yield f"The verdict comes to *{found['verdict']}*, the decision says *{recorded['verdict']}*."


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=1e-9)
