"""Rules on what flows between tasks: outputs, loops, conditions, types, and placeholders in command lines."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from intermodal.errors import nearest
from intermodal.targets.linting.document import Document, Place, mapping
from intermodal.targets.linting.finding import Complaint, rule
from intermodal.targets.linting.structure import KINDS, knot, reads

_PROTO = "kfp-pipeline-spec 2.17, pipeline_spec.proto"
_COMPILE = "compile it again; a compiled file is not meant to be edited"
_CONDITION = re.compile(r"inputs\.(?:parameter_values|parameters|artifacts)\[\\*['\"](.+?)\\*['\"]\]")
_PLACEHOLDER = re.compile(r"\{\{\$\.(inputs|outputs)\.(parameters|artifacts)\[\\*['\"](.+?)\\*['\"]\]")


@rule("output-reference", why="a graph cannot hand out what none of its tasks makes", source=_PROTO)
def _outputs(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for kind, member in (("parameters", "outputParameterKey"), ("artifacts", "outputArtifactKey")):
            for name, output in mapping(graph.outputs.get(kind)).items():
                place = (*graph.place, "outputs", kind, name)
                if not _is_among(name, mapping(graph.defined.get(kind))):
                    yield Complaint(place, f"the output {name!r} is not defined", nearest(name, mapping(graph.defined.get(kind))))
                for selector in _selectors(mapping(output)):
                    producer, key = selector.get("producerSubtask"), selector.get(member)
                    if producer not in graph.tasks:
                        yield Complaint(place, f"{name!r} comes from {producer!r}, which is not there", nearest(str(producer), graph.tasks))
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
    tangled = knot(uses)
    for name in tangled[:1]:
        yield Complaint((0, "components", name), f"{', '.join(tangled)} contain each other", _COMPILE)


@rule("loop", why="a loop runs over an input of its task or a list in the file, and hands each item to an input of its component", source=_PROTO)
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
                if raw is not None and not _is_list(raw):
                    yield Complaint((*place, "items", "raw"), f"{name!r} loops over {str(raw)[:40]!r}, which is no JSON list", _COMPILE)
                component = document.component_of(task)
                known = mapping(mapping(mapping(component).get("inputDefinitions")).get(kind))
                if component is not None and item is not None and item not in known:
                    yield Complaint((*place, "itemInput"), f"items go to {item!r}, which its component does not take", nearest(str(item), known))


@rule("condition", why="a condition is about the inputs of its task", source=_PROTO)
def _conditions(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            condition = mapping(task.get("triggerPolicy")).get("condition")
            given = {key for kind in ("parameters", "artifacts") for key in mapping(mapping(task.get("inputs")).get(kind))}
            for wanted in sorted(set(_CONDITION.findall(condition)) - given) if isinstance(condition, str) else ():
                place = (*graph.place, "tasks", name, "triggerPolicy", "condition")
                yield Complaint(place, f"{name!r} depends on {wanted!r}, which it is not given", nearest(wanted, given))


@rule(
    "parameter-type", why="a parameter of another type than the component's is refused or misread", source="kfp SDK 2.17, which refuses to compile it"
)
def _types(document: Document) -> Iterator[Complaint]:
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
                    if wanted in KINDS and not KINDS[wanted](constant):
                        yield Complaint(place, f"{key!r} of {name!r} is {constant!r}, not {wanted}", "give a value of that type and compile again")
                    continue
                found = _type_of(document, graph.tasks, made[key]) if key in made else _input_type(graph.inputs, mapping(source))
                if wanted in KINDS and found in KINDS and wanted != found and (found, wanted) != ("NUMBER_INTEGER", "NUMBER_DOUBLE"):
                    yield Complaint(place, f"{key!r} of {name!r} is {found}, and its component takes {wanted}", _COMPILE)


@rule(
    "placeholder",
    severity="warning",
    basis="inferred",
    why="a placeholder that names nothing reaches the program as it is written",
    source="kfp SDK 2.17, placeholders of a container component",
)
def _placeholders(document: Document) -> Iterator[Complaint]:
    users: dict[str, list[dict[str, Any]]] = {}
    for component in document.components.values():
        users.setdefault(str(mapping(component).get("executorLabel")), []).append(mapping(component))
    for label, executor in document.executors.items():
        container = mapping(mapping(executor).get("container"))
        for member in ("command", "args"):
            for index, text in enumerate(container.get(member) or []):
                for direction, kind, name in _PLACEHOLDER.findall(text) if isinstance(text, str) else ():
                    for component in users.get(label, []):
                        known = mapping(mapping(component.get(f"{direction[:-1]}Definitions")).get(kind))
                        if name not in known:
                            place: Place = (0, "deploymentSpec", "executors", label, "container", member, index)
                            yield Complaint(place, f"the component has no {direction[:-1]} {name!r} among its {kind}", nearest(name, known))


@rule(
    "duplicate-key",
    severity="warning",
    basis="enforced",
    why="of two equal keys the last counts; the first is lost without a word",
    source="PyYAML 6",
    unshaped=True,
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
                    yield Complaint((*place, key), f"{key!r} is there {keys.count(key)} times", "leave one of them")
                waiting += [((*place, key.value), each) for key, each in node.value if isinstance(key, yaml.ScalarNode)]


def _selectors(output: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every selector of a graph's output: one, several of which one is taken, or a list of artifacts."""
    several = [mapping(output.get("valueFromOneof")).get("parameterSelectors"), output.get("artifactSelectors")]
    for each in (output.get("valueFromParameter"), *(selector for found in several if isinstance(found, list) for selector in found)):
        if isinstance(each, dict):
            yield each


def _is_among(name: str, known: dict[str, Any]) -> bool:
    """Whether an output is defined. kfp drops `output__` of a name in definitions alone, where it wraps a component that gcpc ships."""
    return name in known or name.removeprefix("output__") in known


def _is_list(raw: Any) -> bool:
    try:
        return isinstance(json.loads(raw), list)
    except (TypeError, ValueError, RecursionError):
        return False


def _type_of(document: Document, tasks: dict[str, Any], made: tuple[Any, Any]) -> Any:
    component = document.component_of(mapping(tasks.get(str(made[0]))))
    return mapping(mapping(mapping(mapping(component).get("outputDefinitions")).get("parameters")).get(str(made[1]))).get("parameterType")


def _input_type(inputs: dict[str, Any], source: dict[str, Any]) -> Any:
    if source.get("parameterExpressionSelector"):  # a part of the input, whose type is not told
        return None
    return mapping(mapping(inputs.get("parameters")).get(str(source.get("componentInputParameter")))).get("parameterType")
