"""Rules that every compiled file must follow: its protos can parse it, and every reference leads to something that exists."""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from intermodal.compiler.specification import PARAMETER_TYPES
from intermodal.linting.document import Document, Place, mapping
from intermodal.linting.finding import Complaint, rule
from intermodal.linting.protos import UNPARSED, unparsed
from intermodal.linting.quantities import is_given_at_run_time
from intermodal.runtime.errors import nearest

_PROTO = "kfp-pipeline-spec 2.17, pipeline_spec.proto"
_COMPILE = "compile it again; a compiled file is not meant to be edited"
_LONGEST_NAME = 128
#: Types of both versions of the specification, by the names in their protos.
_TYPES = {*PARAMETER_TYPES, "TASK_FINAL_STATUS", "TASK_CONFIG", "INT", "DOUBLE"}


@rule("specification-proto", why="a field or type that the specification's proto does not have is refused or lost", source=_PROTO, untyped=True)
def _specification(document: Document) -> Iterator[Complaint]:
    yield from unparsed(document.specification, pipeline_spec_pb2.PipelineSpec, (0,), _COMPILE)


@rule("deployment-proto", why="a field or type that the deployment's proto does not have is refused or lost", source=_PROTO, untyped=True)
def _deployment(document: Document) -> Iterator[Complaint]:
    deployment = mapping(document.specification.get("deploymentSpec"))
    yield from unparsed(deployment, pipeline_spec_pb2.PipelineDeploymentConfig, (0, "deploymentSpec"), _COMPILE)


def shaped(document: Document) -> bool:
    """Whether every field has the type in its proto, so that rules can rely on it. Unknown fields do not matter."""
    try:
        json_format.ParseDict(document.specification, pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=True)
        deployment = mapping(document.specification.get("deploymentSpec"))
        json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig(), ignore_unknown_fields=True)
    except UNPARSED:
        return False
    return True


@rule(
    "pipeline-name",
    why="the name is missing, or not 1 to 128 lowercase letters, digits and hyphens",
    source="kfp SDK 2.17, and Vertex's job id pattern",
)
def _name(document: Document) -> Iterator[Complaint]:
    name = mapping(document.specification.get("pipelineInfo")).get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", name):
        yield Complaint((0, "pipelineInfo", "name"), f"the pipeline's name is {name!r}", "name it with @dsl.pipeline(name=…) and compile again")


@rule("root", why="without a task there is nothing to run", source=f"{_PROTO}; kubeflow/pipelines, backend/src/v2/compiler/argocompiler/dag.go")
def _root(document: Document) -> Iterator[Complaint]:
    if "dag" not in mapping(document.specification.get("root")):
        yield Complaint((0, "root"), "the root has no tasks", _COMPILE)
    for graph in document.graphs():
        if not graph.tasks:
            yield Complaint(graph.place[:-1], f"{graph.place[-2]!r} has no tasks", _COMPILE)


