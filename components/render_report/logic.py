"""One self-contained HTML page about a run."""

import json
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from intermodal.components.render_report import figures, story, tracks, wording
from intermodal.components.render_report.story import Story, read_story
from intermodal.runtime.artifacts import whole_file

_HERE = Path(__file__).parent


def render_report(
    *,
    registration_path: str | os.PathLike[str],
    anomalies_path: str | os.PathLike[str],
    deployment_path: str | os.PathLike[str] | None = None,
    tables_path: str | os.PathLike[str] | None = None,
    statistics_path: str | os.PathLike[str] | None = None,
    training_path: str | os.PathLike[str] | None = None,
    evaluation_path: str | os.PathLike[str] | None = None,
    decision_path: str | os.PathLike[str] | None = None,
    title: str,
    report_path: str | os.PathLike[str],
) -> None:
    """Render the page about a run. See the component's contract for the arguments.

    The page depends on its inputs alone (no clock, no network), so equal inputs give equal bytes.

    Raises:
        DataError: An artifact is missing, or lacks what the page cannot do without.
    """
    registration = Path(registration_path)
    told = read_story(
        title=title,
        tables=Path(tables_path or registration),
        statistics=Path(statistics_path or registration / "statistics"),
        anomalies=Path(anomalies_path),
        training=Path(training_path or registration),
        evaluation=Path(evaluation_path or registration),
        decision=Path(decision_path or registration),
        registration=registration,
        deployment=Path(deployment_path) if deployment_path else None,
    )
    page = render_page(told)
    with whole_file(report_path) as scratch:
        scratch.write_text(page, encoding="utf-8")


def render_page(told: Story) -> str:
    """Return the page about a run as HTML; whatever comes from the data is escaped."""
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        number=wording.number, interval=wording.interval, percent=wording.percent, plural=wording.plural, pretty=_pretty, flat=_flat
    )
    page: str = environment.get_template("page.html").render(
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        run=told,
        sentences=story,
        figures=figures,
        strips=tracks,
        metric_names=wording.METRICS,
    )
    return page


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return nested objects as (dotted name, text) pairs."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(inner, f"{name}.{key}" if name else str(key))]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [(name, text)]
