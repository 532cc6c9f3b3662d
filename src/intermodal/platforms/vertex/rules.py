"""Rules of Vertex AI Pipelines."""

import re
from collections.abc import Iterator
from typing import Any

from intermodal.linting.document import Document, Place, mapping
from intermodal.linting.finding import Complaint, rule
from intermodal.linting.quantities import asked, is_given_at_run_time, resources_of
from intermodal.runtime.errors import MachineError, nearest

_VERTEX = ("vertex",)
_CLIENT = "google-cloud-aiplatform 1.165"
_MACHINES = "Vertex AI documentation, Specify machine types for a pipeline step"


@rule(
    "vertex-one-document",
    platforms=_VERTEX,
    basis="enforced",
    why="the client reads one YAML document and ends with ComposerError at a second",
    source=_CLIENT,
)
def _one_document(document: Document) -> Iterator[Complaint]:
    if document.count > 1:
        yield Complaint((1,), "there is a second document: options of Kubernetes", "compile for vertex, which leaves them out")


@rule(
    "vertex-name-length",
    platforms=_VERTEX,
    basis="enforced",
    why="the client makes the job's id from the name and the time, and refuses one of more than 128 characters or without a letter first",
    source=f"{_CLIENT}, PipelineJob",
)
def _name_length(document: Document) -> Iterator[Complaint]:
    name = mapping(document.specification.get("pipelineInfo")).get("name")
    made = re.sub(r"[^-0-9a-z]+", "-", name.lower()).strip("-") if isinstance(name, str) else ""
    if made and not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", f"{made}-20261231235959"):
        what = f"the name {made[:40]!r} has {len(made)} characters"
        yield Complaint((0, "pipelineInfo", "name"), what, "choose one of 113 characters at most that starts with a letter")


@rule(
    "vertex-schema-version",
    platforms=_VERTEX,
    basis="enforced",
    why="by the version the client and the service know how parameters are typed: up to 2.0.0 as INT, DOUBLE, STRING, later by parameterType",
    source=f"{_CLIENT}, PipelineRuntimeConfigBuilder",
)
def _schema(document: Document) -> Iterator[Complaint]:
    version = document.specification.get("schemaVersion")
    if not isinstance(version, str) or not re.fullmatch(r"\d{1,6}(\.\d{1,6}){0,3}", version, re.ASCII):
        yield Complaint((0, "schemaVersion"), f"schemaVersion is {version!r}", "compile with kfp 2")
        return
    old = [int(part) for part in version.split(".")] <= [2, 0, 0]
    typed = "parameterType" if old else "type"
    for _, component in document.components_with_root():
        for name, definition in mapping(mapping(component.get("inputDefinitions")).get("parameters")).items():
            if typed in mapping(definition):
                what = f"schemaVersion is {version!r}, and {name!r} has a {typed}, which is of {'2.1.0' if old else '2.0.0'}"
                yield Complaint((0, "schemaVersion"), what, "compile with kfp 2, and leave schemaVersion as it is")
                return


