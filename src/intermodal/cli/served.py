"""The commands of what is served on this machine."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from intermodal.cli.options import HOME, Home, console, example

app = typer.Typer()
serve = typer.Typer(help="The models served on this machine: list them, or stop one.", invoke_without_command=True, epilog=example("serve"))
app.add_typer(serve, name="serve")


@serve.callback()
def _serve(context: typer.Context, home: Home = HOME) -> None:
    context.obj = home.resolve()
    if context.invoked_subcommand is None:
        serve_list(context)


@serve.command(name="list", epilog=example("serve list"))
def serve_list(context: typer.Context) -> None:
    """List the models served on this machine."""
    from intermodal.serving.records import deployments

    found = deployments(context.obj / "deployments")
    if not found:
        console.print("Nothing is served. `intermodal run` serves a model that passes its gate.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Name", "Version", "URL", "State", "Process", "Since", "Log"):
        table.add_column(column, overflow="fold")
    for each in found:
        table.add_row(each.name, each.version, each.url, "serving" if each.alive else "ended", str(each.pid), each.since, escape(str(each.log)))
    console.print(table)


@serve.command(epilog=example("serve stop flight-delay"))
def stop(context: typer.Context, name: Annotated[str, typer.Argument(help="As `intermodal serve` lists it.")]) -> None:
    """End a served model."""
    from intermodal.serving.records import stop as stop_deployment

    stop_deployment(context.obj / "deployments", name)
    console.print(f"{escape(name)} is no longer served.")
