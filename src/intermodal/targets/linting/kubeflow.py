"""Rules of self-hosted Kubeflow Pipelines."""

from collections.abc import Iterator

from intermodal.errors import nearest
from intermodal.targets.linting.document import Document, Place, mapping
from intermodal.targets.linting.finding import Complaint, Platform, rule
from intermodal.targets.linting.protos import unparsed
from intermodal.targets.linting.quantities import asked, resources_of

_KUBEFLOW: tuple[Platform, ...] = ("kubeflow",)
_COMPILER = "kubeflow/pipelines, backend/src/v2/compiler/visitor.go"
_SEEN = "a Kubeflow Pipelines 2.17 backend"


@rule("kubeflow-schema-version", platforms=_KUBEFLOW, basis="enforced", why="the backend takes version 2.1.0 alone", source=_SEEN)
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
        yield Complaint((0,), "the specification is inside a PipelineJob", "submit the value of pipelineSpec alone")


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
        if mapping(mapping(task).get("cachingOptions")).get("enableCache"):
            yield Complaint(place, f"{name!r} feeds a OneOf and may be cached", "set_caching_options(False) on the branch's task")


@rule(
    "kubeflow-platform-proto",
    platforms=_KUBEFLOW,
    why="an option that the kubernetes proto does not have is lost",
    source="kfp-kubernetes 2.17, kubernetes_executor_config.proto",
    unshaped=True,
)
def _platform(document: Document) -> Iterator[Complaint]:
    if document.platform is None:
        return
    try:
        from kfp.kubernetes import kubernetes_executor_config_pb2
    except ImportError:
        return
    kubernetes = mapping(mapping(document.platform.get("platforms")).get("kubernetes"))
    if not kubernetes:
        yield Complaint((1,), "the second document has no platforms.kubernetes", "compile it again")
    for label, executor in mapping(mapping(kubernetes.get("deploymentSpec")).get("executors")).items():
        place: Place = (1, "platforms", "kubernetes", "deploymentSpec", "executors", label)
        if label not in document.executors:
            yield Complaint(place, f"the options are for {label!r}, which is no executor", nearest(str(label), document.executors))
        yield from unparsed(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig, place, "compile it again with kfp-kubernetes 2.17")


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
