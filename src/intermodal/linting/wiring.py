"""Rules on what flows between tasks: outputs, loops, conditions, types, and placeholders in command lines."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from kfp.dsl.types import artifact_types
from kfp.dsl.types.type_utils import check_artifact_type_compatibility

from intermodal.compiler.conditions import why_unreadable
from intermodal.compiler.specification import PARAMETER_TYPES
from intermodal.linting.document import Document, Place, mapping
from intermodal.linting.finding import Complaint, rule
from intermodal.linting.quantities import is_given_at_run_time
from intermodal.linting.structure import find_cycle, reads
from intermodal.runtime.errors import nearest

_PROTO = "kfp-pipeline-spec 2.17, pipeline_spec.proto"
_COMPILE = "compile it again; a compiled file is not meant to be edited"
_SYSTEM_TYPES = sorted(each.schema_title for each in vars(artifact_types).values() if hasattr(each, "schema_title"))
_CONDITION = re.compile(r"inputs\.(?:parameter_values|parameters|artifacts)\[\\*['\"](.+?)\\*['\"]\]")


@rule("output-reference", why="a graph cannot return what none of its tasks produces", source=_PROTO)
def _outputs(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for kind, member in (("parameters", "outputParameterKey"), ("artifacts", "outputArtifactKey")):
            made = mapping(graph.outputs.get(kind))
            for name in mapping(graph.defined.get(kind)):
                if not any(next(_selectors(mapping(made.get(each))), None) for each in (name, f"output__{name}")):
                    place = (*graph.place[:-1], "outputDefinitions", kind, name)
                    yield Complaint(place, f"the output {name!r} is defined, but no task produces it", _COMPILE)
            for name, output in made.items():
                place = (*graph.place, "outputs", kind, name)
                if not _is_among(name, mapping(graph.defined.get(kind))):
                    yield Complaint(place, f"the output {name!r} is not defined", nearest(name, mapping(graph.defined.get(kind))))
                for selector in _selectors(mapping(output)):
                    producer, key = selector.get("producerSubtask"), selector.get(member)
                    if producer not in graph.tasks:
                        yield Complaint(place, f"{name!r} comes from {producer!r}, which does not exist", nearest(str(producer), graph.tasks))
                    elif (component := document.component_of(graph.tasks[producer])) is not None:
                        known = mapping(mapping(component.get("outputDefinitions")).get(kind))
                        if not _is_among(str(key), known):
                            yield Complaint(place, f"{name!r} is {key!r} of {producer!r}, which has no such output", nearest(str(key), known))


@rule("component-cycle", why="a graph that contains itself has no end", source="kubeflow/pipelines, backend/src/v2/compiler/visitor.go")
def _nesting(document: Document) -> Iterator[Complaint]:
    uses = {
        str(graph.place[2]): {str(mapping(task.get("componentRef")).get("name")) for task in graph.tasks.values()}
        for graph in document.graphs()
        if graph.place[1] == "components"
    }
    cycle = find_cycle(uses)
    for name in cycle[:1]:
        yield Complaint((0, "components", name), f"{', '.join(cycle)} contain each other", _COMPILE)


@rule("loop", why="a loop runs over an input of its task or a list in the file, and passes each item to an input of its component", source=_PROTO)
def _loops(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            for iterator, kind, member in (("parameterIterator", "parameters", "inputParameter"), ("artifactIterator", "artifacts", "inputArtifact")):
                loop = mapping(task.get(iterator))
                place = (*graph.place, "tasks", name, iterator)
                given, items = mapping(mapping(task.get("inputs")).get(kind)), mapping(loop.get("items"))
                over, raw, item = items.get(member), items.get("raw"), loop.get("itemInput")
                if over is not None and over not in given:
                    yield Complaint((*place, "items"), f"{name!r} loops over {over!r}, which it is not given", nearest(str(over), given))
                if iterator in task and over is None and raw is None:
                    yield Complaint(place, f"{name!r} loops over nothing", _COMPILE)
                if raw is not None and not _is_list(raw):
                    yield Complaint((*place, "items", "raw"), f"{name!r} loops over {str(raw)[:40]!r}, which is not a JSON list", _COMPILE)
                component = document.component_of(task)
                known = mapping(mapping(mapping(component).get("inputDefinitions")).get(kind))
                if component is not None and item is not None and item not in known:
                    yield Complaint((*place, "itemInput"), f"items go to {item!r}, which its component does not take", nearest(str(item), known))


@rule(
    "condition",
    basis="enforced",
    why="a condition is an expression in CEL about the inputs of its task",
    source="cel-expr-python, Google's implementation; kubeflow/pipelines, backend/src/v2/expression",
)
def _conditions(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            condition = mapping(task.get("triggerPolicy")).get("condition")
            given = {key for kind in ("parameters", "artifacts") for key in mapping(mapping(task.get("inputs")).get(kind))}
            place = (*graph.place, "tasks", name, "triggerPolicy", "condition")
            if isinstance(condition, str) and (reason := why_unreadable(condition)):
                yield Complaint(place, f"the condition of {name!r} cannot be read: {reason}", "write it in CEL, or compile it again")
                continue
            for wanted in sorted(set(_CONDITION.findall(condition)) - given) if isinstance(condition, str) else ():
                yield Complaint(place, f"{name!r} depends on {wanted!r}, which it is not given", nearest(wanted, given))


@rule(
    "parameter-type", why="a parameter of another type than the component's is refused or misread", source="kfp SDK 2.17, which refuses to compile it"
)
def _types(document: Document) -> Iterator[Complaint]:
    items = set(_items(document))
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            component = document.component_of(task)
            known = mapping(mapping(mapping(component).get("inputDefinitions")).get("parameters"))
            given = mapping(mapping(task.get("inputs")).get("parameters"))
            made = {place[2]: (producer, key) for place, producer, kind, key in reads(task) if kind == "parameters"}
            for key, source in given.items():
                wanted = mapping(known.get(key)).get("parameterType")
                place = (*graph.place, "tasks", name, "inputs", "parameters", key)
                constant = mapping(mapping(source).get("runtimeValue")).get("constant")
                if constant is not None and not (isinstance(constant, str) and "{{$" in constant):
                    if wanted in PARAMETER_TYPES and not PARAMETER_TYPES[wanted][1](constant):
                        yield Complaint(place, f"{key!r} of {name!r} is {constant!r}, not {wanted}", "give a value of that type and compile again")
                    continue
                found = _type_of(document, graph.tasks, made[key]) if key in made else _input_type(graph.inputs, mapping(source))
                if found == "STRING" and (graph.place[2], mapping(source).get("componentInputParameter")) in items:
                    continue  # kfp gives an item the type STRING where the type of the list's items is not known
                if {wanted, found} <= PARAMETER_TYPES.keys() and wanted != found and (found, wanted) != ("NUMBER_INTEGER", "NUMBER_DOUBLE"):
                    yield Complaint(place, f"{key!r} of {name!r} is {found}, but its component takes {wanted}", _COMPILE)


@rule(
    "literal",
    why="the component takes only the values of its Literal",
    source="kfp SDK 2.17, which refuses to compile it",
)
def _literals(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            known = mapping(mapping(mapping(document.component_of(task)).get("inputDefinitions")).get("parameters"))
            for key, source in mapping(mapping(task.get("inputs")).get("parameters")).items():
                literals = mapping(known.get(key)).get("literals")
                constant = mapping(mapping(source).get("runtimeValue")).get("constant")
                if isinstance(literals, list) and constant is not None and constant not in literals and not is_given_at_run_time(constant):
                    place = (*graph.place, "tasks", name, "inputs", "parameters", key)
                    yield Complaint(place, f"{key!r} of {name!r} is {constant!r}, none of {literals}", "give one of them and compile again")


@rule(
    "artifact-type",
    severity="warning",
    basis="enforced",
    why="the program gets an artifact of another type than it was written for, or one where it expects a list",
    source="kfp SDK 2.17, which refuses to compile it",
)
def _artifact_types(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            wanted = mapping(mapping(mapping(document.component_of(task)).get("inputDefinitions")).get("artifacts"))
            made = {place[2]: (producer, key) for place, producer, kind, key in reads(task) if kind == "artifacts"}
            iterated = mapping(task.get("artifactIterator")).get("itemInput")
            for key, source in mapping(mapping(task.get("inputs")).get("artifacts")).items():
                if key in made:
                    producer = document.component_of(graph.tasks.get(str(made[key][0]), {}))
                    given = mapping(mapping(mapping(producer).get("outputDefinitions")).get("artifacts")).get(str(made[key][1]))
                else:
                    given = mapping(graph.inputs.get("artifacts")).get(str(mapping(source).get("componentInputArtifact")))
                place = (*graph.place, "tasks", name, "inputs", "artifacts", key)
                if key in wanted and key != iterated and given is not None:
                    yield from _misfit(place, f"{key!r} of {name!r}", mapping(given), mapping(wanted[key]))
        for name, output in mapping(graph.outputs.get("artifacts")).items():
            defined = mapping(graph.defined.get("artifacts")).get(name)
            for selector in _selectors(mapping(output)) if defined is not None else ():
                producer = document.component_of(graph.tasks.get(str(selector.get("producerSubtask")), {}))
                given = mapping(mapping(mapping(producer).get("outputDefinitions")).get("artifacts")).get(str(selector.get("outputArtifactKey")))
                if given is not None:
                    # A loop's graph returns a list of what one iteration returns.
                    yield from _misfit(
                        (*graph.place, "outputs", "artifacts", name), f"the output {name!r}", mapping(given), mapping(defined), lists=False
                    )


@rule(
    "artifact-schema",
    severity="warning",
    basis="enforced",
    why="a program gets an artifact of an unknown type as a plain Artifact; without any the backend refuses it",
    source="kfp SDK 2.17, kfp.dsl.executor; kubeflow/pipelines, backend/src/v2/component/importer_launcher.go",
)
def _schemas(document: Document) -> Iterator[Complaint]:
    places: list[tuple[Place, Any]] = []
    for at, component in document.components_with_root():
        for kind in ("inputDefinitions", "outputDefinitions"):
            for name, definition in mapping(mapping(component.get(kind)).get("artifacts")).items():
                places.append(((*at, kind, "artifacts", name), mapping(definition).get("artifactType")))
    for label, executor in document.executors.items():
        if "importer" in mapping(executor):
            places.append(((*document.executor_place(label), "importer"), mapping(executor["importer"]).get("typeSchema")))
    for place, schema in places:
        title = mapping(schema).get("schemaTitle")
        if not title and not mapping(schema).get("instanceSchema"):
            yield Complaint(place, f"{place[-1]!r} has no artifact type", _COMPILE)
        elif isinstance(title, str) and title.startswith("system.") and title not in _SYSTEM_TYPES:
            yield Complaint(place, f"there is no artifact type {title!r}", nearest(title, _SYSTEM_TYPES))


@rule(
    "exit-task",
    why="an exit task waits for exactly one other task, and no task waits for it; only an exit task can read the final status of another",
    source="kubeflow/pipelines, backend/src/v2/compiler/argocompiler/dag.go, exit-hook; pipeline_spec.proto, TriggerPolicy",
)
def _exit_tasks(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        ends = {name for name, task in graph.tasks.items() if mapping(task.get("triggerPolicy")).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"}
        if graph.tasks and ends == set(graph.tasks):
            yield Complaint((*graph.place, "tasks"), f"{', '.join(sorted(ends))} would run after tasks that do not exist", _COMPILE)
        for name, task in graph.tasks.items():
            place = (*graph.place, "tasks", name)
            if name in ends and not task.get("dependentTasks"):
                yield Complaint((*place, "triggerPolicy"), f"{name!r} is an exit task, but waits for nothing", _COMPILE)
            if late := sorted(set(task.get("dependentTasks") or []) & ends):
                yield Complaint((*place, "dependentTasks"), f"{name!r} waits for {late[0]!r}, which is an exit task", _COMPILE)
            for key, source in mapping(mapping(task.get("inputs")).get("parameters")).items():
                if "taskFinalStatus" in mapping(source) and name not in ends:
                    what = f"{name!r} reads the final status of a task, but runs only if that succeeded"
                    yield Complaint((*place, "inputs", "parameters", key), what, _COMPILE)


@rule(
    "data-dependency",
    severity="warning",
    basis="enforced",
    why="kfp.local looks only at dependentTasks, so it starts the task before its input exists; Kubeflow adds the producer itself",
    source="kfp SDK 2.17, kfp.local.graph_utils; kubeflow/pipelines, backend/src/v2/compiler/argocompiler/dag.go, addImplicitDependencies",
)
def _dependencies(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            before = task.get("dependentTasks") or []
            for place, producer, _, _ in reads(task):
                if producer in graph.tasks and producer not in before:
                    yield Complaint((*graph.place, "tasks", name, *place), f"{name!r} reads from {producer!r}, but does not wait for it", _COMPILE)


@rule(
    "duplicate-key",
    basis="enforced",
    why="YAML allows a key once: Kubeflow's API refuses a duplicate, and Google's client silently takes the last",
    source="YAML 1.2, section 3.2.1.3; gopkg.in/yaml.v3 3.0.1: mapping key already defined; PyYAML 6",
    untyped=True,
)
def _duplicates(document: Document) -> Iterator[Complaint]:
    for number, root in enumerate(document.nodes):
        seen: set[int] = set()
        waiting: list[tuple[Place, Any]] = [((number,), root)]
        while waiting:
            place, node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += [((*place, index), each) for index, each in enumerate(node.value)]
            elif isinstance(node, yaml.MappingNode):
                keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
                for key in sorted({key for key in keys if keys.count(key) > 1}) if len(keys) > len(set(keys)) else ():
                    yield Complaint((*place, key), f"{key!r} is there {keys.count(key)} times", "keep one of them")
                waiting += [((*place, key.value), each) for key, each in node.value if isinstance(key, yaml.ScalarNode)]


def _selectors(output: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every selector of a graph's output: one, several of which one is taken, or a list of artifacts."""
    several = [mapping(output.get("valueFromOneof")).get("parameterSelectors"), output.get("artifactSelectors")]
    for each in (output.get("valueFromParameter"), *(selector for found in several if isinstance(found, list) for selector in found)):
        if isinstance(each, dict):
            yield each


