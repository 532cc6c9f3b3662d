"""The command line: translates, and leaves the work to the modules it names. A module of commands is one line in `_COMMANDS`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from intermodal import __version__
from intermodal.cli import compiling, components, decisions, overview, recovery, rollouts, running, runs, schedules, served, submitting
from intermodal.cli.options import console
from intermodal.runtime.disk import full_disk, is_full
from intermodal.runtime.errors import IntermodalError
from intermodal.runtime.redaction import guard

app = typer.Typer(
    help="Kubeflow Pipelines components, and pipelines made of them, that run unchanged on a laptop, on Kubeflow and on Vertex AI.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: Modules of commands, each with an `app`, in the order of the help.
_COMMANDS = (running, compiling, submitting, runs, recovery, schedules, served, rollouts, decisions, components, overview)
for module in _COMMANDS:
    app.add_typer(module.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; errors raised on purpose end it with one message and status 1. Nothing that it prints shows a password."""
    guard()
    try:
        app()
    except IntermodalError as error:
        Console(stderr=True, highlight=False).print(f"[red]error[/]  {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        reason = f"; {full_disk(error, Path.cwd())} and run again" if is_full(error) else ""
        Console(stderr=True, highlight=False).print(f"[red]error[/]  {escape(f'{error}{reason}')}", soft_wrap=True)
        sys.exit(1)
