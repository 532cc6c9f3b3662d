"""How often the gate errs on the rows of one of its decisions."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from intermodal.components.gate_model.comparison import compare, level
from intermodal.components.gate_model.logic import DECISION, EVALUATION, PREDICTIONS
from intermodal.components.gate_model.outcome import BLOCKED, PASSED, TITLES, TOO_LITTLE_DATA, Outcome, percent, verdict_of
from intermodal.components.gate_model.scored_rows import ScoredRows
from intermodal.components.gate_model.slices import SliceLimits, judge_slices
from intermodal.components.measure_gate.arguments import check_arguments
from intermodal.components.measure_gate.draws import Window
from intermodal.runtime.artifacts import read_json, whole_directory, whole_file, write_json
from intermodal.runtime.errors import DataError

#: The file in the artifact.
RATES: Final = "rates.json"
_VERDICTS: Final = (PASSED, TOO_LITTLE_DATA, BLOCKED)


@dataclass(frozen=True)
class Rate:
    """How often something happened.

    Attributes:
        question: What, in words.
        promised: The share of draws that it may be at most; None: nothing is promised.
        measured: The share that it was.
        low: Lower end of the share's 95 % interval (Clopper and Pearson, Biometrika 26, 1934).
        high: Upper end.
    """

    question: str
    promised: float | None
    measured: float
    low: float
    high: float

    @property
    def kept(self) -> bool:
        """Whether it is within what is promised, or beyond by no more than chance."""
        return self.promised is None or self.low <= self.promised


def measure_gate(
    *, decision_path: str, evaluation_path: str, predictions_path: str, draws: int, seed: int, rates_path: str, summary_path: str
) -> bool:
    """Measure how often the gate errs and write the rates, and the same as Markdown. See the component's contract.

    Raises:
        ConfigurationError: There are too few draws.
        DataError: The decision compared nothing, or it, or what it was made of, cannot be read.
    """
    check_arguments(draws=draws)
    file = Path(decision_path) / DECISION
    decision, evaluation = read_json(file), read_json(Path(evaluation_path) / EVALUATION)
    if not isinstance(decision, dict) or "arguments" not in decision or "confidence" not in decision.get("window", {}):
        raise DataError(f"{file}: not what gate_model writes; give its output `decision`, of this version of intermodal")
    if decision["uncompared"] or not decision["arguments"]["margin"]:
        why = decision["uncompared"] or "its margin is empty"
        raise DataError(f"{file}: the decision compared no models ({why}), so there is no error rate; give the decision of a later run")
    rows = ScoredRows.of(
        pq.read_table(Path(predictions_path) / PREDICTIONS), ordered=bool(evaluation.get("ordered")), seed=int(decision["arguments"]["seed"])
    )
    minimum = int(decision["arguments"]["minimum_blocks"])
    if rows.blocks.count < minimum:
        raise DataError(f"{file}: the rows are {rows.blocks.count} blocks, and chance is judged from {minimum} on; give the decision of more rows")
    window, rates = _measured(rows, decision["arguments"], int(decision["window"]["use"]), int(draws), int(seed))
    kept = all(each.kept for each in rates)
    with whole_directory(rates_path) as folder, whole_file(summary_path) as page:
        written = {"draws": int(draws), "seed": int(seed), "blocks": rows.blocks.count, "run": window.run, "kept": kept}
        write_json(folder / RATES, written | {"rates": [asdict(each) | {"kept": each.kept} for each in rates]})
        page.write_text(_page(written, len(rows.label), rates, decision["window"]), encoding="utf-8")
    return kept


def _measured(rows: ScoredRows, arguments: dict[str, Any], use: int, draws: int, seed: int) -> tuple[Window, list[Rate]]:
    """Draw windows in which the models are equally good, and let the gate's own rules judge each."""
    margins, slice_margins, minimum_blocks = arguments["margin"], arguments["slice_margin"], int(arguments["minimum_blocks"])
    confidence, minimum_rows = arguments["confidence"], int(arguments["slice_minimum_rows"])
    sure = level(confidence, use)
    window = Window.of(rows, list(margins), list(slice_margins), minimum_rows)
    versions = dict.fromkeys(rows.others, "")
    generator = np.random.default_rng(seed)
    judged, worse = [], []
    for _ in range(draws):
        drawn = window.draw(generator)
        compared = compare(drawn, versions, margins, sure, minimum_blocks).outcomes
        judged.append([*compared, *judge_slices(drawn, SliceLimits(slice_margins, {}, {}), confidence, minimum_rows, minimum_blocks)])
        # With margin 0 no model may be worse at all: an equal one stands where one that is worse by the margin stands with the margin.
        worse.append(compare(drawn, versions, dict.fromkeys(margins, 0.0), sure, minimum_blocks).outcomes)
    return window, list(_rates(judged, worse, margins, 1 - sure, 1 - confidence))


