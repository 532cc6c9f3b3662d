"""A task's inputs: where each comes from, and its type."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from intermodal.runtime.errors import ConfigurationError

#: An artifact, kfp's RuntimeArtifact in JSON: name, type, uri, metadata.
Artifact = dict[str, Any]
#: The file in which kfp's executor writes what a function returned.
EXECUTOR_OUTPUT = "executor_output.json"

_KEY = re.compile(r'\["([^"]*)"\]')
_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\['+([^']+)'+\]\}\}")


@dataclass
class Values:
    """Inputs or outputs of a task.

    Attributes:
        parameters: Name to JSON value.
        artifacts: Name to artifact, or to a list of them.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Artifact | list[Artifact]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return all values by name; an artifact's is its URI."""
        uris = {name: [each["uri"] for each in found] if isinstance(found, list) else found["uri"] for name, found in self.artifacts.items()}
        return {**self.parameters, **uris}


def needed_tasks(task: Mapping[str, Any]) -> set[str]:
    """Return the tasks of the same graph that must end before a task: its `dependentTasks`, and those whose outputs it reads."""
    sources = [source for kind in ("parameters", "artifacts") for source in task.get("inputs", {}).get(kind, {}).values()]
    kinds = ("taskOutputParameter", "taskOutputArtifact", "taskFinalStatus")
    return {source[kind]["producerTask"] for source in sources for kind in kinds if kind in source} | set(task.get("dependentTasks", []))


def task_inputs(task: Mapping[str, Any], scope: Values, outputs: Mapping[str, Values], final_status: Callable[[str], dict[str, Any]]) -> Values:
    """Return the inputs that a task gets from its graph; missing ones are left out.

    Args:
        task: The task, as the graph has it.
        scope: The inputs of the graph.
        outputs: The outputs of the graph's successful tasks.
        final_status: Returns the final status of a task of the graph.

    Raises:
        ConfigurationError: An item of a loop lacks the key that the task reads.
    """
    given = Values()
    parameters, artifacts = (task.get("inputs", {}).get(kind, {}) for kind in ("parameters", "artifacts"))
    for name, source in parameters.items():
        if "runtimeValue" in source:
            given.parameters[name] = constant(source["runtimeValue"]["constant"])
        elif "taskFinalStatus" in source:
            given.parameters[name] = final_status(source["taskFinalStatus"]["producerTask"])
        else:
            made = source.get("taskOutputParameter")
            held = outputs.get(made["producerTask"], Values()).parameters if made else scope.parameters
            key = made["outputParameterKey"] if made else source["componentInputParameter"]
            if key in held:
                given.parameters[name] = _selected(held[key], source.get("parameterExpressionSelector", ""), name)
    for name, source in artifacts.items():
        made = source.get("taskOutputArtifact")
        kept = outputs.get(made["producerTask"], Values()).artifacts if made else scope.artifacts
        key = made["outputArtifactKey"] if made else source["componentInputArtifact"]
        if key in kept:
            given.artifacts[name] = kept[key]
    before = dict(given.parameters)
    for name in (name for name, source in parameters.items() if "runtimeValue" in source):
        # A text with another value in it (an f-string): that value is also a parameter of the task.
        given.parameters[name] = deep(before[name], lambda text: _INPUT.sub(lambda match: shown(before.get(match[1])), text))
    return given


def typed(given: Values, component: Mapping[str, Any]) -> Values:
    """Return a component's inputs: with defaults for missing ones, and numbers of the declared type."""
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    defaults = {name: constant(each["defaultValue"]) for name, each in declared.items() if "defaultValue" in each}
    parameters = defaults | given.parameters
    return Values({name: cast(value, declared.get(name, {}).get("parameterType", "")) for name, value in parameters.items()}, given.artifacts)


def absent_inputs(given: Values, component: Mapping[str, Any]) -> list[str]:
    """Return the names of a component's required inputs that are missing."""
    declared = component.get("inputDefinitions", {})
    needed = [name for kind in ("parameters", "artifacts") for name, each in declared.get(kind, {}).items() if not each.get("isOptional")]
    return [name for name in needed if name not in given.parameters and name not in given.artifacts]


def cast(value: Any, kind: str) -> Any:
    """Return a number of the declared type; anything else as it is."""
    if kind == "NUMBER_INTEGER":
        return _whole(value)
    return float(value) if kind == "NUMBER_DOUBLE" and type(value) is int else value


def constant(value: Any) -> Any:
    """Return a constant of a compiled file, in which every number is a float, with whole numbers as integers."""
    if isinstance(value, dict):
        return {key: constant(each) for key, each in value.items()}
    return [constant(each) for each in value] if isinstance(value, list) else _whole(value)


def executor_input(component: Mapping[str, Any], given: Values, folder: str) -> dict[str, Any]:
    """Return kfp's ExecutorInput: a task's inputs, and the paths of its outputs.

    Args:
        component: The task's component.
        given: The task's inputs.
        folder: Where the outputs go, one entry each.
    """
    defined = component.get("outputDefinitions", {})
    artifacts = {name: each if isinstance(each, list) else [each] for name, each in given.artifacts.items()}
    made = {name: {"name": name, "uri": f"{folder}/{name}", "type": each["artifactType"]} for name, each in defined.get("artifacts", {}).items()}
    return {
        "inputs": {"parameterValues": given.parameters, "artifacts": {name: {"artifacts": each} for name, each in artifacts.items()}},
        "outputs": {
            "parameters": {name: {"outputFile": f"{folder}/{name}"} for name in defined.get("parameters", {})},
            "artifacts": {name: {"artifacts": [each]} for name, each in made.items()},
            "outputFile": f"{folder}/{EXECUTOR_OUTPUT}",
        },
    }


def loop_items(task: Mapping[str, Any], given: Values) -> tuple[str, str, list[Any]] | None:
    """Return the kind of a loop's items (`parameters` or `artifacts`), the name of the input for an item, and the items; None: no loop.

    Raises:
        ConfigurationError: The items are no list.
    """
    if "artifactIterator" in task:
        loop = task["artifactIterator"]
        return "artifacts", loop["itemInput"], _items(given.artifacts.get(loop["items"]["inputArtifact"]), loop["items"]["inputArtifact"])
    if "parameterIterator" not in task:
        return None
    loop, source = task["parameterIterator"], task["parameterIterator"]["items"]
    raw = "raw" in source
    name = "its items" if raw else str(source["inputParameter"])
    return "parameters", loop["itemInput"], _items(source["raw"] if raw else given.parameters.get(name), name)


def deep(value: Any, change: Callable[[str], Any]) -> Any:
    """Return a JSON value with all its texts changed, except keys."""
    if isinstance(value, dict):
        return {key: deep(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [deep(each, change) for each in value]
    return change(value) if isinstance(value, str) else value


def shown(value: Any) -> str:
    """Return a value as text, to put into another text."""
    return value if isinstance(value, str) else json.dumps(value)


def _items(value: Any, name: str) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list):
        raise ConfigurationError(f"the loop over {name.removeprefix('pipelinechannel--')} was given no list")
    return value


def _selected(value: Any, selector: str, name: str) -> Any:
    """Return the part of a value that kfp's expression selects: ``parseJson(string_value)["key"]``."""
    if not selector:
        return value
    try:
        found = json.loads(value) if isinstance(value, str) else value
        for key in _KEY.findall(selector):
            found = found[key]
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{name}: {shown(value)[:200]} has no {''.join(_KEY.findall(selector))!r}") from None
    return found


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
