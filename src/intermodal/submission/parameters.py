"""A run's parameters, checked against the specification before anything is sent."""

from pathlib import Path
from typing import Any

from intermodal.authoring.images import image_of
from intermodal.compiler.specification import PARAMETER_TYPES, Specification, compiled_value, graphs, image_run
from intermodal.runtime.errors import ConfigurationError, nearest
from intermodal.runtime.safe_yaml import parse_value, read_text
from intermodal.runtime.secret_values import refuse_secrets


def read_parameters(path: Path) -> dict[str, Any]:
    """Read a file of parameters, YAML or JSON.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or is not a mapping.
    """
    values = parse_value(read_text(path, "--params takes a YAML file of parameter names and values"), str(path))
    if not isinstance(values, dict | None):
        raise ConfigurationError(f"{path}: expected a mapping of parameter names to values, found {type(values).__name__}")
    return values or {}


def check_parameters(specification: Specification, parameters: dict[str, Any]) -> dict[str, Any]:
    """Check a run's parameters by name and type.

    Args:
        specification: The pipeline's specification.
        parameters: Name to value.

    Returns:
        The parameters; whole numbers given as 3.0 become 3.

    Raises:
        ConfigurationError: One is unknown (the message names the nearest), of the wrong type, missing, or holds a password; all problems in one
            message.
    """
    declared = specification["root"].get("inputDefinitions", {}).get("parameters", {})
    refuse_secrets(parameters, "parameters")
    problems, checked = [], {}
    for name, value in parameters.items():
        if name not in declared:
            problems.append(f"there is no parameter {name!r}; {nearest(name, declared)}")
            continue
        kind = declared[name].get("parameterType", "")
        word, fits = PARAMETER_TYPES.get(kind, ("", lambda _: True))
        if not fits(value):
            problems.append(f"the parameter {name!r} must be {word}, not {_shown(value)}")
        checked[name] = int(value) if kind == "NUMBER_INTEGER" and isinstance(value, float) and fits(value) else value
    for name, definition in declared.items():
        if name not in parameters and "defaultValue" not in definition and not definition.get("isOptional"):
            word = PARAMETER_TYPES.get(definition.get("parameterType", ""), ("a value",))[0]
            problems.append(f"the parameter {name!r} is required: {word}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return checked


def check_fixed(specification: Specification, fixed: tuple[str, ...], parameters: dict[str, Any], pipeline: str) -> None:
    """Refuse a value of a parameter for which the compiled file has another, where that is part of what was compiled.

    Args:
        specification: The pipeline's.
        fixed: Parameters of our components that the platform fixes (`Platform.fixed`).
        parameters: The pipeline's parameters, by name.
        pipeline: The file, for the message.

    Raises:
        ConfigurationError: The number of workers, for instance, is not the file's.
    """
    for task in [name for graph in graphs(specification) for name, each in graph["tasks"].items() if image_of(image_run(specification, each))]:
        for name in fixed:
            value, origin = compiled_value(specification, task, name)
            value = int(value) if isinstance(value, float) and value.is_integer() else value  # numbers of the specification are floats
            if origin and origin in parameters and parameters[origin] != value:
                raise ConfigurationError(
                    f"the parameter {origin!r} is {_shown(parameters[origin])}, and {pipeline} was compiled for {value}: on this target {name} of "
                    f"{task} is part of the compiled file; compile it again with {origin.replace('_', '.', 1)}={parameters[origin]}, or submit the "
                    "configuration, which is compiled on the way"
                )


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
