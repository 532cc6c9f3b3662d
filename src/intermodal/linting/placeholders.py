"""Rules on placeholders: what a platform replaces `{{$…}}` with, and what it leaves as written."""

import re
from collections.abc import Iterator
from typing import Any

from intermodal.authoring.platform import remote_platforms
from intermodal.linting.document import Document, Place, mapping
from intermodal.linting.finding import Complaint, rule
from intermodal.runtime.errors import nearest

_NAMED = re.compile(r"\{\{\$\.(inputs|outputs)\.(parameters|artifacts)\[\\*['\"]([^'\"\\]+)\\*['\"]\]")
_ESCAPE = r"(?:\.?json_escape\[\d\])?"
_KNOWN = re.compile(
    r"\{\{\$(?:"
    r"\.(?:inputs|outputs)\.(?:parameters|artifacts)\[\\*['\"][^'\"\\]+\\*['\"]\]"
    rf"(?:\.(?:output_file|uri|path|name|value)|\.metadata(?:\[\\*['\"][^'\"\\]+\\*['\"]\])?)?{_ESCAPE}"
    rf"|\.outputs\.output_(?:file|metadata_uri)|\.(?:inputs|outputs)|{_ESCAPE}"
    r"|\.(?P<name>[a-z_]+)"
    r")\}\}"
)
#: kfp's; a platform's own are in its entry.
_NAMES = [
    *("pipeline_job_name", "pipeline_job_resource_name", "pipeline_job_uuid", "pipeline_task_name", "pipeline_task_uuid", "pipeline_root"),
    *("pipeline_job_create_time_utc", "pipeline_job_schedule_time_utc", "workspace_path"),
]
_MACRO = re.compile(r"\[\[(?:ScheduledTime|CurrentTime|Index|RunUUID|JobUUID|JobName)[^\]]{0,40}\]\]")


@rule(
    "placeholder",
    severity="warning",
    basis="inferred",
    why="the platform does not replace a placeholder for an unknown name: the program gets it as written",
    source="kfp SDK 2.17, placeholders of a container component",
)
def _names(document: Document) -> Iterator[Complaint]:
    users: dict[str, list[dict[str, Any]]] = {}
    for component in document.components.values():
        users.setdefault(str(mapping(component).get("executorLabel")), []).append(mapping(component))
    for label, place, text in _texts_of_executors(document):
        for direction, kind, name in _NAMED.findall(text):
            for component in users.get(label, []):
                known = mapping(mapping(component.get(f"{direction[:-1]}Definitions")).get(kind))
                if name not in known:
                    yield Complaint(place, f"the component has no {direction[:-1]} {name!r} among its {kind}", nearest(name, known))
    for place, text, given in _constants(document):
        for direction, kind, name in _NAMED.findall(text):
            known = mapping(given.get(kind)) if direction == "inputs" else {}
            if name not in known:
                yield Complaint(place, f"the task has no {direction[:-1]} {name!r} among its {kind}", nearest(name, known))


@rule(
    "placeholder-syntax",
    severity="warning",
    basis="documented",
    why="the platform does not replace a placeholder that it does not know or that is not closed: the program gets it as written",
    source="kfp SDK 2.17, kfp.dsl placeholders; google-cloud-pipeline-components 2.22 for those of Vertex AI",
)
def _syntax(document: Document) -> Iterator[Complaint]:
    names = [*_NAMES, *(name for each in remote_platforms().values() for name in each.placeholders)]
    texts = [(place, text) for _, place, text in _texts_of_executors(document)] + [(place, text) for place, text, _ in _constants(document)]
    for place, text in texts:
        for start in (match.start() for match in re.finditer(r"\{\{\$", text)):
            match = _KNOWN.match(text, start)
            if match is None:
                yield Complaint(
                    place, f"the placeholder {text[start : start + 60]!r} cannot be read", "write it as kfp does: {{$.inputs.parameters['name']}}"
                )
            elif match["name"] and match["name"] not in names:
                yield Complaint(place, f"there is no placeholder {match[0]!r}", nearest(match["name"], names))
        if not text.startswith("{{$") and re.search(r"(?<!\{)\{\$\.(?:inputs|outputs|pipeline)", text):
            yield Complaint(place, f"the placeholder in {text[:60]!r} has one brace", "write two: {{$.inputs.parameters['name']}}")


@rule(
    "schedule-macro",
    severity="warning",
    basis="enforced",
    why="a recurring run does not replace it: it belongs to Kubeflow Pipelines 1",
    source="a Kubeflow Pipelines 2.17 backend",
)
def _macros(document: Document) -> Iterator[Complaint]:
    remedy = "use dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER, or dsl.PIPELINE_JOB_ID_PLACEHOLDER, as a task's input"
    for place, text, _ in _constants(document):
        if found := _MACRO.search(text):
            yield Complaint(place, f"the value has {found[0]!r}", remedy)
    for place, component in document.components_with_root():
        for name, definition in mapping(mapping(component.get("inputDefinitions")).get("parameters")).items():
            value = mapping(definition).get("defaultValue")
            if isinstance(value, str) and (found := _MACRO.search(value)):
                yield Complaint((*place, "inputDefinitions", "parameters", name, "defaultValue"), f"the default has {found[0]!r}", remedy)


def _texts_of_executors(document: Document) -> Iterator[tuple[str, Place, str]]:
    """Yield (executor, place, text) of all that may contain placeholders, without tasks' inputs."""
    for label, executor in document.executors.items():
        for kind in ("container", "importer"):
            if kind in mapping(executor):
                for place, text in _strings((*document.executor_place(label), kind), executor[kind]):
                    yield label, place, text


def _constants(document: Document) -> Iterator[tuple[Place, str, dict[str, Any]]]:
    """Yield (place, text, the task's inputs) of every constant that a task is given."""
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            given = mapping(task.get("inputs"))
            for key, source in mapping(given.get("parameters")).items():
                place = (*graph.place, "tasks", name, "inputs", "parameters", key)
                for at, text in _strings((), mapping(mapping(source).get("runtimeValue")).get("constant")):
                    yield (*place, *at), text, given


def _strings(place: Place, value: Any) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _strings((*place, key), each)
