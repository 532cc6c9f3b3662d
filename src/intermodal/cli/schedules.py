"""The commands of schedules: create, list, pause, resume, delete."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from intermodal.cli.options import (
    TARGETS,
    Cache,
    Configuration,
    Digests,
    Overrides,
    Parameters,
    Pipeline,
    Profile,
    Target,
    TargetsFile,
    console,
    example,
    open_platform,
    table_of,
)
from intermodal.cli.submitting import prepared
from intermodal.runtime.errors import ConfigurationError

app = typer.Typer()
schedule = typer.Typer(help="Schedules on a platform: create, list, pause, resume, delete.", no_args_is_help=True)
app.add_typer(schedule, name="schedule")


@schedule.command(name="create", epilog=example("schedule create pipelines/flights.yaml --target vertex --name nightly --cron '0 3 * * *'"))
def schedule_create(
    pipeline: Pipeline,
    target: Target,
    name: Annotated[str, typer.Option(help="Unique on the target.")],
    cron: Annotated[str, typer.Option(help="Five fields: minute, hour, day of month, month, day of week.")],
    time_zone: Annotated[str, typer.Option(help="An IANA name, for instance Europe/Zurich.")] = "UTC",
    profile: Profile = None,
    targets: TargetsFile = TARGETS,
    params: Parameters = None,
    configuration: Configuration = None,
    overrides: Overrides = None,
    digests: Digests = None,
    cache: Cache = True,
) -> None:
    """Start runs on a schedule."""
    from intermodal.platforms.cron import check_cron

    check_cron(cron, time_zone)
    if target == "local":
        raise ConfigurationError(f"--target local: this machine keeps no schedules ({name!r}); have its cron run `intermodal run`")
    destination, submission = prepared(
        pipeline, target, profile, targets, params=params, configuration=configuration, overrides=overrides, digests=digests, name=name, cache=cache
    )
    _print_schedules([destination.open().create_schedule(name, cron, time_zone, submission)])


@schedule.command(name="list", epilog=example("schedule list --target vertex"))
def schedule_list(target: Target, profile: Profile = None, targets: TargetsFile = TARGETS) -> None:
    """List the schedules."""
    _print_schedules(open_platform(target, profile, targets).schedules())


@schedule.command(name="pause", epilog=example("schedule pause nightly --target vertex"))
def schedule_pause(name: str, target: Target, profile: Profile = None, targets: TargetsFile = TARGETS) -> None:
    """Pause a schedule."""
    _print_schedules([open_platform(target, profile, targets).pause_schedule(name)])


@schedule.command(name="resume", epilog=example("schedule resume nightly --target vertex"))
def schedule_resume(name: str, target: Target, profile: Profile = None, targets: TargetsFile = TARGETS) -> None:
    """Resume a schedule, without catching up."""
    _print_schedules([open_platform(target, profile, targets).resume_schedule(name)])


@schedule.command(name="delete", epilog=example("schedule delete nightly --target vertex"))
def schedule_delete(name: str, target: Target, profile: Profile = None, targets: TargetsFile = TARGETS) -> None:
    """Delete a schedule. Runs that it started go on; Kubeflow would kill them, so there it is refused while one is active."""
    open_platform(target, profile, targets).delete_schedule(name)
    console.print(f"{escape(name)} is deleted.")


def _print_schedules(found: list[Any]) -> None:
    table = table_of("Schedule", "Cron", "Time zone", "State", "Next run")
    for each in found:
        upcoming = f"{each.next_run:%Y-%m-%d %H:%M %Z}" if each.next_run else ""
        table.add_row(escape(each.name), escape(each.cron), each.time_zone, "paused" if each.paused else "active", upcoming)
    console.print(table)
