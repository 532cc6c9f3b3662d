"""Rules of self-hosted Kubeflow Pipelines."""

import json
import re
from collections.abc import Iterator
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2

from intermodal.linting.document import Document, Place, mapping
from intermodal.linting.finding import Complaint, rule
from intermodal.linting.protos import unparsed
from intermodal.linting.quantities import asked, bounds, resources_of
from intermodal.runtime.errors import nearest

_KUBEFLOW = ("kubeflow",)
_COMPILER = "kubeflow/pipelines, backend/src/v2/compiler/visitor.go"
_SEEN = "a Kubeflow Pipelines 2.17 backend"
_LONGEST_NAME = 128
_ARGO_NAME = re.compile(rf"[a-zA-Z0-9][-a-zA-Z0-9]{{0,{_LONGEST_NAME - 1}}}")
#: Bytes, of etcd's default limit of a request.
_LARGEST = 1_572_864
_SOURCES = [
    ("secretAsVolume", "secretName", "secretNameParameter"),
    ("secretAsEnv", "secretName", "secretNameParameter"),
    ("imagePullSecret", "secretName", "secretNameParameter"),
    ("configMapAsVolume", "configMapName", "configMapNameParameter"),
    ("configMapAsEnv", "configMapName", "configMapNameParameter"),
    ("pvcMount", "constant", "pvcNameParameter"),
]
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@rule("kubeflow-schema-version", platforms=_KUBEFLOW, basis="enforced", why="the backend takes only version 2.1.0", source=_SEEN)
def _schema(document: Document) -> Iterator[Complaint]:
    version = document.specification.get("schemaVersion")
    if version != "2.1.0":
        remedy = "compile with kfp 2 (TFX: use_pipeline_spec_2_1=True)"
        yield Complaint((0, "schemaVersion"), f"schemaVersion is {version!r}", remedy)


@rule(
    "kubeflow-bare-specification",
    platforms=_KUBEFLOW,
    basis="enforced",
    why="the backend takes the specification, not a PipelineJob around it",
    source=_SEEN,
)
def _wrapped(document: Document) -> Iterator[Complaint]:
    if document.job is not None:
        yield Complaint((0,), "the specification is inside a PipelineJob", "submit only the value of pipelineSpec")


@rule(
    "kubeflow-accelerator",
    platforms=_KUBEFLOW,
    why="an accelerator is a resource of Kubernetes, by its full name",
    source="Kubernetes documentation, extended resources",
)
def _accelerators(document: Document) -> Iterator[Complaint]:
    for label, executor in document.executors.items():
        accelerator = mapping(mapping(mapping(mapping(executor).get("container")).get("resources")).get("accelerator"))
        kind = accelerator.get("resourceType") or accelerator.get("type")
        if isinstance(kind, str) and kind and "/" not in kind and "{{" not in kind:
            place: Place = (0, "deploymentSpec", "executors", label, "container", "resources", "accelerator")
            yield Complaint(place, f"the accelerator is {kind!r}", "use nvidia.com/gpu and a node selector, or a shape in targets.toml")


@rule(
    "kubeflow-image-tag",
    platforms=_KUBEFLOW,
    severity="warning",
    basis="enforced",
    why="an image tagged latest, or with no tag, is pulled at every start",
    source="Kubernetes 1.34, seen",
)
def _tags(document: Document) -> Iterator[Complaint]:
    for label, executor in document.executors.items():
        image = mapping(mapping(executor).get("container")).get("image")
        if isinstance(image, str) and image and "{{" not in image and "@" not in image:
            tag = image.rsplit("/", 1)[-1].partition(":")[2]
            if tag in ("", "latest"):
                place: Place = (0, "deploymentSpec", "executors", label, "container", "image")
                yield Complaint(place, f"the image {image!r} has {'the tag latest' if tag else 'no tag'}", "tag it, or name its digest")


