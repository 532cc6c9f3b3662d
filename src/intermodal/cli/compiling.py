"""The commands of compiled files: compile, lint."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from intermodal.authoring.catalog import component_names, load_component
from intermodal.cli.options import TARGETS, Digests, TargetsFile, console, example, say_uncached
from intermodal.runtime.errors import ConfigurationError

app = typer.Typer()


@app.command(name="compile", epilog=example("compile", "compile mine.yaml --target kubeflow --digests digests.json"))
def compile_(
    configurations: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CONFIGURATION | COMPONENT]...",
            help="A configuration's values become defaults; a component, by its name, becomes a file of its own.",
        ),
    ] = None,
    target: Annotated[list[str] | None, typer.Option(help="A platform; default: each that the pipeline runs on.")] = None,
    output: Annotated[Path, typer.Option(help="Folder to write below.")] = Path("compiled"),
    digests: Digests = None,
    profile: Annotated[str | None, typer.Option(help="Of targets.toml: registry, shapes, options of each task. Default: none of these.")] = None,
    targets: TargetsFile = TARGETS,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is stale.")] = False,
) -> None:
    """Compile pipelines, and components to files of their own, for each platform. Without either: all of pipelines/, and every component."""
    from intermodal.authoring.pipeline import load_job
    from intermodal.authoring.platform import remote_platforms
    from intermodal.compiler.build import compile_specification, write_specification
    from intermodal.compiler.specification import distributable, forbid_caching_by_tag
    from intermodal.configuration.targets import load_targets
    from intermodal.submission.digests import read_digests
    from intermodal.submission.prepare import compile_component_for, compile_for, find_destination, targets_of

    pinned = read_digests(digests) if digests else {}
    chosen = load_targets(targets) if profile else None
    made = {}
    given = configurations or []
    named = [str(each) for each in given if str(each) in component_names() and not each.exists()]
    for configuration in [each for each in given if str(each) not in named] if given else sorted(Path("pipelines").glob("*.yaml")):
        job = load_job(configuration)
        for name in targets_of(job, target):
            destination = find_destination(chosen, name, profile) if chosen else None
            made[output / name / f"{configuration.stem}.yaml"] = compile_for(name, job, destination=destination, digests=pinned)
    plain = {} if given else {name: compile_specification(load_component(name)) for name in component_names()}
    for component in named or [name for name, specification in plain.items() if distributable(specification)]:
        for name in target or remote_platforms():
            destination = find_destination(chosen, name, profile) if chosen else None
            compiled = compile_component_for(name, component, destination=destination, digests=pinned)
            if named or compiled[0] != plain[component]:  # the others are one file for all platforms
                made[output / name / "components" / f"{component}.yaml"] = compiled
    by_tag = {image for specification, _ in made.values() for image in forbid_caching_by_tag(specification)}
    if not check:
        say_uncached(tuple(sorted(by_tag)))
    made |= {output / "components" / f"{name}.yaml": (specification, {}) for name, specification in plain.items()}
    for path, (specification, platform) in made.items():
        if not check:
            write_specification(specification, path, platform)
            console.print(escape(str(path)), soft_wrap=True)
        elif _stale(path, [specification, platform] if platform else [specification]):
            raise ConfigurationError(f"{path} is stale; run `intermodal compile` and commit what it writes")
    if check and not configurations and not target:
        for path in sorted(output.rglob("*.yaml")):
            if path not in made:
                raise ConfigurationError(f"{path} is compiled from nothing that there is; delete it")


def _stale(path: Path, documents: list[dict[str, Any]]) -> bool:
    from intermodal.runtime.safe_yaml import parse_documents, read_text

    return not path.exists() or [each.value for each in parse_documents(read_text(path, "run `intermodal compile`"), str(path))] != documents


@app.command(epilog=example("lint compiled/vertex/flights.yaml --target vertex"))
def lint(
    file: Annotated[Path, typer.Argument(help="A compiled pipeline or component.")],
    target: Annotated[str | None, typer.Option(help="A platform; default: each.")] = None,
) -> None:
    """Check a compiled file against what each platform accepts; status 1 if it has errors."""
    from intermodal.linting import lint as find

    findings = find(file, target)
    for each in findings:
        mark = "[red]error[/]  " if each.severity == "error" else "[yellow]warning[/]"
        console.print(f"{mark}  {escape(str(each.where))}  {escape(each.what)}", soft_wrap=True)
        console.print(f"         why: {escape(each.why)} ({' and '.join(each.platforms)}; {each.basis})", soft_wrap=True)
        console.print(f"         remedy: {escape(each.remedy)}  [dim]{escape(each.rule)}[/]", soft_wrap=True)
    errors = sum(each.severity == "error" for each in findings)
    console.print(f"{escape(str(file))}: {errors} errors, {len(findings) - errors} warnings", soft_wrap=True)
    if errors:
        raise typer.Exit(1)
