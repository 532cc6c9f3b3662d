"""A compiled file as the rules see it: its values, and the line of each."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intermodal.runtime import safe_yaml
from intermodal.runtime.safe_yaml import UnreadableYamlError, line_of, parse_documents

#: Keys and indices from the document's root; the first says which document.
Place = tuple[str | int, ...]
#: Of a PipelineJob itself, not of the specification in it.
_OF_A_JOB = tuple((key,) for key in ("runtimeConfig", "labels", "serviceAccount", "network", "encryptionSpec"))


class UnreadableError(Exception):
    """The file is neither a compiled pipeline nor a component."""


@dataclass(frozen=True)
class Graph:
    """A task graph.

    Attributes:
        place: Where it is.
        tasks: By name.
        inputs: The enclosing component's `inputDefinitions`.
        outputs: The graph's own `outputs`.
        defined: The enclosing component's `outputDefinitions`.
    """

    place: Place
    tasks: dict[str, Any]
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    defined: dict[str, Any]


@dataclass
class Document:
    """A file's documents.

    Attributes:
        path: The file, for messages.
        specification: The pipeline specification; of a PipelineJob the one inside it.
        platform: The second document; None when there is none.
        extra: How many documents there are beyond these, empty ones aside.
        count: How many documents there are in all.
        job: The PipelineJob around the specification; None: there is none.
        nodes: The YAML of each document, with line numbers; none for a pipeline in memory.
    """

    path: str
    specification: dict[str, Any]
    platform: dict[str, Any] | None = None
    extra: int = 0
    count: int = 1
    job: dict[str, Any] | None = None
    nodes: list[Any] = field(default_factory=list)

    def line(self, place: Place) -> int:
        """Return the line of the deepest existing node on the path to a place, from 1; 0 for a pipeline in memory."""
        if not self.nodes or not place:
            return 1 if self.nodes else 0
        path = place[1:] if self.job is None or place[1:2] in _OF_A_JOB else ("pipelineSpec", *place[1:])
        return line_of(self.nodes[int(place[0])] if int(place[0]) < len(self.nodes) else None, path)

    @property
    def components(self) -> dict[str, Any]:
        """The components by name."""
        return mapping(self.specification.get("components"))

    @property
    def executors(self) -> dict[str, Any]:
        """The executors by label."""
        return mapping(mapping(self.specification.get("deploymentSpec")).get("executors"))

    def graphs(self) -> Iterator[Graph]:
        """Yield the task graph of the pipeline and every nested one."""
        for place, component in self.components_with_root():
            if "dag" in component:
                dag = mapping(component["dag"])
                yield Graph(
                    (*place, "dag"),
                    {name: mapping(task) for name, task in mapping(dag.get("tasks")).items()},
                    mapping(component.get("inputDefinitions")),
                    mapping(dag.get("outputs")),
                    mapping(component.get("outputDefinitions")),
                )

    def components_with_root(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Yield (place, component): the root, then the others."""
        yield (0, "root"), mapping(self.specification.get("root"))
        for name, component in self.components.items():
            yield (0, "components", name), mapping(component)

    def containers(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Yield (place, container) of every executor that has one."""
        for label, executor in self.executors.items():
            if "container" in mapping(executor):
                yield (*self.executor_place(label), "container"), mapping(executor["container"])

    def kubernetes_options(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Yield (place, options) of every executor in the platform's document."""
        kubernetes = mapping(mapping(mapping(self.platform).get("platforms")).get("kubernetes"))
        for label, options in mapping(mapping(kubernetes.get("deploymentSpec")).get("executors")).items():
            yield (1, "platforms", "kubernetes", "deploymentSpec", "executors", label), mapping(options)

    @staticmethod
    def executor_place(label: str) -> Place:
        """Return the place of an executor."""
        return 0, "deploymentSpec", "executors", label

    def component_of(self, task: dict[str, Any]) -> dict[str, Any] | None:
        """Return a task's component, or None when it does not exist."""
        found = self.components.get(str(mapping(task.get("componentRef")).get("name")))
        return found if isinstance(found, dict) else None


def mapping(value: Any) -> dict[str, Any]:
    """Return a value if it is a mapping, else an empty one: the rules on protos report a wrong type, and no other rule fails on it."""
    return value if isinstance(value, dict) else {}


def read_document(path: Path) -> Document:
    """Read a compiled file.

    Raises:
        UnreadableError: It is missing, is not YAML, or holds no specification.
    """
    try:
        text = safe_yaml.read_text(path, "give a compiled file")
    except UnreadableYamlError as error:
        raise UnreadableError(error.reason) from error
    return read_text(text, str(path))


def read_text(text: str, name: str) -> Document:
    """Read the text of a compiled file; `name` is the file's name in messages.

    Raises:
        UnreadableError: It is not YAML, or holds no specification.
    """
    try:
        documents = parse_documents(text, name, repeated_keys=True)
    except UnreadableYamlError as error:
        raise UnreadableError(error.reason) from error
    return parse_document([each.value for each in documents], name, [each.node for each in documents])


def parse_document(values: list[Any], path: str, nodes: list[Any] | None = None) -> Document:
    """Return the documents of a file, or of a pipeline in memory, as the rules see them.

    Raises:
        UnreadableError: They hold no specification.
    """
    if not values or not isinstance(values[0], dict):
        raise UnreadableError(f"it holds {type(values[0]).__name__ if values else 'nothing'}, not a pipeline specification")
    first = values[0]
    job = first if isinstance(first.get("pipelineSpec"), dict) else None
    specification = first if job is None else job["pipelineSpec"]
    if not {"root", "components", "pipelineInfo", "deploymentSpec", "schemaVersion"} & set(specification):
        raise UnreadableError("it is a mapping without any key of a pipeline specification")
    platform = values[1] if len(values) > 1 and isinstance(values[1], dict) else None
    extra = sum(value is not None for value in values[1:]) - (platform is not None)
    return Document(path, specification, platform, extra, len(values), job, nodes or [])
