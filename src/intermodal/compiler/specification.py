"""Pipeline specifications (KFP's IR) as plain dictionaries: what their tasks are and which of them may be cached."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from intermodal.authoring.images import image_of

Specification = dict[str, Any]
#: Types of parameters: what people call a value of one, and whether a JSON value is one.
PARAMETER_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "STRING": ("a text", lambda value: isinstance(value, str)),
    "NUMBER_INTEGER": ("a whole number", lambda value: type(value) is int or (isinstance(value, float) and value.is_integer())),
    "NUMBER_DOUBLE": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "BOOLEAN": ("true or false", lambda value: isinstance(value, bool)),
    "LIST": ("a list", lambda value: isinstance(value, list)),
    "STRUCT": ("a mapping", lambda value: isinstance(value, dict)),
}


def graphs(specification: Specification) -> Iterator[dict[str, Any]]:
    """Yield the task graph of the pipeline and of every nested one: conditions, loops, sub-pipelines."""
    yield specification["root"]["dag"]
    for component in specification.get("components", {}).values():
        if "dag" in component:
            yield component["dag"]


def executor_of(specification: Specification, task: dict[str, Any]) -> dict[str, Any] | None:
    """Return what runs a task, or None when the task is a graph."""
    label = specification["components"][task["componentRef"]["name"]].get("executorLabel")
    found: dict[str, Any] | None = specification["deploymentSpec"]["executors"][label] if label else None
    return found


def tasks_named(specification: Specification, name: str) -> list[str]:
    """Return the components of the tasks of a name, nested ones included: usually one."""
    found = [graph["tasks"][name]["componentRef"]["name"] for graph in graphs(specification) if name in graph.get("tasks", {})]
    return list(dict.fromkeys(found))


def distributable(specification: Specification) -> list[str]:
    """Return the names of the components that run in an image of ours and have a parameter `workers`: how many processes share their work."""
    return _ours_with(specification, {"workers"})


def searching(specification: Specification) -> list[str]:
    """Return the names of the components that run in an image of ours and search: they have the parameters `space` and `trials`."""
    return _ours_with(specification, {"space", "trials"})


def _ours_with(specification: Specification, parameters: set[str]) -> list[str]:
    return [
        name
        for name, component in specification.get("components", {}).items()
        if parameters <= component.get("inputDefinitions", {}).get("parameters", {}).keys()
        and image_of(specification["deploymentSpec"]["executors"].get(component.get("executorLabel"), {}).get("container", {}).get("image", ""))
    ]


def image_run(specification: Specification, task: dict[str, Any]) -> str:
    """Return the image that a task's code runs in: its container's, or that of a managed job's machines; empty for a graph or an importer."""
    image = replica_of(specification, task["componentRef"]["name"]).get("image_uri", "")
    return str(image or (executor_of(specification, task) or {}).get("container", {}).get("image", ""))


def replica_of(specification: Specification, component: str) -> dict[str, Any]:
    """Return the container of a managed job's first machine; empty where a component starts no such job."""
    pools = parameters_of(specification, component).get("worker_pool_specs", {}).get("defaultValue") or []
    found: dict[str, Any] = pools[0].get("container_spec", {}) if pools else {}
    return found


def component_container(specification: Specification, component: str) -> dict[str, Any]:
    """Return the container that a component runs, to be changed in place."""
    label = specification["components"][component]["executorLabel"]
    found: dict[str, Any] = specification["deploymentSpec"]["executors"][label]["container"]
    return found


def parameters_of(specification: Specification, component: str) -> dict[str, Any]:
    """Return the definitions of a component's parameters by name."""
    found: dict[str, Any] = specification["components"][component].get("inputDefinitions", {}).get("parameters", {})
    return found


