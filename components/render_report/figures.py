"""The figures of the page: each a chart, a title, a sentence that says what it shows, and a legend."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from markupsafe import Markup

from intermodal.components.render_report import charts
from intermodal.components.render_report.charts import Axis, Line, Mark, axis_over
from intermodal.components.render_report.features import Feature
from intermodal.components.render_report.story import Story
from intermodal.components.render_report.wording import LOWER_IS_BETTER, METRICS, finite, interval, number, percent, plural, signed

Legend = Sequence[tuple[str, str]]
_ONE: Final = "challenger"
_TWO: Final = "champion"
_MEASURES: Final = {"jensen_shannon": "Jensen-Shannon", "l_infinity": "L-infinity"}


@dataclass(frozen=True)
class Figure:
    """A chart with what is written around it; `legend` pairs a class with a name."""

    title: str
    caption: str
    chart: Markup
    legend: Legend = ()


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


def _models(story: Story) -> list[tuple[str, str, dict[str, Any]]]:
    """Return class, name and numbers of the models, the champion first, so that the challenger is drawn over it."""
    rival = [("two", _TWO, story.rival)] if story.rival else []
    return [*rival, ("one", _ONE, story.challenger)]


def _legend(story: Story, *more: tuple[str, str]) -> Legend:
    new, old = story.versions
    own = [("one", f"challenger, {new}")] + ([("two", f"champion, {old}")] if story.rival else [])
    return [*own, *more]


# Curves


def roc(story: Story) -> Figure:
    """Draw the ROC curves."""
    lines = [Line(name, [point[:2] for point in model.get("roc", [])], kind) for kind, name, model in _models(story)]
    caption = f"Area under the curve: {_each(story, 'auc')}. The dashed diagonal is chance."
    chart = charts.line_chart(
        lines, Axis("False positive rate"), Axis("True positive rate"), diagonal=True, description=f"ROC curve of {_names(story)}. {caption}"
    )
    return Figure("ROC", caption, chart, _legend(story))


def precision_recall(story: Story) -> Figure:
    """Draw precision against recall."""
    lines = [Line(name, [point[:2] for point in model.get("pr", [])], kind) for kind, name, model in _models(story)]
    rows, positives = finite(story.evaluation.get("rows")), finite(story.evaluation.get("positives"))
    chance = positives / rows if rows and positives is not None else None
    if chance is not None:
        lines.insert(0, Line("chance", [(0, chance), (1, chance)], "plain"))
    caption = f"Area under the curve: {_each(story, 'pr_auc')}. Chance is {percent(chance)}, the share of positives."
    description = f"Precision against recall of {_names(story)}. {caption}"
    return Figure(
        "Precision and recall", caption, charts.line_chart(lines, Axis("Recall"), Axis("Precision"), description=description), _legend(story)
    )


def calibration(story: Story) -> Figure:
    """Draw observed frequencies against predicted probabilities, with intervals."""
    groups, tops, misses = [], [0.1], []
    for kind, name, model in _models(story):
        marks = []
        for cell in model.get("calibration", []):
            rows = plural(cell.get("rows") or 0, "row")
            text = f"{name}: predicted {percent(cell.get('predicted'))}, observed {percent(cell.get('observed'))}, {rows}"
            marks.append((cell.get("predicted"), Mark(cell.get("observed"), cell.get("low"), cell.get("high"), kind, text)))
            tops += [value for value in map(finite, (cell.get("predicted"), cell.get("high"), cell.get("observed"))) if value is not None]
            if kind == "one":
                misses += _miss(cell)
        groups.append((kind, marks))
    side = min(1.0, max(tops) * 1.05)
    caption = "On the dashed diagonal, what was predicted is what happened."
    if misses:
        caption += f" {number(sum(misses))} of the challenger's {plural(len(misses), 'group')} of rows have an interval that misses it."
    chart = charts.interval_chart(
        groups, Axis("Predicted probability", 0, side), Axis("Observed frequency", 0, side), description=f"Calibration of {_names(story)}. {caption}"
    )
    return Figure("Calibration", caption, chart, _legend(story))


def _miss(cell: Mapping[str, Any]) -> list[bool]:
    predicted, low, high = (finite(cell.get(key)) for key in ("predicted", "low", "high"))
    return [] if predicted is None or low is None or high is None else [not low <= predicted <= high]


def thresholds(story: Story) -> Figure:
    """Draw precision, recall, F1 and the flagged share against the threshold."""
    table = story.challenger.get("thresholds", [])
    names = {"precision": ("one", "precision"), "recall": ("two", "recall"), "f1": ("three", "F1"), "flagged": ("four", "share flagged")}
    rows = finite(story.evaluation.get("rows")) or 1.0
    lines = [Line(name, [(cell.get("threshold"), _share(cell.get(key), rows)) for cell in table], kind) for key, (kind, name) in names.items()]
    best = max((cell for cell in table if finite(cell.get("f1")) is not None), key=lambda cell: float(cell["f1"]), default=None)
    caption = "No thresholds were measured."
    if best:
        caption = (
            f"F1 is highest at {number(best['threshold'])}: precision {percent(best['precision'])}, recall {percent(best['recall'])}, "
            f"{percent(_share(best.get('flagged'), rows))} of rows flagged."
        )
    chart = charts.line_chart(
        lines,
        Axis("Threshold"),
        Axis("Share"),
        at=finite(best["threshold"]) if best else None,
        description=f"Precision, recall, F1 and share of rows flagged at each threshold of the challenger. {caption}",
    )
    return Figure("Where to put the threshold", caption, chart, list(names.values()))


def _share(value: Any, rows: float) -> float | None:
    """Return a fraction, whether given as one or as a count of rows."""
    known = finite(value)
    return known if known is None or known <= 1 else known / rows


def scores(story: Story) -> Figure | None:
    """Draw how the challenger's scores are distributed in each class, told from what each threshold catches; None without a table to tell from."""
    table = sorted(
        (cell for cell in story.challenger.get("thresholds", []) if finite(cell.get("threshold")) is not None), key=lambda cell: cell["threshold"]
    )
    classes = {"fp": ("two", "negatives"), "tp": ("one", "positives")}
    lines, top = [], 0.0
    for key, (kind, name) in classes.items():
        counts = [(float(cell["threshold"]), float(cell[key])) for cell in table if finite(cell.get(key)) is not None]
        total = counts[0][1] if counts else 0.0
        if len(counts) < 5 or not total:
            return None
        density = [(low, (above - beyond) / total / (high - low)) for (low, above), (high, beyond) in pairwise(counts) if high > low]
        density.append((counts[-1][0], 0.0))
        top = max(top, *(height for _, height in density))
        lines.append(Line(name, density, kind, filled=True, steps=True))
    caption = "The further apart the two, the better the model tells them from each other; each is scaled to the same area."
    chart = charts.line_chart(
        lines, Axis("Predicted probability"), Axis("Density", 0, top * 1.05), description=f"Distribution of the challenger's scores. {caption}"
    )
    return Figure("Scores", caption, chart, [("one", "positives"), ("two", "negatives")])


