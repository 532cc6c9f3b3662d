"""A run of the training pipeline on this machine, and what a person wants to know at its end."""

import shlex
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from intermodal.configuration.training import load_configuration
from intermodal.runtime.artifacts import read_json, whole_file, write_json


def run_configuration(
    configuration: Path,
    overrides: list[str] | None,
    *,
    home: Path,
    docker: bool,
    cache: bool,
    console: Console,
    name: str = "",
    identity: str = "",
) -> None:
    """Run the training pipeline, and print the verdict, the prediction that came back, how to ask for another, and the report's path.

    Args:
        configuration: The pipeline's configuration file.
        overrides: `section.key=value` texts over it.
        home: Folder for runs, cache, stores and deployments.
        docker: Whether each task runs in a container of its image.
        cache: Whether what earlier runs finished on equal inputs is reused.
        console: Where it is shown.
        name: The run's name, for people. Default: the pipeline's.
        identity: The run's id. Default: the pipeline's name and the time.

    Raises:
        IntermodalError: What stopped the run; see `LocalTarget.run`.
    """
    from intermodal.components.serve_model.component import serve_model
    from intermodal.pipelines.training import training_pipeline
    from intermodal.runner.local import LocalTarget

    settings = load_configuration(configuration, overrides)
    base, home = configuration.parent.resolve(), home.resolve()
    target = LocalTarget(home, docker=docker, console=console)
    arguments = settings.local_arguments(base=base, home=home)
    arguments["repository"] = target.stage(base / settings.features.repository)
    finished = target.run(training_pipeline(serve_model), arguments, cached=cache, name=name, identity=identity)
    _conclude(finished, console)


def _conclude(finished: Any, console: Console) -> None:
    """Print what a person wants next: the verdict, the prediction that came back, how to ask for another, the report."""
    say = partial(console.print, soft_wrap=True)
    outputs = {task.name: task.outputs for task in finished.tasks}
    decision = read_json(Path(outputs["gate-model"]["decision"]) / "decision.json")
    console.print()
    passed = decision["verdict"] == "passed"
    say(f"Gate     {'[green]passed[/]' if passed else '[red]blocked[/]'}")
    for reason in decision["reasons"]:
        say(f"         {escape(reason)}")
    if "serve-model" in outputs:
        deployment = read_json(Path(outputs["serve-model"]["deployment"]) / "deployment.json")
        request = finished.directory / "request.json"
        write_json(request, deployment["request"])
        url = deployment["protocols"]["v1"]
        say(f"Serving  {deployment['name']} version {deployment['version']} at [cyan]{deployment['url']}[/]")
        say(f"         it answered over HTTP: probability {deployment['response']['predictions'][0]:.4f}")
        data = shlex.quote(f"@{_short(request)}")
        say(f"Call it  curl -s {escape(shlex.quote(url))} -H 'Content-Type: application/json' -d {escape(data)}")
        say("         `intermodal serve` lists what is served; `intermodal serve stop NAME` ends it")
    page = finished.directory / "report.html"
    made = next(values["report"] for name, values in outputs.items() if name.startswith("render-report"))
    with whole_file(page) as scratch:
        # An artifact's path has no suffix, by which a browser would know the page.
        shutil.copyfile(made, scratch)
    say(f"Report   [cyan]{escape(_short(page))}[/]")


def _short(path: Path) -> str:
    """Return a path as a person here would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
