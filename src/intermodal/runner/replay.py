"""A pipeline of one task with the inputs that it had in a run."""

import re
from pathlib import Path
from typing import Any

from intermodal.compiler.specification import Specification

_ROOT_TYPES = {"TASK_FINAL_STATUS": "STRUCT", "TASK_CONFIG": "STRUCT"}


def single_task(
    name: str, component: dict[str, Any], container: dict[str, Any], artifacts: dict[str, tuple[Path | str, str, dict[str, Any]]]
) -> Specification:
    """Return a pipeline that imports artifacts and gives them to one task. Its parameters are those of the task.

    Args:
        name: The task's name.
        component: Its component's definition.
        container: Its container.
        artifacts: Path or URI, schema title and metadata of each input artifact, by its name.
    """
    task = re.sub(r"\[.*", "", name)
    importers = {f"input-{key.replace('_', '-')}": (key, *each) for key, each in artifacts.items()}
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    inputs: dict[str, Any] = {
        "artifacts": {key: {"taskOutputArtifact": {"outputArtifactKey": "artifact", "producerTask": each}} for each, (key, *_) in importers.items()},
        "parameters": {key: {"componentInputParameter": key} for key in parameters},
    }
    tasks: dict[str, Any] = {
        task: {
            "cachingOptions": {},
            "componentRef": {"name": "comp-task"},
            "inputs": {kind: each for kind, each in inputs.items() if each},
            "taskInfo": {"name": task},
        }
    }
    if importers:
        tasks[task]["dependentTasks"] = sorted(importers)
    components: dict[str, Any] = {"comp-task": component | {"executorLabel": "exec-task"}}
    executors: dict[str, Any] = {"exec-task": {"container": container}}
    for importer, (_, place, title, metadata) in importers.items():
        kind = {"schemaTitle": title, "schemaVersion": "0.0.1"}
        tasks[importer] = {"cachingOptions": {}, "componentRef": {"name": f"comp-{importer}"}, "taskInfo": {"name": importer}}
        components[f"comp-{importer}"] = {
            "executorLabel": f"exec-{importer}",
            "outputDefinitions": {"artifacts": {"artifact": {"artifactType": kind}}},
        }
        executors[f"exec-{importer}"] = {"importer": {"artifactUri": {"constant": str(place)}, "typeSchema": kind, "metadata": metadata}}
    declared = {key: each | {"parameterType": _ROOT_TYPES.get(each["parameterType"], each["parameterType"])} for key, each in parameters.items()}
    return {
        "components": components,
        "deploymentSpec": {"executors": executors},
        "pipelineInfo": {"name": "replay"},
        "root": {"dag": {"tasks": tasks}} | ({"inputDefinitions": {"parameters": declared}} if declared else {}),
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
    }
