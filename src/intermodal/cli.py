"""The command line: translates, and leaves the work to the modules it names."""

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intermodal import __version__
from intermodal.catalog import component_names, component_page, load_component, shipped_configurations
from intermodal.configuration import load_configuration
from intermodal.errors import ConfigurationError, IntermodalError

app = typer.Typer(
    help="Kubeflow Pipelines components, and pipelines made of them, that run unchanged on a laptop, on Kubeflow and on Vertex AI.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
serve = typer.Typer(help="The models served on this machine: list them, or stop one.", invoke_without_command=True)
app.add_typer(serve, name="serve")

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
) -> None:
    """Run the training pipeline on this machine, and serve the model if it passes its gate."""
    from intermodal.components.serve_model.component import serve_model
    from intermodal.pipelines.training import training_pipeline
    from intermodal.targets.local import LocalTarget

    settings = load_configuration(configuration, overrides)
    base, home = configuration.parent.resolve(), home.resolve()
    target = LocalTarget(home, docker=docker, console=console)
    arguments = settings.local_arguments(base=base, home=home)
    arguments["repository"] = target.stage(base / settings.features.repository)
    finished = target.run(training_pipeline(serve_model), arguments, cached=cache)
    _conclude(finished, port=settings.serving.port)


def _conclude(finished: Any, *, port: int) -> None:
    """Print what a person wants next: the verdict, the prediction that came back, how to ask for another, the report."""
    from intermodal.artifacts import read_json, whole_file, write_json

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
        say(f"Call it  curl -s {escape(url)} -H 'Content-Type: application/json' -d @{escape(_short(request))}")
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


@app.command(name="compile")
def compile_(
    configuration: Annotated[Path, typer.Argument(help="Its values become the pipeline's defaults.")] = Path("pipelines/flights.yaml"),
    target: Annotated[list[str] | None, typer.Option(help="kubeflow or vertex; default: both.")] = None,
    output: Annotated[Path, typer.Option(help="Folder to write below.")] = Path("compiled"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is stale.")] = False,
) -> None:
    """Compile the training pipeline for each platform, and every component to a YAML file of its own."""
    from intermodal.targets.cluster import CLUSTER_TARGETS
    from intermodal.targets.compilation import compile_specification, write_specification

    names = target or list(CLUSTER_TARGETS)
    if unknown := set(names) - set(CLUSTER_TARGETS):
        raise ConfigurationError(f"there is no target {', '.join(sorted(unknown))}; the targets are {', '.join(CLUSTER_TARGETS)}")
    defaults = load_configuration(configuration).arguments(base=configuration.parent.resolve())
    made = {output / name / f"{configuration.stem}.yaml": CLUSTER_TARGETS[name].compile(defaults) for name in names}
    made |= {output / "components" / f"{name}.yaml": compile_specification(load_component(name)) for name in component_names()}
    for path, specification in made.items():
        if not check:
            write_specification(specification, path)
            console.print(str(path))
        elif _stale(path, specification):
            raise ConfigurationError(f"{path} is stale; run `intermodal compile` and commit what it writes")


def _stale(path: Path, specification: dict[str, Any]) -> bool:
    import yaml

    return not path.exists() or yaml.safe_load(path.read_text(encoding="utf-8")) != specification


@app.command(name="list")
def list_() -> None:
    """List the components, and the configurations shipped with this checkout."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Component", no_wrap=True)
    table.add_column("Image", no_wrap=True)
    table.add_column("What it does")
    for name in component_names():
        component = load_component(name)
        table.add_row(name, _image(component), component.description.split("\n\n")[0])
    console.print(table)
    if configurations := shipped_configurations(Path()):
        console.print("\n[bold]Configurations[/]  " + "  ".join(map(str, configurations)))


@app.command()
def describe(name: Annotated[str, typer.Argument(metavar="COMPONENT")]) -> None:
    """Describe a component: its inputs, outputs, image and page."""
    from intermodal.component import UNCACHED

    component = load_component(name)
    specification = component.component_spec
    console.print(f"[bold]{name}[/]  image {_image(component)}, {'never cached' if component.name in UNCACHED else 'cached'}\n")
    console.print(component.description, markup=False)
    for heading, group in (("Inputs", specification.inputs), ("Outputs", specification.outputs)):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in (heading, "Type", ""):
            table.add_column(column, overflow="fold")
        for key, value in (group or {}).items():
            table.add_row(key, value.type.split("@")[0], escape(value.description or ""))
        console.print("")
        console.print(table)
    page = component_page(name)
    if page.exists():
        console.print(f"\nMore: {page}", soft_wrap=True)


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
    from intermodal.deployments import deployments

    found = deployments(context.obj / "deployments")
    if not found:
        console.print("Nothing is served. `intermodal run` serves a model that passes its gate.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Name", "Version", "URL", "State", "Process", "Since", "Log"):
        table.add_column(column, overflow="fold")
    for each in found:
        table.add_row(each.name, each.version, each.url, "serving" if each.alive else "ended", str(each.pid), each.since, str(each.log))
    console.print(table)


@serve.command()
def stop(context: typer.Context, name: Annotated[str, typer.Argument(help="As `intermodal serve` lists it.")]) -> None:
    """End a served model."""
    from intermodal.deployments import stop as stop_deployment

    stop_deployment(context.obj / "deployments", name)
    console.print(f"{name} is no longer served.")


@app.command()
def doctor() -> None:
    """Say what this machine lacks, and how to get it."""
    from intermodal.machine import inspect_machine

    findings = inspect_machine()
    for finding in findings:
        mark = "[green]ok[/]     " if finding.ok else ("[red]missing[/]" if finding.required else "[yellow]absent[/] ")
        console.print(f"{mark}  {finding.name}: {escape(finding.text)}", soft_wrap=True)
        if not finding.ok:
            console.print(f"         {escape(finding.remedy)}", soft_wrap=True)
    if any(finding.required and not finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command(name="new-component")
def new_component(
    name: Annotated[str, typer.Argument(help="verb_noun, for instance `score_batch`.")],
    image: Annotated[str, typer.Option(help="The image it runs in.")] = "data",
    root: Annotated[Path, typer.Option(help="The checkout.")] = Path(),
) -> None:
    """Make the files of a new component: contract, logic, page and test."""
    from intermodal.scaffold import scaffold_component

    for path in scaffold_component(name, image, root):
        console.print(str(path))


def main() -> None:
    """Run the command line; errors raised on purpose end it with one message and status 1."""
    try:
        app()
    except IntermodalError as error:
        Console(stderr=True, highlight=False).print(f"[red]error[/]  {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        Console(stderr=True, highlight=False).print(
            f"[red]error[/]  {escape(str(error))} ({shutil.disk_usage('.').free >> 20} MiB free here)", soft_wrap=True
        )
        sys.exit(1)
