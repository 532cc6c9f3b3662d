"""What a task was given, from what Vertex AI keeps of it: input artifacts in the task's details, parameters in its execution's metadata."""

import json
from typing import Any

from google.cloud import aiplatform_v1 as aiplatform
from google.protobuf import json_format

from intermodal.compiler.specification import graphs
from intermodal.platforms.interface import TaskInputs, task_inputs
from intermodal.platforms.vertex.jobs import restore
from intermodal.runtime.errors import PlatformError, nearest

_PARAMETER = "input:"  # before a parameter's name in the metadata (google.cloud.aiplatform.metadata.constants)


def named(details: Any) -> dict[str, Any]:
    """Return the details of tasks by their names; of several of one name, a loop's, `score[0]` and so on in the order of their ids."""
    tasks = sorted((each for each in details if each.parent_task_id), key=lambda each: each.task_id)
    names = [each.task_name for each in tasks]
    found: dict[str, Any] = {}
    for position, each in enumerate(tasks):
        number = f"[{names[:position].count(each.task_name)}]" if names.count(each.task_name) > 1 else ""
        found[f"{each.task_name}{number}"] = each
    return found


def inputs(job: Any, task: str) -> TaskInputs:
    """Return what a task of a job was given.

    Raises:
        PlatformError: There is no such task, or Vertex AI does not say one of its parameters.
    """
    run = job.name.rpartition("/")[2]
    details = named(job.job_detail.task_details)
    if task not in details:
        raise PlatformError(f"{run}: there is no task {task!r}, or it has not started; {nearest(task, details)}")
    specification = json_format.MessageToDict(aiplatform.PipelineJob.pb(job).pipeline_spec)
    name = details[task].task_name
    found = [(graph, graph["tasks"][name]) for graph in graphs(specification) if name in graph.get("tasks", {})]
    if len(found) != 1:
        raise PlatformError(f"{run}: its specification has {len(found) or 'no'} tasks of the name {name!r}; replay another one")
    graph, declared = found[0]
    root = {**_defaults(specification["root"]), **_values(job.runtime_config)} if graph is specification["root"].get("dag") else {}
    component = declared["componentRef"]["name"]
    restore(specification, component)  # here the task runs itself, and not Google's launcher of a job there
    values = {
        "parameterValues": _parameters(task, details[task], declared, specification["components"][component], root),
        "artifacts": {key: {"artifacts": [_artifact(each) for each in given.artifacts]} for key, given in details[task].inputs.items()},
    }
    return task_inputs(task, specification, component, {"inputs": values})


def _parameters(task: str, detail: Any, declared: dict[str, Any], component: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return a task's parameters: as its execution has them, else as the specification fixes them."""
    metadata = json_format.MessageToDict(aiplatform.PipelineTaskDetail.pb(detail).execution.metadata)
    definitions = component.get("inputDefinitions", {}).get("parameters", {})
    found = {key.removeprefix(_PARAMETER): value for key, value in metadata.items() if key.startswith(_PARAMETER)}
    unknown = []
    for key, source in declared.get("inputs", {}).get("parameters", {}).items():
        if key in found:
            continue
        if "runtimeValue" in source:
            found[key] = source["runtimeValue"]["constant"]
        elif (wanted := source.get("componentInputParameter")) in root:
            found[key] = root[wanted]
        elif not definitions[key].get("isOptional"):
            unknown.append(key)
    if unknown:
        raise PlatformError(f"{task}: Vertex AI does not say what it was given for {', '.join(unknown)}; without it the task cannot be replayed")
    return {key: _typed(value, definitions[key]["parameterType"]) for key, value in found.items() if key in definitions}


def _typed(value: Any, kind: str) -> Any:
    if kind in ("LIST", "STRUCT"):
        return json.loads(value) if isinstance(value, str) else _whole(value)
    return int(value) if kind == "NUMBER_INTEGER" else value


def _whole(value: Any) -> Any:
    """Return a value of a Struct, whose numbers are all floats, with whole ones as integers."""
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _artifact(artifact: Any) -> dict[str, Any]:
    metadata = json_format.MessageToDict(type(artifact).pb(artifact).metadata)
    return {"uri": artifact.uri, "type": {"schemaTitle": artifact.schema_title}, "metadata": _whole(metadata)}


def _defaults(root: dict[str, Any]) -> dict[str, Any]:
    parameters = root.get("inputDefinitions", {}).get("parameters", {})
    return {key: each["defaultValue"] for key, each in parameters.items() if "defaultValue" in each}


def _values(runtime_config: Any) -> dict[str, Any]:
    values = type(runtime_config).pb(runtime_config).parameter_values
    return {key: json_format.MessageToDict(value) for key, value in values.items()}
