"""The tables of tracks: a row for each metric, rule, slice, feature or table, with a drawn strip beside the same numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from intermodal.components.render_report.features import Feature
from intermodal.components.render_report.figures import legend, models
from intermodal.components.render_report.run import Run
from intermodal.drawing import charts
from intermodal.drawing.charts import Axis, Mark, axis_over
from intermodal.drawing.figures import Legend
from intermodal.drawing.wording import LOWER_IS_BETTER, METRICS, finite, interval, number, percent, plural

_MEASURES: Final = {"jensen_shannon": "Jensen-Shannon", "l_infinity": "L-infinity", "total_variation": "total variation"}


@dataclass(frozen=True)
class Row:
    """A row of a table of tracks: its name, a note beside it, the drawn strip and the same in figures."""

    label: str
    track: Markup
    text: str
    note: str = ""
    state: str = ""


@dataclass(frozen=True)
class Tracks:
    """A table of tracks over one axis."""

    title: str
    caption: str
    rows: Sequence[Row]
    scale: Markup | None = None
    legend: Legend = ()
    ends: tuple[str, str] = ("", "")
    columns: tuple[str, str] = ("", "")


def difference(run: Run) -> Tracks | None:
    """Draw the paired difference to the champion in every metric, turned so that right is better; None without a champion."""
    measured = run.measured.get("difference")
    if not measured or not run.champion:
        return None
    turned = {metric: _turn(metric, measure) for metric, measure in measured.items()}
    ends = [finite(value) for measure in turned.values() for value in (measure["low"], measure["high"], measure["value"])]
    reach = 1.1 * max([abs(value) for value in ends if value is not None], default=0.0) or 0.01
    axis = Axis("", -reach, reach)
    rows = []
    for metric, measure in turned.items():
        low, high = finite(measure["low"]), finite(measure["high"])
        state = "better" if low is not None and low > 0 else "worse" if high is not None and high < 0 else "no clear difference"
        mark = Mark(measure["value"], measure["low"], measure["high"], "good" if state == "better" else "bad" if state == "worse" else "plain")
        note = "lower is better" if metric in LOWER_IS_BETTER else ""
        rows.append(
            Row(
                METRICS.get(metric, metric), charts.track([mark], axis, reference=0), f"{interval(measured[metric], sign=True)}: {state}", note, state
            )
        )
    blocks = finite(run.measured.get("blocks"))
    caption = "Challenger minus champion on the same rows"
    caption += f", chance taken from {plural(int(blocks), 'block')}" if blocks else ""
    return Tracks(
        "Paired difference",
        f"{caption}; bars are 95 % intervals.",
        rows,
        charts.scale(axis),
        ends=("worse", "better"),
        columns=("Metric", "Difference"),
    )


def _turn(metric: str, measure: Mapping[str, Any]) -> dict[str, Any]:
    value, low, high = (finite(measure.get(key)) for key in ("value", "low", "high"))
    if metric not in LOWER_IS_BETTER:
        return {"value": value, "low": low, "high": high}
    minus = [None if end is None else -end for end in (value, low, high)]
    return {"value": minus[0], "low": minus[2], "high": minus[1]}


def absolute(run: Run) -> Tracks:
    """Draw every metric of both models with its interval, each over an axis of its own."""
    rows = []
    for metric, measure in run.challenger["metrics"].items():
        both = [(kind, name, model["metrics"].get(metric) or {}) for kind, name, model in reversed(models(run))]
        axis = axis_over("", [end for _, _, own in both for end in (own.get("value"), own.get("low"), own.get("high"))], padding=0.25)
        marks = [Mark(own.get("value"), own.get("low"), own.get("high"), kind, name) for kind, name, own in both]
        text = interval(measure) + (f"; champion {interval(both[1][2])}" if len(both) > 1 else "")
        rows.append(Row(METRICS.get(metric, metric), charts.track(marks, axis), text, "lower is better" if metric in LOWER_IS_BETTER else ""))
    return Tracks(
        "Both models" if run.champion else "The model",
        "Each metric on its own scale.",
        rows,
        legend=legend(run),
        columns=("Metric", "Value and interval"),
    )


def rules(run: Run) -> Tracks:
    """Draw each rule of the gate: the number, its interval and the bound it is held to."""
    rows = []
    for rule in (run.decision or {}).get("rules", []):
        low, high = _ends(rule.get("interval"))
        values = [rule.get("value"), rule.get("bound"), low, high]
        state = "passed" if rule.get("passed") else "too little data" if rule.get("verdict") == "too little data" else "failed"
        mark = Mark(rule.get("value"), low, high, "good" if rule.get("passed") else "bad")
        drawn = (
            charts.track([mark], axis_over("", values, padding=0.2), threshold=rule.get("bound"))
            if any(finite(v) is not None for v in values[:2])
            else Markup()
        )
        text = f"{number(rule.get('value'))} against {number(rule.get('bound'))}"
        rows.append(Row(str(rule.get("text") or rule.get("name")), drawn, text if drawn else "", str(rule.get("name", "")), state))
    passed = sum(row.state == "passed" for row in rows)
    return Tracks("Rules", f"{passed} of {plural(len(rows), 'rule')} passed. The bar across a line is the bound.", rows, columns=("Rule", "Value"))


def _ends(given: Any) -> tuple[Any, Any]:
    if isinstance(given, Mapping):
        return given.get("low"), given.get("high")
    return (given[0], given[1]) if isinstance(given, Sequence) and len(given) == 2 else (None, None)


def slices(run: Run) -> list[Tracks]:
    """Draw the AUC of every slice with its interval, a table a column, against the AUC of all rows."""
    overall = (run.challenger["metrics"].get("auc") or {}).get("value")
    found = run.challenger.get("slices", [])
    champions = {(str(cell["column"]), str(cell["value"])): cell for cell in (run.champion or {}).get("slices", [])}
    rows = finite(run.measured.get("rows")) or 0.0
    large = [cell for cell in [*found, *champions.values()] if (finite(cell.get("rows")) or 0) >= rows / 100]  # a tiny slice would stretch the axis
    everything = [end for cell in large for end in _measure(cell)]
    axis = axis_over("AUC", everything, around=[value for value in [finite(overall)] if value is not None])
    tables = []
    for column in dict.fromkeys(str(cell["column"]) for cell in found):
        drawn = []
        for cell in sorted((cell for cell in found if str(cell["column"]) == column), key=lambda cell: -(finite(cell.get("rows")) or 0)):
            champion = champions.get((column, str(cell["value"])))
            marks = [Mark(*_measure(cell), "one", "challenger")] + ([Mark(*_measure(champion), "two", "champion")] if champion else [])
            share = percent(cell["positives"] / cell["rows"]) if finite(cell.get("positives")) is not None and finite(cell.get("rows")) else ""
            note = f"{plural(cell.get('rows') or 0, 'row')}{f', {share} positive' if share else ''}"
            text = interval(cell.get("auc")) + (f"; champion {interval(champion.get('auc'))}" if champion else "")
            drawn.append(Row(_value(cell["value"]), charts.track(marks, axis, reference=overall), text, note))
        caption = f"AUC with 95 % interval; the dashed line is all rows together, {number(overall)}. What lies beyond the scale is drawn at its end."
        tables.append(Tracks(f"By {column}", caption, drawn, charts.scale(axis), legend(run), columns=(column, "AUC")))
    return tables


def _measure(cell: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    own = cell.get("auc") or {}
    return own.get("value"), own.get("low"), own.get("high")


def _value(value: Any) -> str:
    return "(missing)" if value is None else str(value) if str(value) else "(empty)"


def distances(run: Run, kind: str) -> Tracks | None:
    """Draw how far each feature has moved against its own threshold, the furthest first; None when nothing was compared.

    Args:
        run: The run.
        kind: `drift`, against an earlier run's data, or `skew`, between the parts of this run's.
    """
    anomalies = run.anomalies or {}
    found = [cell for cell in anomalies.get(kind) or [] if finite(cell.get("value")) is not None]
    if not found:
        return None
    found.sort(key=_ratio, reverse=True)
    axis = Axis("", 0.0, 1.1 * max(1.5, _ratio(found[0])))
    rows = []
    for cell in found:
        beyond = _ratio(cell) > 1
        text = f"{number(cell['value'])}, threshold {number(cell.get('threshold'))}" + (": beyond" if beyond else "")
        drawn = charts.track([Mark(_ratio(cell), kind="bad" if beyond else "one")] if cell.get("threshold") else [], axis, reference=1)
        note = ", ".join(_MEASURES.get(str(cell[key]), str(cell[key])) for key in ("measure", "part") if cell.get(key))
        rows.append(Row(str(cell["feature"]), drawn, text, note, "beyond" if beyond else ""))
    many = sum(row.state == "beyond" for row in rows)
    title, against = ("Drift", f"{anomalies.get('baseline') or 'an earlier run'}") if kind == "drift" else ("Skew", "the part train")
    caption = (
        f"Distance of each feature's distribution from {against}, in multiples of the feature's own threshold (the dashed line); "
        f"{number(many)} of {len(rows)} beyond it."
    )
    return Tracks(title, caption, rows, charts.scale(axis), columns=("Feature", "Distance"))


def _ratio(cell: Mapping[str, Any]) -> float:
    threshold = finite(cell.get("threshold"))
    return float(cell["value"]) / threshold if threshold else 0.0


def tables(run: Run) -> Tracks:
    """Draw each table's rows, the split one by part."""
    found = (run.manifest or {"tables": {}})["tables"]
    most = max((finite(table.get("rows")) or 0 for table in found.values()), default=0) or 1
    kinds = {"train": "one", "validation": "two", "test": "three"}
    rows: list[Row] = []
    used: set[str] = set()
    for name, table in found.items():
        parts = table.get("splits") or {}
        shares = [(kinds.get(part, "plain"), (finite(own.get("rows")) or 0) / most) for part, own in parts.items()]
        used.update(parts)
        text = ", ".join(f"{part} {number(own.get('rows'))}{_window(own)}" for part, own in parts.items())
        drawn = charts.bar(shares or [("plain", (finite(table.get("rows")) or 0) / most)])
        rows.append(Row(name, drawn, f"{number(table.get('rows'))}{f': {text}' if text else ''}", plural(len(table.get("columns") or {}), "column")))
    legend = [(kinds.get(part, "plain"), part) for part in dict.fromkeys([*kinds, *sorted(used)]) if part in used]
    return Tracks("Rows", "Rows of each table as ingested.", rows, legend=legend, columns=("Table", "Rows"))


def _window(part: Mapping[str, Any]) -> str:
    """Write where a part starts and ends, where it is a window of time; a midnight (UTC) as its date."""
    start, end = (str(part[name]).removesuffix("T00:00:00Z") if part.get(name) else None for name in ("start", "end"))
    words = f"{f'from {start}' if start else ''} {f'to {end}' if end else ''}".strip()
    return f" ({words})" if words else ""


def feature_cards(features: Iterable[Feature]) -> list[tuple[Feature, Markup]]:
    """Pair each feature with a small picture of its distributions."""
    kinds = {"train": "plain", "validation": "two", "test": "one"}
    return [(feature, charts.distributions([(kinds.get(part, "three"), values) for part, values in feature.shares.items()])) for feature in features]
