"""The catalogue of mutations: what goes wrong in a compiled file, and where in a valid one it can be put.

.venv/bin/python -m tests.linting.mutations    lints every mutation at every place, and tells what is found
"""

import copy
import json
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from intermodal.linting import Finding, lint, lint_documents
from tests.linting.subjects import SUBJECTS

Place = tuple[str | int, ...]
GONE = object()
BOTH = ("kubeflow", "vertex")
KUBEFLOW = ("kubeflow",)
VERTEX = ("vertex",)
_TWICE = "--written-twice"


@dataclass(frozen=True)
class Renamed:
    """A key gets another name; its value stays."""

    to: str


@dataclass(frozen=True)
class Edit:
    """Changes that are made together, and where a person should be led: to one of `near`, or by one of `words` in the finding."""

    changes: tuple[tuple[Place, Any], ...]
    near: tuple[Place, ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mutation:
    """A kind of mistake.

    Attributes:
        name: Its name in the catalogue.
        fault: What is wrong, and with `harmless` why nothing is.
        targets: The platforms on which it is.
        edits: Yields every place where it can be put into a file's documents.
        harmless: Whether no finding is expected.
        subjects: The subjects that it is for; None: all.
    """

    name: str
    fault: str
    targets: tuple[str, ...]
    edits: Callable[[list[Any]], Iterator[Edit]]
    harmless: bool = False
    subjects: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Mutant:
    """A mutation at one place of one subject."""

    mutation: Mutation
    subject: str
    edit: Edit

    def documents(self) -> list[Any]:
        """Return the subject's documents with the edit in them."""
        made = copy.deepcopy(SUBJECTS[self.subject][0])
        for place, value in self.edit.changes:
            _put(made, place, value)
        return made

    def findings(self, target: str) -> list[Finding]:
        """Return what the linter says that it does not say about the subject itself."""
        made = self.documents()
        before = {(each.rule, each.what) for each in _baseline(self.subject, target)}
        if any(isinstance(part, str) and part.endswith(_TWICE) for place, _ in self.edit.changes for part in place):
            found = lint(yaml.safe_dump_all(made).replace(_TWICE, ""), target)
        else:
            found = lint_documents(made, target)
        return [each for each in found if (each.rule, each.what) not in before]

    def finders(self, target: str) -> set[str]:
        """Return the rules that find it at the right place."""
        return {each.rule for each in self.findings(target) if self._is_at(each)}

    def _is_at(self, finding: Finding) -> bool:
        found = finding.where.partition(" ")[2]
        if any(word in finding.what for word in self.edit.words):
            return True
        for place in self.edit.near:
            shown = ".".join(str(part).removesuffix(_TWICE) for part in place[1:] if part != "pipelineSpec")
            if found == shown or found.startswith(f"{shown}.") or (shown.startswith(f"{found}.") and (found.count(".") or shown.count(".") == 1)):
                return True
        return False

    def __str__(self) -> str:
        return f"{self.mutation.name} in {self.subject} at {'.'.join(map(str, self.edit.changes[0][0]))}"


_known: dict[tuple[str, str], list[Finding]] = {}


def _baseline(subject: str, target: str) -> list[Finding]:
    if (subject, target) not in _known:
        _known[subject, target] = lint_documents(SUBJECTS[subject][0], target)
    return _known[subject, target]


def _put(documents: list[Any], place: Place, value: Any) -> None:
    at: Any = documents
    for part in place[:-1]:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
    last = place[-1]
    if value is GONE:
        if isinstance(at, dict):
            at.pop(last, None)
        elif isinstance(at, list):
            del at[last]
    elif isinstance(value, Renamed):
        at[value.to] = at.pop(last)
    elif isinstance(at, list) and last == len(at):
        at.append(copy.deepcopy(value))
    else:
        at[last] = copy.deepcopy(value)


def value_at(documents: list[Any], place: Place) -> Any:
    """Return the value at a place; None where there is none."""
    at: Any = documents
    for part in place:
        try:
            at = at[part]
        except (KeyError, IndexError, TypeError):
            return None
    return at


# -- places ------------------------------------------------------------------------------------------------------------------------------------


def _of(documents: list[Any], *path: str) -> Iterator[tuple[Place, Any]]:
    """Yield (place, value) of a path in which `*` is any key or index, and `**` any number of them."""
    waiting: list[tuple[Place, Any, tuple[str, ...]]] = [((0,), documents[0], path)]
    while waiting:
        place, value, rest = waiting.pop(0)
        if not rest:
            yield place, value
            continue
        children = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
        for key, each in children:
            if rest[0] in ("*", str(key)):
                waiting.append(((*place, key), each, rest[1:]))


def _graphs(documents: list[Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    yield from _of(documents, "root", "dag")
    yield from _of(documents, "components", "*", "dag")


def _tasks(documents: list[Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    for place, graph in _graphs(documents):
        for name, task in graph["tasks"].items():
            yield (*place, "tasks", name), task


def _containers(documents: list[Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    yield from _of(documents, "deploymentSpec", "executors", "*", "container")


def _component(documents: list[Any], task: dict[str, Any]) -> dict[str, Any]:
    return documents[0]["components"][task["componentRef"]["name"]]


def _importers(documents: list[Any]) -> Iterator[tuple[Place, dict[str, Any], Place, dict[str, Any]]]:
    """Yield (task's place, task, importer's place, importer)."""
    for place, task in _tasks(documents):
        label = _component(documents, task).get("executorLabel")
        executor = documents[0]["deploymentSpec"]["executors"].get(label, {})
        if "importer" in executor:
            yield place, task, (0, "deploymentSpec", "executors", label, "importer"), executor["importer"]


def _reads(task: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield (place below the task, producing task) of what it reads from others."""
    for kind, member in (("parameters", "taskOutputParameter"), ("artifacts", "taskOutputArtifact")):
        for key, source in task.get("inputs", {}).get(kind, {}).items():
            if member in source:
                yield ("inputs", kind, key, member), source[member]["producerTask"]


def _readers(documents: list[Any], place: Place) -> list[Place]:
    """Return the places of all tasks and outputs that name a task, and of its component."""
    *graph, _, name = place
    tasks = value_at(documents, (*graph, "tasks"))
    near = [
        (*graph, "tasks", each)
        for each, task in tasks.items()
        if name in task.get("dependentTasks", []) or name in dict.fromkeys(p for _, p in _reads(task))
    ]
    return [*near, place, (*graph, "outputs")]


# -- the catalogue -----------------------------------------------------------------------------------------------------------------------------

MUTATIONS: list[Mutation] = []


def mutation(name: str, fault: str, targets: tuple[str, ...] = BOTH, *, harmless: bool = False, subjects: tuple[str, ...] | None = None) -> Any:
    """Register a function that yields the edits of a mutation."""

    def register(edits: Callable[[list[Any]], Iterator[Edit]]) -> Callable[[list[Any]], Iterator[Edit]]:
        MUTATIONS.append(Mutation(name, fault, targets, edits, harmless, subjects))
        return edits

    return register


def _values(
    kind: str,
    places: Callable[[list[Any]], Iterator[Place]],
    rows: list[tuple[str, Any, str] | tuple[str, Any, str, tuple[str, ...]]],
    targets: tuple[str, ...] = BOTH,
    *,
    harmless: bool = False,
) -> None:
    """Register one mutation a row: (its name, the value or a function of the old one, what is wrong, on which platforms)."""
    for name, value, fault, *more in rows:

        def edits(documents: list[Any], value: Any = value) -> Iterator[Edit]:
            for place in places(documents):
                old = value_at(documents, place)
                new = value(old) if callable(value) else value
                if new != old:
                    # Two spellings of one limit stand side by side: either may be named.
                    other = (*place[:-1], f"resource{str(place[-1])[0].upper()}{str(place[-1])[1:]}")
                    yield Edit(((place, new),), (place, other))

        MUTATIONS.append(Mutation(f"{kind}: {name}", fault, more[0] if more else targets, edits, harmless))


def _below(
    parents: Callable[[list[Any]], Iterator[tuple[Place, Any]]], *path: str | int, present: bool = True
) -> Callable[[list[Any]], Iterator[Place]]:
    """Return the places at a path below others; with `present` only where there is something."""

    def places(documents: list[Any]) -> Iterator[Place]:
        for place, _ in parents(documents):
            if not present or value_at(documents, (*place, *path)) is not None:
                yield (*place, *path)

    return places


def _at(*path: str) -> Callable[[list[Any]], Iterator[Place]]:
    return lambda documents: (place for place, _ in _of(documents, *path))


def _in_job(documents: list[Any]) -> bool:
    return "pipelineSpec" in documents[0]


_values(
    "image",
    _below(_containers, "image"),
    [
        ("missing", GONE, "there is nothing to start"),
        ("empty", "", "there is nothing to start"),
        ("with a scheme", lambda old: f"https://{old}", "no image reference"),
        ("in upper case", lambda old: "registry.example/Team/Say:1", "no image reference: paths are in lower case"),
        ("with a space", lambda old: f"{old} ", "no image reference"),
        ("with an empty tag", "registry.example/say:", "no image reference"),
        ("with two tags", lambda old: f"{old}:2", "no image reference"),
        ("with a short digest", "registry.example/say@sha256:abc", "no image reference"),
        ("with an empty part", "registry.example//say:1", "no image reference"),
        ("a number", 5, "of another type"),
        ("without a tag", "registry.example/say", "pulled at every start", KUBEFLOW),
        ("tagged latest", "registry.example/say:latest", "pulled at every start", KUBEFLOW),
    ],
)


@mutation("image: of this project, without its registry", "looked for on Docker Hub", subjects=("wired", "rich-kubeflow", "rich-vertex"))
def _no_registry(documents):
    for place, _ in _containers(documents):
        yield Edit((((*place, "image"), "intermodal-train:0.1.0"),), ((*place, "image"),))


def _resources(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    for place, container in _containers(documents):
        if "resources" in container:
            yield (*place, "resources"), container["resources"]


_values(
    "CPU",
    _below(_resources, "resourceCpuLimit"),
    [
        ("below zero", "-1", "no machine has it"),
        ("zero", "0", "no CPU at all"),
        ("a word", "lots", "no quantity"),
        ("with a unit", "2 cores", "no quantity"),
        ("not a number", "NaN", "no quantity"),
        ("endless", "Infinity", "no quantity"),
        ("a number where a text is wanted", 2.0, "of another type"),
        ("another than its number says", "1", "one reader takes 1 CPU, another what the number says"),
        ("from a parameter", "{{$.pipeline_job_name}}", "Vertex AI takes none at run time", VERTEX),
        ("more than a machine has", "97", "no machine of Vertex AI has it", VERTEX),
    ],
)
_values(
    "CPU as a number",
    _below(_resources, "cpuLimit"),
    [
        ("below zero", -1.0, "no machine has it"),
        ("not a number", float("nan"), "no number"),
        ("a word", "a lot", "of another type"),
        ("more than a machine has", 128.0, "no machine of Vertex AI has it", VERTEX),
    ],
)
_values(
    "memory",
    _below(_resources, "resourceMemoryLimit"),
    [
        ("below zero", "-4G", "no machine has it"),
        ("in GB", "4GB", "no quantity"),
        ("with a space", "4 G", "no quantity"),
        ("with another letter", "4Q", "no quantity"),
        ("in lower case", "4g", "no quantity"),
        ("without a unit", "16", "16 bytes"),
        ("in milli", "512m", "half a byte"),
        ("in K", "16000000K", "thousands are k for Kubernetes", KUBEFLOW),
        ("more than a machine has", "1T", "no machine of Vertex AI has it", VERTEX),
    ],
)
_values(
    "memory as a number",
    _below(_resources, "memoryLimit"),
    [
        ("below zero", -4.0, "no machine has it"),
        ("another than its text says", 1.0, "one reader takes 1 GB, another what the text says"),
        ("more than a machine has", 800.0, "no machine of Vertex AI has it", VERTEX),
    ],
)
_values("request", _below(_resources, "resourceCpuRequest"), [("above the limit", "64", "Kubernetes refuses the pod")], KUBEFLOW)
_values("request", _below(_resources, "cpuRequest"), [("above the limit, as a number", 64.0, "the text below it says less", KUBEFLOW)])


for _name, _new, _targets, _fault in [
    ("more CPU than a machine has", {"cpuLimit": 97.0, "resourceCpuLimit": "97"}, VERTEX, "no machine of Vertex AI has it"),
    ("more memory than a machine has", {"memoryLimit": 800.0, "resourceMemoryLimit": "800G"}, VERTEX, "no machine of Vertex AI has it"),
    ("memory without its unit", {"memoryLimit": 16e-9, "resourceMemoryLimit": "16"}, BOTH, "16 bytes"),
    (
        "a request above the limit",
        {"cpuLimit": 2.0, "resourceCpuLimit": "2", "cpuRequest": 4.0, "resourceCpuRequest": "4"},
        KUBEFLOW,
        "Kubernetes refuses the pod",
    ),
]:

    @mutation(f"resources: {_name}", _fault, _targets)
    def _both_spellings(documents, new=_new):
        for place, _ in _resources(documents):
            yield Edit(((place, new),), (place,))


@mutation("request: without a limit", "Vertex AI reads limits alone", VERTEX)
def _request_alone(documents):
    for place, _ in _resources(documents):
        yield Edit(((place, {"cpuRequest": 2.0, "resourceCpuRequest": "2"}),), (place,))


def _accelerators(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    for place, resources in _resources(documents):
        if "accelerator" in resources:
            yield (*place, "accelerator"), resources["accelerator"]


@mutation("accelerator: no count", "the task starts without one")
def _no_count(documents):
    for place, accelerator in _accelerators(documents):
        yield Edit(tuple(((*place, key), GONE) for key in ("resourceCount", "count") if key in accelerator), (place,))


@mutation("accelerator: no type", "the task starts without one")
def _no_type(documents):
    for place, accelerator in _accelerators(documents):
        yield Edit(tuple(((*place, key), GONE) for key in ("resourceType", "type") if key in accelerator), (place,))


_values(
    "accelerator count",
    _below(_accelerators, "resourceCount"),
    [("zero", "0", "none"), ("below zero", "-1", "no count"), ("a half", "0.5", "no whole number"), ("a word", "all", "no count")],
)
_values(
    "accelerator type",
    _below(_accelerators, "resourceType"),
    [
        ("unknown", "BANANA", "no accelerator of that name"),
        ("of Kubernetes", "nvidia.com/gpu", "Vertex AI has its own names", VERTEX),
        ("of Vertex AI", "NVIDIA_TESLA_T4", "Kubernetes has resources", KUBEFLOW),
    ],
)


def _retries(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    for place, task in _tasks(documents):
        if "retryPolicy" in task:
            yield (*place, "retryPolicy"), task["retryPolicy"]


_values(
    "retries",
    _below(_retries, "maxRetryCount"),
    [
        ("below zero", -1, "no count"),
        ("a half", 2.5, "of another type"),
        ("a word", "three", "of another type"),
    ],
)
_values(
    "back-off",
    _below(_retries, "backoffDuration"),
    [
        ("below zero", "-10s", "no duration"),
        ("without its unit", "10", "no duration"),
        ("in minutes", "5m", "no duration"),
    ],
)
_values("back-off factor", _below(_retries, "backoffFactor"), [("below zero", -2.0, "no factor"), ("not a number", float("nan"), "no factor")])
_values("longest back-off", _below(_retries, "backoffMaxDuration"), [("below zero", "-60s", "no duration")])
_values(
    "parallelism",
    _below(_tasks, "iteratorPolicy", "parallelismLimit"),
    [("below zero", -2, "taken for no limit"), ("a word", "two", "of another type")],
)


def _variables(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    for place, container in _containers(documents):
        for index, variable in enumerate(container.get("env", [])):
            yield (*place, "env", index), variable


_values(
    "environment name",
    _below(_variables, "name"),
    [
        ("missing", GONE, "refused"),
        ("empty", "", "refused"),
        ("with an equals sign", "A=B", "refused"),
        ("not ASCII", "É", "refused"),
        ("with a tab", "A\tB", "refused"),
        ("with a space", "MY VAR", "a shell cannot read it"),
        ("with a digit first", "1ST", "a shell cannot read it"),
        ("with a hyphen", "MY-VAR", "a shell cannot read it"),
        ("a number", 5, "of another type"),
    ],
)
_values(
    "environment value",
    _below(_variables, "value"),
    [
        ("with a password in a URI", "redis://user:hunter2@cache:6379/0", "a secret in the file"),
        ("with a password and no user", "redis://:hunter2@cache:6379/0", "a secret in the file"),
        ("an AWS key", "AKIA" + "IOSFODNN7EXAMPL2", "a secret in the file"),
        ("a Google key", "AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "a secret in the file"),
        ("a GitHub token", "ghp_" + "a1B2" * 9, "a secret in the file"),
        ("a private key", "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE", "a secret in the file"),
        ("a signed token", "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N", "a secret in the file"),
        ("of 200 KB", "x" * 200_000, "Linux starts no program with it"),
        ("a number", 5, "of another type"),
        ("with an unknown placeholder", "{{$.pipeline_job_nam}}", "reaches the program as it is written"),
    ],
)


@mutation("environment: a name twice", "the last counts")
def _variable_twice(documents):
    for place, variable in _variables(documents):
        size = len(value_at(documents, place[:-1]))
        yield Edit((((*place[:-1], size), {"name": variable["name"], "value": "other"}),), ((*place[:-1], size),))


@mutation("environment: a password in plain text", "a secret in the file")
def _variable_secret(documents):
    for place, container in _containers(documents):
        size = len(container.get("env", []))
        new = [*container.get("env", []), {"name": "DB_PASSWORD", "value": "hunter2"}]
        yield Edit((((*place, "env"), new),), ((*place, "env", size),))


def _constants(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    for place, task in _tasks(documents):
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if "constant" in source.get("runtimeValue", {}):
                yield (*place, "inputs", "parameters", key, "runtimeValue", "constant"), source["runtimeValue"]["constant"]


def _texts(documents: list[Any]) -> Iterator[Place]:
    for place, value in _constants(documents):
        if isinstance(value, str):
            yield place


_values(
    "constant",
    _texts,
    [
        ("of megabytes", "x" * 2_000_000, "Linux starts no program with it"),
        ("with a password in a URI", "postgresql://me:hunter2@db/prod", "a secret in the file"),
        ("with an open placeholder", "{{$.pipeline_job_name", "reaches the program as it is written"),
        ("with an unknown placeholder", "{{$.pipeline_jobname}}", "reaches the program as it is written"),
        ("with a placeholder of no input", "{{$.inputs.parameters['nobody']}}", "reaches the program as it is written"),
        ("with a macro of Kubeflow 1", "[[ScheduledTime]]", "a recurring run hands it on as it is written"),
        ("with a dated macro", "run-[[CurrentTime.2006-01-02]]", "a recurring run hands it on as it is written"),
    ],
)


@mutation("constant: of another type", "refused or misread")
def _constant_type(documents):
    for place, value in _constants(documents):
        wrong: Any = 5 if isinstance(value, str) else "five"
        yield Edit(((place, wrong),), (place,))


@mutation("literal: none of those", "the component takes no other", KUBEFLOW)
def _other_literal(documents):
    for place, task in _tasks(documents):
        known = _component(documents, task).get("inputDefinitions", {}).get("parameters", {})
        for key in task.get("inputs", {}).get("parameters", {}):
            at = (*place, "inputs", "parameters", key, "runtimeValue", "constant")
            if "literals" in known.get(key, {}) and value_at(documents, at) is not None:
                yield Edit(((at, "huge"),), (at,))


def _defaults(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    for start in (("root",), ("components", "*")):
        for place, definition in _of(documents, *start, "inputDefinitions", "parameters", "*"):
            if "defaultValue" in definition:
                yield (*place, "defaultValue"), definition["defaultValue"]


@mutation("default: of another type", "refused or misread")
def _default_type(documents):
    for place, value in _defaults(documents):
        yield Edit(((place, 5 if isinstance(value, str) else "five"),), (place,))


_values(
    "default",
    lambda documents: (place for place, value in _defaults(documents) if isinstance(value, str)),
    [
        ("of megabytes", "x" * 2_000_000, "the driver cannot be started with it"),
        ("with a password in a URI", "mysql://root:hunter2@db/prod", "a secret in the file"),
        ("with a macro of Kubeflow 1", "[[ScheduledTime]]", "a recurring run hands it on as it is written"),
    ],
)


@mutation("default: none of its literals", "the component takes no other", KUBEFLOW)
def _default_literal(documents):
    for place, definition in _of(documents, "components", "*", "inputDefinitions", "parameters", "*"):
        if "literals" in definition:
            yield Edit((((*place, "defaultValue"), "huge"), ((*place, "isOptional"), True)), (place,))


def _parameters(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    for start in (("root",), ("components", "*")):
        yield from _of(documents, *start, "inputDefinitions", "parameters", "*")


_values(
    "parameter type",
    _below(_parameters, "parameterType"),
    [
        ("missing", GONE, "a value for it is refused"),
        ("misspelled", lambda old: f"{old}S", "unknown"),
        ("a number", 77, "unknown"),
    ],
)


@mutation("parameter type: of 2.0.0", "the version says 2.1.0", VERTEX)
def _old_type(documents):
    for place, _ in _of(documents, "root", "inputDefinitions", "parameters", "*"):
        yield Edit((((*place, "parameterType"), GONE), ((*place, "type"), "STRING")), (place, (0, "schemaVersion")))


@mutation("parameter type: another than what is passed", "refused or misread")
def _other_type(documents):
    for place, task in _tasks(documents):
        name = task["componentRef"]["name"]
        known = _component(documents, task).get("inputDefinitions", {}).get("parameters", {})
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            kind = known.get(key, {}).get("parameterType")
            if (
                key in known
                and kind in ("STRING", "NUMBER_INTEGER", "LIST", "STRUCT", "BOOLEAN")
                and "Selector" not in str(source)
                and "{{" not in str(source)
            ):
                at = (0, "components", name, "inputDefinitions", "parameters", key)
                if (
                    "defaultValue" not in known[key]
                    and "taskFinalStatus" not in source
                    and "loop-item" not in f"{key}{source.get('componentInputParameter')}"
                ):
                    new = "BOOLEAN" if kind != "BOOLEAN" else "LIST"
                    yield Edit((((*at, "parameterType"), new),), (at, (*place, "inputs", "parameters", key)), (repr(key),))


_values(
    "pipeline's name",
    _at("pipelineInfo", "name"),
    [
        ("missing", GONE, "refused"),
        ("empty", "", "refused"),
        ("with capitals and a space", "My Pipeline", "refused"),
        ("of 129 characters", "a" * 129, "refused"),
        ("with an underscore", "my_pipeline", "refused"),
        ("of 114 characters", "a" * 114, "the job's id is too long", VERTEX),
        ("with a digit first", "1st", "the job's id starts with it", VERTEX),
        ("a number", 5, "of another type"),
    ],
)
_values(
    "schemaVersion",
    _at("schemaVersion"),
    [
        ("2.0.0", "2.0.0", "parameters are typed in another way"),
        ("missing", GONE, "unknown"),
        ("two", "two", "unknown"),
        ("2.1", "2.1", "the backend takes 2.1.0 alone", KUBEFLOW),
        ("a number", 2.1, "of another type"),
    ],
)


def rename_task(documents: list[Any], place: Place, name: str) -> Edit:
    """Return the edit that gives a task another name, in all that refers to it."""
    *graph, _, old = place
    changes: list[tuple[Place, Any]] = []
    for other, task in value_at(documents, (*graph, "tasks")).items():
        at = (*graph, "tasks", other)
        before = task.get("dependentTasks", [])
        changes += [((*at, "dependentTasks"), [name if each == old else each for each in before])] if old in before else []
        changes += [((*at, *where, "producerTask"), name) for where, producer in _reads(task) if producer == old]
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if source.get("taskFinalStatus", {}).get("producerTask") == old:
                changes.append(((*at, "inputs", "parameters", key, "taskFinalStatus", "producerTask"), name))
    for kind in ("parameters", "artifacts"):
        text = json.dumps(value_at(documents, (*graph, "outputs", kind)) or {})
        if f'"producerSubtask": "{old}"' in text:
            new = json.loads(text.replace(f'"producerSubtask": "{old}"', f'"producerSubtask": "{name}"'))
            changes.append(((*graph, "outputs", kind), new))
    return Edit((*changes, (place, Renamed(name))), ((*graph, "tasks", name),))


for _name, _new, _targets, _fault in [
    ("of 129 characters", "t" * 129, BOTH, "refused"),
    ("of 125 characters", "t" * 125, KUBEFLOW, "the backend adds -driver"),
    ("with an underscore", "my_task", KUBEFLOW, "Argo takes none"),
    ("with a space", "my task", KUBEFLOW, "Argo takes none"),
    ("with a dot", "my.task", KUBEFLOW, "Argo takes none"),
]:

    @mutation(f"task's name: {_name}", _fault, _targets)
    def _task_name(documents, new=_new):
        for place, _ in _tasks(documents):
            yield rename_task(documents, place, new)


_values("shown name", _below(_tasks, "taskInfo", "name"), [("of 129 characters", "s" * 129, "refused"), ("a list", ["a"], "of another type")])


def rename_component(documents: list[Any], name: str, new: str) -> Edit:
    """Return the edit that gives a component another name, in all that refers to it."""
    users = [(*place, "componentRef", "name") for place, task in _tasks(documents) if task["componentRef"]["name"] == name]
    # The users first: some stand inside the component itself.
    changes = [(place, new) for place in users]
    return Edit((*changes, ((0, "components", name), Renamed(new))), ((0, "components", new), *[each[:-2] for each in users]), (repr(new),))


for _name, _new, _targets, _fault in [
    ("of 129 characters", "c" * 129, BOTH, "refused"),
    ("root", "root", KUBEFLOW, "the backend keeps it for itself"),
]:

    @mutation(f"component's name: {_name}", _fault, _targets)
    def _component_name(documents, new=_new):
        for name in documents[0].get("components", {}):
            yield rename_component(documents, name, new)


for _name, _new in (("with a space", "my component"), ("with a dot", "my.component")):

    @mutation(f"graph's name: {_name}", "Argo takes none", KUBEFLOW)
    def _graph_name(documents, new=_new):
        for place, _ in _of(documents, "components", "*", "dag"):
            yield rename_component(documents, str(place[2]), new)


# -- references --------------------------------------------------------------------------------------------------------------------------------


@mutation("reference: to a component that is not there", "cannot be started")
def _component_reference(documents):
    for place, _ in _tasks(documents):
        yield Edit((((*place, "componentRef", "name"), "comp-nobody"),), (place,))


@mutation("reference: to an executor that is not there", "cannot be started")
def _executor_reference(documents):
    for place, _ in _of(documents, "components", "*", "executorLabel"):
        yield Edit(((place, "exec-nobody"),), (place,))


@mutation("component: missing", "cannot be started")
def _component_gone(documents):
    for place, _ in _of(documents, "components", "*"):
        users = [at for at, task in _tasks(documents) if task["componentRef"]["name"] == place[-1]]
        yield Edit(((place, GONE),), tuple(users))


@mutation("executor: missing", "cannot be started")
def _executor_gone(documents):
    for place, _ in _of(documents, "deploymentSpec", "executors", "*"):
        yield Edit(((place, GONE),), (place,), (repr(place[-1]),))


@mutation("executor: empty", "nothing to run")
def _executor_empty(documents):
    for place, _ in _of(documents, "deploymentSpec", "executors", "*"):
        yield Edit(((place, {}),), (place,))


@mutation("executor: a custom job", "Kubeflow runs containers and importers", KUBEFLOW)
def _custom_job(documents):
    for place, _ in _containers(documents):
        yield Edit(((place[:-1], {"customJob": {"customJob": {}}}),), (place[:-1],))


_MACHINE = {"machine_spec": {"machine_type": "n1-standard-4"}, "container_spec": {"image_uri": "registry.example/train:1"}}


def _pools(name: str, fault: str, pools: Any, *, harmless: bool = False) -> None:
    """Register the worker pools of a CustomJob, put into every component that runs a container."""

    @mutation(f"worker pools: {name}", fault, VERTEX, harmless=harmless)
    def edits(documents):
        for place, _ in _of(documents, "components", "*", "inputDefinitions", "parameters"):
            if value_at(documents, (*place[:-2], "executorLabel")):
                at = (*place, "worker_pool_specs")
                yield Edit(((at, {"parameterType": "LIST", "isOptional": True, "defaultValue": pools}),), (at,))


_pools("a chief and two workers", "nothing is", [_MACHINE | {"replica_count": 1}, _MACHINE | {"replica_count": 2}], harmless=True)
_pools("two chiefs", "Vertex AI has one", [_MACHINE | {"replica_count": 2}])
_pools("an empty second one", "Google's launcher leaves it out, and the third takes its place", [_MACHINE | {"replica_count": 1}, {}, _MACHINE])
_pools("a misspelled key", "the launcher fails", [_MACHINE | {"replica_cuont": 1}])
_pools("no machine", "a job cannot do without", [{"replica_count": 1, "container_spec": _MACHINE["container_spec"]}])
_pools("no image", "there is nothing to run", [{"replica_count": 1, "machine_spec": _MACHINE["machine_spec"]}])


@mutation("executor: without a command", "the launcher has nothing to start", KUBEFLOW)
def _no_command(documents):
    for place, _ in _containers(documents):
        yield Edit((((*place, "command"), GONE), ((*place, "args"), GONE)), (place,))


@mutation("component: neither executor nor graph", "nothing to run")
def _component_empty(documents):
    for place, _ in _of(documents, "components", "*", "executorLabel"):
        yield Edit(((place, GONE),), (place[:-1],))


@mutation("component: both an executor and a graph", "one of them is meant")
def _component_both(documents):
    label = next(iter(documents[0].get("deploymentSpec", {}).get("executors", {})), None)
    for place, _ in _of(documents, "components", "*", "dag"):
        yield Edit((((*place[:-1], "executorLabel"), label),), (place[:-1],))


@mutation("component: that no task uses", "its task is missing")
def _component_unused(documents):
    for component in documents[0].get("components", {}).values():
        yield Edit((((0, "components", "comp-left-over"), component),), ((0, "components", "comp-left-over"),))
        return


@mutation("component: contains itself", "no end")
def _component_cycle(documents):
    for place, graph in _of(documents, "components", "*", "dag"):
        for name in graph["tasks"]:
            yield Edit((((*place, "tasks", name, "componentRef", "name"), place[2]),), (place[:-1],))


@mutation("component: two contain each other", "no end")
def _component_circle(documents):
    made = {
        name: {"dag": {"tasks": {"again": {"componentRef": {"name": other}, "taskInfo": {"name": "again"}}}}}
        for name, other in [("a", "b"), ("b", "a")]
    }
    task = {"componentRef": {"name": "a"}, "taskInfo": {"name": "circle"}}
    changes = [((0, "components", name), component) for name, component in made.items()]
    yield Edit((*changes, ((0, "root", "dag", "tasks", "circle"), task)), tuple(place for place, _ in changes))


@mutation("task: missing, and others need it", "cannot be waited for")
def _task_gone(documents):
    for place, _ in _tasks(documents):
        near = _readers(documents, place)
        if len(near) > 2:
            yield Edit(((place, GONE),), tuple(near), (repr(place[-1]),))


@mutation("task: waits for one that is not there", "cannot be waited for")
def _waits_for_nobody(documents):
    for place, task in _tasks(documents):
        yield Edit((((*place, "dependentTasks"), [*task.get("dependentTasks", []), "nobody"]),), ((*place, "dependentTasks"),))


@mutation("task: waits for itself", "never starts")
def _waits_for_itself(documents):
    for place, task in _tasks(documents):
        yield Edit((((*place, "dependentTasks"), [*task.get("dependentTasks", []), place[-1]]),), (place,), (str(place[-1]),))


@mutation("task: waits for one that waits for it", "never starts")
def _waits_in_a_circle(documents):
    for place, task in _tasks(documents):
        for before in task.get("dependentTasks", []):
            at = (*place[:-1], before)
            first = value_at(documents, at)
            yield Edit((((*at, "dependentTasks"), [*first.get("dependentTasks", []), place[-1]]),), (at, place), (str(place[-1]),))


@mutation("task: does not wait for what it reads", "starts too early where nobody adds it")
def _no_dependency(documents):
    for place, task in _tasks(documents):
        for where, producer in _reads(task):
            left = [each for each in task.get("dependentTasks", []) if each != producer]
            yield Edit((((*place, "dependentTasks"), left),), ((*place, *where), place))


@mutation("task: does not wait for one that it reads nothing from", "another order, and nothing else", harmless=True)
def _no_after(documents):
    for place, task in _tasks(documents):
        read = {producer for _, producer in _reads(task)}
        for before in task.get("dependentTasks", []):
            if before not in read and "strategy" not in task.get("triggerPolicy", {}):
                left = [each for each in task["dependentTasks"] if each != before]
                yield Edit((((*place, "dependentTasks"), left),), (place,))


for _name, _kind in (("producerTask", 0), ("key", 1)):

    @mutation(f"input: from a {['task', 'n output'][_kind].replace('a n', 'an')} that is not there", "cannot be read")
    def _producer(documents, kind=_kind):
        for place, task in _tasks(documents):
            for where, _ in _reads(task):
                key = "producerTask" if kind == 0 else "outputParameterKey" if where[1] == "parameters" else "outputArtifactKey"
                yield Edit((((*place, *where, key), "nobody"),), ((*place, *where),))


@mutation("input: from an input of the graph that is not there", "cannot be read")
def _graph_input(documents):
    for place, task in _tasks(documents):
        for kind, member in (("parameters", "componentInputParameter"), ("artifacts", "componentInputArtifact")):
            for key, source in task.get("inputs", {}).get(kind, {}).items():
                if member in source:
                    yield Edit((((*place, "inputs", kind, key, member), "nobody"),), ((*place, "inputs", kind, key),))


@mutation("input: of the graph missing, and tasks need it", "cannot be read")
def _graph_input_gone(documents):
    for place, graph in _graphs(documents):
        for kind, member in (("parameters", "componentInputParameter"), ("artifacts", "componentInputArtifact")):
            for key in value_at(documents, (*place[:-1], "inputDefinitions", kind)) or {}:
                users = [
                    (*place, "tasks", name, "inputs", kind, each)
                    for name, task in graph["tasks"].items()
                    for each, source in task.get("inputs", {}).get(kind, {}).items()
                    if source.get(member) == key
                ]
                if users:
                    yield Edit((((*place[:-1], "inputDefinitions", kind, key), GONE),), tuple(users))


@mutation("input: required and not given", "cannot be started")
def _input_gone(documents):
    for place, task in _tasks(documents):
        for kind in ("parameters", "artifacts"):
            known = _component(documents, task).get("inputDefinitions", {}).get(kind, {})
            for key in task.get("inputs", {}).get(kind, {}):
                if key in known and not known[key].get("isOptional") and "defaultValue" not in known[key]:
                    yield Edit((((*place, "inputs", kind, key), GONE),), (place,), (repr(key),))


@mutation("input: given under another name", "the component does not have it")
def _input_misspelled(documents):
    for place, task in _tasks(documents):
        for kind in ("parameters", "artifacts"):
            known = _component(documents, task).get("inputDefinitions", {}).get(kind, {})
            for key in task.get("inputs", {}).get(kind, {}):
                if key in known and not key.startswith("pipelinechannel--"):
                    yield Edit((((*place, "inputs", kind, key), Renamed(f"{key}s")),), ((*place, "inputs", kind),), (repr(key),))


@mutation("input: from nowhere", "there is no value")
def _input_empty(documents):
    for place, task in _tasks(documents):
        for kind in ("parameters", "artifacts"):
            for key in task.get("inputs", {}).get(kind, {}):
                yield Edit((((*place, "inputs", kind, key), {}),), ((*place, "inputs", kind, key),))


@mutation("input: from two places", "one is meant")
def _input_twice(documents):
    for place, task in _tasks(documents):
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            extra = "componentInputParameter" if "runtimeValue" in source else "runtimeValue"
            value = "text" if extra == "componentInputParameter" else {"constant": "a"}
            yield Edit((((*place, "inputs", "parameters", key, extra), value),), ((*place, "inputs", "parameters", key),))


@mutation("output: from a task that is not there", "nothing to hand out")
def _output_task(documents):
    for place, graph in _graphs(documents):
        for at, text in _selectors(place, graph):
            yield Edit((((*at, "producerSubtask"), "nobody"),), (at[: len(place) + 3],))
            assert text


@mutation("output: that the task does not have", "nothing to hand out")
def _output_key(documents):
    for place, graph in _graphs(documents):
        for at, selector in _selectors(place, graph):
            key = "outputParameterKey" if "outputParameterKey" in selector else "outputArtifactKey"
            yield Edit((((*at, key), "nobody"),), (at[: len(place) + 3],))


@mutation("output: that the graph does not define", "nothing to hand out")
def _output_undefined(documents):
    for place, graph in _graphs(documents):
        for kind, outputs in graph.get("outputs", {}).items():
            for name in outputs:
                at = (*place[:-1], "outputDefinitions", kind, name)
                if value_at(documents, at) is not None:
                    yield Edit(((at, GONE),), ((*place, "outputs", kind, name),))


def _selectors(place: Place, graph: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    waiting: list[tuple[Place, Any]] = [((*place, "outputs"), graph.get("outputs", {}))]
    while waiting:
        at, value = waiting.pop()
        if isinstance(value, dict) and "producerSubtask" in value:
            yield at, value
        elif isinstance(value, dict | list):
            waiting += [((*at, key), each) for key, each in (value.items() if isinstance(value, dict) else enumerate(value))]


# -- artifacts, importers ----------------------------------------------------------------------------------------------------------------------


@mutation("artifact: of another type than is wanted", "the program gets what it was not written for")
def _artifact_type(documents):
    for place, task in _tasks(documents):
        component = _component(documents, task)
        for key in task.get("inputs", {}).get("artifacts", {}):
            at = (0, "components", task["componentRef"]["name"], "inputDefinitions", "artifacts", key, "artifactType")
            title = value_at(documents, (*at, "schemaTitle"))
            source = task["inputs"]["artifacts"][key]
            if title and title != "system.Artifact" and component and _title(documents, place, source) not in (None, "system.Artifact"):
                yield Edit((((*at, "schemaTitle"), "system.HTML"),), (at, (*place, "inputs", "artifacts", key)), (repr(key),))


def _title(documents, place, source):
    """Return the type of what a task is given."""
    if "taskOutputArtifact" in source:
        producer = value_at(documents, (*place[:-1], source["taskOutputArtifact"]["producerTask"]))
        where = (
            0,
            "components",
            producer["componentRef"]["name"],
            "outputDefinitions",
            "artifacts",
            source["taskOutputArtifact"]["outputArtifactKey"],
        )
    else:
        where = (*place[:-3], "inputDefinitions", "artifacts", source.get("componentInputArtifact"))
    return value_at(documents, (*where, "artifactType", "schemaTitle"))


@mutation("artifact: a list where one is wanted", "the program gets what it was not written for")
def _artifact_list(documents):
    for place, task in _tasks(documents):
        for key in task.get("inputs", {}).get("artifacts", {}):
            at = (0, "components", task["componentRef"]["name"], "inputDefinitions", "artifacts", key)
            if value_at(documents, at) is not None and _title(documents, place, task["inputs"]["artifacts"][key]):
                new = GONE if value_at(documents, (*at, "isArtifactList")) else True
                yield Edit((((*at, "isArtifactList"), new),), (at, (*place, "inputs", "artifacts", key)), (repr(key),))


@mutation("artifact: of a type that does not exist", "the program gets a plain Artifact")
def _artifact_unknown(documents):
    for start in (("root",), ("components", "*")):
        for kind in ("inputDefinitions", "outputDefinitions"):
            for place, title in _of(documents, *start, kind, "artifacts", "*", "artifactType", "schemaTitle"):
                if title.startswith("system."):
                    yield Edit(((place, f"{title}s"),), (place[:-2],), (repr(place[-3]),))


@mutation("artifact: without a type", "the backend refuses it")
def _artifact_untyped(documents):
    for start in (("root",), ("components", "*")):
        for kind in ("inputDefinitions", "outputDefinitions"):
            for place, _ in _of(documents, *start, kind, "artifacts", "*", "artifactType"):
                yield Edit(((place, GONE),), (place[:-1],))


@mutation("importer: with a display name", "cannot find producer task", KUBEFLOW)
def _importer_shown(documents):
    for place, *_ in _importers(documents):
        yield Edit((((*place, "taskInfo", "name"), "the raw tables"),), (place,))


@mutation("importer: without taskInfo", "cannot find producer task", KUBEFLOW)
def _importer_untold(documents):
    for place, *_ in _importers(documents):
        yield Edit((((*place, "taskInfo"), GONE),), (place,))


@mutation("importer: without a URI", "nothing to import")
def _importer_no_uri(documents):
    for _, _, at, _ in _importers(documents):
        yield Edit((((*at, "artifactUri"), GONE),), (at,))


@mutation("importer: of an empty URI", "nothing to import", KUBEFLOW)
def _importer_empty_uri(documents):
    for place, _, at, _ in _importers(documents):
        yield Edit((((*at, "artifactUri"), {"constant": ""}),), (at, place))


@mutation("importer: of a URI without a scheme", "nobody knows which store")
def _importer_no_scheme(documents):
    for _, _, at, _ in _importers(documents):
        yield Edit((((*at, "artifactUri"), {"constant": "bucket/flights"}),), (at,))


@mutation("importer: of a URI that is no input", "nothing to import")
def _importer_no_input(documents):
    for _, _, at, _ in _importers(documents):
        yield Edit((((*at, "artifactUri"), {"runtimeParameter": "nobody"}),), (at,))


@mutation("importer: of another store than Cloud Storage", "Vertex AI reads none", VERTEX)
def _importer_s3(documents):
    for _, _, at, _ in _importers(documents):
        yield Edit((((*at, "artifactUri"), {"constant": "s3://bucket/flights"}),), (at,))


@mutation("importer: of no type", "the backend refuses it")
def _importer_untyped(documents):
    for _, _, at, _ in _importers(documents):
        yield Edit((((*at, "typeSchema"), GONE),), (at,))


@mutation("importer: without an output", "nothing to hand out")
def _importer_no_output(documents):
    for place, task, *_ in _importers(documents):
        at = (0, "components", task["componentRef"]["name"])
        yield Edit(
            (((*at, "outputDefinitions", "artifacts", "second"), {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}),),
            (at, place),
        )


@mutation("importer: of what a task made", "the backend looks among the graph's inputs", KUBEFLOW)
def _importer_from_task(documents):
    for place, _, _, importer in _importers(documents):
        key = importer["artifactUri"].get("runtimeParameter")
        if key:
            at = (*place, "inputs", "parameters", key)
            yield Edit(((at, {"runtimeValue": {"constant": "gs://bucket"}}),), (at,))


@mutation("importer: with a condition", "the backend refuses it", KUBEFLOW)
def _importer_condition(documents):
    for place, *_ in _importers(documents):
        yield Edit((((*place, "triggerPolicy"), {"condition": "true"}),), (place,))


@mutation("importer: into a workspace", "Vertex AI has none", VERTEX)
def _importer_workspace(documents):
    for _, _, at, _ in _importers(documents):
        yield Edit((((*at, "downloadToWorkspace"), True),), (at,))


# -- flow --------------------------------------------------------------------------------------------------------------------------------------


def _conditions(documents: list[Any]) -> Iterator[Place]:
    for place, task in _tasks(documents):
        if "condition" in task.get("triggerPolicy", {}):
            yield (*place, "triggerPolicy", "condition")


_values(
    "condition",
    _conditions,
    [
        ("without its last character", lambda old: old[:-1] if old[-1] in "')]" else f"{old} =", "cannot be read"),
        ("without a bracket", lambda old: old.replace("]", "", 1), "cannot be read"),
        ("without a quote", lambda old: old.replace("'", "", 1), "cannot be read"),
        ("with one equals sign", lambda old: old.replace("==", "=").replace(" > ", " = "), "cannot be read"),
        ("with Python's and", lambda old: f"{old} and true", "cannot be read"),
        ("that ends in an operator", lambda old: f"{old} &&", "cannot be read"),
        ("about an input that is not there", lambda old: "inputs.parameter_values['nobody'] == 'a'", "there is no value"),
        ("about another thing than inputs", lambda old: old.replace("inputs.", "input."), "there is no such thing"),
        ("about no field of inputs", lambda old: old.replace("parameter_values", "parameter_value"), "there is no such thing"),
        ("with an unknown function", lambda old: f"lowercase({old})", "there is no such function"),
        ("a number", 5, "of another type"),
    ],
)
_values(
    "loop",
    _below(_tasks, "parameterIterator", "items", "raw"),
    [
        ("over a broken list", "[1, 2", "no list"),
        ("over a mapping", '{"a": 1}', "no list"),
        ("over a list in the file's own form", [1, 2], "of another type"),
    ],
)
_values(
    "loop", _below(_tasks, "parameterIterator", "items", "inputParameter"), [("over an input that is not there", "nobody", "nothing to loop over")]
)
_values("loop", _below(_tasks, "parameterIterator", "itemInput"), [("into an input that is not there", "nobody", "nobody takes the items")])


@mutation("loop: over artifacts", "the backend loops over parameters alone", KUBEFLOW)
def _artifact_loop(documents):
    for place, task in _tasks(documents):
        for key in task.get("inputs", {}).get("artifacts", {}):
            new = {"itemInput": key, "items": {"inputArtifact": key}}
            yield Edit((((*place, "artifactIterator"), new),), (place,))


def _ends(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    for place, task in _tasks(documents):
        if "strategy" in task.get("triggerPolicy", {}):
            yield place, task


@mutation("exit task: runs only after success", "it asks how a task ended")
def _exit_strategy(documents):
    for place, _ in _ends(documents):
        yield Edit((((*place, "triggerPolicy"), GONE),), (place,))


@mutation("exit task: after nothing", "it never runs")
def _exit_after_nothing(documents):
    for place, _ in _ends(documents):
        yield Edit((((*place, "dependentTasks"), GONE),), (place,))


@mutation("exit task: that another waits for", "there is no such task for Argo")
def _exit_awaited(documents):
    for place, _ in _ends(documents):
        for other, task in value_at(documents, place[:-1]).items():
            if other != place[-1] and other not in value_at(documents, (*place, "dependentTasks")):
                at = (*place[:-1], other, "dependentTasks")
                yield Edit(((at, [*task.get("dependentTasks", []), place[-1]]),), (at,))


@mutation("exit task: of a task that is not there", "it asks how a task ended")
def _exit_of_nobody(documents):
    for place, task in _ends(documents):
        for key, source in task["inputs"]["parameters"].items():
            if "taskFinalStatus" in source:
                at = (*place, "inputs", "parameters", key, "taskFinalStatus", "producerTask")
                yield Edit(((at, "nobody"),), (at,))


@mutation("exit task: alone", "it would run after nothing")
def _exit_alone(documents):
    for place, task in _ends(documents):
        yield Edit(((place[:-1], {place[-1]: {key: value for key, value in task.items() if key != "inputs"}}),), (place[:-1],))


@mutation("caching: in a branch of a OneOf", "the run fails", KUBEFLOW)
def _cached_branch(documents):
    for place, graph in _graphs(documents):
        for kind in ("artifacts", "parameters"):
            for name, output in graph.get("outputs", {}).get(kind, {}).items():
                several = output.get("artifactSelectors") or output.get("valueFromOneof", {}).get("parameterSelectors") or []
                for selector in several if len(several) > 1 else ():
                    component = graph["tasks"][selector["producerSubtask"]]["componentRef"]["name"]
                    for task in value_at(documents, (0, "components", component, "dag", "tasks")):
                        at = (0, "components", component, "dag", "tasks", task, "cachingOptions", "enableCache")
                        yield Edit(((at, True),), ((*place, "outputs", kind, name),))


@mutation("caching: by a key", "Vertex AI has none", VERTEX)
def _cache_key(documents):
    for place, _ in _tasks(documents):
        yield Edit((((*place, "cachingOptions"), {"enableCache": True, "cacheKey": "k"}),), (place,))


_values(
    "root",
    _at("root"),
    [("missing", GONE, "nothing to run"), ("empty", {}, "nothing to run"), ("without tasks", {"dag": {"tasks": {}}}, "nothing to run")],
)


@mutation("root: without tasks, and nothing else in the file", "nothing to run")
def _root_alone(documents):
    yield Edit((((0, "components"), GONE), ((0, "deploymentSpec"), GONE), ((0, "root"), {"dag": {"tasks": {}}})), ((0, "root"),))


_values(
    "artifacts' root",
    lambda documents: iter([(0, "defaultPipelineRoot")]),
    [("not in Cloud Storage", "s3://bucket/root", "Vertex AI takes none")],
    VERTEX,
)


@mutation("parameter: a TASK_CONFIG", "Vertex AI has none", VERTEX)
def _task_config(documents):
    for place, _ in _of(documents, "components", "*", "executorLabel"):
        at = (*place[:-1], "inputDefinitions", "parameters", "config")
        yield Edit(((at, {"parameterType": "TASK_CONFIG", "isOptional": True}),), (at,))


@mutation("parameter: a Literal", "Vertex AI has none", VERTEX)
def _literals(documents):
    for place, definition in _of(documents, "components", "*", "inputDefinitions", "parameters", "*"):
        if definition.get("parameterType") == "STRING" and "defaultValue" not in definition:
            yield Edit((((*place, "literals"), ["a", "b"]),), (place,))


def _commands(documents: list[Any]) -> Iterator[Place]:
    for place, container in _containers(documents):
        for member in ("command", "args"):
            for index, text in enumerate(container.get(member, [])):
                if text.startswith("{{$."):
                    yield (*place, member, index)


_values(
    "placeholder",
    _commands,
    [
        ("not closed", lambda old: old[:-2], "reaches the program as it is written"),
        ("with one brace", lambda old: old[1:], "reaches the program as it is written"),
        ("with one brace at its end", lambda old: old[:-1], "reaches the program as it is written"),
        ("without quotes", lambda old: old.replace("'", ""), "reaches the program as it is written"),
        ("of an unknown kind", lambda old: old.replace("puts.", "put."), "reaches the program as it is written"),
        ("of no input or output", lambda old: old.replace("['", "['x"), "reaches the program as it is written"),
        ("of an unknown member", lambda old: old.replace("']", "'].size"), "reaches the program as it is written"),
    ],
)


def _programs(documents: list[Any]) -> Iterator[Place]:
    for place, container in _containers(documents):
        for index, _ in enumerate(container.get("command", [])):
            yield (*place, "command", index)


_values(
    "command",
    _programs,
    [
        ("of 200 KB", lambda old: old + "#" * 200_000, "Linux starts no program with it"),
        ("with a token", lambda old: f"{old} ghp_" + "a1B2" * 9, "a secret in the file"),
        ("a number", 5, "of another type"),
    ],
)


@mutation("file: of two megabytes", "etcd takes none", KUBEFLOW)
def _huge(documents):
    for place, _ in _of(documents, "components", "*"):
        yield Edit(
            (((*place, "inputDefinitions", "parameters", "note"), {"parameterType": "STRING", "isOptional": True, "description": "x" * 2_000_000}),),
            (place,),
        )
        return


@mutation("key: written twice", "one of them is lost, or the file is refused")
def _twice(documents):
    waiting: list[tuple[Place, Any]] = [((0,), documents[0])]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            for key, each in value.items():
                yield Edit((((*place, f"{key}{_TWICE}"), each),), ((*place, key),))
                waiting.append(((*place, key), each))


# -- the platform's document, and the job ------------------------------------------------------------------------------------------------------

_EXECUTORS = ("platforms", "kubernetes", "deploymentSpec", "executors")


def _options(*path: str) -> Callable[[list[Any]], Iterator[Place]]:
    def places(documents: list[Any]) -> Iterator[Place]:
        if len(documents) > 1:
            for place, _ in _of([documents[1]], *_EXECUTORS, "*", *path):
                yield (1, *place[1:])

    return places


for _option, _path, _rows in [
    ("pull policy", ("imagePullPolicy",), [("unknown", "Sometimes")]),
    ("toleration", ("tolerations", "*", "operator"), [("with an unknown operator", "Like")]),
    ("toleration", ("tolerations", "*", "effect"), [("with an unknown effect", "NoPods")]),
    ("volume", ("pvcMount", "*", "mountPath"), [("without a path", GONE), ("with a colon in its path", "C:\\data")]),
    ("secret", ("secretAsVolume", "*", "mountPath"), [("without a path", GONE)]),
    ("secret", ("secretAsEnv", "*", "keyToEnv", "*", "secretKey"), [("without a key", GONE)]),
    ("secret", ("secretAsEnv", "*", "keyToEnv", "*", "envVar"), [("as a variable that is refused", "A=B"), ("as no variable", GONE)]),
    ("map", ("configMapAsEnv", "*", "keyToEnv", "*", "envVar"), [("as a variable that a shell cannot read", "log level")]),
    ("map", ("configMapAsEnv", "*", "keyToEnv", "*", "configMapKey"), [("without a key", GONE)]),
    ("map", ("configMapAsVolume", "*", "mountPath"), [("without a path", GONE)]),
    ("field", ("fieldPathAsEnv", "*", "name"), [("as a variable that is there", "EPOCHS")]),
    ("deadline", ("activeDeadlineSeconds",), [("below zero", "-1"), ("zero", "0"), ("a word", "soon")]),
    ("node selector", ("nodeSelector", "labels", "pool"), [("that is no label", "my pool"), ("of 70 characters", "p" * 70)]),
    ("pod label", ("podMetadata", "labels", "team"), [("that is no label", "a/b")]),
    ("option", ("nodeSelector",), [("of another type", "training")]),
]:
    _values(_option, _options(*_path), [(name, value, "Kubernetes does not take it") for name, value in _rows], KUBEFLOW)


@mutation("secret: without a name", "nothing to mount", KUBEFLOW)
def _secret_nameless(documents):
    for kind in ("secretAsVolume", "secretAsEnv"):
        for place in _options(kind, "*")(documents):
            yield Edit((((*place, "secretName"), GONE), ((*place, "secretNameParameter"), GONE)), (place,))


@mutation("options: that do not exist", "lost", KUBEFLOW)
def _option_unknown(documents):
    for place in _options()(documents):
        yield Edit((((*place, "secretsAsEnv"), []),), (place,))


@mutation("options: for an executor that is not there", "lost", KUBEFLOW)
def _option_nobody(documents):
    for place in _options()(documents):
        yield Edit(((place, Renamed("exec-nobody")),), ((*place[:-1], "exec-nobody"),))


@mutation("options: of another platform", "lost", KUBEFLOW)
def _option_platform(documents):
    if len(documents) > 1:
        yield Edit((((1, "platforms", "kubernetes"), Renamed("kuberntes")),), ((1,), (1, "platforms")), ("platforms.kubernetes",))
        yield Edit((((1, "platforms"), Renamed("platform")),), ((1,),), ("platforms.kubernetes", "platform"))


@mutation("document: one too many", "refused", KUBEFLOW)
def _document_extra(documents):
    if len(documents) > 1:
        yield Edit((((2,), {"a": 1}),), ((2,),), ("documents",))


@mutation("document: of Kubernetes", "Google's client reads one", VERTEX)
def _document_second(documents):
    yield Edit((((len(documents),), {"platforms": {"kubernetes": {}}}),), ((1,),), ("second document",))


@mutation("job: around the specification", "the backend takes it bare", KUBEFLOW)
def _job(documents):
    if "root" in documents[0]:
        keys = list(documents[0])
        changes = [((0, key), GONE) for key in keys]
        yield Edit((((0, "pipelineSpec"), documents[0]), ((0, "runtimeConfig"), {}), *changes), ((0,),), ("PipelineJob",))


def _of_job(documents: list[Any]) -> Iterator[tuple[Place, Any]]:
    if _in_job(documents):
        yield (0,), documents[0]


_values(
    "job",
    _below(_of_job, "runtimeConfig"),
    [("without runtimeConfig", GONE, "the client reads it"), ("with an empty one", None, "the client reads it")],
    VERTEX,
)
_values("job", _below(_of_job, "runtimeConfig", "gcsOutputDirectory"), [("with another root", "/tmp/root", "not in Cloud Storage")], VERTEX)
_values(
    "job",
    _below(_of_job, "runtimeConfig", "parameterValues", "nobody", present=False),
    [("with an unknown parameter", "a", "the client refuses it")],
    VERTEX,
)
_values("job", _below(_of_job, "labels", present=False), [("with labels", {"team": "ml"}, "the client drops them")], VERTEX)


# -- any key, any place ------------------------------------------------------------------------------------------------------------------------

#: What is data, or a program: nothing below is the specification's.
_OPAQUE = {"defaultValue", "constant", "metadata", "raw", "literals", "command", "args"}
#: Keys below these are names that the pipeline's author chose.
_NAMED = {"components", "tasks", "executors", "parameters", "artifacts", "labels", "parameterValues"}


def places_of(value: Any, place: Place = (0,)) -> Iterator[tuple[Place, Any]]:
    """Yield (place, value) of everything in a specification that is not data or a program."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in children:
        yield (*place, key), each
        if key not in _OPAQUE:
            yield from places_of(each, (*place, key))


def kind_of(place: Place) -> str:
    """Return a place without the names that the author chose: `root.dag.tasks.*.taskInfo`."""
    return ".".join("*" if isinstance(part, int) or before in _NAMED else str(part) for before, part in pairwise(place))


def _generic(documents: list[Any], change: Callable[[Place, Any], tuple[tuple[Place, Any], ...] | None]) -> Iterator[Edit]:
    if _in_job(documents):
        return
    for number, document in enumerate(documents[:2]):
        for place, value in places_of(document, (number,)):
            changes = change(place, value)
            if changes:
                users = _users(documents, place)
                words = [repr(each) for each in (place[-1], f"{place[-1]}x", value) if isinstance(each, str) and each]
                yield Edit(changes, (place, place[:-1], *users), ("platforms.kubernetes", *words))


def _users(documents: list[Any], place: Place) -> list[Place]:
    """Return what uses the component or executor that a place is in, or everything: what is missing there is found where it is needed."""
    if "tasks" in place[:-2]:
        return [place[: place.index("tasks") + 2]]
    if place[:2] == (0, "components") and len(place) > 2:
        return [at[:-2] for at, task in _tasks(documents) if task["componentRef"]["name"] == place[2]] + [(0, "components", place[2])]
    if place[:2] == (0, "deploymentSpec") and len(place) > 3:
        label = place[3]
        users = [at for at, each in _of(documents, "components", "*") if each.get("executorLabel") == label]
        return [(0, "deploymentSpec", "executors", label), *users]
    return [(0, "components"), (0, "root")] if len(place) < 4 or place[1] == "root" else []


def _wrong(value: Any) -> Any:
    return 5 if isinstance(value, str) else "x"


def _misspelled(place: Place, value: Any) -> tuple[tuple[Place, Any], ...] | None:
    return ((place, Renamed(f"{place[-1]}x")),) if isinstance(place[-1], str) and value is not None else None


GENERIC = [
    Mutation("any: missing", "a key that is missing", BOTH, lambda documents: _generic(documents, lambda place, _: ((place, GONE),))),
    Mutation("any: misspelled", "a key with another name", BOTH, lambda documents: _generic(documents, _misspelled)),
    Mutation(
        "any: of another type", "a value of another type", BOTH, lambda documents: _generic(documents, lambda place, value: ((place, _wrong(value)),))
    ),
    Mutation(
        "any: empty",
        "an empty value",
        BOTH,
        lambda documents: _generic(
            documents, lambda place, value: ((place, type(value)()),) if isinstance(value, str | list | dict) and value else None
        ),
    ),
]


#: (which of them, where, why): what may go without a finding, as the file stays valid.
_OPTIONS = r"platforms\.kubernetes\.deploymentSpec\.executors"
HARMLESS = [
    ("missing|empty", r"(.*\.)?description|sdkVersion", "it is for people"),
    ("missing|empty", r".*(artifactType|typeSchema)\.schemaVersion", "there is one version of each type"),
    ("missing|empty", r".*\.cachingOptions(\.enableCache)?", "the task is not cached"),
    ("missing|empty", r".*\.(iteratorPolicy|retryPolicy)(\..*)?", "the platform's own number holds"),
    ("missing|empty", r".*\.taskInfo(\.name)?", "the task is shown under its own name"),
    ("missing|empty", r".*\.triggerPolicy(\.(condition|strategy))?", "the task always runs: another pipeline, and a valid one"),
    ("missing|empty", r".*\.dependentTasks(\.\*)?", "another order, unless it reads from them, which is found"),
    (
        "missing|empty",
        r".*Definitions\.(parameters|artifacts)\.\*\.(\*|isOptional|literals|isArtifactList|defaultValue)",
        "another contract, and a valid one",
    ),
    ("missing|empty", r".*\.(runtimeValue\.constant)", "an empty value is a value"),
    (
        "missing|misspelled|empty",
        r"(root|components\.\*)\.(in|out)putDefinitions(\.(parameters|artifacts)(\.\*)?)?",
        "nothing passes it on: a condition alone reads it, or nobody",
    ),
    ("missing|empty", r"(root|components\.\*)\.dag\.outputs\..*\.artifactSelectors\.\*", "one of several branches, or of a list, is left out"),
    ("missing|misspelled", r"(root|components\.\*)\.dag\.tasks\.\*", "nothing needs the task, or calls it by its name"),
    (
        "missing|empty",
        r".*\.container\.(command|args|env(\..*)?|resources(\..*)?)",
        "the program's own; of two spellings of a limit the other says it",
    ),
    ("of another type", r".*\.accelerator\.count|.*\.(activeDeadlineSeconds|parallelismLimit|maxRetryCount)", "5 is a count too"),
    ("of another type", r".*\.runtimeValue\.constant", "text may be what an untyped input takes"),
    (
        "missing|empty",
        r".*\.dag\.tasks\.\*\.inputs(\.(parameters|artifacts)(\.\*)?)?",
        "optional ones have a default; the required are in the catalogue",
    ),
    ("missing|empty", r".*\.importer\.(metadata|reimport)", "nothing is noted"),
    ("missing|empty", r"platforms(\.kubernetes(\.deploymentSpec(\.executors(\.\*)?)?)?)?", "no options"),
    ("missing|misspelled|empty", rf"{_OPTIONS}\.\*\.[A-Za-z]+(\.\*|\.labels(\.\*)?)?", "the option is not set"),
    (
        "missing|empty",
        rf"{_OPTIONS}\..*\.(optional|keyToEnv(\.\*)?|[a-z]+[A-Za-z]*Name|constant)",
        "not optional, nothing of it, or the parameter beside it names it",
    ),
    ("missing|empty", rf"{_OPTIONS}\..*NameParameter", "the name beside it says it"),
    ("missing|empty", rf"{_OPTIONS}\.\*\.tolerations\.\*\.(key|operator|effect)", "every key or effect, and Equal"),
]


def is_harmless(mutant: Mutant) -> bool:
    """Whether a generic mutation may pass where it is."""
    name, kind = mutant.mutation.name.removeprefix("any: "), kind_of(mutant.edit.changes[0][0])
    return any(re.fullmatch(names, name) and re.fullmatch(kinds, kind) for names, kinds, _ in HARMLESS)


def mutants(mutations: list[Mutation], draw: random.Random | None = None, most: int = 0) -> Iterator[Mutant]:
    """Yield the mutants of mutations: all, or `most` a mutation and subject, drawn by `draw`."""
    for each in mutations:
        for subject, (documents, _) in SUBJECTS.items():
            edits = _edits(each, subject, documents)
            if draw is not None and len(edits) > most:
                edits = draw.sample(edits, most)
            for edit in edits:
                yield Mutant(each, subject, edit)


def drawn(mutations: list[Mutation], draw: random.Random, number: int = 1, subjects: Iterable[str] = SUBJECTS) -> Iterator[tuple[Mutant, str]]:
    """Yield (mutant, target): of each mutation and platform some, in a drawn subject at drawn places."""
    for each in mutations:
        for target in each.targets:
            possible = [name for name in subjects if target in SUBJECTS[name][1]]
            for subject in draw.sample(possible, len(possible)):
                if edits := _edits(each, subject, SUBJECTS[subject][0]):
                    for edit in draw.sample(edits, min(number, len(edits))):
                        yield Mutant(each, subject, edit), target
                    break


def _edits(mutation: Mutation, subject: str, documents: list[Any]) -> list[Edit]:
    if (_in_job(documents) and not mutation.name.startswith("job")) or subject not in (mutation.subjects or SUBJECTS):
        return []
    return list(mutation.edits(documents))


def targets_of(mutant: Mutant) -> list[str]:
    """Return the platforms on which a mutant is to be judged."""
    return [each for each in mutant.mutation.targets if each in SUBJECTS[mutant.subject][1]]


def main(arguments: list[str]) -> None:
    """Print how many mutations and mutants are found, and those that are not."""
    found, missed, finders = Counter(), defaultdict(list), defaultdict(Counter)
    generic = "--generic" in arguments
    for mutant in mutants(GENERIC if generic else MUTATIONS, random.Random(0), 10**9 if "--all" in arguments else 4):
        if mutant.mutation.harmless:
            continue
        for target in targets_of(mutant):
            rules = mutant.finders(target)
            kind = f"{mutant.mutation.name} {kind_of(mutant.edit.changes[0][0])}" if generic else mutant.mutation.name
            found[kind, bool(rules)] += 1
            finders[kind].update(rules)
            if not rules:
                missed[kind].append((mutant, target))
    kinds = {kind for kind, _ in found}
    whole = [kind for kind in kinds if not found[kind, False]]
    hits = sum(number for (_, hit), number in found.items() if hit)
    print(f"{len(whole)} of {len(kinds)} mutations are found wherever they are put; {hits} of {found.total()} mutants")
    for kind in sorted(missed):
        mutant, target = missed[kind][0]
        shown = [(each.rule, each.where, each.what[:80]) for each in mutant.findings(target)][:2] if "--why" in arguments else ""
        print(f"  {found[kind, False]}/{found[kind, False] + found[kind, True]} missed: {kind}: {mutant} on {target} {shown}")


if __name__ == "__main__":
    main(sys.argv[1:])
