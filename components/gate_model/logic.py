"""Decide whether a model may replace the champion, and write down why."""

import hashlib
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from intermodal.components.gate_model.arguments import check_arguments
from intermodal.components.gate_model.comparison import compare, level
from intermodal.components.gate_model.outcome import BLOCKED, PASSED, TITLES, Outcome, percent, verdict_of
from intermodal.components.gate_model.scored_rows import ScoredRows
from intermodal.components.gate_model.slices import SliceLimits, judge_slices
from intermodal.evaluation.windows import share_rows
from intermodal.runtime.artifacts import read_json, whole_directory, whole_file, write_json
from intermodal.runtime.errors import DataError

#: Names of the files in the artifacts.
EVALUATION: Final = "evaluation.json"
PREDICTIONS: Final = "predictions.parquet"
DECISION: Final = "decision.json"


def gate_model(
    *,
    evaluation_path: str,
    predictions_path: str | None,
    minimum: dict[str, float],
    maximum: dict[str, float],
    margin: dict[str, float],
    confidence: float,
    judged: dict[str, list[str]],
    minimum_blocks: int,
    slice_margin: dict[str, float],
    slice_minimum: dict[str, float],
    slice_maximum: dict[str, float],
    slice_minimum_rows: int,
    require_approval: bool,
    approved: list[str],
    incomparable: str,
    seed: int,
    decision_path: str,
    summary_path: str,
) -> bool:
    """Judge a model by the rules, write `decision.json` and say the same as Markdown. See the component's contract.

    Returns:
        Whether every rule passed.

    Raises:
        ConfigurationError: A metric is unknown, or an argument out of range.
        DataError: The evaluation or the predictions cannot be read, or are not what `evaluate_model` writes.
    """
    arguments: dict[str, Any] = {
        "minimum": minimum,
        "maximum": maximum,
        "margin": margin,
        "confidence": confidence,
        "minimum_blocks": minimum_blocks,
        "slice_margin": slice_margin,
        "slice_minimum": slice_minimum,
        "slice_maximum": slice_maximum,
        "slice_minimum_rows": slice_minimum_rows,
        "require_approval": require_approval,
        "approved": approved,
        "incomparable": incomparable,
    }
    check_arguments(**arguments)
    arguments["judged"] = judged
    files = [Path(evaluation_path) / EVALUATION]
    evaluation = read_json(files[0])
    models = evaluation.get("models") if isinstance(evaluation, dict) else None
    if not isinstance(models, dict) or "metrics" not in models.get("challenger", {}):
        raise DataError(f"{files[0]}: not what evaluate_model writes; give its output `evaluation`")
    versions = {name: evaluation.get(f"{name}_version") for name in ("champion", "reference")}
    errors = {name: str(error) for name in versions if (error := evaluation.get(f"{name}_error"))}
    outcomes = _bounds(models["challenger"]["metrics"], minimum, maximum)
    uncompared = _uncompared(predictions_path, models.get("champion"), errors.get("champion"))
    if predictions_path:
        files.append(Path(predictions_path) / PREDICTIONS)
    window, model = str(evaluation.get("window") or ""), str(evaluation.get("model_sha256") or "")
    use = 1 + len({each for other, models in judged.items() if window and share_rows(window, other) for each in models if not model.startswith(each)})
    supersedes = True  # without a comparison there is nothing that it could be worse than
    if predictions_path:
        rows = ScoredRows.of(_read(files[1]), ordered=bool(evaluation.get("ordered")), seed=int(seed))
        if models.get("champion") and "champion" not in rows.others:
            raise DataError(f"{files[1]}: no probabilities of the champion, which the evaluation has; give both outputs of one evaluate_model")
        if rows.others:
            compared = {name: str(versions[name]) for name in rows.others}
            found = compare(rows, compared, margin, level(confidence, use), int(minimum_blocks))
            outcomes += found.outcomes
            supersedes = found.supersedes
        limits = SliceLimits(slice_margin if rows.others else {}, slice_minimum, slice_maximum)
        outcomes += judge_slices(rows, limits, confidence, int(slice_minimum_rows), int(minimum_blocks))
    elif slice_minimum or slice_maximum:
        raise DataError("slice_minimum and slice_maximum bound slices, and there are no predictions; give evaluate_model's output `predictions`")
    outcomes += [_incomparable(name, str(versions[name]), error, incomparable) for name, error in errors.items()]
    if "reference" in errors:
        supersedes = incomparable == "pass"
    if require_approval:
        outcomes.append(_approval(model, approved))
    verdict = verdict_of(outcomes)
    reasons = [each.text for each in outcomes if each.verdict == verdict]
    decision = {
        "verdict": verdict,
        "rules": [each.to_dict() for each in outcomes],
        "reasons": reasons or [uncompared or "there is no rule"],
        "uncompared": uncompared,
        **{f"{name}_version": version for name, version in versions.items()},
        "supersedes_reference": supersedes,
        "window": {"name": window, "use": use, "confidence": level(confidence, use)},
        "arguments": arguments | {"seed": int(seed)},
        "inputs": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }
    with whole_directory(decision_path) as folder, whole_file(summary_path) as page:
        write_json(folder / DECISION, decision)
        page.write_text(_summary(decision), encoding="utf-8")
    return verdict == PASSED


