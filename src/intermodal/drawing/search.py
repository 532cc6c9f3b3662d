"""The figures of a search of hyperparameters: the best value so far, which hyperparameters matter, and the value against each of them.

A search is what `tune_model` writes as `search.json`: `metric`, `maximize`, `space` (see the component), `importance` (name to share, empty where
it is not known) and `trials`, each with `number`, `state` (finished, pruned, failed, interrupted), `value`, `parameters` and `reason`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from intermodal.drawing.charts import Axis, Line, Mark, axis_over, bar_chart, line_chart, point_chart
from intermodal.drawing.figures import Figure
from intermodal.drawing.wording import finite, number, percent, plural

Search = Mapping[str, Any]
_STATES = {"pruned": "ended early", "failed": "failed", "interrupted": "were interrupted"}


def search_figures(search: Search) -> list[Figure]:
    """Return the figures; none where no trial has finished."""
    finished = _of(search, "finished")
    if not finished:
        return []
    figures = [_best_so_far(search, finished)]
    if search["importance"]:
        figures.append(_importance(search, len(finished)))
    pruned = _of(search, "pruned")
    figures += [_against(name, search["space"][name], finished, pruned, search["metric"]) for name in sorted(search["space"])]
    return figures


def search_in_words(search: Search) -> str:
    """Say how the trials ended, which was the best, and why most of the failed ones failed."""
    trials, finished = search["trials"], _of(search, "finished")
    counts = Counter(each["state"] for each in trials)
    ends = [f"{len(finished)} finished", *(f"{counts[state]} {words}" for state, words in _STATES.items() if counts[state])]
    said = f"{plural(len(trials), 'trial')}: {', '.join(ends)}."
    if finished:
        best = _best(search, finished)
        said += f" Trial {best['number']} was the best: {search['metric']} {number(best['value'])}."
    if reasons := Counter(each["reason"] for each in trials if each["state"] == "failed").most_common(1):
        said += f" Most often failed: {reasons[0][0]}."
    return said


def best_parameters(search: Search) -> dict[str, str]:
    """Return the best trial's hyperparameters as texts; empty where none finished."""
    finished = _of(search, "finished")
    return {name: _text(value) for name, value in _best(search, finished)["parameters"].items()} if finished else {}


def _of(search: Search, state: str) -> list[Mapping[str, Any]]:
    return [each for each in search["trials"] if each["state"] == state and finite(each["value"]) is not None]


def _best(search: Search, finished: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    sign = -1 if search["maximize"] else 1
    return min(finished, key=lambda each: (sign * each["value"], each["number"]))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _best_so_far(search: Search, finished: Sequence[Mapping[str, Any]]) -> Figure:
    better = max if search["maximize"] else min
    points: list[tuple[int, float]] = []
    for each in sorted(finished, key=lambda each: each["number"]):
        points.append((each["number"], better([value for _, value in points[-1:]] + [each["value"]])))
    last = max(each["number"] for each in search["trials"])
    points.append((last, points[-1][1]))
    caption = search_in_words(search)
    chart = line_chart(
        [Line("best so far", points, steps=True)],
        Axis("Trial", 0, max(1, last), whole=True),
        axis_over(search["metric"], [value for _, value in points]),
        description=f"The best value so far. {caption}",
    )
    return Figure("Best value so far", caption, chart)


def _importance(search: Search, finished: int) -> Figure:
    shares = sorted(search["importance"].items(), key=lambda each: -each[1])
    caption = (
        f"Share of the differences of {search['metric']} over the whole space that each explains (functional analysis of variance, random forest), "
        f"estimated from {plural(finished, 'trial')} that finished: a rank, no measurement."
    )
    words = ", ".join(f"{name} {percent(share)}" for name, share in shares)
    chart = bar_chart([(name, share, percent(share)) for name, share in shares], description=f"Importance of hyperparameters: {words}.")
    return Figure("Importance", caption, chart)


def _against(
    name: str, searched: Mapping[str, Any], finished: Sequence[Mapping[str, Any]], pruned: Sequence[Mapping[str, Any]], metric: str
) -> Figure:
    log = bool(searched.get("log"))
    choices = searched.get("choices")

    def place(trial: Mapping[str, Any]) -> float:
        value = trial["parameters"][name]
        if choices is not None:
            return float(choices.index(value) + 1)
        return math.log10(value) if log else float(value)

    groups = [
        (
            kind,
            [
                (place(each), Mark(each["value"], name=f"trial {each['number']}: {each['parameters'][name]}, {metric} {number(each['value'])}"))
                for each in group
            ],
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
    y = axis_over(metric, [each["value"] for each in finished])
    chart = point_chart(groups, x, y, description=caption)
    legend = [("one", "finished"), *([("two", "pruned, at its last epoch")] if pruned else [])]
    return Figure(f"Value by {name}", caption, chart, legend)