def _misfit(place: Place, what: str, given: dict[str, Any], wanted: dict[str, Any], *, lists: bool = True) -> Iterator[Complaint]:
    """Yield a complaint if kfp would not pass one artifact to the other; `lists`: whether one and a list of it differ."""
    types = [
        f"{each.get('schemaTitle')}@{each.get('schemaVersion') or '0.0.1'}"
        for each in (mapping(given.get("artifactType")), mapping(wanted.get("artifactType")))
    ]
    several = [bool(each.get("isArtifactList")) and lists for each in (given, wanted)]
    if "None" not in types[0] + types[1] and not check_artifact_type_compatibility(types[0], several[0], types[1], several[1]):
        shown = [f"a list of {kind}" if many else kind for kind, many in zip((each.partition("@")[0] for each in types), several, strict=True)]
        shown = types if shown[0] == shown[1] else shown
        yield Complaint(place, f"{what} is {shown[0]}, but {shown[1]} is expected", _COMPILE)


def _is_among(name: str, known: dict[str, Any]) -> bool:
    """Whether an output is defined. kfp drops `output__` of a name only in definitions, where it wraps a component that gcpc ships."""
    return name in known or name.removeprefix("output__") in known


def _is_list(raw: Any) -> bool:
    try:
        return isinstance(json.loads(raw), list)
    except (TypeError, ValueError, RecursionError):
        return False


def _items(document: Document) -> Iterator[tuple[str | int, Any]]:
    """Yield (component, input) that loops pass their items to."""
    for graph in document.graphs():
        for task in graph.tasks.values():
            if item := mapping(task.get("parameterIterator")).get("itemInput"):
                yield str(mapping(task.get("componentRef")).get("name")), item


def _type_of(document: Document, tasks: dict[str, Any], made: tuple[Any, Any]) -> Any:
    component = document.component_of(mapping(tasks.get(str(made[0]))))
    return mapping(mapping(mapping(mapping(component).get("outputDefinitions")).get("parameters")).get(str(made[1]))).get("parameterType")


def _input_type(inputs: dict[str, Any], source: dict[str, Any]) -> Any:
    if source.get("parameterExpressionSelector"):  # a part of the input, whose type is not shown
        return None
    return mapping(mapping(inputs.get("parameters")).get(str(source.get("componentInputParameter")))).get("parameterType")
