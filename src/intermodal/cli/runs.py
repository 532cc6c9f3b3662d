"""The commands that look after runs: status, logs, cancel."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from intermodal.cli.options import TARGETS, Profile, RunId, Target, TargetsFile, console, example, open_platform, print_notes, table_of

app = typer.Typer()


@app.command(epilog=example("status flight-delay-first --target vertex"))
def status(run: RunId, target: Target, profile: Profile = None, targets: TargetsFile = TARGETS) -> None:
    """Show a run and its tasks."""
    found = open_platform(target, profile, targets).run(run)
    console.print(f"Run      [bold]{found.id}[/]  {found.state}\nName     {escape(found.name)}\nSee      [cyan]{found.url}[/]", soft_wrap=True)
    if found.error:
        console.print(f"Error    {escape(found.error)}", soft_wrap=True)
    print_notes(found.notes)
    now = datetime.now(UTC)
    table = table_of("Task", "State", "Seconds", "")
    for task in found.tasks:
        seconds = task.seconds(now)
        table.add_row(task.name, task.state, "" if seconds is None else f"{seconds:.0f}", escape(task.error or task.reason))
    console.print(table)


@app.command(epilog=example("logs flight-delay-first --target vertex --task train-model"))
def logs(
    run: RunId,
    target: Target,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    profile: Profile = None,
    targets: TargetsFile = TARGETS,
) -> None:
    """Print what a run's tasks said."""
    for name, line in open_platform(target, profile, targets).logs(run, task):
        console.print(f"[dim]{escape(name)}[/]  {escape(line)}", soft_wrap=True)


@app.command(epilog=example("cancel flight-delay-first --target vertex"))
def cancel(run: RunId, target: Target, profile: Profile = None, targets: TargetsFile = TARGETS) -> None:
    """Ask the platform to end a run."""
    ended = open_platform(target, profile, targets).cancel(run)
    console.print(f"{ended.id}  {ended.state}")


def list_runs(target: str, profile: str | None, targets: Path, limit: int) -> None:
    """Print the newest runs of a target."""
    table = table_of("Run", "Name", "State", "Created")
    for run in open_platform(target, profile, targets).runs(limit):
        table.add_row(run.id, escape(run.name), run.state, f"{run.created:%Y-%m-%d %H:%M}" if run.created else "")
    console.print(table)
