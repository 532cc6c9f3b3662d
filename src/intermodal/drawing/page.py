"""A page of figures: one HTML file that loads nothing, and follows the reader's light or dark setting."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from intermodal.drawing.charts import tag
from intermodal.drawing.figures import Figure, Legend


def page(title: str, figures: Sequence[Figure], without: str) -> str:
    """Return a page as HTML; texts are escaped.

    Args:
        title: Heads the page.
        figures: What is on it.
        without: What it says where there are no figures.
    """
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", style()),
    )
    content = tag("div", *map(figure, figures), class_="grid") if figures else tag("p", without)
    body = tag("body", tag("main", tag("header", tag("h1", title)), tag("section", content)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def style() -> Markup:
    """Return the style sheet of every page."""
    return Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))  # noqa: S704  (our own file)


def figure(drawn: Figure) -> Markup:
    """Return a figure with its title, legend and caption."""
    return tag("figure", tag("h3", drawn.title), legend(drawn.legend), drawn.chart, tag("figcaption", drawn.caption), class_="card")


def legend(entries: Legend) -> Markup:
    """Return a legend, nothing where it has no entries."""
    return tag("ul", *(tag("li", _swatch(kind), name) for kind, name in entries), class_="legend") if entries else Markup()


def _swatch(kind: str) -> Markup:
    line = tag("line", class_=f"line {kind}", x1=1, x2=21, y1=5, y2=5)
    return tag("svg", line, class_="swatch", viewBox="0 0 22 10", aria_hidden="true")
