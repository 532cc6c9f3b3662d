"""What a person wants to read at the end of a training run."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape

from intermodal.runtime.artifacts import read_json, whole_file, write_json


def summary(run: Any) -> Iterator[str]:
    """Yield the gate's verdict, the prediction that came back, how to ask for another, the champion, and the report, copied to the run's folder.

    Args:
        run: A finished run of this machine (`intermodal.runner.runs.Run`).
    """
    outputs = {task.name: task.outputs for task in run.tasks}
    decision = read_json(Path(outputs["gate-model"]["decision"]) / "decision.json")
    yield f"Gate     {'[green]' if decision['verdict'] == 'passed' else '[red]'}{decision['verdict']}[/]"
    for reason in decision["reasons"]:
        yield f"         {escape(reason)}"
    if "serve-model" in outputs:
        yield from _served(read_json(Path(outputs["serve-model"]["deployment"]) / "deployment.json"), run.directory / "request.json")
    if "promote-model" in outputs:
        yield f"Registry {escape(read_json(Path(outputs['promote-model']['promotion']) / 'promotion.json')['outcome'])}"
    page = run.directory / "report.html"
    made = next(values["report"] for name, values in outputs.items() if name.startswith("render-report"))
    with whole_file(page) as scratch:
        # An artifact's path has no suffix, by which a browser would know the page.
        shutil.copyfile(made, scratch)
    yield f"Report   [cyan]{escape(_short(page))}[/]"


def _served(deployment: Any, request: Path) -> Iterator[str]:
    write_json(request, deployment["request"])
    yield f"Serving  {deployment['name']} version {deployment['version']} at [cyan]{deployment['url']}[/]"
    yield f"         it answered over HTTP: probability {deployment['response']['predictions'][0]:.4f}"
    url, data = shlex.quote(deployment["protocols"]["v1"]), shlex.quote(f"@{_short(request)}")
    yield f"Call it  curl -s {escape(url)} -H 'Content-Type: application/json' -d {escape(data)}"
    yield "         `intermodal serve` lists what is served; `intermodal serve stop NAME` ends it"


def _short(path: Path) -> str:
    """Return a path as a person here would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