@rule(
    "kubeflow-cached-branch",
    platforms=_KUBEFLOW,
    severity="warning",
    basis="enforced",
    why="OneOf over a branch whose task is cached failed the run",
    source=f"{_SEEN}, seen once",
)
def _cached_branches(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for kind in ("artifacts", "parameters"):
            for name, output in mapping(graph.outputs.get(kind)).items():
                several = mapping(mapping(output).get("valueFromOneof")).get("parameterSelectors") or mapping(output).get("artifactSelectors") or []
                if isinstance(several, list) and len(several) > 1:
                    for selector in several:
                        yield from _cached_in(
                            document, graph.tasks.get(str(mapping(selector).get("producerSubtask")), {}), (*graph.place, "outputs", kind, name)
                        )


def _cached_in(document: Document, branch: dict[str, object], place: Place) -> Iterator[Complaint]:
    component = document.component_of(branch) or {}
    for name, task in mapping(mapping(component.get("dag")).get("tasks")).items():
        if "dag" not in mapping(document.component_of(mapping(task))) and mapping(mapping(task).get("cachingOptions")).get("enableCache"):
            yield Complaint(place, f"{name!r} feeds a OneOf and may be cached", "set_caching_options(False) on the branch's task")


@rule(
    "kubeflow-platform-proto",
    platforms=_KUBEFLOW,
    why="an option that the kubernetes proto does not have is lost",
    source="kfp-kubernetes 2.17, kubernetes_executor_config.proto",
    untyped=True,
)
def _platform(document: Document) -> Iterator[Complaint]:
    if document.platform is None:
        return
    try:
        from kfp.kubernetes import kubernetes_executor_config_pb2
    except ImportError:
        return
    remedy = "compile it again with kfp-kubernetes 2.17"
    if not mapping(mapping(document.platform.get("platforms")).get("kubernetes")):
        yield Complaint((1,), "the second document has no platforms.kubernetes", remedy)
    yield from unparsed(document.platform, pipeline_spec_pb2.PlatformSpec, (1,), remedy)
    for place, options in document.kubernetes_options():
        label = str(place[-1])
        if label not in document.executors:
            yield Complaint(place, f"the options are for {label!r}, which is not an executor", nearest(label, document.executors))
        yield from unparsed(options, kubernetes_executor_config_pb2.KubernetesExecutorConfig, place, remedy)


@rule(
    "kubeflow-extra-documents",
    platforms=_KUBEFLOW,
    basis="enforced",
    why="a file holds a specification and at most one platform document",
    source=_SEEN,
)
def _extra(document: Document) -> Iterator[Complaint]:
    if document.extra:
        yield Complaint((2,), f"there are {document.extra} documents too many", "submit one pipeline a file")


@rule(
    "kubeflow-importer-name",
    platforms=_KUBEFLOW,
    basis="enforced",
    why="the backend records an importer under its display name, and its consumers look for the task's: cannot find producer task",
    source=_SEEN,
)
def _importer_names(document: Document) -> Iterator[Complaint]:
    for place, name, task, _ in _importers(document):
        shown = mapping(task.get("taskInfo")).get("name")
        if shown != name:
            yield Complaint((*place, "taskInfo", "name"), f"the importer {name!r} is shown as {shown!r}", "leave out its set_display_name(…)")


@rule(
    "kubeflow-importer-input",
    platforms=_KUBEFLOW,
    why="an importer needs a URI, finds it only in the inputs of its graph, and runs without a condition",
    source="kubeflow/pipelines, backend/src/v2/component/importer_launcher.go and argocompiler/dag.go",
)
def _importer_inputs(document: Document) -> Iterator[Complaint]:
    for place, name, task, importer in _importers(document):
        wanted = mapping(importer.get("artifactUri")).get("runtimeParameter")
        source = mapping(mapping(mapping(task.get("inputs")).get("parameters")).get(str(wanted)))
        if mapping(importer.get("artifactUri")).get("constant") == "":
            yield Complaint((*place, "inputs", "parameters"), f"the URI of the importer {name!r} is empty", "name one: dsl.importer(artifact_uri=…)")
        if source and "componentInputParameter" not in source:
            what = f"the URI of the importer {name!r} is not a parameter of its graph"
            yield Complaint((*place, "inputs", "parameters", str(wanted)), what, "give it a parameter of the pipeline, or import within the task")
        if mapping(task.get("triggerPolicy")).get("condition"):
            yield Complaint(
                (*place, "triggerPolicy"), f"the importer {name!r} has a condition", "put it inside a dsl.If with another task, or import always"
            )


def _importers(document: Document) -> Iterator[tuple[Place, str, dict[str, Any], dict[str, Any]]]:
    """Yield (place, name, task, importer) of every task that imports."""
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            executor = document.executors.get(str(mapping(document.component_of(task)).get("executorLabel")))
            if "importer" in mapping(executor):
                yield (*graph.place, "tasks", name), name, task, mapping(mapping(executor)["importer"])


@rule(
    "kubeflow-argo-name",
    platforms=_KUBEFLOW,
    why="the backend makes names of Argo from it: letters, digits and hyphens, 128 characters with what it adds",
    source="Argo Workflows, isValidWorkflowFieldName; kubeflow/pipelines, backend/src/v2/compiler/argocompiler/dag.go",
)
def _argo_names(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        owner = str(graph.place[2]) if graph.place[1] == "components" else "root"
        for name, task in graph.tasks.items():
            used, policy = str(mapping(task.get("componentRef")).get("name")), mapping(task.get("triggerPolicy"))
            made = [f"{name}-driver"]
            if "parameterIterator" in task:
                made += [f"{used}-{name}-iterator", f"{used}-iteration"]
            if policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED":
                made += [f"exit-hook-{owner}-{name}"]
            if "dag" in mapping(document.component_of(task)):
                made += [used]
            for each in made:
                if not _ARGO_NAME.fullmatch(each):
                    what = f"{name[:40]!r} becomes {each[:60]!r}" + (f", of {len(each)} characters" if len(each) > _LONGEST_NAME else "")
                    yield Complaint((*graph.place, "tasks", name), what, "give the task or its component another name")
                    break


@rule(
    "kubeflow-no-command",
    platforms=_KUBEFLOW,
    why="the launcher takes the place of the image's entrypoint, and has nothing to start: command and arguments are empty",
    source="kubeflow/pipelines, backend/src/v2/component/launcher_v2.go",
)
def _commands(document: Document) -> Iterator[Complaint]:
    for place, container in document.containers():
        if not container.get("command") and not container.get("args"):
            yield Complaint(place, f"{place[-2]!r} has no command", "name the program: dsl.ContainerSpec(command=[…])")


@rule(
    "kubeflow-quantity",
    platforms=_KUBEFLOW,
    basis="enforced",
    why="thousands are k for Kubernetes: kfp takes a K, and the task is not started",
    source="Kubernetes 1.34, k8s.io/apimachinery ParseQuantity",
)
def _thousands(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        for key, _, value in bounds(resources):
            if isinstance(value, str) and value.endswith("K"):
                yield Complaint((*place, key), f"{key} is {value!r}", "write k, M or Ki")


@rule(
    "kubeflow-artifact-loop",
    platforms=_KUBEFLOW,
    why="the backend loops only over parameters, and over one thing at a time",
    source="kubeflow/pipelines, backend/src/v2/compiler/argocompiler/dag.go",
)
def _artifact_loops(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            if "artifactIterator" in task:
                place = (*graph.place, "tasks", name, "artifactIterator")
                yield Complaint(place, f"{name!r} loops over artifacts", "loop over a list of their names or URIs")


@rule(
    "kubeflow-platform-value",
    platforms=_KUBEFLOW,
    why="Kubernetes does not take this value, and the task is not started",
    source="Kubernetes 1.34, validation of pods; kubeflow/pipelines, backend/src/v2/driver/k8s.go",
)
def _platform_values(document: Document) -> Iterator[Complaint]:
    for place, options in document.kubernetes_options():
        for at, value, known in _choices(options):
            if value is not None and value not in known:
                yield Complaint((*place, *at), f"{at[-1]} is {value!r}", nearest(str(value), known))
        for kind in ("secretAsVolume", "configMapAsVolume", "pvcMount", "emptyDirMounts", "genericEphemeralVolume"):
            for index, mount in enumerate(_listed(options, kind)):
                path = mapping(mount).get("mountPath")
                if not path or ":" in str(path):
                    yield Complaint((*place, kind, index), f"the volume's mountPath is {path!r}", "name a folder of the container, without a colon")
        for kind, plain, parameter in _SOURCES:
            for index, each in enumerate(_listed(options, kind)):
                if not _is_named(mapping(each), plain, parameter):
                    yield Complaint((*place, kind, index), f"{kind} has no {plain}", "name it")
        for index, field in enumerate(_listed(options, "fieldPathAsEnv")):
            if not mapping(field).get("fieldPath"):
                yield Complaint((*place, "fieldPathAsEnv", index), "a variable has no fieldPath", "name the field: spec.nodeName")
        for kind, key in (("secretAsEnv", "secretKey"), ("configMapAsEnv", "configMapKey")):
            for index, each in enumerate(_listed(options, kind)):
                for number, pair in enumerate(_listed(mapping(each), "keyToEnv")):
                    if not mapping(pair).get(key):
                        yield Complaint((*place, kind, index, "keyToEnv", number), f"a variable has no {key}", "name the key that holds its value")
        deadline = options.get("activeDeadlineSeconds")
        if deadline is not None and not re.fullmatch(r"[1-9]\d*", str(deadline), re.ASCII):
            yield Complaint((*place, "activeDeadlineSeconds"), f"activeDeadlineSeconds is {deadline!r}", "give seconds, from 1")
        selectors = mapping(mapping(options.get("nodeSelector")).get("labels"))
        pod = mapping(mapping(options.get("podMetadata")).get("labels"))
        for kind, labels in (("nodeSelector", selectors), ("podMetadata", pod)):
            for key, value in labels.items():
                if not _LABEL_KEY.fullmatch(str(key)) or not _LABEL_VALUE.fullmatch(str(value)):
                    yield Complaint(
                        (*place, kind, "labels", key), f"{key}={value} is not a label", "use up to 63 letters, digits, hyphens, dots, underscores"
                    )


def _is_named(source: dict[str, Any], plain: str, parameter: str) -> bool:
    """Whether it says which object it is of: by a parameter, which counts before the plain name."""
    given = source.get(parameter)
    if given is None:
        return bool(source.get(plain) or source.get("componentInputParameter") or source.get("taskOutputParameter"))
    constant = mapping(mapping(given).get("runtimeValue")).get("constant")
    elsewhere = mapping(given).get("componentInputParameter") or mapping(given).get("taskOutputParameter")
    return bool(elsewhere or (isinstance(constant, str) and constant))


def _choices(options: dict[str, Any]) -> Iterator[tuple[Place, Any, tuple[str, ...]]]:
    """Yield (place, value, what it may be) of every option with a fixed set of values."""
    yield ("imagePullPolicy",), options.get("imagePullPolicy"), ("Always", "Never", "IfNotPresent")
    for index, each in enumerate(_listed(options, "tolerations")):
        yield ("tolerations", index, "operator"), mapping(each).get("operator"), ("Exists", "Equal")
        yield ("tolerations", index, "effect"), mapping(each).get("effect"), ("NoSchedule", "PreferNoSchedule", "NoExecute")
    for index, each in enumerate(_listed(options, "genericEphemeralVolume")):
        for number, mode in enumerate(_listed(mapping(each), "accessModes")):
            yield (
                ("genericEphemeralVolume", index, "accessModes", number),
                mode,
                ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"),
            )


def _listed(owner: dict[str, Any], key: str) -> list[Any]:
    found = owner.get(key)
    return found if isinstance(found, list) else []


@rule(
    "kubeflow-size",
    platforms=_KUBEFLOW,
    why="the workflow that the backend makes of it holds all of it, and etcd takes no object of more than 1.5 MiB",
    source="etcd documentation, System limits",
)
def _size(document: Document) -> Iterator[Complaint]:
    size = len(json.dumps(document.specification, default=str))
    if size > _LARGEST:
        parts = {place: len(json.dumps(each, default=str)) for place, each in _parts(document)}
        place = max(parts, key=lambda each: parts[each], default=(0,))
        yield Complaint(place, f"the specification has {size:,} characters", "put data in files or artifacts, and code in the image")


def _parts(document: Document) -> Iterator[tuple[Place, Any]]:
    yield from document.components_with_root()
    for label, executor in document.executors.items():
        yield document.executor_place(label), executor


@rule("kubeflow-executor-kind", platforms=_KUBEFLOW, why="the backend runs containers and importers, and no other executor", source=_COMPILER)
def _kinds(document: Document) -> Iterator[Complaint]:
    for label, executor in document.executors.items():
        for kind in ("resolver", "customJob"):
            if kind in mapping(executor):
                yield Complaint(
                    (0, "deploymentSpec", "executors", label, kind), f"the executor {label!r} is a {kind}", "run it on vertex, or in a container"
                )


@rule("kubeflow-reserved-name", platforms=_KUBEFLOW, why="the backend keeps the name root for the pipeline itself", source=_COMPILER)
def _reserved(document: Document) -> Iterator[Complaint]:
    if "root" in document.components:
        yield Complaint((0, "components", "root"), "a component is called 'root'", "give it another name, and in every componentRef to it")


@rule(
    "kubeflow-request-over-limit",
    platforms=_KUBEFLOW,
    why="Kubernetes refuses a container that requests more than its limit",
    source="Kubernetes documentation, Resource management for pods and containers",
)
def _requests(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        for kind in ("cpu", "memory"):
            request, limit = asked(resources, kind, "Request"), asked(resources, kind, "Limit")
            if request is not None and limit and request > limit:
                yield Complaint(place, f"{kind} has a request of {request:g} and a limit of {limit:g}", "raise the limit, or lower the request")