@rule(
    "vertex-accelerator",
    platforms=_VERTEX,
    why="Vertex knows accelerators by its own enumeration",
    source="aiplatform_v1 AcceleratorType; TPU topologies as tpu-v*",
)
def _accelerators(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        accelerator = mapping(resources.get("accelerator"))
        kind = accelerator.get("resourceType") or accelerator.get("type")
        if (
            kind
            and not is_given_at_run_time(kind)
            and kind not in _known_accelerators()
            and not re.fullmatch(r"tpu-?v\d\w*", str(kind), re.IGNORECASE)
        ):
            remedy = "use a name such as NVIDIA_TESLA_T4 (nvidia.com/gpu is Kubernetes'), or a shape in targets.toml"
            yield Complaint((*place, "accelerator"), f"there is no accelerator {kind!r}", remedy)


@rule("vertex-machine-limits", platforms=_VERTEX, why="no machine has more than 96 CPUs and 624 GB", source=_MACHINES)
def _limits(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        for kind, most, remedy in (("cpu", 96, "ask for 96 CPUs at most"), ("memory", 624, "ask for 624G at most")):
            limit = asked(resources, kind, "Limit")
            if limit is not None and limit > most:
                yield Complaint(place, f"the {kind} limit is {limit:g}{'' if kind == 'cpu' else ' GB'}", remedy)


@rule("vertex-runtime-resources", platforms=_VERTEX, why="a limit cannot come from a parameter at run time", source=_MACHINES)
def _runtime_resources(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        for key, value in resources.items():
            if key.startswith("resource") and is_given_at_run_time(value):
                yield Complaint((*place, key), f"{key} is {value!r}", "write the number when compiling")


@rule("vertex-requests", platforms=_VERTEX, severity="warning", why="Vertex reads only limits: a request without one is ignored", source=_MACHINES)
def _requests(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
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
    source="kfp-pipeline-spec 2.17 has it; no page of the Vertex AI documentation does",
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
    for label, executor in document.executors.items():
        if mapping(mapping(executor).get("importer")).get("downloadToWorkspace"):
            yield Complaint((0, "deploymentSpec", "executors", label, "importer"), f"{label!r} downloads to a workspace", "leave it out for vertex")
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            if mapping(task.get("cachingOptions")).get("cacheKey"):
                yield Complaint((*graph.place, "tasks", name, "cachingOptions"), f"{name!r} has a cacheKey", "leave it out for vertex")


def _known_accelerators() -> set[str]:
    try:
        from google.cloud.aiplatform_v1.types import AcceleratorType
    except ModuleNotFoundError as error:
        raise MachineError(f"to judge accelerators for vertex, its client is needed ({error.name}): pip install 'intermodal[vertex]'") from error
    return {name for name in AcceleratorType.__members__ if name != "ACCELERATOR_TYPE_UNSPECIFIED"}


@rule(
    "vertex-root",
    platforms=_VERTEX,
    severity="warning",
    why="artifacts go to Cloud Storage: the service refuses another root, unless the submission names one in its place",
    source="Vertex AI documentation, pipeline root; the client lets it pass",
)
def _artifact_root(document: Document) -> Iterator[Complaint]:
    runtime = mapping(mapping(document.job).get("runtimeConfig")).get("gcsOutputDirectory")
    for place, root in (((0, "defaultPipelineRoot"), document.specification.get("defaultPipelineRoot")), ((0, "runtimeConfig"), runtime)):
        if isinstance(root, str) and root and not root.startswith("gs://") and not is_given_at_run_time(root):
            yield Complaint(place, f"the root is {root!r}", "name a gs:// root, or leave it to the target's profile")


@rule(
    "vertex-job-runtime",
    platforms=_VERTEX,
    basis="enforced",
    why="the client reads runtimeConfig of a PipelineJob, and knows only the parameters of its specification",
    source=f"{_CLIENT}, PipelineRuntimeConfigBuilder",
)
def _job_runtime(document: Document) -> Iterator[Complaint]:
    if document.job is None:
        return
    runtime = document.job.get("runtimeConfig")
    if not isinstance(runtime, dict):
        yield Complaint((0, "runtimeConfig"), f"runtimeConfig is {runtime!r}", "write {} there, or give only the value of pipelineSpec")
    known = mapping(mapping(mapping(document.specification.get("root")).get("inputDefinitions")).get("parameters"))
    for kind in ("parameterValues", "parameters"):
        for name in mapping(mapping(runtime).get(kind)):
            if name not in known:
                yield Complaint((0, "runtimeConfig", kind, name), f"there is no parameter {name!r}", nearest(str(name), known))


@rule(
    "vertex-job-dropped",
    platforms=_VERTEX,
    severity="warning",
    basis="enforced",
    why="the client takes pipelineSpec and runtimeConfig out of a PipelineJob and sends nothing else of it",
    source=f"{_CLIENT}, PipelineJob",
)
def _job_dropped(document: Document) -> Iterator[Complaint]:
    for key in ("labels", "serviceAccount", "network", "encryptionSpec"):
        if mapping(document.job).get(key):
            yield Complaint((0, key), f"the PipelineJob has {key}", "name it in the target's profile")


@rule(
    "vertex-worker-pools",
    platforms=_VERTEX,
    why="the service refuses a CustomJob whose worker pools are not as its API has them, when the task starts, perhaps hours later",
    source="aiplatform_v1 WorkerPoolSpec; Vertex AI documentation, Distributed training: the first pool is the chief, one replica",
)
def _worker_pools(document: Document) -> Iterator[Complaint]:
    for name, component in document.components.items():
        parameter = mapping(mapping(mapping(mapping(component).get("inputDefinitions")).get("parameters")).get("worker_pool_specs"))
        pools = parameter.get("defaultValue") or []
        place: Place = (0, "components", name, "inputDefinitions", "parameters", "worker_pool_specs", "defaultValue")
        if not isinstance(pools, list):
            yield Complaint(place, f"the worker pools are {type(pools).__name__}", "compile the pipeline again")
            continue
        if len(pools) > len(_POOLS):
            yield Complaint(place, f"there are {len(pools)} worker pools", f"{len(_POOLS)} at most: {', '.join(_POOLS)}")
        for number, pool in enumerate(pools):
            yield from (Complaint((*place, number), what, remedy) for what, remedy in _pool_faults(number, pool))


_POOLS = ("chief", "workers", "parameter or reduction servers", "evaluators")


def _pool_faults(number: int, pool: Any) -> Iterator[tuple[str, str]]:
    parsed = _parsed_pool(pool)
    if isinstance(parsed, str):
        yield f"the worker pool {number} cannot be read: {parsed}", "write it as WorkerPoolSpec of the API"
        return
    if number == 0 and parsed.replica_count != 1:
        yield f"the chief's pool has {parsed.replica_count} replicas", "give it one; other workers belong to the second pool"
    if number and not parsed.replica_count:
        yield f"the worker pool {number} has no replicas, is left out by Google's launcher, and the next takes its place", "give it one or more"
        return
    if not parsed.machine_spec.machine_type:
        yield f"the worker pool {number} names no machine", "name a machine_type"
    if not parsed.container_spec.image_uri and not parsed.python_package_spec.executor_image_uri:
        yield f"the worker pool {number} has no image", "name one: container_spec.image_uri"


def _parsed_pool(pool: Any) -> Any:
    """Return a worker pool as the API's message, or what is wrong with it in words."""
    try:
        from google.cloud.aiplatform_v1.types import WorkerPoolSpec
        from google.protobuf import json_format
    except ModuleNotFoundError as error:
        raise MachineError(f"to judge worker pools for vertex, its client is needed ({error.name}): pip install 'intermodal[vertex]'") from error
    try:
        return json_format.ParseDict(pool, WorkerPoolSpec.pb(WorkerPoolSpec()))
    except (json_format.ParseError, AttributeError, TypeError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
