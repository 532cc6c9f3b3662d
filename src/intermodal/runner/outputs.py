"""The outputs of a task that ended with status 0; a missing one fails the task."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.runner.inputs import EXECUTOR_OUTPUT, Values, cast
from intermodal.runtime.errors import DataError


def read_outputs(component: Mapping[str, Any], folder: Path, command: list[str]) -> Values:
    """Return the outputs of a task.

    kfp's executor writes a file when the function returns; one that calls `sys.exit(0)` leaves none. A parameter is in that file or in a file of its
    own. An artifact counts as written when there is something at its path, or when the task gave it metadata or another URI.

    Args:
        component: The task's component.
        folder: The task's folder.
        command: Its command.

    Raises:
        DataError: Outputs are missing, or cannot be read.
    """
    definitions = component.get("outputDefinitions", {})
    parameters, artifacts = definitions.get("parameters", {}), definitions.get("artifacts", {})
    file = folder / EXECUTOR_OUTPUT
    if "--function_to_execute" in command and not file.exists():
        names = ", ".join([*parameters, *artifacts])
        raise DataError(
            f"it ended with status 0 before its function returned{f', so its outputs are missing ({names})' if names else ''}; "
            "its code called sys.exit() or os._exit(): return, or raise an error"
        )
    values, listed = _executor_output(file)
    outputs = Values()
    missing = []
    for name, definition in parameters.items():
        if name in values:
            outputs.parameters[name] = cast(values[name], definition["parameterType"])
        elif (folder / name).exists():
            outputs.parameters[name] = cast(_parameter(folder / name, definition["parameterType"]), definition["parameterType"])
        else:
            missing.append(name)
    for name, definition in artifacts.items():
        here = str(folder / name)
        given = [each | {"metadata": each.get("metadata") or {}, "uri": each.get("uri", here)} for each in listed.get(name, [])]
        if not (folder / name).exists() and not any(each["metadata"] or each["uri"] != here for each in given):
            missing.append(name)
        found = [{"name": name, **each, "type": definition["artifactType"]} for each in given or [{"uri": here, "metadata": {}}]]
        outputs.artifacts[name] = found if definition.get("isArtifactList") else found[0]
    if missing:
        raise DataError(
            f"it ended with status 0 but did not write its output {', '.join(missing)}; write it, or remove it from the component's outputs"
        )
    return outputs


def _executor_output(file: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Return the parameters and the artifacts in the file of kfp's executor."""
    try:
        said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError as error:
        raise DataError(f"{file}: it ended with status 0, but what it says of its outputs is not JSON ({error})") from None
    try:
        values, listed = said.get("parameterValues") or {}, said.get("artifacts") or {}
        artifacts = {name: [{**each} for each in entry.get("artifacts") or []] for name, entry in listed.items()}
        described = [each for entry in artifacts.values() for each in entry]
        if all(isinstance(each.get("uri", ""), str) and isinstance(each.get("metadata") or {}, dict) for each in described):
            return {**values}, artifacts
    except (AttributeError, TypeError):
        pass
    raise DataError(f"{file}: it ended with status 0, but what it says of its outputs is not an object with parameterValues and artifacts")


def _parameter(file: Path, kind: str) -> Any:
    """Return an output parameter that a task wrote to a file: a string as it is, anything else as JSON."""
    try:
        text = file.read_text(encoding="utf-8")
        return text if kind == "STRING" else json.loads(text.lower() if kind == "BOOLEAN" else text)
    except ValueError:
        raise DataError(f"{file}: it ended with status 0, but its output {file.name} is not {kind} in JSON") from None
