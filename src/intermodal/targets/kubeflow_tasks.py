"""The tasks of a run on Kubeflow Pipelines, read from the nodes of the workflow that its API shows in their place.

A node comes with a display name, a state, times and the ids of the nodes that follow it, but without its own id, pod or error: the fields are
in the API and the server leaves them empty (its `toApiPipelineTaskDetail`; kubeflow/pipelines issue 14007). Argo makes both the id and the pod's
name from the node's full name, as `WORKFLOW-HASH` and `WORKFLOW-TEMPLATE-HASH` with 32 bits of FNV-1a (`workflow/util/pod_name.go`), so full names
are found from the root on, each held against the ids.
"""

import re
from collections.abc import Iterator
from typing import Any

from intermodal.targets.remote import RemoteTask, State

_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "running",
    "CANCELED": "cancelled",
    "PAUSED": "paused",
    "CACHED": "cached",
}
#: Templates whose pod runs a task's own container: with and without retries, and an importer's.
_TEMPLATES = ("system-container-impl", "retry-system-container-impl", "system-importer")
_INNER = re.compile(r"root|executor(\(\d+\))?|iteration-(driver|iterations|item).*")


def state_of(word: str | None, *, over: bool = False) -> State:
    """Return our word for Kubeflow's; a node that Argo left out has none there, and is skipped once the run is over."""
    return _STATES.get(word or "", "skipped" if over else "pending")


def tasks_of(run: Any) -> tuple[RemoteTask, ...]:
    """Return a run's tasks in the order of their start, nested ones included.

    A task is told to be cached only where that is certain: no executor that ran lies within its time.
    """
    over = state_of(run.state) in ("succeeded", "failed", "cancelled", "skipped")
    nodes = _nodes(run)
    executors = [each for each in nodes if each.display_name == "executor"]
    names = full_names(nodes)
    found = [_task(each, executors, names, over=over) for each in task_details(run)]
    return tuple(sorted(found, key=lambda each: (each.started is None, each.started.timestamp() if each.started else 0.0)))


def task_details(run: Any) -> list[Any]:
    """Return the nodes that are tasks: neither the workflow and its root, nor drivers, executors and a loop's frame."""
    nodes = _nodes(run)
    names = {each.display_name for each in nodes}
    workflow = _workflow(nodes)
    return [each for each in nodes if each.display_name != workflow and not _INNER.fullmatch(each.display_name) and not _driver(each, names)]


def pods_of(run: Any, name: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield, for each attempt of a task or of all, the task and the names that its pod may have, the likeliest first."""
    names = full_names(_nodes(run))
    for detail in task_details(run):
        if name in (None, detail.display_name):
            for pods in [[detail.pod_name]] if detail.pod_name else _attempts(detail, names):
                yield detail.display_name, pods


def _attempts(detail: Any, names: dict[str, str]) -> Iterator[list[str]]:
    identifiers = {name: identifier for identifier, name in names.items()}
    for child in _children(detail):
        name = names.get(child, "")
        if not name:  # named in another way than Argo does today
            yield _pods(child)[::-1]
        elif name.endswith(".executor"):
            attempts = [identifiers[each] for each in sorted(identifiers, key=_attempt) if re.fullmatch(re.escape(name) + r"\(\d+\)", each)]
            for identifier in attempts or [child]:
                yield _pods(identifier)
    if not any(names.get(child, "").startswith(f"{own}.") for own in _own(detail, names) for child in _children(detail)):
        for own in _own(detail, names):  # an importer: the node is the pod
            yield _pods(identifiers[own])[::-1]


def full_names(nodes: list[Any]) -> dict[str, str]:
    """Return id → full name of all nodes that others name as their successors, the workflow's own included."""
    workflow = _workflow(nodes)
    wanted = {child for each in nodes for child in _children(each)}
    displays = sorted({each.display_name for each in nodes})
    found = {workflow: workflow}
    queue = [workflow] if workflow else []
    for container in queue:
        if container.endswith(("-driver", ".executor")) and f"{container}-driver" not in found.values():
            continue  # a pod: nothing lies within
        start = fnv1a(f"{container}.")
        for display in displays:
            identifier = f"{workflow}-{fnv1a(display, start)}"
            if identifier in wanted and identifier not in found:
                found[identifier] = f"{container}.{display}"
                queue.append(found[identifier])
    return found


def fnv1a(text: str, start: int = 0x811C9DC5) -> int:
    """Return the 32 bit FNV-1a hash of a text, or of a longer one whose beginning has the hash `start`."""
    value = start
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def _task(detail: Any, executors: list[Any], names: dict[str, str], *, over: bool) -> RemoteTask:
    state = state_of(detail.state, over=over)
    if state == "succeeded" and any(names.get(child, "").endswith(f".{detail.display_name}.executor") for child in _children(detail)):
        within = [each.state for each in executors if _within(each, detail)]
        if within and set(within) == {"SKIPPED"}:
            state = "cached"
    return RemoteTask(
        name=detail.display_name,
        state=state,
        started=moment(detail.start_time),
        ended=moment(detail.end_time),
        error=detail.error.message if detail.error else "",
    )


def moment(value: Any) -> Any:
    """Return a time, or None for the zero that the server writes where there is none (year 1 or 1970)."""
    return value if value and value.year > 1970 else None


def _within(executor: Any, task: Any) -> bool:
    times = (moment(task.start_time), moment(executor.start_time), moment(task.end_time))
    return None in times or times[0] <= times[1] <= times[2]


def _own(detail: Any, names: dict[str, str]) -> list[str]:
    found = [name for name in names.values() if name.endswith(f".{detail.display_name}")]
    return found if len(found) == 1 else []


def _pods(identifier: str) -> list[str]:
    workflow, _, number = identifier.rpartition("-")
    return [*(f"{workflow}-{template}-{number}" for template in _TEMPLATES), identifier]


def _driver(detail: Any, names: set[str]) -> bool:
    name = detail.display_name
    return name.endswith("-driver") and name.removesuffix("-driver") in names and f"{name}-driver" not in names


def _attempt(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*)\((\d+)\)", name)
    return (match[1], int(match[2])) if match else (name, -1)


def _nodes(run: Any) -> list[Any]:
    return [each for each in (run.run_details.task_details if run.run_details else None) or [] if each.display_name]


def _children(detail: Any) -> list[str]:
    return [each.pod_name for each in detail.child_tasks or [] if each.pod_name]


def _workflow(nodes: list[Any]) -> str:
    return next((child.rpartition("-")[0] for each in nodes for child in _children(each)), "")