def _rates(judged: list[list[Outcome]], worse: list[list[Outcome]], margins: dict[str, float], comparison: float, slices: float) -> Iterator[Rate]:
    compared = [outcome.name.split() for outcome in worse[0]]  # `champion log_loss`, for instance
    both = " and ".join(dict.fromkeys(other for other, _ in compared))
    verdicts = [verdict_of(each) for each in judged]
    for verdict in _VERDICTS:
        yield _rate(f"A model as good as the {both}: {verdict}", None, [each == verdict for each in verdicts])
    for place, (other, metric) in enumerate(compared):
        blocked = [each[place].verdict == BLOCKED for each in judged]
        yield _rate(f"A model as good as the {other} is blocked by its {TITLES[metric]}", comparison, blocked)
    if len(judged[0]) > len(compared):
        blocked = [any(outcome.verdict == BLOCKED for outcome in each[len(compared) :]) for each in judged]
        yield _rate(f"A model as good as the {both} is blocked by a slice", slices, blocked)
    for place, (other, metric) in enumerate(compared):
        passed = [each[place].verdict == PASSED for each in worse]
        yield _rate(f"A model worse than the {other} by {margins[metric]:g} {TITLES[metric]}, the margin, passes", comparison, passed)


def _rate(question: str, promised: float | None, happened: list[bool]) -> Rate:
    from scipy.special import betaincinv

    count, draws = sum(happened), len(happened)
    low = float(betaincinv(count, draws - count + 1, 0.025)) if count else 0.0
    high = float(betaincinv(count + 1, draws - count, 0.975)) if count < draws else 1.0
    return Rate(question, promised, count / draws, low, high)


def _page(how: dict[str, Any], rows: int, rates: list[Rate], window: dict[str, Any]) -> str:
    """Return the rates as Markdown whose columns stand below each other in a terminal too."""
    beyond = [each for each in rates if not each.kept]
    title = "The gate errs more often than promised on these rows" if beyond else "The gate errs no more often than promised"
    table = [("Question", "Promised", "Measured", "95 % interval", "")]
    for each in rates:
        promised = "" if each.promised is None else f"at most {100 * each.promised:.2g}%"
        said = "" if each.promised is None else ("kept" if each.kept else "**more often**")
        table.append((each.question, promised, f"{each.measured:.1%}", f"{each.low:.1%} to {each.high:.1%}", said))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in table]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    runs = f"in runs of {how['run']} blocks on average" if how["run"] > 1 else "block by block"
    words = (
        f"From {rows:,} rows in {how['blocks']} blocks, {how['draws']:,} windows are drawn {runs} (seed {how['seed']}). In each, chance says which "
        "of two models is called the challenger, so that none is better, and the gate judges by the rules of this decision: with "
        f"{percent(window['confidence'])} confidence, as {_times(window['use'])} that these rows judge."
    )
    remedy = ["", "Give longer blocks (`evaluation.block`), or a higher `gate.confidence`, until the rates are kept."] if beyond else []
    return "\n".join([f"# {title}", "", words, "", *lines, *remedy]) + "\n"


def _times(use: int) -> str:
    return "the first model" if use == 1 else f"model number {use}"
