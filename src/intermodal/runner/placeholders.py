"""Placeholders in a task's command line and texts, replaced as Kubeflow Pipelines' launcher does."""

import json
import re
from collections.abc import Mapping
from typing import Any

from intermodal.runner.inputs import Artifact, Values, deep, shown

_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}")
_STEP = re.compile(r"\.(\w+)|\['+([^']+)'+\]")
#: Where kfp's containers see the workspace.
_WORKSPACE = "/kfp-workspace"


def command_line(words: list[str], executor_input: dict[str, Any], run: Mapping[str, str]) -> list[str]:
    """Return a task's command line.

    Args:
        words: The component's: with placeholders, and `Concat` and `IfPresent` as JSON.
        executor_input: The task's inputs, and the paths of its outputs.
        run: Values of the placeholders of run and task, ``pipeline_job_name`` for instance.
    """
    inputs = executor_input["inputs"]
    present = {name for name, value in inputs["parameterValues"].items() if value is not None} | set(inputs["artifacts"])
    return [replaced(each, executor_input, run) for word in words for each in _expanded(word, present)]


def replaced(text: str, executor_input: dict[str, Any], run: Mapping[str, str]) -> str:
    """Return a text with its placeholders replaced; unknown ones stay."""

    def value(match: re.Match[str]) -> str:
        path = match[1]
        if not path:
            return json.dumps(executor_input)
        if path in (".outputs.output_file", ".outputMetadataUri"):
            return str(executor_input["outputs"]["outputFile"])
        if path.removeprefix(".") in run:
            return run[path.removeprefix(".")]
        steps = [attribute or key for attribute, key in _STEP.findall(path)]
        return _looked_up(steps, executor_input) if steps[:1] in (["inputs"], ["outputs"]) else match[0]

    return _PLACEHOLDER.sub(value, text.replace(_WORKSPACE, run.get("workspace_path", _WORKSPACE)))


def imported(importer: Mapping[str, Any], given: Values, run: Mapping[str, str]) -> Artifact:
    """Return the artifact that an importer outputs.

    Args:
        importer: Its definition in the pipeline.
        given: Its inputs.
        run: Values of the placeholders of run and task.
    """
    inputs = {"inputs": {"parameterValues": given.parameters, "artifacts": {}}, "outputs": {}}
    source = importer["artifactUri"]
    uri = given.parameters[source["runtimeParameter"]] if "runtimeParameter" in source else source["constant"]
    metadata = deep(importer.get("metadata", {}), lambda text: replaced(text, inputs, run))
    return {"name": "artifact", "type": importer["typeSchema"], "uri": replaced(str(uri), inputs, run), "metadata": metadata}


def resolved(value: Any, run: Mapping[str, str]) -> Any:
    """Return a JSON value with the placeholders of run and task in its texts replaced."""

    def change(text: str) -> str:
        text = text.replace(_WORKSPACE, run.get("workspace_path", _WORKSPACE))
        return _PLACEHOLDER.sub(lambda match: run.get(match[1].removeprefix("."), match[0]), text)

    return deep(value, change)


def _looked_up(steps: list[str], executor_input: dict[str, Any]) -> str:
    side, kind, name, *rest = steps
    if kind == "parameters":
        found = executor_input[side].get("parameterValues" if side == "inputs" else kind, {}).get(name)
        return shown(found if side == "inputs" else found["outputFile"])
    artifact = (executor_input[side]["artifacts"].get(name, {}).get("artifacts") or [{}])[0]
    if rest == ["path"]:
        return shown(artifact.get("custom_path") or artifact.get("uri"))
    found = artifact
    for step in rest:
        found = found.get(step) if isinstance(found, dict) else None
    return shown(found)


def _expanded(word: Any, present: set[str]) -> list[str]:
    """Return the words that one element of a command line becomes."""
    if isinstance(word, str):
        if not word.startswith(('{"Concat": ', '{"IfPresent": ')):
            return [word]
        word = json.loads(word)
    if isinstance(word, list):
        return [each for part in word for each in _expanded(part, present)]
    if "Concat" in word:
        return ["".join(_expanded(word["Concat"], present))]
    choice = word["IfPresent"]
    chosen = choice["Then"] if choice["InputName"] in present else choice.get("Else")
    return [] if chosen is None else _expanded(chosen, present)
