"""The command line: translates, and leaves the work to the modules it names."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intermodal import __version__
from intermodal.authoring.catalog import component_names, load_component, shipped_configurations
from intermodal.cli import components, platforms
from intermodal.runtime.disk import full_disk, is_full
from intermodal.runtime.errors import ConfigurationError, IntermodalError
from intermodal.runtime.redaction import guard

app = typer.Typer(
    help="Kubeflow Pipelines components, and pipelines made of them, that run unchanged on a laptop, on Kubeflow and on Vertex AI.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
serve = typer.Typer(help="The models served on this machine: list them, or stop one.", invoke_without_command=True)
app.add_typer(serve, name="serve")
app.add_typer(platforms.app)
app.add_typer(components.app)

Home = Annotated[Path, typer.Option("--home", envvar="INTERMODAL_HOME", help="Folder for runs, cache, stores and deployments.")]
_HOME = Path(".intermodal")
console = Console(highlight=False)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


@app.command()
def run(
    configuration: Annotated[Path, typer.Argument(help="The training pipeline's configuration file.")] = Path("pipelines/flights.yaml"),
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated.")] = None,
    home: Home = _HOME,
    docker: Annotated[bool, typer.Option("--docker", help="Run each task in a container of its image.")] = False,
    cache: Annotated[bool, typer.Option(help="Reuse what earlier runs finished on equal inputs.")] = True,
    parallelism: Annotated[int | None, typer.Option(min=1, help="How many tasks run at the same time. Default: as many as there are cores.")] = None,
) -> None:
    """Run the training pipeline on this machine, and serve the model if it passes its gate."""
    from intermodal.cli.run import run_configuration

    run_configuration(configuration, overrides, home=home, docker=docker, cache=cache, console=console, parallelism=parallelism)


@app.command(name="compile")
def compile_(
    configuration: Annotated[Path, typer.Argument(help="Its values become the pipeline's defaults.")] = Path("pipelines/flights.yaml"),
    target: Annotated[list[str] | None, typer.Option(help="kubeflow or vertex; default: both.")] = None,
    output: Annotated[Path, typer.Option(help="Folder to write below.")] = Path("compiled"),
    digests: platforms.Digests = None,
    profile: Annotated[str | None, typer.Option(help="Of targets.toml: registry, shapes, options of each task. Default: none of these.")] = None,
    targets: platforms.TargetsFile = Path("targets.toml"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is stale.")] = False,
) -> None:
    """Compile the training pipeline for each platform, batch prediction for Vertex AI, and every component to a YAML file of its own."""
    from intermodal.authoring.pipeline import load_job
    from intermodal.compiler.build import compile_specification, write_specification
    from intermodal.compiler.specification import forbid_caching_by_tag
    from intermodal.configuration.targets import load_targets
    from intermodal.platforms.targets import CLUSTER_TARGETS, managed_pipelines
    from intermodal.submission.digests import read_digests
    from intermodal.submission.prepare import compile_for, destination

    names = target or list(CLUSTER_TARGETS)
    if unknown := set(names) - set(CLUSTER_TARGETS):
        raise ConfigurationError(f"there is no target {', '.join(sorted(unknown))}; the targets are {', '.join(CLUSTER_TARGETS)}")
    job = load_job(configuration)
    pinned = read_digests(digests) if digests else {}
    chosen = load_targets(targets) if profile else None
    made = {
        output / name / f"{configuration.stem}.yaml": compile_for(
            name, job, goal=destination(chosen, name, profile) if chosen else None, digests=pinned
        )
        for name in names
    }
    by_tag = {image for specification, _ in made.values() for image in forbid_caching_by_tag(specification)}
    if not check:
        platforms.say_uncached(tuple(sorted(by_tag)))
    if "vertex" in names:
        made[output / "vertex" / "batch_prediction.yaml"] = (compile_specification(managed_pipelines().batch_prediction), {})
    made |= {output / "components" / f"{name}.yaml": (compile_specification(load_component(name)), {}) for name in component_names()}
    for path, (specification, platform) in made.items():
        if not check:
            write_specification(specification, path, platform)
            console.print(escape(str(path)), soft_wrap=True)
        elif _stale(path, [specification, platform] if platform else [specification]):
            raise ConfigurationError(f"{path} is stale; run `intermodal compile` and commit what it writes")


def _stale(path: Path, documents: list[dict[str, Any]]) -> bool:
    from intermodal.runtime.safe_yaml import parse_documents, read_text

    return not path.exists() or [each.value for each in parse_documents(read_text(path, "run `intermodal compile`"), str(path))] != documents


@app.command(name="list")
def list_(
    target: Annotated[str | None, typer.Option(help="List the runs of this target instead: kubeflow or vertex.")] = None,
    profile: platforms.Profile = None,
    targets: platforms.TargetsFile = Path("targets.toml"),
    limit: Annotated[int, typer.Option(min=1, max=200, help="Of runs, how many.")] = 20,
) -> None:
    """List the components and the shipped configurations, or with --target the runs there."""
    if target:
        platforms.list_runs(target, profile, targets, limit)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Component", no_wrap=True)
    table.add_column("Image", no_wrap=True)
    table.add_column("What it does")
    for name in component_names():
        component = load_component(name)
        table.add_row(name, _image(component), component.description.split("\n\n")[0])
    console.print(table)
    if configurations := shipped_configurations(Path()):
        console.print("\n[bold]Configurations[/]  " + escape("  ".join(map(str, configurations))))


def _image(component: Any) -> str:
    return str(component.component_spec.implementation.container.image)


@serve.callback()
def _serve(context: typer.Context, home: Home = _HOME) -> None:
    context.obj = home.resolve()
    if context.invoked_subcommand is None:
        serve_list(context)


@serve.command(name="list")
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


@serve.command()
def stop(context: typer.Context, name: Annotated[str, typer.Argument(help="As `intermodal serve` lists it.")]) -> None:
    """End a served model."""
    from intermodal.serving.records import stop as stop_deployment

    stop_deployment(context.obj / "deployments", name)
    console.print(f"{escape(name)} is no longer served.")


@app.command()
def doctor() -> None:
    """Say what this machine lacks, and how to get it."""
    from intermodal.cli.doctor import inspect_machine

    findings = inspect_machine()
    for finding in findings:
        mark = "[green]ok[/]     " if finding.ok else ("[red]missing[/]" if finding.required else "[yellow]absent[/] ")
        console.print(f"{mark}  {finding.name}: {escape(finding.text)}", soft_wrap=True)
        if not finding.ok:
            console.print(f"         {escape(finding.remedy)}", soft_wrap=True)
    if any(finding.required and not finding.ok for finding in findings):
        raise typer.Exit(1)


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
