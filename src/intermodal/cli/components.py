"""Commands about one component: describe it, run it here, make the files of a new one."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from intermodal.cli.options import HOME, Home, console, example, table_of
from intermodal.runtime.errors import ConfigurationError, nearest

app = typer.Typer()

#: A parameter's type in a compiled file: what a person calls it, and the types that YAML gives.
_TYPES: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "STRING": ("text", (str,)),
    "NUMBER_INTEGER": ("whole number", (int,)),
    "NUMBER_DOUBLE": ("number", (int, float)),
    "BOOLEAN": ("true or false", (bool,)),
    "LIST": ("list", (list,)),
    "STRUCT": ("mapping", (dict,)),
}


@app.command(epilog=example("describe train_model"))
def describe(name: Annotated[str, typer.Argument(metavar="COMPONENT")]) -> None:
    """Describe a component: its inputs with their defaults, its outputs, image and page."""
    from intermodal.authoring.catalog import compiled_component, component_page, default_text, load_component, type_name
    from intermodal.authoring.decorator import CACHED_WITH, UNCACHED

    component = load_component(name)
    specification = component.component_spec
    policy = "never cached" if component.name in UNCACHED else "cached"
    if component.name in CACHED_WITH:
        policy += f" where {CACHED_WITH[component.name]} is given"
    console.print(f"[bold]{name}[/]  image {specification.implementation.container.image}, {policy}\n")
    console.print(component.description, markup=False)
    inputs, outputs = table_of("Inputs", "Type", "Default", ""), table_of("Outputs", "Type", "")
    for key, value in (specification.inputs or {}).items():
        inputs.add_row(key, type_name(str(value.type)), escape(default_text(value)), escape(value.description or ""))
    for key, value in (specification.outputs or {}).items():
        outputs.add_row(key, type_name(str(value.type)), escape(value.description or ""))
    for table in (inputs, outputs):
        console.print("")
        console.print(table)
    console.print()
    for heading, path in (("More", component_page(name)), ("Compiled", compiled_component(name))):
        if path.exists():
            console.print(f"{heading}: {escape(str(path))}", soft_wrap=True)


@app.command(name="run-component", epilog=example("run-component validate_data --input examples=table.parquet --set label=late"))
def run_component(
    name: Annotated[str, typer.Argument(metavar="COMPONENT", help="A component's name, or the path of a compiled component.yaml.")],
    inputs: Annotated[list[str] | None, typer.Option("--input", metavar="NAME=PATH", help="An input artifact; may be repeated.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter, as YAML; may be repeated.")] = None,
    home: Home = HOME,
    docker: Annotated[bool, typer.Option("--docker", help="Run it in a container of its image.")] = False,
    cache: Annotated[bool, typer.Option(help="Reuse what an earlier run finished on equal inputs.")] = True,
) -> None:
    """Run one component here, in the environment of its image, and say where its outputs are."""
    from intermodal.runner.local import LocalTarget

    specification = _specification(name)
    arguments = component_arguments(specification, inputs or [], settings or [])
    finished = LocalTarget(home, docker=docker, console=console).run(specification, arguments, cached=cache)
    console.print()
    for line in _results(specification, finished.tasks[0]):
        console.print(line, soft_wrap=True, markup=False)


def _specification(name: str) -> dict[str, Any]:
    from intermodal.authoring.catalog import load_component
    from intermodal.compiler.build import compile_specification
    from intermodal.runner.local import read_specification

    path = Path(name)
    if path.suffix not in (".yaml", ".yml", ".json") and not path.is_file():
        return compile_specification(load_component(name))
    specification = read_specification(path)
    if (found := len(specification["root"]["dag"]["tasks"])) != 1:
        raise ConfigurationError(f"{path}: a pipeline of {found} tasks, not a component; run it with `intermodal run`")
    return specification


def component_arguments(specification: dict[str, Any], inputs: list[str], settings: list[str]) -> dict[str, Any]:
    """Return the arguments of a component.

    Args:
        specification: The compiled component.
        inputs: `name=path` texts: artifacts, files or directories of this machine.
        settings: `name=value` texts: parameters. A value is YAML, of a text parameter the text itself.

    Raises:
        ConfigurationError: A text is not of that form, a name or a path does not exist, a value has another type, or an input is missing.
    """
    label = specification["pipelineInfo"]["name"].replace("-", "_")
    definitions = specification["root"].get("inputDefinitions", {})
    artifacts, parameters = definitions.get("artifacts", {}), definitions.get("parameters", {})
    arguments: dict[str, Any] = {}
    for option, texts, known, others in (("--input", inputs, artifacts, parameters), ("--set", settings, parameters, artifacts)):
        kind, example = ("input artifact", "examples=table.parquet") if option == "--input" else ("parameter", "label=late")
        for text in texts:
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise ConfigurationError(f"{option} {text}: write NAME=VALUE, for instance {option} {example}")
            if key in others:
                right = (
                    f"a parameter of {label}; write --set {key}=VALUE" if key in parameters else f"an artifact of {label}; write --input {key}=PATH"
                )
                raise ConfigurationError(f"{option} {text}: {key} is {right}")
            if key not in known:
                raise ConfigurationError(f"{option} {text}: {label} has no {kind} of that name; {nearest(key, known)}")
            if key in arguments:
                raise ConfigurationError(f"{option} {text}: {key} is given twice")
            arguments[key] = _artifact(text, value) if option == "--input" else _value(text, value, known[key]["parameterType"])
    missing = [f"--input {key}=PATH ({_title(artifacts[key])})" for key in _required(artifacts) - arguments.keys()]
    missing += [f"--set {key}=VALUE ({_TYPES[parameters[key]['parameterType']][0]})" for key in _required(parameters) - arguments.keys()]
    if missing:
        raise ConfigurationError(f"{label} also needs {', '.join(sorted(missing))}; `intermodal describe {label}` says what they are")
    return arguments


def _required(definitions: dict[str, Any]) -> set[str]:
    return {key for key, each in definitions.items() if not each.get("isOptional") and "defaultValue" not in each}


def _title(definition: dict[str, Any]) -> str:
    from intermodal.authoring.catalog import type_name

    return type_name(str(definition["artifactType"].get("schemaTitle", "")))


def _artifact(text: str, value: str) -> str:
    path = Path(value)
    if "://" in value:
        raise ConfigurationError(f"--input {text}: give a file or directory of this machine; copy the object here first")
    if not path.exists():
        raise ConfigurationError(f"--input {text}: there is no file or directory {path.absolute()}")
    return str(path.resolve())


def _value(text: str, value: str, kind: str) -> Any:
    from intermodal.runtime.safe_yaml import parse_value

    if kind == "STRING":
        return value
    called, types = _TYPES[kind]
    found = parse_value(value, f"--set {text}")
    if not isinstance(found, types) or (isinstance(found, bool) and bool not in types):
        raise ConfigurationError(f"--set {text}: it must be a {called}, written as YAML, not {value!r}".replace("a true", "true"))
    return found


def _results(specification: dict[str, Any], task: Any) -> list[str]:
    """Return the lines that say where each output is, of parameters and metadata the values."""
    component = specification["components"][next(iter(specification["root"]["dag"]["tasks"].values()))["componentRef"]["name"]]
    definitions = component.get("outputDefinitions", {})
    rows = [(key, "", json.dumps(task.outputs[key], ensure_ascii=False)) for key in definitions.get("parameters", {})]
    for key, definition in definitions.get("artifacts", {}).items():
        place = Path(str(task.outputs.get(key, "")))
        rows.append((key, _title(definition), str(place) if place.exists() else "no file"))
        rows += [("", "", f"{name}: {value}") for name, value in _metadata(task.folder, key).items()]
    wide = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [f"{key:{wide[0]}}  {kind:{wide[1]}}  {value}".rstrip() for key, kind, value in rows] or ["It has no outputs."]


def _metadata(folder: Path, output: str) -> dict[str, Any]:
    """Return the plain values among the metadata that a task gave an artifact."""
    from intermodal.runner.inputs import EXECUTOR_OUTPUT

    file = folder / EXECUTOR_OUTPUT
    said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found = [each.get("metadata") or {} for each in said.get("artifacts", {}).get(output, {}).get("artifacts", [])]
    return {key: value for metadata in found for key, value in metadata.items() if isinstance(value, str | int | float) and key != "display_name"}


@app.command(name="new-component", epilog=example("new-component score_batch --image serve"))
def new_component(
    name: Annotated[str, typer.Argument(help="verb_noun, for instance `score_batch`.")],
    image: Annotated[str, typer.Option(help="The image it runs in.")] = "data",
    root: Annotated[Path, typer.Option(help="The checkout.")] = Path(),
) -> None:
    """Make the files of a new component: contract, checks, logic, page and test."""
    from intermodal.authoring.scaffold import scaffold_component

    say = partial(console.print, soft_wrap=True)
    for path in scaffold_component(name, image, root):
        say(escape(str(path)))