def compiled_value(specification: Specification, task: str, parameter: str) -> tuple[Any, str]:
    """Return what a task is given for a parameter as far as the file says it, and the pipeline's parameter that may change it.

    Args:
        specification: The pipeline's.
        task: The task's name.
        parameter: One of its component's.

    Returns:
        A constant or a default value, None where only the run knows it; and the name of the pipeline's parameter, empty where none gives it.
    """
    root = specification["root"]
    owners = {"": root, **{name: each for name, each in specification.get("components", {}).items() if "dag" in each}}
    owner, declared = next((name, each["dag"]["tasks"][task]) for name, each in owners.items() if task in each["dag"]["tasks"])
    definition = parameters_of(specification, declared["componentRef"]["name"]).get(parameter, {})
    given = declared.get("inputs", {}).get("parameters", {}).get(parameter)
    if given is None:
        return definition.get("defaultValue"), ""
    if "runtimeValue" in given:
        return given["runtimeValue"].get("constant"), ""
    outer = given.get("componentInputParameter")
    if outer is None:
        return None, ""
    if not owner:
        return root.get("inputDefinitions", {}).get("parameters", {}).get(outer, {}).get("defaultValue"), outer
    users = [name for graph in graphs(specification) for name, each in graph["tasks"].items() if each["componentRef"]["name"] == owner]
    return compiled_value(specification, users[0], outer) if len(users) == 1 else (None, "")


def separate(specification: Specification, task: str) -> str:
    """Give a task a component and an executor that no other task has, in place; return the component's name."""
    users = [(name, each) for graph in graphs(specification) for name, each in graph["tasks"].items()]
    found = next(each for name, each in users if name == task)
    component: str = found["componentRef"]["name"]
    if sum(each["componentRef"]["name"] == component for _, each in users) > 1:
        definition = copy.deepcopy(specification["components"][component])
        executors = specification["deploymentSpec"]["executors"]
        own, label = f"comp-{task}-own", f"exec-{task}-own"
        executors[label] = copy.deepcopy(executors[definition["executorLabel"]])
        specification["components"][own] = definition | {"executorLabel": label}
        found["componentRef"]["name"] = component = own
    return component


def apply_cache_policy(specification: Specification) -> None:
    """Forbid caching for the tasks of the project's uncached components, in every graph of the pipeline, in place.

    A component is known by its image and the function it runs; a task's name gets suffixes and can be chosen freely.
    """
    from intermodal.authoring.decorator import CACHED_WITH, UNCACHED  # imports kfp, which takes a second; not needed to read a specification

    for graph in graphs(specification):
        for task in graph["tasks"].values():
            name = _own_component((executor_of(specification, task) or {}).get("container", {}))
            if name in UNCACHED or (name in CACHED_WITH and not _is_set(task, CACHED_WITH[name])):
                task["cachingOptions"] = {}


def changed_by(container: dict[str, Any]) -> str:
    """Return what a task's container changes outside the run, as its component's contract names it; empty: nothing known."""
    if "google-cloud-pipeline-components" in container.get("image", ""):
        return "google-cloud"
    from intermodal.authoring.decorator import CHANGES

    return CHANGES.get(_own_component(container), "")


def _own_component(container: dict[str, Any]) -> str:
    """Return the name of the project's component that a container runs, and register its policy; empty for other images."""
    arguments = container.get("args", [])
    name = str(arguments[arguments.index("--function_to_execute") + 1]) if "--function_to_execute" in arguments[:-1] else ""
    from intermodal.authoring.catalog import component_names, load_component

    if not image_of(container.get("image", "")):
        return ""
    if name in component_names():
        load_component(name)  # components of other packages registered theirs when the pipeline imported them
    return name.replace("_", "-")


def _is_set(task: dict[str, Any], name: str) -> bool:
    """Return whether a task gets a parameter from another task or as a value that is not empty; a pipeline's own parameter may be empty."""
    given = task.get("inputs", {}).get("parameters", {}).get(name, {})
    return "taskOutputParameter" in given or bool(given.get("runtimeValue", {}).get("constant"))


def forbid_caching(specification: Specification) -> Specification:
    """Return a copy in which no task may be cached, nested ones included: the switch of a submission applies to root tasks only."""
    changed = copy.deepcopy(specification)
    for graph in graphs(changed):
        for task in graph["tasks"].values():
            task["cachingOptions"] = {}
    return changed


def forbid_caching_by_tag(specification: Specification) -> tuple[str, ...]:
    """Forbid caching, in place, for tasks whose image is referenced by tag: a platform's cache compares names, and a tag's content can change.

    Returns:
        The images of the tasks that might have been cached, sorted.
    """
    found = set()
    for graph in graphs(specification):
        for task in graph["tasks"].values():
            image = image_run(specification, task)
            if image and "@sha256:" not in image and task.get("cachingOptions", {}).get("enableCache"):
                task["cachingOptions"] = {}
                found.add(image)
    return tuple(sorted(found))