@rule("component-reference", why="a task whose component does not exist cannot be started", source=_PROTO)
def _components(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            if document.component_of(task) is None:
                wanted = str(mapping(task.get("componentRef")).get("name"))
                what = f"the task {name!r} uses the component {wanted!r}, which does not exist"
                yield Complaint((*graph.place, "tasks", name, "componentRef"), what, f"{nearest(wanted, document.components)}; {_COMPILE}")


@rule("executor-reference", why="a component whose executor does not exist cannot be started", source=_PROTO)
def _executors(document: Document) -> Iterator[Complaint]:
    for name, component in document.components.items():
        label = mapping(component).get("executorLabel")
        if label is None and "dag" not in mapping(component):
            yield Complaint((0, "components", name), f"the component {name!r} has neither an executor nor a graph", _COMPILE)
        elif label is not None and label not in document.executors:
            what = f"the component {name!r} uses the executor {label!r}, which does not exist"
            yield Complaint((0, "components", name, "executorLabel"), what, f"{nearest(str(label), document.executors)}; {_COMPILE}")
    for label, executor in document.executors.items():
        if not set(mapping(executor)) & {"container", "importer", "resolver", "customJob"}:
            yield Complaint(document.executor_place(label), f"the executor {label!r} has neither a container nor an importer", _COMPILE)


@rule(
    "unused-component",
    severity="warning",
    basis="inferred",
    why="it never runs: the task that should use it is missing, or uses another",
    source="kfp SDK 2.17, which never writes one",
)
def _unused(document: Document) -> Iterator[Complaint]:
    used = {str(mapping(task.get("componentRef")).get("name")) for graph in document.graphs() for task in graph.tasks.values()}
    for name in document.components:
        if name not in used:
            yield Complaint((0, "components", name), f"no task uses the component {name!r}", f"remove it, or add its task; {_COMPILE}")


@rule(
    "importer",
    why="an importer needs one URI, one type and one output, or it fails as soon as it starts",
    source="kubeflow/pipelines, backend/src/v2/component/importer_launcher.go",
)
def _importers(document: Document) -> Iterator[Complaint]:
    for name, component in document.components.items():
        label = str(mapping(component).get("executorLabel"))
        importer = mapping(document.executors.get(label)).get("importer")
        if importer is None:
            continue
        place, importer = (*document.executor_place(label), "importer"), mapping(importer)
        uri = mapping(importer.get("artifactUri"))
        parameter = uri.get("runtimeParameter")
        known = mapping(mapping(mapping(component).get("inputDefinitions")).get("parameters"))
        constant = uri.get("constant")
        if not parameter and "constant" not in uri and not uri.get("constantValue"):
            yield Complaint(place, f"the importer {label!r} has no URI", "name one: dsl.importer(artifact_uri=…)")
        if parameter and parameter not in known:
            yield Complaint(
                (*place, "artifactUri"), f"the URI is the input {parameter!r}, which {name!r} does not have", nearest(str(parameter), known)
            )
        kind = mapping(known.get(str(parameter))).get("parameterType")
        if kind not in (None, "STRING"):
            yield Complaint((*place, "artifactUri"), f"the URI is the input {parameter!r}, which is {kind}", "make it a STRING")
        if constant is not None and not isinstance(constant, str):
            yield Complaint((*place, "artifactUri"), f"the URI is {constant!r}", "give a text: gs://…, s3://…")
        if isinstance(constant, str) and constant and not is_given_at_run_time(constant) and "://" not in constant and not constant.startswith("/"):
            yield Complaint((*place, "artifactUri"), f"the URI is {constant[:80]!r}", "write its scheme: gs://…, s3://…")
        if not mapping(importer.get("typeSchema")):
            yield Complaint(place, f"the importer {label!r} does not say what type it imports", "name one: dsl.importer(artifact_class=…)")
        if len(mapping(mapping(mapping(component).get("outputDefinitions")).get("artifacts"))) != 1:
            yield Complaint((0, "components", name), f"the importer {name!r} has not exactly one output", _COMPILE)


@rule("task-reference", why="a task cannot wait for, or read from, one that is not in its graph", source=_PROTO)
def _tasks(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            place = (*graph.place, "tasks", name)
            for before in task.get("dependentTasks") or []:
                if before not in graph.tasks:
                    yield Complaint(
                        (*place, "dependentTasks"), f"{name!r} waits for {before!r}, which does not exist", nearest(str(before), graph.tasks)
                    )
            for key, source in mapping(mapping(task.get("inputs")).get("parameters")).items():
                ended = mapping(mapping(source).get("taskFinalStatus")).get("producerTask")
                if ended is not None and ended not in graph.tasks:
                    what = f"{name!r} reads the final status of {ended!r}, which does not exist"
                    yield Complaint((*place, "inputs", "parameters", key), what, nearest(str(ended), graph.tasks))
            for where, producer, kind, key in reads(task):
                if producer not in graph.tasks:
                    yield Complaint((*place, *where), f"{name!r} reads from {producer!r}, which does not exist", nearest(str(producer), graph.tasks))
                elif (component := document.component_of(graph.tasks[producer])) is not None:
                    known = mapping(mapping(component.get("outputDefinitions")).get(kind))
                    if key not in known:
                        what = f"{name!r} reads {key!r} from {producer!r}, which has no such output"
                        yield Complaint((*place, *where), what, nearest(str(key), known))


@rule("input-reference", why="a task cannot read an input that its graph does not have", source=_PROTO)
def _graph_inputs(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        known = {name for kind in ("parameters", "artifacts") for name in mapping(graph.inputs.get(kind))}
        for name, task in graph.tasks.items():
            for kind in ("parameters", "artifacts"):
                for key, source in mapping(mapping(task.get("inputs")).get(kind)).items():
                    wanted = mapping(source).get("componentInputParameter" if kind == "parameters" else "componentInputArtifact")
                    if wanted is not None and wanted not in known:
                        what = f"{name!r} takes {wanted!r}, which is not an input of its graph"
                        yield Complaint((*graph.place, "tasks", name, "inputs", kind, key), what, nearest(str(wanted), known))


@rule("task-inputs", why="a component gets an input that it does not have, or lacks one that it requires", source=_PROTO)
def _inputs(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            component = document.component_of(task)
            if component is None:
                continue
            iterated = {mapping(task.get(kind)).get("itemInput") for kind in ("parameterIterator", "artifactIterator")}
            for kind in ("parameters", "artifacts"):
                known = mapping(mapping(component.get("inputDefinitions")).get(kind))
                given = mapping(mapping(task.get("inputs")).get(kind))
                place = (*graph.place, "tasks", name, "inputs", kind)
                for key in sorted(set(given) - set(known)):
                    if not key.startswith("pipelinechannel--"):  # a condition may read what the component behind it does not take
                        yield Complaint((*place, key), f"{name!r} is given {key!r}, which its component does not take", nearest(key, known))
                for key, source in given.items():
                    # A constant may be empty or null; any other source may not.
                    if not any(value for value in mapping(source).values()):
                        yield Complaint((*place, key), f"{name!r} is given nothing for {key!r}", _COMPILE)
                for key, definition in known.items():
                    optional = "defaultValue" in mapping(definition) or mapping(definition).get("isOptional")
                    if key not in given and not optional and key not in iterated:
                        yield Complaint(place, f"{name!r} is not given {key!r}, which its component requires", _COMPILE)


@rule("cycle", why="tasks that wait for each other never start", source=_PROTO)
def _cycles(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        before = {name: _before(task) & set(graph.tasks) for name, task in graph.tasks.items()}
        cycle = find_cycle(before)
        for name in cycle[:1]:
            what = f"{', '.join(cycle)} wait for each other"
            yield Complaint((*graph.place, "tasks", name), what, _COMPILE)


@rule(
    "parameter-untyped",
    why="a value for a parameter without a type is refused",
    source="kubeflow/pipelines, backend/src/apiserver/template/v2_template.go; Vertex AI's client: got unknown type of value",
)
def _untyped(document: Document) -> Iterator[Complaint]:
    for place, component in document.components_with_root():
        for direction in ("inputDefinitions", "outputDefinitions"):
            for name, definition in mapping(mapping(component.get(direction)).get("parameters")).items():
                kind = mapping(definition).get("parameterType") or mapping(definition).get("type")
                if kind not in _TYPES:
                    what = f"the parameter {name!r} of {place[-1]!r} has " + ("no type" if kind is None else f"the type {kind!r}")
                    yield Complaint((*place, direction, "parameters", name), what, f"give it one of {', '.join(PARAMETER_TYPES)}")


@rule("default-type", why="a default of another type than the parameter's, or none of its literals, is refused or misread", source=_PROTO)
def _defaults(document: Document) -> Iterator[Complaint]:
    for place, owner in document.components_with_root():
        for name, definition in mapping(mapping(owner.get("inputDefinitions")).get("parameters")).items():
            definition = mapping(definition)
            _, fits = PARAMETER_TYPES.get(str(definition.get("parameterType")), ("", None))
            if fits and definition.get("defaultValue") is not None and not fits(definition["defaultValue"]):
                what = f"the default of {name!r} is {definition['defaultValue']!r}, not {definition['parameterType']}"
                yield Complaint(
                    (*place, "inputDefinitions", "parameters", name, "defaultValue"), what, "give a default of that type and compile again"
                )
            literals = definition.get("literals")
            if literals and definition.get("defaultValue") is not None and definition["defaultValue"] not in literals:
                what = f"the default of {name!r} is {definition['defaultValue']!r}, none of {literals}"
                yield Complaint((*place, "inputDefinitions", "parameters", name, "defaultValue"), what, "give one of them and compile again")


@rule(
    "name-length",
    why="a task's or component's name of more than 128 characters is refused",
    source="Argo Workflows, workflowFieldMaxLength; for Vertex AI inferred from its limit of names",
)
def _lengths(document: Document) -> Iterator[Complaint]:
    for name in document.components:
        if len(name) > _LONGEST_NAME:
            yield Complaint((0, "components", name), f"the component {name[:40]!r}… has {len(name)} characters", "give it a shorter name")
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            shown = mapping(task.get("taskInfo")).get("name")
            if len(name) > _LONGEST_NAME or (isinstance(shown, str) and len(shown) > _LONGEST_NAME):
                what = f"the task {name[:40]!r}… has a name of {max(len(name), len(str(shown)))} characters"
                yield Complaint((*graph.place, "tasks", name), what, "give it a shorter name")


def find_cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return the names on cycles: those that remain when names without a successor or predecessor are removed again and again."""
    left = dict(edges)
    while True:
        reached = {name for others in left.values() for name in others}
        free = [name for name, others in left.items() if not others & set(left) or name not in reached]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]


def reads(task: dict[str, Any]) -> Iterator[tuple[Place, Any, str, Any]]:
    """Yield (place in the task, producing task, kind, output) of all that a task reads from others."""
    for kind, member, key in (
        ("parameters", "taskOutputParameter", "outputParameterKey"),
        ("artifacts", "taskOutputArtifact", "outputArtifactKey"),
    ):
        for name, source in mapping(mapping(task.get("inputs")).get(kind)).items():
            if found := mapping(mapping(source).get(member)):
                yield ("inputs", kind, name), found.get("producerTask"), kind, found.get(key)


def _before(task: dict[str, Any]) -> set[str]:
    listed = task.get("dependentTasks")
    return {str(each) for each in (listed if isinstance(listed, list) else [])} | {str(producer) for _, producer, _, _ in reads(task)}