def _summary(decision: dict[str, Any]) -> str:
    """Return a decision as Markdown."""
    rows = [(rule["name"], rule["verdict"], rule["text"]) for rule in decision["rules"]]
    table = ["| Rule | Verdict | Why |", "|---|---|---|", *(f"| {' | '.join(text.replace('|', '&#124;') for text in row)} |" for row in rows)]
    note = f"Not compared with a champion: {decision['uncompared']}." if decision["uncompared"] else _use(decision["window"])
    return "\n".join([f"# The gate: {decision['verdict']}", "", *(table if rows else ["There is no rule."]), "", note]) + "\n"


def _use(window: dict[str, Any]) -> str:
    """Say how often the rows have judged, and what that asks of a comparison."""
    before, sure = window["use"] - 1, f"with {percent(window['confidence'])} confidence"
    if not before:
        return f"No model was judged on these rows before: the comparison is made {sure}."
    return f"These rows, or some of them, judged {before} other {'model' if before == 1 else 'models'} before: the comparison is made {sure}."


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


def _bounds(metrics: dict[str, dict[str, float | None]], minimum: dict[str, float], maximum: dict[str, float]) -> list[Outcome]:
    outcomes = []
    for side, bounds, sign, good, bad in (("minimum", minimum, 1, "at least", "below"), ("maximum", maximum, -1, "at most", "above")):
        for metric, bound in bounds.items():
            number = metrics.get(metric)
            if number is None:
                raise DataError(f"the evaluation has no metric {metric!r}, which {side} bounds; it has {', '.join(metrics) or 'none'}")
            value = number["value"]
            # An undefined metric (one class only) cannot be shown to meet a bound.
            passed = value is not None and sign * (value - bound) >= 0
            words = f"is {good if passed else bad} {bound:g}" if value is not None else f"is undefined and must be {good} {bound:g}"
            text = f"{TITLES[metric]} {_span(number)} {words}"
            outcomes.append(Outcome(f"{side} {metric}", PASSED if passed else BLOCKED, text, value, bound, number.get("low"), number.get("high")))
    return outcomes


def _span(number: dict[str, float | None]) -> str:
    value, low, high = (f"{each:.3f}" if (each := number.get(name)) is not None else "n/a" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _approval(model: str, approved: list[str]) -> Outcome:
    if not model:
        raise DataError("the evaluation does not tell which model it is of (model_sha256), so nobody can have approved it; evaluate the model again")
    passed = any(model.startswith(each) for each in approved)
    text = f"a person approved the model {model[:12]}" if passed else f"no person has approved the model; who does adds {model[:12]} to `approved`"
    return Outcome("approval", PASSED if passed else BLOCKED, text)


def _incomparable(name: str, version: str, error: str, incomparable: str) -> Outcome:
    passed = incomparable == "pass"
    replaced = "set `incomparable` to pass to replace it"
    if name == "reference":
        replaced += f", or give MLflow's alias `reference` to another version than {version}"
    remedy = "`incomparable` lets that pass" if passed else replaced
    return Outcome(f"{name} comparable", PASSED if passed else BLOCKED, f"the {name} cannot score these rows: {error}; {remedy}")
