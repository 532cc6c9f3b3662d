"""The command that runs a pipeline on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from intermodal.cli.options import HOME, Home, Overrides, Parameters, RunName, console, example

app = typer.Typer()


@app.command(epilog=example("run pipelines/flights.yaml --set gate.margin.log_loss=0.01", "run compiled/local/mine.yaml --params parameters.yaml"))
def run(
    pipeline: Annotated[Path, typer.Argument(help="A configuration, or a compiled file.")] = Path("pipelines/flights.yaml"),
    overrides: Overrides = None,
    params: Parameters = None,
    name: RunName = None,
    home: Home = HOME,
    docker: Annotated[bool, typer.Option("--docker", help="Run each task in a container of its image.")] = False,
    cache: Annotated[bool, typer.Option(help="Reuse what earlier runs finished on equal inputs.")] = True,
    parallelism: Annotated[int | None, typer.Option(min=1, help="How many tasks run at the same time. Default: as many as there are cores.")] = None,
) -> None:
    """Run a pipeline on this machine to its end, and say what came of it."""
    from intermodal.submission.here import run_here
    from intermodal.submission.parameters import read_parameters

    given = read_parameters(params) if params else None
    run_here(
        pipeline,
        home=home,
        console=console,
        parameters=given,
        overrides=overrides,
        cached=cache,
        docker=docker,
        parallelism=parallelism,
        name=name,
    )
