"""The tasks of a run on Kubeflow Pipelines, read from the nodes of the workflow that its API shows in their place.

A node comes with a display name, a state, times and the ids of the nodes that follow it, but without its own id, pod or error: the fields are
in the API and the server leaves them empty (its `toApiPipelineTaskDetail`; kubeflow/pipelines issue 14007). Argo makes both the id and the pod's
name from the node's full name, as `WORKFLOW-HASH` and `WORKFLOW-TEMPLATE-HASH` with 32 bits of FNV-1a (`workflow/util/pod_name.go`), so full names
are found from the root on, each compared with the ids.

A node that may be tried again is a Retry with a child `name(0)` for each attempt. Where the workflow controller has a
`templateDefaults.retryStrategy`, every node is one. Attempts are folded into their node.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from intermodal.compiler.specification import graphs
from intermodal.platforms.interface import FINAL, RemoteTask, State

_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "cancelling",
    "CANCELED": "cancelled",
    "PAUSED": "paused",
    "CACHED": "cached",
}
# Templates of pods (the backend's argocompiler); a container's comes with and without retries, and with the number of its annotations and labels.
_CONTAINER = ("system-container-impl", "retry-system-container-impl")
_DRIVER = ("system-container-driver", "system-dag-driver")
_IMPORTER = ("system-importer",)
_INNER = re.compile(r"root|executor|iteration-(driver|iterations|item).*|iteration")
_ITERATION = re.compile(r"\((\d+):[^)]*\)")
_ATTEMPT = re.compile(r"(?P<node>.+)\((?P<number>\d+)\)")


@dataclass(frozen=True)
class Log:
    """Where the log of one attempt of a task may be.

    Attributes:
        task: The task's name.
        state: The task's.
        places: What the route of logs may know it by, the likeliest first: the node's id, then names of its pod.
    """

    task: str
    state: State
    places: list[str]

    @property
    def pod(self) -> str:
        """The likeliest name of its pod."""
        return self.places[min(1, len(self.places) - 1)]


@dataclass(frozen=True, eq=False)
class _Node:
    """A node as the API shows it, with its attempts folded in."""

    display: str
    state: State
    started: datetime | None
    ended: datetime | None
    error: str
    children: list[str]
    pod: str
    attempts: "list[_Node]" = field(default_factory=list)

    @property
    def effective(self) -> State:
        """Its state; a Retry is said to run while its attempt waits for a pod."""
        tried = [each for each in self.attempts if _within(each, self)]
        last = max((_number(each.display) for each in tried), default=-1)
        waits = {each.state for each in tried if _number(each.display) == last} == {"pending"}
        return "pending" if self.state == "running" and waits else self.state


class Workflow:
    """The nodes of a run.

    Args:
        run: As the API has it.
        namespace: In which its pods are; empty: not known.
    """

    def __init__(self, run: Any, namespace: str = "") -> None:
        self._kubectl = f"kubectl -n {namespace}" if namespace else "kubectl"
        self._over = state_of(run) in FINAL
        self._cancelled = _cancelled_at(run)
        details = [each for each in (run.run_details.task_details if run.run_details else None) or [] if each.display_name]
        nodes = [_node(each, over=self._over) for each in details]
        heads = {each.display: [each] for each in nodes}
        self._nodes: list[_Node] = []
        for each in nodes:
            match = _ATTEMPT.fullmatch(each.display)
            if match and match["node"] in heads:
                heads[match["node"]].append(each)
            else:
                self._nodes.append(each)
        for each in self._nodes:
            each.attempts.extend(heads[each.display][1:])
        self._identifiers = {full: identifier for identifier, full in full_names(nodes).items()}
        self.name = _workflow(nodes)
        # What the run was submitted with; nothing where it came from an uploaded version.
        whole = run.pipeline_spec if isinstance(run.pipeline_spec, dict) else {}
        specification = whole.get("pipeline_spec", whole)
        self._components: dict[str, Any] = specification.get("components", {})
        known = graphs(specification) if "dag" in specification.get("root", {}) else ()
        self._declared: dict[str, dict[str, Any]] = {name: task for graph in known for name, task in graph.get("tasks", {}).items()}
        self._executors = (whole.get("platform_spec") or {}).get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        # Full names, by their display name and by the node that contains them; an attempt counts as its node.
        self._shown: dict[str, list[str]] = defaultdict(list)
        self._inside: dict[str, list[str]] = defaultdict(list)
        self._tries: dict[str, list[str]] = defaultdict(list)
        for full in sorted(self._identifiers, key=_number):
            match = _ATTEMPT.fullmatch(full)
            if match and match["node"] in self._identifiers:
                self._tries[match["node"]].append(full)
            else:
                self._shown[_display(full)].append(full)
                self._inside[full.rpartition(".")[0]].append(full)

    @property
    def retried(self) -> bool:
        """Whether the installation makes every node a Retry; a task's own retries make one of only its executor."""
        return any(each.attempts and each.display != "executor" for each in self._nodes)

    @property
    def retries(self) -> bool:
        """Whether a task asks for retries of its own."""
        return any(int((task.get("retryPolicy") or {}).get("maxRetryCount") or 0) > 0 for task in self._declared.values())

    @cached_property
    def tasks(self) -> tuple[RemoteTask, ...]:
        """The tasks in the order of their start, nested ones included.

        A task is said to be cached, or to wait for its pod, only where that is certain: other tasks' executors may run in the same time.
        """
        drivers = self._drivers()
        all_drivers = {each for group in drivers.values() for each in group}
        found = []
        for each in self._nodes:
            if each.display == self.name or _INNER.fullmatch(each.display) or each in all_drivers:
                continue
            own = sorted(drivers.get(each.display, []), key=lambda driver: (driver.state == "failed") == bool(each.started))
            if own:
                drivers[each.display].remove(own[0])
            if own and own[0].state == "failed" and each.started is None:  # its task was left out for it
                found.append(self._task(own[0], each.display, "failed"))
            else:
                found.append(self._task(each, each.display, self._state(each)))
        for name, left in drivers.items():
            for each in left:  # without a task's node, or not yet with one
                state = each.effective
                if state == "failed" or (not self._over and not _INNER.fullmatch(name)):
                    found.append(self._task(each, name, state if state in ("failed", "pending", "cancelled") else "running"))
        return tuple(sorted(found, key=lambda each: (each.started is None, each.started.timestamp() if each.started else 0.0)))

    def logs(self, name: str | None = None) -> Iterator[Log]:
        """Yield the places of the log of each attempt of a task, or of all."""
        states = {each.name: each.state for each in reversed(self.tasks)}
        for task in dict.fromkeys(each.name for each in self.tasks):
            if name in (None, task):
                for places in self._places(task):
                    yield Log(task, states[task], places)

    def input_logs(self, name: str) -> dict[str, list[Log]]:
        """Return the logs that may show what a task was given, the likeliest first; by its name, inside a loop with the iteration: `score[0]`."""
        found: dict[str, list[Log]] = {}
        for full in self._shown[name]:
            places = [*self._guesses([each for each in [f"{full}-driver"] if each in self._identifiers], _DRIVER)]
            places += self._guesses(self._executors_of(full), self._templates(name))
            iterations = "".join(f"[{number}]" for number in _ITERATION.findall(full))
            found[f"{name}{iterations}"] = [Log(name, "unknown", each) for each in places]
        return dict(sorted(found.items()))

    def _places(self, name: str) -> Iterator[list[str]]:
        """Yield the places of each attempt: an executor's; where there is none, those of an importer, whose node is the pod; a failed driver's."""
        if pods := [each.pod for each in self._nodes if each.display == name and each.pod]:  # a later backend may say it
            yield from ([pod] for pod in pods)
            return
        executors = [each for full in self._shown[name] for each in self._executors_of(full)]
        unnamed = [child for each in self._nodes if each.display == name for child in each.children if child not in self._identifiers.values()]
        if executors or unnamed:
            yield from self._guesses(executors, self._templates(name))
            for child in unnamed:  # named in another way than Argo does today
                yield _guesses(child, self._templates(name))
        else:
            yield from self._guesses([each for each in self._shown[name] if self._is_importer(each)], _IMPORTER)
        failed = [each.display for each in self._drivers().get(name, []) if each.state == "failed"]
        yield from self._guesses([full for each in failed for full in self._shown[each]], _DRIVER)

    def _guesses(self, fulls: list[str], templates: tuple[str, ...]) -> Iterator[list[str]]:
        for full in fulls:
            for each in self._tries[full] or [full]:
                yield _guesses(self._identifiers[each], templates)

    def _is_importer(self, full: str) -> bool:
        """Whether a task's node is its pod: it contains no node, and it has no driver."""
        return f"{full}-driver" not in self._identifiers and not self._children_of(full)

    def _children_of(self, full: str) -> list[str]:
        """Return the nodes inside a node, or inside its attempts."""
        return [each for node in (full, *self._tries[full]) for each in self._inside[node]]

    def _executors_of(self, full: str) -> list[str]:
        return [each for each in self._children_of(full) if _display(each) == "executor"]

    def _templates(self, name: str) -> tuple[str, ...]:
        """Return the names that the template of a task's container may have, its own first."""
        task = self._declared.get(name, {})
        label = self._components.get((task.get("componentRef") or {}).get("name", ""), {}).get("executorLabel")
        metadata = (self._executors.get(label) or {}).get("podMetadata")
        prefix = f"metadata-{len(metadata.get('annotations') or {})}-{len(metadata.get('labels') or {})}-" if metadata else ""
        own = f"{prefix}{'retry-' if task.get('retryPolicy') else ''}system-container-impl"
        return tuple(dict.fromkeys((own, *_CONTAINER)))

    def _drivers(self) -> dict[str, list[_Node]]:
        """Return the nodes that are drivers, by their task's name."""
        names = {each.display for each in self._nodes}
        found: dict[str, list[_Node]] = defaultdict(list)
        for each in self._nodes:
            task = each.display.removesuffix("-driver")
            known = task in self._declared or task == "root" or (task in names and f"{each.display}-driver" not in names)
            if task != each.display and known and each.display not in self._declared:
                found[task].append(each)
        return found

    def _state(self, node: _Node) -> State:
        state = node.effective
        executors = [each for each in self._nodes if each.display == "executor" and _within(each, node)]
        if not executors or not any(self._executors_of(full) for full in self._shown[node.display]):
            return state
        if state == "succeeded" and {each.state for each in executors} == {"skipped"}:
            return "cached"
        open_ones = {each.effective for each in executors} - FINAL
        return "pending" if state == "running" and open_ones == {"pending"} else state

    def _task(self, node: _Node, name: str, state: State) -> RemoteTask:
        if state == "failed" and self._cancelled and (node.ended is None or node.ended >= self._cancelled):
            state = "cancelled"
        ended = node.ended if state in FINAL else None
        group = any(self._children_of(full) and not self._executors_of(full) for full in self._shown[name])
        waits = (
            f"its pod has not started, and Kubeflow's API does not say why: {self._kubectl} describe pod {self._pod(name)}"
            if state == "pending"
            else ""
        )
        return RemoteTask(name, state, node.started, ended, node.error, reason=waits if node.started else "", group=group)

    def _pod(self, name: str) -> str:
        """Return the name of the pod that a waiting task waits for; of its last attempt."""
        places = list(self._places(name))
        if not places:
            places = list(self._guesses(self._shown[f"{name}-driver"], _DRIVER))
        return places[-1][1] if places else f"-l workflows.argoproj.io/workflow={self.name}"


