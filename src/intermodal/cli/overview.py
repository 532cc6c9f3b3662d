"""The commands that show what there is: list, doctor."""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from intermodal.authoring.catalog import component_names, load_component
from intermodal.cli.options import TARGETS, Profile, TargetsFile, console, example
from intermodal.cli.runs import list_runs
from intermodal.configuration.shipped import shipped_configurations

app = typer.Typer()


@app.command(name="list", epilog=example("list", "list --target vertex --limit 5"))
def list_(
    target: Annotated[str | None, typer.Option(help="List the runs of this target instead.")] = None,
    profile: Profile = None,
    targets: TargetsFile = TARGETS,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Of runs, how many.")] = 20,
) -> None:
    """List the components and the shipped configurations, or with --target the runs there."""
    if target:
        list_runs(target, profile, targets, limit)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Component", no_wrap=True)
    table.add_column("Image", no_wrap=True)
    table.add_column("What it does")
    for name in component_names():
        component = load_component(name)
        table.add_row(name, _image(component), component.description.split("\n\n")[0])
    console.print(table)
    if configurations := shipped_configurations():
        console.print("\n[bold]Configurations[/]  " + escape("  ".join(map(str, configurations))))


def _image(component: Any) -> str:
    return str(component.component_spec.implementation.container.image)


@app.command(epilog=example("doctor"))
def doctor() -> None:
    """Say what this machine lacks, and how to get it."""
    from intermodal.cli.machine import inspect_machine

    findings = inspect_machine()
    for finding in findings:
        mark = "[green]ok[/]     " if finding.ok else ("[red]missing[/]" if finding.required else "[yellow]absent[/] ")
        console.print(f"{mark}  {finding.name}: {escape(finding.text)}", soft_wrap=True)
        if not finding.ok:
            console.print(f"         {escape(finding.remedy)}", soft_wrap=True)
    if any(finding.required and not finding.ok for finding in findings):
        raise typer.Exit(1)
