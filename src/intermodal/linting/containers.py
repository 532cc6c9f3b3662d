"""Rules on what a container needs to start: its image, resources, environment, and the size of its inputs."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from intermodal.authoring.images import image_of
from intermodal.linting.document import Document, Place, mapping
from intermodal.linting.finding import Complaint, rule
from intermodal.linting.quantities import bounds, is_given_at_run_time, parse_quantity, resources_of, spellings

_KUBERNETES = "Kubernetes 1.34, k8s.io/apimachinery"
_DOMAIN_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_NAME_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?P<name>(?:(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::\d+)?/)?{_NAME_PART}(?:/{_NAME_PART})*)"
    r"(?::\w[\w.-]{0,127})?(?:@(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}))?",
    re.ASCII,
)
#: The longest name that the grammar allows.
_LONGEST_IMAGE = 255
#: Bytes of the longest argument or variable on Linux, with its final NUL (MAX_ARG_STRLEN).
_LONGEST_ARGUMENT = 131_072
#: Docker starts no container with less memory.
_LEAST_MEMORY = 6 * 2**20
_VARIABLE = re.compile(r"[ -<>-~]+")
_SHELL_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@rule(
    "image",
    basis="enforced",
    why="without a valid image there is nothing to start",
    source="Kubernetes, InvalidImageName; github.com/distribution/reference 0.6.0",
)
def _images(document: Document) -> Iterator[Complaint]:
    for place, container in document.containers():
        image = container.get("image")
        if not image:
            yield Complaint(place, "the container has no image", "name one: @dsl.component(base_image=…)")
        elif isinstance(image, str) and not is_given_at_run_time(image):
            match = _IMAGE.fullmatch(image) if len(image) < 2 * _LONGEST_IMAGE else None
            if match is None or len(match["name"]) > _LONGEST_IMAGE:
                remedy = "write registry/path/name:tag: the path in lower case, no https://, no spaces, a digest of 64 hexadecimal digits"
                yield Complaint((*place, "image"), f"the image {image[:80]!r} is not an image reference", remedy)


@rule(
    "image-registry",
    severity="warning",
    why="without a registry the image is pulled from Docker Hub, which does not have it",
    source="container image references",
)
def _registries(document: Document) -> Iterator[Complaint]:
    for place, container in document.containers():
        image = container.get("image")
        if isinstance(image, str) and "/" not in image and image_of(image):
            remedy = "compile with a profile of targets.toml: its image_repository goes before the name"
            yield Complaint((*place, "image"), f"the image {image!r} names no registry", remedy)
            return


@rule(
    "quantity",
    basis="enforced",
    why="a task whose CPU or memory cannot be read, or is not above zero, does not start",
    source=f"{_KUBERNETES}, ParseQuantity",
)
def _quantities(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        for key, kind, value in bounds(resources):
            try:
                # kfp takes a K for thousands, and so may Vertex AI; a rule of its own checks it for Kubernetes.
                number = parse_quantity(value.replace("K", "k") if value.endswith("K") else value) if isinstance(value, str) else float(value)
            except ValueError:
                example = "500m, 2 or 0.5" if kind == "cpu" else "512Mi, 4G or 16Gi"
                yield Complaint((*place, key), f"{key} is {value!r}", f"write a quantity such as {example} (thousands are k, never K)")
                continue
            if not math.isfinite(number) or number < 0 or (number == 0 and isinstance(value, str)):
                yield Complaint((*place, key), f"{key} is {value!r}", "give a number above zero, or leave it out")


@rule(
    "memory-unit",
    why="no container starts with less than 6 MB: a memory without its unit is a number of bytes",
    source="Docker documentation, Runtime metrics and resource constraints; Kubernetes, memory units",
)
def _units(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        for key, kind, value in bounds(resources):
            try:
                size = parse_quantity(value) if isinstance(value, str) else float(value) * 1e9
            except ValueError:
                continue
            if kind == "memory" and key.endswith("Limit") and 0 < size < _LEAST_MEMORY:
                yield Complaint((*place, key), f"{key} is {value!r}, which is {size:g} bytes", "give the unit: 4G")


@rule(
    "resource-spellings",
    severity="warning",
    why="Kubeflow reads the quantity where there is one, older versions the number: the size of the task depends on the version",
    source="kubeflow/pipelines, backend/src/v2/driver, getPodResource",
)
def _spellings(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        for kind in ("cpu", "memory"):
            for bound in ("Request", "Limit"):
                found = spellings(resources, kind, bound)
                if len(found) > 1 and not math.isclose(*found, rel_tol=0.01):
                    key = f"resource{kind.title()}{bound}"
                    what = f"{kind}{bound} is {resources[f'{kind}{bound}']:g}, and {key} is {resources[key]!r}"
                    yield Complaint((*place, key), what, "set it in the pipeline's code and compile again: kfp writes both")


@rule(
    "accelerator-count",
    why="an accelerator needs a type and a count of 1 or more: if one of them is missing, the task starts without an accelerator",
    source="kubeflow/pipelines, backend/src/v2/driver, initPodSpecPatch; Kubernetes documentation, extended resources",
)
def _accelerators(document: Document) -> Iterator[Complaint]:
    for place, resources in resources_of(document):
        accelerator = resources.get("accelerator")
        if not isinstance(accelerator, dict):
            continue
        kind = accelerator.get("resourceType") or accelerator.get("type")
        count = accelerator.get("resourceCount") or accelerator.get("count")
        if not kind:
            yield Complaint((*place, "accelerator"), "the accelerator has no type", "name it: set_accelerator_type(…)")
        if not is_given_at_run_time(count) and not re.fullmatch(r"[1-9]\d{0,3}", str(count), re.ASCII):
            what = "the accelerator has no count" if count is None else f"the count of accelerators is {str(count)[:40]!r}"
            yield Complaint((*place, "accelerator"), what, "set_accelerator_limit(1), or another whole number")


@rule(
    "negative-count",
    basis="inferred",
    why="a negative count or duration has no meaning: retries are off or endless, parallelism has no limit",
    source="kubeflow/pipelines, backend/src/v2/compiler/argocompiler, which passes them on; pipeline_spec.proto, RetryPolicy",
)
def _counts(document: Document) -> Iterator[Complaint]:
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            for owner, keys in (
                ("retryPolicy", ("maxRetryCount", "backoffDuration", "backoffFactor", "backoffMaxDuration")),
                ("iteratorPolicy", ("parallelismLimit",)),
            ):
                for key in keys:
                    value = mapping(task.get(owner)).get(key)
                    if str(value).strip().startswith("-") or (isinstance(value, float) and not math.isfinite(value)):
                        yield Complaint((*graph.place, "tasks", name, owner, key), f"{key} of {name!r} is {value!r}", "give zero or more")


@rule("environment-name", basis="enforced", why="Kubernetes refuses a pod with such a variable", source=f"{_KUBERNETES}, IsRelaxedEnvVarName")
def _variables(document: Document) -> Iterator[Complaint]:
    for place, name in _environment(document):
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            yield Complaint(place, f"the name of the environment variable is {name!r}", "use letters, digits and underscores, no digit first")


@rule(
    "environment-name-shell",
    severity="warning",
    basis="enforced",
    why="a shell cannot read such a variable, and Kubernetes before 1.32 refuses it",
    source=f"{_KUBERNETES}, IsEnvVarName; POSIX, environment variables",
)
def _shell_variables(document: Document) -> Iterator[Complaint]:
    for place, name in _environment(document):
        if isinstance(name, str) and _VARIABLE.fullmatch(name) and not _SHELL_VARIABLE.fullmatch(name):
            yield Complaint(place, f"the environment variable is called {name!r}", "use letters, digits and underscores, no digit first")


@rule(
    "environment-twice",
    severity="warning",
    why="of two variables with one name the last counts",
    source="Kubernetes documentation, Define environment variables for a container",
)
def _twice(document: Document) -> Iterator[Complaint]:
    seen: dict[tuple[Any, Any], Place] = {}
    for place, name in _environment(document):
        # The executor's label is the fourth key in a specification, the sixth in a platform's document.
        key = (place[3] if place[0] == 0 else place[5], str(name))
        if key in seen:
            yield Complaint(place, f"the environment variable {name!r} of {key[0]!r} is there twice", "keep one of them")
        seen.setdefault(key, place)


def _environment(document: Document) -> Iterator[tuple[Place, Any]]:
    """Yield (place, name) of every environment variable of a container: its own, and those from its Kubernetes options."""
    for place, container in document.containers():
        for index, variable in enumerate(container.get("env") or []):
            yield (*place, "env", index, "name"), mapping(variable).get("name", "")
    for place, options in document.kubernetes_options():
        for kind in ("secretAsEnv", "configMapAsEnv"):
            for index, source in enumerate(_listed(options, kind)):
                for number, pair in enumerate(_listed(mapping(source), "keyToEnv")):
                    yield (*place, kind, index, "keyToEnv", number, "envVar"), mapping(pair).get("envVar", "")
        for index, field in enumerate(_listed(options, "fieldPathAsEnv")):
            yield (*place, "fieldPathAsEnv", index, "name"), mapping(field).get("name", "")


def _listed(owner: dict[str, Any], key: str) -> list[Any]:
    found = owner.get(key)
    return found if isinstance(found, list) else []


@rule(
    "argument-size",
    why="Linux starts no program with an argument or a variable of 128 KiB or more, and a task's inputs are one argument",
    source="execve(2), MAX_ARG_STRLEN; the launcher's --executor_input",
)
def _arguments(document: Document) -> Iterator[Complaint]:
    remedy = "put it in a file or an artifact, and pass its path"
    for place, container in document.containers():
        for member in ("command", "args"):
            for index, text in enumerate(container.get(member) or []):
                if isinstance(text, str) and len(text.encode("utf-8", "replace")) >= _LONGEST_ARGUMENT:
                    yield Complaint((*place, member, index), f"an argument has {len(text):,} characters", remedy)
        for index, variable in enumerate(container.get("env") or []):
            pair = f"{mapping(variable).get('name')}={mapping(variable).get('value')}"
            if len(pair.encode("utf-8", "replace")) >= _LONGEST_ARGUMENT:
                yield Complaint((*place, "env", index), f"an environment variable has {len(pair):,} characters", remedy)
    for graph in document.graphs():
        for name, task in graph.tasks.items():
            given = mapping(mapping(task.get("inputs")).get("parameters"))
            constants = {key: mapping(mapping(each).get("runtimeValue")).get("constant") for key, each in given.items()}
            yield from _too_large(constants, (*graph.place, "tasks", name, "inputs", "parameters"), f"the constants of {name!r}", remedy)
    for place, component in document.components_with_root():
        defined = mapping(mapping(component.get("inputDefinitions")).get("parameters"))
        defaults = {key: mapping(each).get("defaultValue") for key, each in defined.items()}
        yield from _too_large(defaults, (*place, "inputDefinitions", "parameters"), f"the defaults of {place[-1]!r}", remedy)


def _too_large(values: dict[str, Any], place: Place, what: str, remedy: str) -> Iterator[Complaint]:
    sizes = {key: len(json.dumps(value, default=str)) for key, value in values.items() if value is not None}
    if sum(sizes.values()) >= _LONGEST_ARGUMENT:
        largest = max(sizes, key=lambda key: sizes[key])
        yield Complaint((*place, largest), f"{what} have {sum(sizes.values()):,} characters, {largest!r} {sizes[largest]:,}", remedy)
