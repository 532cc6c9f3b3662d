"""Charts as inline SVG, which takes its colours from the page's style sheet and so follows light, dark and print.

Coordinates are data; colour and stroke belong to the classes `one` (the challenger), `two` (the champion), `three`, `four`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from markupsafe import Markup, escape

from intermodal.drawing.wording import compact, finite

Point = tuple[float, float]

_WIDTH: Final = 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 26, 38


def tag(name: str, *content: Any, **attributes: Any) -> Markup:
    """Return an element, contents and attribute values escaped; `class_` and `stroke_width` become `class` and `stroke-width`."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items() if value is not None)
    return Markup(f"<{name}{written}>{Markup().join(content)}</{name}>")  # noqa: S704  (every part is escaped above)


def _short(value: Any) -> Any:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`, with a label and marks at round values, only at integers where `whole`."""

    label: str
    low: float = 0.0
    high: float = 1.0
    whole: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the axis' start and 1 at its end; what lies outside is put at the edge."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values within the axis (Heckbert's nice numbers, Graphics Gems, 1990)."""
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / count))
        step *= next(nice for nice in (1, 2, 5, 10) if (self.high - self.low) / (step * nice) <= count)
        step = max(step, 1.0) if self.whole else step
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axis_over(label: str, values: Iterable[Any], *, around: Iterable[float] = (), padding: float = 0.06) -> Axis:
    """Return an axis that holds every finite value and every number of `around`, with some room at both ends."""
    known = [value for value in map(finite, [*values, *around]) if value is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = (high - low) * padding or abs(high) * 0.1 or 0.5
    return Axis(label, low - room, high + room)


@dataclass(frozen=True)
class Line:
    """A curve: its name, its points in order (those that are not finite are left out), its class, and whether the area below is filled."""

    name: str
    points: Sequence[Sequence[Any]]
    kind: str = "one"
    filled: bool = False
    steps: bool = False


@dataclass(frozen=True)
class Mark:
    """A value on a track, with an interval where `low` and `high` are finite."""

    value: Any
    low: Any = None
    high: Any = None
    kind: str = "one"
    name: str = ""


@dataclass
class _Plot:
    """The frame of a chart: axes, grid and labels, and the way from data to coordinates."""

    x: Axis
    y: Axis
    height: int
    parts: list[Markup] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        wide, tall = _WIDTH - _LEFT - _RIGHT, self.height - _TOP - _BOTTOM
        return _LEFT + self.x.place(x) * wide, _TOP + (1 - self.y.place(y)) * tall

    def draw_axes(self) -> None:
        floor = self.height - _BOTTOM
        for value in self.y.ticks():
            height = self.at(self.x.low, value)[1]
            self.parts.append(tag("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height))
            self.parts.append(tag("text", compact(value), class_="tick end", x=_LEFT - 7, y=height + 4))
        for value in self.x.ticks(6):
            along = self.at(value, self.y.low)[0]
            self.parts.append(tag("line", class_="axis", x1=along, x2=along, y1=floor, y2=floor + 4))
            self.parts.append(tag("text", compact(value), class_="tick middle", x=along, y=floor + 17))
        self.parts.append(tag("line", class_="axis", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=floor, y2=floor))
        self.parts.append(tag("text", self.y.label, class_="name", x=4, y=12))
        self.parts.append(tag("text", self.x.label, class_="name end", x=_WIDTH - _RIGHT, y=self.height - 4))

    def draw_line(self, line: Line) -> None:
        path = _path([self.at(x, y) for x, y in _finite_points(line.points)], steps=line.steps)
        if not path:
            return
        floor = self.height - _BOTTOM
        if line.filled:
            known = list(_finite_points(line.points))
            start, end = self.at(known[0][0], 0)[0], self.at(known[-1][0], 0)[0]
            self.parts.append(tag("path", class_=f"area {line.kind}", d=f"{path}L{end:.1f} {floor}L{start:.1f} {floor}Z"))
        self.parts.append(tag("path", tag("title", line.name), class_=f"line {line.kind}", d=path))

    def finish(self, description: str) -> Markup:
        return tag(
            "svg", tag("title", description), *self.parts, class_="chart", viewBox=f"0 0 {_WIDTH} {self.height}", role="img", aria_label=description
        )


def _finite_points(points: Sequence[Sequence[Any]]) -> Iterable[Point]:
    for point in points:
        x, y = finite(point[0]), finite(point[1])
        if x is not None and y is not None:
            yield x, y


def _path(points: Sequence[Point], *, steps: bool) -> str:
    """Return SVG path data; points that would fall on the one before are left out, so that a curve of 10,000 points stays small."""
    written: list[str] = []
    for x, y in points:
        text = f"{x:.1f} {y:.1f}"
        if steps and written:
            written.append(f"{x:.1f} {written[-1].rpartition(' ')[2]}")
        if not written or text != written[-1]:
            written.append(text)
    return "M" + "L".join(written) if written else ""


def line_chart(
    lines: Sequence[Line], x: Axis, y: Axis, *, description: str, diagonal: bool = False, at: float | None = None, height: int = 280
) -> Markup:
    """Draw curves over a common pair of axes.

    Args:
        lines: The curves, the most important one last, for it is drawn on top.
        x: The horizontal axis.
        y: The vertical axis.
        description: What the chart shows, for those who cannot see it.
        diagonal: Whether to draw the line from corner to corner, as chance or as perfection.
        at: Where to draw a vertical mark, if anywhere.
        height: Of the drawing, which is 400 units wide.
    """
    plot = _Plot(x, y, height)
    plot.draw_axes()
    if diagonal:
        (x1, y1), (x2, y2) = plot.at(x.low, y.low), plot.at(x.high, y.high)
        plot.parts.append(tag("line", class_="reference", x1=x1, y1=y1, x2=x2, y2=y2))
    if at is not None:
        (x1, y1), (_, y2) = plot.at(at, y.low), plot.at(at, y.high)
        plot.parts.append(tag("line", class_="reference", x1=x1, y1=y1, x2=x1, y2=y2))
    for line in lines:
        plot.draw_line(line)
    return plot.finish(description)


def interval_chart(groups: Sequence[tuple[str, Sequence[tuple[Any, Mark]]]], x: Axis, y: Axis, *, description: str, height: int = 280) -> Markup:
    """Draw points with vertical intervals over a diagonal: a calibration plot. Each group is a class and its (x, mark) pairs."""
    plot = _Plot(x, y, height)
    plot.draw_axes()
    (x1, y1), (x2, y2) = plot.at(x.low, y.low), plot.at(x.high, y.high)
    plot.parts.append(tag("line", class_="reference", x1=x1, y1=y1, x2=x2, y2=y2))
    for kind, marks in groups:
        plot.draw_line(Line("", [(along, mark.value) for along, mark in marks], kind=f"{kind} faint"))
        for along, mark in marks:
            place, value, low, high = map(finite, (along, mark.value, mark.low, mark.high))
            if place is None or value is None:
                continue
            if low is not None and high is not None:
                (across, bottom), (_, top) = plot.at(place, low), plot.at(place, high)
                plot.parts.append(tag("line", class_=f"whisker {kind}", x1=across, x2=across, y1=bottom, y2=top))
            across, up = plot.at(place, value)
            plot.parts.append(tag("circle", tag("title", mark.name), class_=f"dot {kind}", cx=across, cy=up, r=3.6))
    return plot.finish(description)


def point_chart(groups: Sequence[tuple[str, Sequence[tuple[Any, Mark]]]], x: Axis, y: Axis, *, description: str, height: int = 280) -> Markup:
    """Draw points over a pair of axes. Each group is a class and its (x, mark) pairs, the most important one last."""
    plot = _Plot(x, y, height)
    plot.draw_axes()
    for kind, marks in groups:
        for along, up in _finite_points([(along, mark.value) for along, mark in marks]):
            name = next(mark.name for place, mark in marks if (place, mark.value) == (along, up))
            across, high = plot.at(along, up)
            plot.parts.append(tag("circle", tag("title", name), class_=f"dot {kind}", cx=across, cy=high, r=3.6))
    return plot.finish(description)


def bar_chart(bars: Sequence[tuple[str, float, str]], *, description: str) -> Markup:
    """Draw shares of a whole as horizontal bars, one below the other: name, share from 0 to 1, and what is written beside the name."""
    parts = []
    for index, (name, share, text) in enumerate(bars):
        top = 38.0 * index
        parts.append(tag("text", name, class_="name", x=2, y=top + 14))
        parts.append(tag("text", text, class_="tick end", x=_WIDTH - 2, y=top + 14))
        parts.append(tag("rect", class_="bar one", x=2, y=top + 19, width=max(1.0, (_WIDTH - 4) * min(1.0, max(0.0, share))), height=12))
    height = 38 * max(1, len(bars))
    return tag("svg", tag("title", description), *parts, class_="chart", viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label=description)


def track(marks: Sequence[Mark], axis: Axis, *, reference: Any = None, threshold: Any = None) -> Markup:
    """Draw values with intervals on one horizontal strip as wide as its place, for a row of a table.

    Args:
        marks: The values; each beneath the one before.
        axis: Common to the rows of the table.
        reference: Where to draw a dashed line through the strip.
        threshold: Where to draw a short solid bar.
    """
    parts = [tag("line", class_="grid", x1="0%", x2="100%", y1=12, y2=12)]
    for value, kind in ((reference, "reference"), (threshold, "threshold")):
        known = finite(value)
        if known is not None:
            where = _percent(axis.place(known))
            parts.append(tag("line", class_=kind, x1=where, x2=where, y1=0 if kind == "reference" else 4, y2=24 if kind == "reference" else 20))
    offset = 12.0 - 3.5 * (len(marks) - 1)
    for index, mark in enumerate(marks):
        value, low, high = map(finite, (mark.value, mark.low, mark.high))
        height = offset + 7 * index
        if low is not None and high is not None:
            parts.append(
                tag("line", class_=f"whisker {mark.kind}", x1=_percent(axis.place(low)), x2=_percent(axis.place(high)), y1=height, y2=height)
            )
        if value is not None:
            parts.append(tag("circle", tag("title", mark.name), class_=f"dot {mark.kind}", cx=_percent(axis.place(value)), cy=height, r=4))
    return tag("svg", *parts, class_="track", aria_hidden="true")


def scale(axis: Axis) -> Markup:
    """Draw the round values of an axis, for the head of a table of tracks."""
    parts = []
    for value in axis.ticks(5):
        place = axis.place(value)
        anchor = "start" if place < 0.06 else "end" if place > 0.94 else "middle"
        parts.append(tag("text", compact(value), class_=f"tick {anchor}", x=_percent(place), y=13))
        parts.append(tag("line", class_="axis", x1=_percent(place), x2=_percent(place), y1=17, y2=21))
    return tag("svg", *parts, class_="track scale", aria_hidden="true")


def bar(shares: Sequence[tuple[str, float]]) -> Markup:
    """Draw shares of a whole, (class, fraction) each, beside one another on a strip."""
    parts, start = [], 0.0
    for kind, share in shares:
        parts.append(tag("rect", class_=f"bar {kind}", x=_percent(start), width=_percent(share), y=5, height=14))
        start += share
    return tag("svg", *parts, class_="track", aria_hidden="true")


def distributions(shares: Sequence[tuple[str, Sequence[float]]]) -> Markup:
    """Draw distributions over common bins as a small picture: the first filled, the others as outlines. Each is a class and its fractions."""
    top = max((value for _, values in shares for value in values), default=0.0) or 1.0
    parts = []
    for index, (kind, values) in enumerate(shares):
        edges = [(100 * place / len(values), 40 - 38 * value / top) for place, value in enumerate(values)]
        if edges:
            path = _path([(0.0, 40.0), *edges, (100.0, edges[-1][1]), (100.0, 40.0)], steps=True)
            parts.append(tag("path", class_=f"{'area' if index == 0 else 'line'} {kind}", d=path))
    return tag("svg", *parts, class_="spark", viewBox="0 0 100 40", preserveAspectRatio="none", aria_hidden="true")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}%"
