"""The figures of the page: each a chart, a title, a sentence that says what it shows, and a legend."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from intermodal.components.render_report.run import Run
from intermodal.drawing import charts
from intermodal.drawing.charts import Axis, Line, Mark
from intermodal.drawing.figures import Figure, Legend
from intermodal.drawing.wording import finite, interval, number, percent, plural

_ONE: Final = "challenger"
_TWO: Final = "champion"


def models(run: Run) -> list[tuple[str, str, dict[str, Any]]]:
    """Return class, name and numbers of the models, the champion first, so that the challenger is drawn over it."""
    champion = [("two", _TWO, run.champion)] if run.champion else []
    return [*champion, ("one", _ONE, run.challenger)]


def legend(run: Run, *more: tuple[str, str]) -> Legend:
    """Return the legend of a drawing of both models."""
    new, old = run.versions
    own = [("one", f"challenger, {new}" if run.version else "the model")] + ([("two", f"champion, {old}")] if run.champion else [])
    return [*own, *more]


def roc(run: Run) -> Figure:
    """Draw the ROC curves."""
    lines = [Line(name, [point[:2] for point in model.get("roc", [])], kind) for kind, name, model in models(run)]
    caption = f"Area under the curve: {_each(run, 'auc')}. The dashed diagonal is chance."
    chart = charts.line_chart(
        lines, Axis("False positive rate"), Axis("True positive rate"), diagonal=True, description=f"ROC curve of {_names(run)}. {caption}"
    )
    return Figure("ROC", caption, chart, legend(run))


def precision_recall(run: Run) -> Figure:
    """Draw precision against recall."""
    lines = [Line(name, [point[:2] for point in model.get("pr", [])], kind) for kind, name, model in models(run)]
    rows, positives = finite(run.measured.get("rows")), finite(run.measured.get("positives"))
    chance = positives / rows if rows and positives is not None else None
    if chance is not None:
        lines.insert(0, Line("chance", [(0, chance), (1, chance)], "plain"))
    caption = f"Area under the curve: {_each(run, 'pr_auc')}. Chance is {percent(chance)}, the share of positives."
    description = f"Precision against recall of {_names(run)}. {caption}"
    return Figure("Precision and recall", caption, charts.line_chart(lines, Axis("Recall"), Axis("Precision"), description=description), legend(run))


def calibration(run: Run) -> Figure:
    """Draw observed frequencies against predicted probabilities, with intervals."""
    groups, tops, misses = [], [0.1], []
    for kind, name, model in models(run):
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
        groups, Axis("Predicted probability", 0, side), Axis("Observed frequency", 0, side), description=f"Calibration of {_names(run)}. {caption}"
    )
    return Figure("Calibration", caption, chart, legend(run))


def _miss(cell: Mapping[str, Any]) -> list[bool]:
    predicted, low, high = (finite(cell.get(key)) for key in ("predicted", "low", "high"))
    return [] if predicted is None or low is None or high is None else [not low <= predicted <= high]


def thresholds(run: Run) -> Figure:
    """Draw precision, recall, F1 and the flagged share against the threshold."""
    table = run.challenger.get("thresholds", [])
    names = {"precision": ("one", "precision"), "recall": ("two", "recall"), "f1": ("three", "F1"), "flagged": ("four", "share flagged")}
    rows = finite(run.measured.get("rows")) or 1.0
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


def scores(run: Run) -> Figure | None:
    """Draw how the challenger's scores are distributed in each class, computed from the counts at each threshold; None without them."""
    table = sorted(
        (cell for cell in run.challenger.get("thresholds", []) if finite(cell.get("threshold")) is not None), key=lambda cell: cell["threshold"]
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


def _each(run: Run, metric: str) -> str:
    return "; ".join(f"{name} {interval(model['metrics'].get(metric))}" for _, name, model in reversed(models(run)))


def _names(run: Run) -> str:
    return " and ".join(name for _, name, _ in reversed(models(run)))
