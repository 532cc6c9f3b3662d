"""The figures of a search: the best value so far, and the value against each hyperparameter."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from intermodal.components.tune_model.arguments import METRICS
from intermodal.drawing.charts import Axis, Line, Mark, axis_over, line_chart, point_chart
from intermodal.drawing.figures import Figure
from intermodal.drawing.wording import number, plural
from intermodal.tuning.roles import FINISHED, PRUNED, Tried


def figures_of(tried: Sequence[Tried], metric: str, space: Mapping[str, Any]) -> list[Figure]:
    """Return the figures; none where no trial has finished.

    Args:
        tried: Trials in their order.
        metric: What was searched for.
        space: What was searched.
    """
    finished = [each for each in tried if each.state == FINISHED and each.value is not None]
    if not finished:
        return []
    figures = [_best_so_far(tried, finished, metric)]
    pruned = [each for each in tried if each.state == PRUNED and each.value is not None]
    for name in sorted(space):
        figures.append(_against(name, space[name], finished, pruned, metric))
    return figures


def _best_so_far(tried: Sequence[Tried], finished: Sequence[Tried], metric: str) -> Figure:
    better = max if METRICS[metric] else min
    points: list[tuple[int, float]] = []
    for each in finished:
        points.append((each.number, better([value for _, value in points[-1:]] + [each.value or 0.0])))
    caption = f"{plural(len(tried), 'trial')}, {len(finished)} of them finished; best {metric} {number(points[-1][1])}."
    last = max(each.number for each in tried)
    points.append((last, points[-1][1]))
    chart = line_chart(
        [Line("best so far", points, steps=True)],
        Axis("Trial", 0, max(1, last), whole=True),
        axis_over(metric, [value for _, value in points]),
        description=f"The best value so far. {caption}",
    )
    return Figure("Best value so far", caption, chart)


def _against(name: str, searched: Mapping[str, Any], finished: Sequence[Tried], pruned: Sequence[Tried], metric: str) -> Figure:
    log = bool(searched.get("log"))
    choices = searched.get("choices")

    def place(trial: Tried) -> float:
        value = trial.parameters[name]
        if choices is not None:
            return float(choices.index(value) + 1)
        return math.log10(value) if log else float(value)

    groups = [
        (
            kind,
            [(place(each), Mark(each.value, name=f"trial {each.number}: {each.parameters[name]}, {metric} {number(each.value)}")) for each in group],
        )
        for kind, group in (("two", pruned), ("one", finished))
    ]
    caption = f"{metric} against {name}."
    if choices is not None:
        x = Axis("Choice", 0.5, len(choices) + 0.5, whole=True)
        caption = f"{metric} by choice: {', '.join(f'{index} is {choice}' for index, choice in enumerate(choices, 1))}."
    else:
        bounds = [float(searched["low"]), float(searched["high"])]
        x = axis_over(f"{name}, powers of 10" if log else name, map(math.log10, bounds) if log else bounds)
    # Finished ones set the scale: a diverging trial that was pruned would hide their differences, and lies at its edge.
    y = axis_over(metric, [each.value for each in finished])
    chart = point_chart(groups, x, y, description=caption)
    legend = [("one", "finished"), *([("two", "pruned, at its last epoch")] if pruned else [])]
    return Figure(f"Value by {name}", caption, chart, legend)
