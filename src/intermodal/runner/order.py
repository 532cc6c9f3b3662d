"""What is imported ahead, and when: first what runs in any case, then, when a task starts, what comes after it.

A component's logic imports heavy libraries (MLflow, TensorFlow) within its functions, because it may not need them: with nothing changed since
the last run it does not. They are imported ahead only once a task that the cache might have answered really runs.
"""

from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from intermodal.compiler.specification import Specification
from intermodal.runner.inputs import needed_tasks


class Order:
    """Says of a pipeline's tasks which to expect.

    Args:
        specification: The pipeline.
        expect: Called for an expected task with its image, its command, its variables, whether it comes before all others (`next_one`), and whether
            what its functions import is imported ahead too (`whole`).
        cached: Whether tasks may be answered from the cache.
    """

    def __init__(self, specification: Specification, expect: Callable[..., None], *, cached: bool = True) -> None:
        self._specification, self._expect = specification, expect
        self._whole = not cached or not any(map(_may_be_cached, self._tasks(specification["root"]["dag"])))
        self._after: dict[int, list[dict[str, Any]]] = {}
        self._visit(specification["root"]["dag"])

    def begin(self) -> None:
        """Expect the tasks that no cache answers, in their order."""
        for task in self._tasks(self._specification["root"]["dag"]):
            if not _may_be_cached(task):
                self._say(task, next_one=False)

    def started(self, task: dict[str, Any]) -> bool:
        """Expect the tasks that come after one that is running now; called from any thread.

        Returns:
            Whether what the task's functions import is imported before it is forked, for the tasks after it too.
        """
        if not self._whole and _may_be_cached(task):
            self._whole = True
            self.begin()
        if self._whole:
            for after in self._after.get(id(task), []):
                self._say(after, next_one=True)
        return self._whole

    def _say(self, task: dict[str, Any], *, next_one: bool) -> None:
        component = self._component(task)
        container = self._specification["deploymentSpec"]["executors"][component["executorLabel"]].get("container")
        if container:
            words = [*container.get("command", []), *container.get("args", [])]
            self._expect(container["image"], words, {each["name"]: "" for each in container.get("env", [])}, next_one=next_one, whole=self._whole)

    def _visit(self, dag: dict[str, Any]) -> None:
        for name, task in dag["tasks"].items():
            inner = self._component(task).get("dag")
            if inner:
                self._visit(inner)
                continue
            after = [other for other in dag["tasks"].values() if name in needed_tasks(other)]
            self._after[id(task)] = [first for other in after for first in self._first(other)]

    def _first(self, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the tasks that a task begins with: itself, or those of its graph that wait for no other."""
        inner = self._component(task).get("dag")
        if not inner:
            yield task
            return
        for each in inner["tasks"].values():
            if not needed_tasks(each):
                yield from self._first(each)

    def _tasks(self, dag: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the tasks of a graph and of those in it, each after what it needs."""
        try:
            names = list(TopologicalSorter({name: sorted(needed_tasks(task)) for name, task in dag["tasks"].items()}).static_order())
        except CycleError:
            return  # the engine says so
        for name in names:
            if task := dag["tasks"].get(name):
                inner = self._component(task).get("dag")
                yield from self._tasks(inner) if inner else [task]

    def _component(self, task: dict[str, Any]) -> dict[str, Any]:
        component: dict[str, Any] = self._specification["components"][task["componentRef"]["name"]]
        return component


def _may_be_cached(task: dict[str, Any]) -> bool:
    return bool(task.get("cachingOptions", {}).get("enableCache"))
