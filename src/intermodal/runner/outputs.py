"""What a task must have written when it has ended with status 0."""

import json
from pathlib import Path
from typing import Any

#: kfp's name of the file in which its executor says what a function returned.
EXECUTOR_OUTPUT = "executor_output.json"


def missing_outputs(component: Any, folder: Path, command: list[str]) -> str:
    """Return the sentence about the outputs that a task has not written; empty when all are there.

    A function run by kfp's executor says in a file of its own that it came to its end: one that called `sys.exit(0)` did not. An artifact is written
    when there is something at its path, or when the task gave it metadata or another URI.

    Args:
        component: The task's component, as kfp's protobuf message.
        folder: The task's folder.
        command: What was run.
    """
    parameters, artifacts = component.output_definitions.parameters, component.output_definitions.artifacts
    file = folder / EXECUTOR_OUTPUT
    if "--function_to_execute" in command and not file.exists():
        names = ", ".join([*parameters, *artifacts])
        return (
            f"it ended with status 0 before its function returned{f', so its outputs are missing ({names})' if names else ''}; "
            "something in it called sys.exit() or os._exit(): return, or raise an error"
        )
    try:
        said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError as error:
        return f"{file}: it ended with status 0, but what it says of its outputs is not JSON ({error})"
    given = said.get("parameterValues", {})
    missing = [name for name in parameters if name not in given and not (folder / name).exists()]
    for name in artifacts:
        listed = said.get("artifacts", {}).get(name, {}).get("artifacts", [])
        described = any(each.get("metadata") or each.get("uri", str(folder / name)) != str(folder / name) for each in listed)
        if not described and not (folder / name).exists():
            missing.append(name)
    if not missing:
        return ""
    return f"it ended with status 0 but did not write its output {', '.join(missing)}; write it, or take it out of the component's outputs"