def learning_curves(story: Story) -> list[Figure]:
    """Draw each curve of the training history beside its validation counterpart."""
    figures = []
    for name, values in story.history.items():
        validation = story.history.get(f"val_{name}")
        if name.startswith("val_") or name in ("epoch", "learning_rate") or not any(finite(value) is not None for value in values):
            continue
        curves = [("two", "training", values)] + ([("one", "validation", validation)] if validation else [])
        followed = [(epoch, value) for epoch, value in enumerate(map(finite, curves[-1][2]), 1) if value is not None]
        choose = min if "loss" in name else max
        best = choose(followed, key=lambda pair: pair[1]) if followed else None
        caption = f"{plural(len(values), 'epoch')}" + (f"; best {curves[-1][1]} value {number(best[1])} in epoch {best[0]}." if best else ".")
        chart = charts.line_chart(
            [Line(label, list(enumerate(points, 1)), kind) for kind, label, points in curves],
            Axis("Epoch", 1, max(2, len(values)), whole=True),
            axis_over(METRICS.get(name, name.capitalize()), [value for _, _, points in curves for value in points]),
            at=best[0] if best else None,
            description=f"Learning curve: {name}. {caption}",
        )
        figures.append(Figure(f"Learning: {METRICS.get(name, name)}", caption, chart, [(kind, label) for kind, label, _ in reversed(curves)]))
    return figures[:3]