def state_of(run: Any) -> State:
    """Return our word for a run's state. The backend has a run that was cancelled end FAILED, after CANCELING."""
    state = _STATES.get(run.state or "", "pending")
    if _cancelled_at(run) is not None:
        return "cancelled" if state == "failed" else "cancelling" if state in ("pending", "running") else state
    return state


def _cancelled_at(run: Any) -> datetime | None:
    """Return when a run was asked to end; None if it was not since it last began."""
    found = None
    history = run.state_history or []
    for position, each in enumerate(history):
        if each.state == "CANCELING":
            found = each.update_time or run.created_at
        elif _STATES.get(each.state or "") in FINAL and position < len(history) - 1:
            found = None  # it was started again
    return found


def full_names(nodes: list[_Node]) -> dict[str, str]:
    """Return id → full name of all nodes that others name as their successors, the workflow's own included."""
    workflow = _workflow(nodes)
    wanted = {child for each in nodes for child in each.children}
    displays = sorted({each.display for each in nodes})
    found = {workflow: workflow}
    for display in displays:  # attempts of the workflow itself
        if (match := _ATTEMPT.fullmatch(display)) and match["node"] == workflow:
            found[f"{workflow}-{fnv1a(display)}"] = display
    queue = list(found.values()) if workflow else []
    names = set(found.values())
    for container in queue:
        if f"{container}(0)" in names or (_bare(container).endswith(("-driver", ".executor")) and f"{_bare(container)}-driver" not in names):
            continue  # a Retry, or a pod: no node is inside
        start = fnv1a(f"{container}.")
        for display in displays:
            identifier = f"{workflow}-{fnv1a(display, start)}"
            if identifier in wanted and identifier not in found:
                found[identifier] = f"{container}.{display}"
                names.add(found[identifier])
                queue.append(found[identifier])
    return found


