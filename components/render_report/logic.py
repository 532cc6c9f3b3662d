"""One self-contained HTML page about a run, and its first lines as Markdown."""

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from intermodal.components.render_report import figures, run, tracks
from intermodal.components.render_report.run import Run, read_run
from intermodal.drawing import search, wording
from intermodal.drawing.figures import learning_curves
from intermodal.drawing.page import figure, legend, style
from intermodal.runtime.artifacts import whole_file

_HERE = Path(__file__).parent
_Given = str | os.PathLike[str] | None


def render_report(
    *,
    title: str,
    registration_path: _Given,
    promotion_path: _Given,
    deployment_path: _Given,
    anomalies_path: _Given,
    statistics_path: _Given,
    training_path: _Given,
    search_path: _Given,
    evaluation_path: _Given,
    decision_path: _Given,
    tables_path: _Given,
    metrics: Mapping[str, Any],
    report_path: str | os.PathLike[str],
    summary_path: str | os.PathLike[str],
) -> None:
    """Render the page about a run. See the component's contract for the arguments.

    The page depends on its inputs only (no clock, no network), so equal inputs give equal bytes.

    Raises:
        ConfigurationError: No artifact was given.
        DataError: A file is missing, or lacks what its section needs.
    """
    paths = {
        "registration": registration_path,
        "promotion": promotion_path,
        "deployment": deployment_path,
        "anomalies": anomalies_path,
        "statistics": statistics_path,
        "training": training_path,
        "search": search_path,
        "evaluation": evaluation_path,
        "decision": decision_path,
        "tables": tables_path,
    }
    found = read_run(title, {name: Path(path) for name, path in paths.items() if path}, metrics)
    for path, text in ((report_path, render_page(found)), (summary_path, run.summary(found))):
        with whole_file(path) as scratch:
            scratch.write_text(text, encoding="utf-8")


def render_page(found: Run) -> str:
    """Return the page about a run as HTML; text from the artifacts is escaped."""
    page: str = _template().render(
        style=style(),
        figure=figure,
        legend=legend,
        learning_curves=learning_curves,
        searching=search,
        run=found,
        sentences=run,
        figures=figures,
        strips=tracks,
        metric_names=wording.METRICS,
    )
    return page


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        number=wording.number, interval=wording.interval, percent=wording.percent, plural=wording.plural, pretty=_pretty, flat=_flat
    )
    return environment.get_template("page.html")


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return nested objects as (dotted name, text) pairs."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(inner, f"{name}.{key}" if name else str(key))]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [(name, text)]