def _each(story: Story, metric: str) -> str:
    return "; ".join(f"{name} {interval(model['metrics'].get(metric))}" for _, name, model in reversed(_models(story)))


def _names(story: Story) -> str:
    return " and ".join(name for _, name, _ in reversed(_models(story)))


# Tables of tracks


def difference(story: Story) -> Tracks | None:
    """Draw the paired difference to the champion in every metric, turned so that right is better; None without a champion."""
    measured = story.evaluation.get("difference")
    if not measured or not story.rival:
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
    blocks = finite(story.evaluation.get("blocks"))
    caption = "Challenger minus champion on the same rows"
    caption += f", resampled together over {plural(int(blocks), 'block')}" if blocks else ""
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


def absolute(story: Story) -> Tracks:
    """Draw every metric of both models with its interval, each over an axis of its own."""
    rows = []
    for metric, measure in story.challenger["metrics"].items():
        models = [(kind, name, model["metrics"].get(metric) or {}) for kind, name, model in reversed(_models(story))]
        axis = axis_over("", [end for _, _, own in models for end in (own.get("value"), own.get("low"), own.get("high"))], padding=0.25)
        marks = [Mark(own.get("value"), own.get("low"), own.get("high"), kind, name) for kind, name, own in models]
        text = interval(measure) + (f"; champion {interval(models[1][2])}" if len(models) > 1 else "")
        rows.append(Row(METRICS.get(metric, metric), charts.track(marks, axis), text, "lower is better" if metric in LOWER_IS_BETTER else ""))
    return Tracks(
        "Both models" if story.rival else "The model",
        "Each metric on its own scale.",
        rows,
        legend=_legend(story),
        columns=("Metric", "Value and interval"),
    )


def rules(story: Story) -> Tracks:
    """Draw each rule of the gate: the number, its interval and the bound it is held to."""
    rows = []
    for rule in story.decision["rules"]:
        low, high = _ends(rule.get("interval"))
        values = [rule.get("value"), rule.get("bound"), low, high]
        state = "passed" if rule.get("passed") else "failed"
        mark = Mark(rule.get("value"), low, high, "good" if rule.get("passed") else "bad")
        drawn = (
            charts.track([mark], axis_over("", values, padding=0.2), threshold=rule.get("bound"))
            if any(finite(v) is not None for v in values[:2])
            else Markup()
        )
        text = f"{signed(rule.get('value')) if finite(low) is not None else number(rule.get('value'))} against {number(rule.get('bound'))}"
        rows.append(Row(str(rule.get("text") or rule.get("name")), drawn, text if drawn else "", str(rule.get("name", "")), state))
    passed = sum(row.state == "passed" for row in rows)
    return Tracks("Rules", f"{passed} of {plural(len(rows), 'rule')} passed. The bar across a line is the bound.", rows, columns=("Rule", "Value"))


def _ends(given: Any) -> tuple[Any, Any]:
    if isinstance(given, Mapping):
        return given.get("low"), given.get("high")
    return (given[0], given[1]) if isinstance(given, Sequence) and len(given) == 2 else (None, None)


def slices(story: Story) -> list[Tracks]:
    """Draw the AUC of every slice with its interval, a table a column, against the AUC of all rows."""
    overall = (story.challenger["metrics"].get("auc") or {}).get("value")
    found = story.challenger.get("slices", [])
    rivals = {(str(cell["column"]), str(cell["value"])): cell for cell in (story.rival or {}).get("slices", [])}
    everything = [end for cell in [*found, *rivals.values()] for end in _measure(cell)]
    axis = axis_over("AUC", everything, around=[value for value in [finite(overall)] if value is not None])
    tables = []
    for column in dict.fromkeys(str(cell["column"]) for cell in found):
        rows = []
        for cell in sorted((cell for cell in found if str(cell["column"]) == column), key=lambda cell: -(finite(cell.get("rows")) or 0)):
            rival = rivals.get((column, str(cell["value"])))
            marks = [Mark(*_measure(cell), "one", "challenger")] + ([Mark(*_measure(rival), "two", "champion")] if rival else [])
            share = percent(cell["positives"] / cell["rows"]) if finite(cell.get("positives")) is not None and finite(cell.get("rows")) else ""
            note = f"{plural(cell.get('rows') or 0, 'row')}{f', {share} positive' if share else ''}"
            text = interval(cell.get("auc")) + (f"; champion {interval(rival.get('auc'))}" if rival else "")
            rows.append(Row(_value(cell["value"]), charts.track(marks, axis, reference=overall), text, note))
        caption = f"AUC with 95 % interval; the dashed line is all rows together, {number(overall)}."
        tables.append(Tracks(f"By {column}", caption, rows, charts.scale(axis), _legend(story), columns=(column, "AUC")))
    return tables


