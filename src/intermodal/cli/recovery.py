"""The commands that look into a run that failed, and go on from there: replay, retry."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from intermodal.cli.options import (
    TARGETS,
    Profile,
    RunId,
    Target,
    TargetsFile,
    Wait,
    console,
    destination_of,
    example,
    local_settings,
    open_platform,
    print_notes,
)
from intermodal.runtime.errors import TaskError

app = typer.Typer()


@app.command(epilog=example("replay flight-delay-first train-model --target kubeflow"))
def replay(
    run: RunId,
    task: Annotated[str, typer.Argument(metavar="TASK", help="As `status` and `logs` name it; inside a loop with the iteration: 'score[0]'.")],
    target: Target,
    changes: Annotated[
        str, typer.Option("--changes", metavar="WHAT", help="For a task that changes something outside the run: what it may change.")
    ] = "",
    docker: Annotated[bool, typer.Option("--docker", help="Run it in a container of its image.")] = False,
    profile: Profile = None,
    targets: TargetsFile = TARGETS,
) -> None:
    """Run a task of a run again on this machine, with copies of the inputs it had; the exit status is the task's."""
    from intermodal.platforms.replaying import prepare_replay

    given = open_platform(target, profile, targets).inputs(run, task)
    prepared = prepare_replay(given, local_settings(profile, targets).home, console, changes=changes, docker=docker)
    for title, path in (("Inputs", prepared.inputs), ("Log", prepared.log), ("Outputs", prepared.folder)):
        console.print(f"{title:<8} {escape(str(_short(path)))}", soft_wrap=True)
    try:
        prepared.start()
    except TaskError as error:
        Console(stderr=True, highlight=False).print(f"[red]error[/]  {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(error.status) from error


@app.command(epilog=example("retry flight-delay-first --target kubeflow"))
def retry(run: RunId, target: Target, wait: Wait = False, profile: Profile = None, targets: TargetsFile = TARGETS) -> None:
    """Go on from what failed in a run, by the platform's own means; here, with the same arguments and the cache."""
    from intermodal.cli.submitting import follow_to_end

    platform = open_platform(target, profile, targets)
    found = platform.retry(run)
    console.print(f"Run      [bold]{found.id}[/]  ({found.state})\nSee      [cyan]{found.url}[/]", soft_wrap=True)
    print_notes(found.notes)
    if wait and target != "local":
        follow_to_end(platform, found, destination_of(target, profile, targets).settings.start_timeout)


def _short(path: Path) -> Path:
    """Return a path as a person here would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
