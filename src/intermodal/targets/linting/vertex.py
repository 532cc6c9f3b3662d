"""Rules of Vertex AI Pipelines."""

import re
from collections.abc import Iterator
from typing import Any

from intermodal.images import image_of
from intermodal.targets.linting.document import Document, Place, mapping
from intermodal.targets.linting.finding import Complaint, Platform, rule

_VERTEX: tuple[Platform, ...] = ("vertex",)
_CLIENT = "google-cloud-aiplatform 1.165"
_MACHINES = "Vertex AI documentation, Specify machine types for a pipeline step"
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([KMGTPE]i?)?")
_UNITS = {"": 1e-9, "K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3, "Ki": 2**10 / 1e9, "Mi": 2**20 / 1e9, "Gi": 2**30 / 1e9, "Ti": 2**40 / 1e9}


@rule(
    "vertex-one-document",
    platforms=_VERTEX,
    basis="enforced",
    why="the client reads one YAML document and ends with ComposerError at a second",
    source=_CLIENT,
)
def _one_document(document: Document) -> Iterator[Complaint]:
    if document.platform is not None or document.extra:
        yield Complaint((1,), "there is a second document: options of Kubernetes", "compile for vertex, which leaves them out")


@rule(
    "vertex-name-length",
    platforms=_VERTEX,
    basis="enforced",
    why="the client makes the job's id from the name: 113 characters at most, a letter first",
    source=_CLIENT,
)
def _name_length(document: Document) -> Iterator[Complaint]:
    name = mapping(document.specification.get("pipelineInfo")).get("name")
    if isinstance(name, str) and not re.fullmatch(r"[a-z][-a-z0-9]{0,112}", name):
        yield Complaint(
            (0, "pipelineInfo", "name"), f"the name {name[:40]!r} has {len(name)} characters", "choose a shorter one that starts with a letter"
        )


@rule(
    "vertex-schema-version", platforms=_VERTEX, basis="enforced", why="the client reads the version to know how parameters are typed", source=_CLIENT
)
def _schema(document: Document) -> Iterator[Complaint]:
    if not isinstance(document.specification.get("schemaVersion"), str):
        yield Complaint((0, "schemaVersion"), f"schemaVersion is {document.specification.get('schemaVersion')!r}", "compile with kfp 2")


@rule(
    "vertex-accelerator",
    platforms=_VERTEX,
    why="Vertex knows accelerators by its own enumeration",
    source="aiplatform_v1 AcceleratorType; TPU topologies as tpu-v*",
)
def _accelerators(document: Document) -> Iterator[Complaint]:
    for place, resources in _resources(document):
        accelerator = mapping(resources.get("accelerator"))
        kind = accelerator.get("resourceType") or accelerator.get("type")
        if kind and not _placeholder(kind) and kind not in _known_accelerators() and not re.fullmatch(r"tpu-?v\d\w*", str(kind), re.IGNORECASE):
            remedy = "use a name such as NVIDIA_TESLA_T4 (nvidia.com/gpu is Kubernetes'), or a shape in targets.toml"
            yield Complaint((*place, "accelerator"), f"there is no accelerator {kind!r}", remedy)


@rule("vertex-machine-limits", platforms=_VERTEX, why="no machine has more than 96 CPUs and 624 GB", source=_MACHINES)
def _limits(document: Document) -> Iterator[Complaint]:
    for place, resources in _resources(document):
        cpu, memory = resources.get("cpuLimit", resources.get("resourceCpuLimit")), resources.get("memoryLimit", resources.get("resourceMemoryLimit"))
        if isinstance(cpu, int | float) and cpu > 96:
            yield Complaint(place, f"{cpu:g} CPUs are asked for", "ask for 96 at most")
        size = _gigabytes(memory)
        if size is not None and size > 624:
            yield Complaint(place, f"{size:.0f} GB of memory are asked for", "ask for 624G at most")


@rule("vertex-runtime-resources", platforms=_VERTEX, why="a limit cannot come from a parameter at run time", source=_MACHINES)
def _runtime_resources(document: Document) -> Iterator[Complaint]:
    for place, resources in _resources(document):
        for key, value in resources.items():
            if key.startswith("resource") and _placeholder(value):
                yield Complaint((*place, key), f"{key} is {value!r}", "write the number when compiling")


@rule("vertex-requests", platforms=_VERTEX, severity="warning", why="Vertex reads limits alone: a request without one is ignored", source=_MACHINES)
def _requests(document: Document) -> Iterator[Complaint]:
    for place, resources in _resources(document):
        for kind in ("cpu", "memory"):
            asked = {key.lower() for key in resources if kind in key.lower()}
            if any("request" in key for key in asked) and not any("limit" in key for key in asked):
                yield Complaint(place, f"{kind} has a request and no limit", f"set the {kind} limit too")


@rule(
    "vertex-importer",
    platforms=_VERTEX,
    severity="warning",
    basis="inferred",
    why="the service reads artifacts from Cloud Storage",
    source="Vertex AI documentation, pipeline root",
)
def _importers(document: Document) -> Iterator[Complaint]:
    for label, executor in document.executors.items():
        uri = mapping(mapping(mapping(executor).get("importer")).get("artifactUri")).get("constant")
        if isinstance(uri, str) and re.match(r"(s3|minio|file)://|/", uri):
            yield Complaint((0, "deploymentSpec", "executors", label, "importer"), f"the importer reads {uri!r}", "copy it to gs://")


@rule(
    "vertex-newer-features",
    platforms=_VERTEX,
    basis="inferred",
    why="the service does not know this feature of kfp's newer specification",
    source="FACTS of this project: refused or ignored",
)
def _newer(document: Document) -> Iterator[Complaint]:
    for name, component in document.components.items():
        parameters = mapping(mapping(mapping(component).get("inputDefinitions")).get("parameters"))
        for key, definition in parameters.items():
            place: Place = (0, "components", name, "inputDefinitions", "parameters", key)
            if mapping(definition).get("parameterType") == "TASK_CONFIG":
                yield Complaint(place, f"{name!r} takes a TASK_CONFIG", "leave the parameter out for vertex")
            if mapping(definition).get("literals"):
                yield Complaint(place, f"the parameter {key!r} of {name!r} is a Literal", "declare it a str, and check the value in the component")
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            if mapping(task.get("cachingOptions")).get("cacheKey"):
                yield Complaint((*graph.place, "tasks", name, "cachingOptions"), f"{name!r} has a cacheKey", "leave it out for vertex")


@rule(
    "image-registry",
    platforms=("kubeflow", "vertex"),
    severity="warning",
    why="without a registry the image is looked for on Docker Hub, where it is not",
    source="container image references",
)
def _registries(document: Document) -> Iterator[Complaint]:
    for label, executor in document.executors.items():
        image = mapping(mapping(executor).get("container")).get("image")
        if isinstance(image, str) and "/" not in image and image_of(image):
            place: Place = (0, "deploymentSpec", "executors", label, "container", "image")
            yield Complaint(
                place, f"the image {image!r} names no registry", "compile with a profile of targets.toml, whose image_repository is put before it"
            )
            return


def _resources(document: Document) -> Iterator[tuple[Place, dict[str, Any]]]:
    for label, executor in document.executors.items():
        if found := mapping(mapping(mapping(executor).get("container")).get("resources")):
            yield (0, "deploymentSpec", "executors", label, "container", "resources"), found


def _placeholder(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def _gigabytes(value: Any) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * _UNITS.get(match[2] or "", 1e9) if match else None


def _known_accelerators() -> set[str]:
    from google.cloud.aiplatform_v1.types import AcceleratorType

    return {name for name in AcceleratorType.__members__ if name != "ACCELERATOR_TYPE_UNSPECIFIED"}
