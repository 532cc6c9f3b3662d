"""The commands of rollouts on this machine: how far one is, and what is asked of it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from intermodal.cli.options import HOME, Home, console, example, table_of
from intermodal.rollout.service import Action

if TYPE_CHECKING:
    from intermodal.serving.splitting.service import LocalService

app = typer.Typer()
rollout = typer.Typer(help="Rollouts of served models on this machine: look, pause, resume, promote, roll back.", no_args_is_help=True)
app.add_typer(rollout, name="rollout")

Name = Annotated[str, typer.Argument(help="The service, as `intermodal serve` lists it.")]


@rollout.command(epilog=example("rollout status flight-delay", "rollout status flight-delay --follow"))
def status(name: Name, home: Home = HOME, follow: Annotated[bool, typer.Option("--follow", help="Until it ends.")] = False) -> None:
    """Show which model has which share of the requests, and what happened."""
    from intermodal.rollout.log import Log

    service = _service(home, name)
    state = service.state()
    versions = service.versions()
    table = table_of("Model", "Version", "Requests", "Role")
    roles = {state.stable: "stable", state.candidate: "candidate", state.previous: "served before; rollout roll-back brings it back"}
    for member, role in roles.items():
        if member:
            share = f"{state.weights.get(member, 0)} %" if role != "candidate" or not state.current.header else str(state.current)
            table.add_row(member, versions.get(member, ""), share, role)
    console.print(table)
    paused = ", paused" if state.paused else ""
    console.print(f"{escape(name)}: {state.phase}{paused}" + (f": {state.reason}" if state.reason else ""), markup=False, soft_wrap=True)
    log = Log(lambda line: console.print(line, markup=False, soft_wrap=True))
    log.watch(state, None)
    while follow and state.under_way:
        time.sleep(1.0)
        state = service.state()
        log.watch(state, None)


@rollout.command(epilog=example("rollout pause flight-delay"))
def pause(name: Name, home: Home = HOME) -> None:
    """Keep the shares as they are; a model that does harm is rolled back nevertheless."""
    _ask(home, name, "pause", "stays at its share until it is resumed")


@rollout.command(epilog=example("rollout resume flight-delay"))
def resume(name: Name, home: Home = HOME) -> None:
    """Go on after a pause."""
    _ask(home, name, "resume", "goes on")


@rollout.command(epilog=example("rollout promote flight-delay"))
def promote(name: Name, home: Home = HOME) -> None:
    """Give the candidate all requests, whatever the judge says."""
    _ask(home, name, "promote", "gets all requests")


@rollout.command(epilog=example("rollout roll-back flight-delay"))
def roll_back(name: Name, home: Home = HOME) -> None:
    """Give all requests to what served before: during a rollout, or after it while that model is still loaded."""
    from intermodal.rollout.engine import revert

    service = _service(home, name)
    if service.state().under_way:
        _ask(home, name, "roll back", "is given up")
        return
    state = revert(service)
    console.print(f"{service.label(state.stable)} has all requests of {escape(name)} again.", soft_wrap=True)


def _ask(home: Path, name: str, action: Action, becomes: str) -> None:
    from intermodal.rollout.engine import ask

    service = _service(home, name)
    state, done = ask(service, action)
    if not done:
        console.print(f"{service.label(state.candidate)} {becomes} at the next look of the task that rolls it out.", soft_wrap=True)
    elif state.under_way:
        console.print("Done; no task rolls it out: run its pipeline again to go on.", soft_wrap=True)
    else:
        console.print(f"{service.label(state.stable)} has all requests of {escape(name)}.", soft_wrap=True)


def _service(home: Path, name: str) -> "LocalService":
    """Return a service that is served on this machine.

    Raises:
        StoreError: Nothing of that name is.
    """
    from intermodal.runtime.errors import StoreError
    from intermodal.serving.records import deployment, deployments
    from intermodal.serving.splitting.service import LocalService

    folder = home.resolve() / "deployments"
    if deployment(folder, name) is None:
        served = ", ".join(each.name for each in deployments(folder))
        raise StoreError(f"{folder}: {name!r} is not served; {f'these are: {served}' if served else 'nothing is served there'}")
    return LocalService(folder, name)