def _measure(cell: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    own = cell.get("auc") or {}
    return own.get("value"), own.get("low"), own.get("high")


def _value(value: Any) -> str:
    return "(missing)" if value is None else str(value) if str(value) else "(empty)"


def distances(story: Story, kind: str) -> Tracks | None:
    """Draw how far each feature has moved against its own threshold, the furthest first; None when nothing was compared.

    Args:
        story: The run.
        kind: `drift`, against an earlier run's data, or `skew`, between the parts of this run's.
    """
    found = [cell for cell in story.anomalies.get(kind) or [] if finite(cell.get("value")) is not None]
    if not found:
        return None
    found.sort(key=_ratio, reverse=True)
    axis = axis_over("", [value for cell in found for value in (cell["value"], cell.get("threshold"))], around=[0.0], padding=0.0)
    axis = Axis("", 0.0, axis.high * 1.05)
    rows = []
    for cell in found:
        beyond = _ratio(cell) > 1
        mark = Mark(cell["value"], kind="bad" if beyond else "one")
        text = f"{number(cell['value'])}, threshold {number(cell.get('threshold'))}" + (": beyond" if beyond else "")
        drawn = charts.track([mark], axis, threshold=cell.get("threshold"))
        note = ", ".join(_MEASURES.get(str(cell[key]), str(cell[key])) for key in ("measure", "part") if cell.get(key))
        rows.append(Row(str(cell["feature"]), drawn, text, note, "beyond" if beyond else ""))
    many = sum(row.state == "beyond" for row in rows)
    title, against = ("Drift", f"{story.anomalies.get('baseline') or 'an earlier run'}") if kind == "drift" else ("Skew", "the part train")
    caption = f"Distance of each feature's distribution from {against}; {number(many)} of {len(rows)} beyond the threshold (the bar across the line)."
    return Tracks(title, caption, rows, charts.scale(axis), columns=("Feature", "Distance"))


def _ratio(cell: Mapping[str, Any]) -> float:
    threshold = finite(cell.get("threshold"))
    return float(cell["value"]) / threshold if threshold else 0.0


def tables(story: Story) -> Tracks:
    """Draw each table's rows, the split one by part."""
    found = story.manifest["tables"]
    most = max((finite(table.get("rows")) or 0 for table in found.values()), default=0) or 1
    kinds = {"train": "one", "validation": "two", "test": "three"}
    rows: list[Row] = []
    used: set[str] = set()
    for name, table in found.items():
        parts = table.get("splits") or {}
        shares = [(kinds.get(part, "plain"), (finite(own.get("rows")) or 0) / most) for part, own in parts.items()]
        used.update(parts)
        text = ", ".join(f"{part} {number(own.get('rows'))}" for part, own in parts.items())
        drawn = charts.bar(shares or [("plain", (finite(table.get("rows")) or 0) / most)])
        rows.append(Row(name, drawn, f"{number(table.get('rows'))}{f': {text}' if text else ''}", plural(len(table.get("columns") or {}), "column")))
    legend = [(kinds.get(part, "plain"), part) for part in dict.fromkeys([*kinds, *sorted(used)]) if part in used]
    return Tracks("Rows", "Rows of each table as ingested.", rows, legend=legend, columns=("Table", "Rows"))


def feature_cards(features: Iterable[Feature]) -> list[tuple[Feature, Markup]]:
    """Pair each feature with a small picture of its distributions."""
    kinds = {"train": "plain", "validation": "two", "test": "one"}
    return [(feature, charts.distributions([(kinds.get(part, "three"), values) for part, values in feature.shares.items()])) for feature in features]
