"""Figures: each a chart, a title, a sentence that says what it shows, and a legend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from intermodal.drawing import charts
from intermodal.drawing.charts import Axis, Line, axis_over
from intermodal.drawing.wording import METRICS, finite, number, plural

Legend = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Figure:
    """A chart with what is written around it; `legend` pairs a class with a name."""

    title: str
    caption: str
    chart: Markup
    legend: Legend = ()


def learning_curves(history: Mapping[str, Sequence[Any]]) -> list[Figure]:
    """Draw each curve of a training beside its validation counterpart, three at most.

    Args:
        history: A list of values, one an epoch, by name; the counterpart's name is `val_NAME`.
    """
    figures = []
    for name, values in history.items():
        validation = history.get(f"val_{name}")
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