def fnv1a(text: str, start: int = 0x811C9DC5) -> int:
    """Return the 32 bit FNV-1a hash of a text, or of a longer one whose beginning has the hash `start`."""
    value = start
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def timestamp(value: Any) -> Any:
    """Return a time, or None for the zero that the server writes where there is none (year 1 or 1970)."""
    return value if value and value.year > 1970 else None


def _node(detail: Any, *, over: bool) -> _Node:
    # A node that Argo left out has no state, and is skipped once the run is over.
    state = _STATES.get(detail.state or "", "skipped" if over else "pending")
    children = [each.pod_name for each in detail.child_tasks or [] if each.pod_name]
    error = (detail.error.message or "") if detail.error else ""
    return _Node(detail.display_name, state, timestamp(detail.start_time), timestamp(detail.end_time), error, children, detail.pod_name or "")


def _guesses(identifier: str, templates: tuple[str, ...]) -> list[str]:
    workflow, _, number = identifier.rpartition("-")
    return [identifier, *(f"{workflow}-{template}-{number}" for template in templates)]


def _within(inner: _Node, outer: _Node) -> bool:
    if inner.started is None or outer.started is None:
        return False
    return outer.started <= inner.started and (outer.ended is None or inner.started <= outer.ended)


def _display(full: str) -> str:
    return full.rpartition(".")[2]


def _bare(name: str) -> str:
    match = _ATTEMPT.fullmatch(name)
    return match["node"] if match else name


def _number(name: str) -> int:
    match = _ATTEMPT.fullmatch(name)
    return int(match["number"]) if match else -1


def _workflow(nodes: list[_Node]) -> str:
    return next((child.rpartition("-")[0] for each in nodes for child in each.children), "")
