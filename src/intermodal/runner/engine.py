"""The engine decides which task of a compiled pipeline (KFP's IR) runs when, with which inputs, and which is skipped, as Kubeflow Pipelines does.

It starts no process: the caller's `execute` runs one task at a time in each of several threads.

- A task runs after the tasks whose outputs it reads and those in its `dependentTasks`. It is skipped when one of them was; the run still succeeds.
- Conditions are CEL over the task's own inputs. `OneOf` takes the output of the branch that ran.
- A loop runs its graph for each item, at most `parallelism` items at a time, and returns lists in the items' order.
- After a failure only tasks that ignore failures before them still start: exit tasks, and those with `ignore_upstream_failure`, with all tasks
  inside them.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Literal

from intermodal.compiler.conditions import holds
from intermodal.compiler.specification import Specification
from intermodal.runner.inputs import Values, absent_inputs, loop_items, needed_tasks, task_inputs, typed
from intermodal.runner.runs import task_names
from intermodal.runtime.errors import ConfigurationError, IntermodalError

State = Literal["done", "failed", "skipped"]
_STATUS = {"done": "SUCCEEDED", "failed": "FAILED", "skipped": "CANCELLED"}


@dataclass(frozen=True)
class Instance:
    """One task to run; in a loop, one iteration of it.

    Attributes:
        name: Unique in the run; in a loop with the iteration, `score[0]`.
        place: Its folder below the run's.
        task: The task, as its graph has it.
        component: The task's component.
        executor: Its container or importer.
        inputs: Its inputs.
    """

    name: str
    place: str
    task: dict[str, Any]
    component: dict[str, Any]
    executor: dict[str, Any]
    inputs: Values


@dataclass
class Outcome:
    """The result of a pipeline.

    Attributes:
        outputs: The pipeline's own outputs, without those of branches that did not run.
        failures: Tasks and their errors, in the order in which they failed; also conditions and loops that could not be evaluated.
        skipped: Names of tasks that never ran.
    """

    outputs: Values = field(default_factory=Values)
    failures: list[tuple[str, IntermodalError]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass
class _End:
    """The result of a task, a graph or a loop."""

    state: State
    outputs: Values = field(default_factory=Values)
    why: str = ""
    cut: bool = False  # skipped because the run was stopped


_CUT = _End("skipped", cut=True)


class _Domain:
    """The tasks that one failure stops. Each exit task has a domain of its own; a failure in it also stops the domains around it."""

    def __init__(self, around: "_Domain | None" = None) -> None:
        self.around = around
        self.stopped = False


_Finish = Callable[[_End], None]


class Engine:
    """Runs one pipeline once.

    Args:
        specification: The pipeline.
        inputs: The pipeline's parameters and artifacts.
        execute: Runs one task and returns its outputs; called in up to `parallelism` threads. An `IntermodalError` fails the task.
        parallelism: How many tasks run at the same time.
        stopping: Returns whether the run was stopped: then nothing more starts, not even exit tasks.
    """

    def __init__(
        self,
        specification: Specification,
        inputs: Values,
        execute: Callable[[Instance], Values],
        *,
        parallelism: int = 1,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.specification, self.stopping = specification, stopping
        self.names = task_names(specification)
        self._inputs, self._execute, self._parallelism = inputs, execute, parallelism
        self._ready: deque[tuple[Instance, _Domain, _Finish]] = deque()
        self._to_visit: deque[_Graph | _Loop] = deque()
        self._open: dict[_Graph | _Loop, None] = {}
        self._ran: set[str] = set()
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Run the pipeline to its end.

        Raises:
            Exception: An error of `execute` that is no `IntermodalError`, once all running tasks have ended.
        """
        root = self.specification["root"]
        ends: list[_End] = []
        defect: BaseException | None = None
        running: dict[Future[Values], tuple[Instance, _Finish]] = {}
        self.open(_Graph(self, root["dag"], typed(self._inputs, root), (), (), _Domain(), ends.append))
        with ThreadPoolExecutor(self._parallelism, thread_name_prefix="task") as threads:
            while True:
                self._settle()
                while self._ready and len(running) < self._parallelism:
                    instance, domain, finish = self._ready.popleft()
                    if domain.stopped or self.stopping() or defect:
                        finish(_CUT)
                        self._settle()
                        continue
                    self._ran.add(instance.name.partition("[")[0])
                    running[threads.submit(self._execute, instance)] = instance, finish
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    instance, finish = running.pop(future)
                    error = future.exception()
                    if error is None:
                        finish(_End("done", future.result()))
                        continue
                    if not isinstance(error, IntermodalError):
                        defect = defect or error
                        error = IntermodalError(str(error))
                    self.failed(instance.name, error, finish)
        if defect:
            raise defect
        if not ends:
            raise ConfigurationError("tasks of the pipeline wait for each other, or for one that is not there: compile it again")
        self._outcome.outputs = ends[0].outputs
        self._outcome.skipped = [name for name in self.names.values() if name not in self._ran]
        return self._outcome

    # Graphs and loops call the methods below.

    def open(self, part: "_Graph | _Loop") -> None:
        """Start a graph or a loop."""
        self._open[part] = None
        self._to_visit.append(part)

    def close(self, part: "_Graph | _Loop") -> None:
        """Forget a graph or a loop that has ended."""
        del self._open[part]

    def revisit(self, part: "_Graph | _Loop") -> None:
        """Let a graph or a loop look again at what it can start."""
        self._to_visit.append(part)

    def stop(self, domain: _Domain) -> None:
        """Start no more tasks of a domain."""
        each: _Domain | None = domain
        while each and not each.stopped:
            each.stopped = True
            self._to_visit.extend(part for part in self._open if part.domain is each)
            each = each.around

    def enqueue(self, instance: Instance, domain: _Domain, finish: _Finish) -> None:
        """Run a task as soon as a thread is free."""
        self._ready.append((instance, domain, finish))

    def failed(self, name: str, error: IntermodalError, finish: _Finish) -> None:
        """Record a failure."""
        self._outcome.failures.append((name, error))
        finish(_End("failed", why=f"{name}: {error}"))

    def _settle(self) -> None:
        while self._to_visit:
            part = self._to_visit.popleft()
            if part in self._open:
                part.advance()


class _Graph:
    """A running graph: the pipeline, a branch, a sub-pipeline, one iteration of a loop.

    Args:
        engine: The engine that runs it.
        dag: The graph.
        inputs: Its inputs.
        path: The names of the tasks around it.
        iterations: Name and number of the iterations of the loops around it.
        domain: The tasks that a failure in it stops.
        finish: Called with its result.
    """

    def __init__(
        self,
        engine: Engine,
        dag: dict[str, Any],
        inputs: Values,
        path: tuple[str, ...],
        iterations: tuple[tuple[str, int], ...],
        domain: _Domain,
        finish: _Finish,
    ) -> None:
        self.engine, self.dag, self.inputs, self.path, self.iterations = engine, dag, inputs, path, iterations
        self.domain, self.finish = domain, finish
        self.ends: dict[str, _End] = {}
        self.started: set[str] = set()

    def advance(self) -> None:
        """Start or skip every task for which this can be decided; end when all tasks have ended."""
        for name, task in self.dag["tasks"].items():
            if name not in self.ends and name not in self.started:
                self._consider(name, task)
        if len(self.ends) == len(self.dag["tasks"]):
            self.engine.close(self)
            self.finish(self._end())

    def _consider(self, name: str, task: dict[str, Any]) -> None:
        needed = needed_tasks(task)
        always = task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
        if self.engine.stopping() or (self.domain.stopped and not always):
            self._ended(name, _CUT)
        elif not needed <= self.ends.keys():
            return
        elif not always and any(self.ends[each].state != "done" for each in needed):
            self._ended(name, _End("skipped"))
        else:
            self.started.add(name)
            self._begin(name, task, _Domain(self.domain) if always else self.domain)

    def _begin(self, name: str, task: dict[str, Any], domain: _Domain) -> None:
        def finish(end: _End) -> None:
            self._ended(name, end)

        outputs = {task: end.outputs for task, end in self.ends.items()}
        try:
            component = self.engine.specification["components"][task["componentRef"]["name"]]
            given = typed(task_inputs(task, self.inputs, outputs, self._final_status), component)
            if not holds(task.get("triggerPolicy", {}).get("condition", ""), given.parameters.__getitem__):
                finish(_End("skipped"))
            elif (loop := loop_items(task, given)) is not None:
                self.engine.open(_Loop(self, name, task, component, given, loop, domain, finish))
            else:
                self.start(name, task, component, given, self.iterations, domain, finish)
        except ConfigurationError as error:
            self.engine.failed(name, error, finish)

    def start(
        self,
        name: str,
        task: dict[str, Any],
        component: dict[str, Any],
        given: Values,
        iterations: tuple[tuple[str, int], ...],
        domain: _Domain,
        finish: _Finish,
    ) -> None:
        """Start a task, or one iteration of it.

        Raises:
            ConfigurationError: A required input is missing.
        """
        path = (*self.path, name)
        if "dag" in component:
            self.engine.open(_Graph(self.engine, component["dag"], given, path, iterations, domain, finish))
            return
        if absent := absent_inputs(given, component):
            raise ConfigurationError(f"no task that ran gives its input {', '.join(absent)}")
        unique = self.engine.names[path]
        place = "/".join([*(f"{loop}-iteration-{number}" for loop, number in iterations), unique])
        executor = self.engine.specification["deploymentSpec"]["executors"][component["executorLabel"]]
        shown = unique + "".join(f"[{number}]" for _, number in iterations)
        self.engine.enqueue(Instance(shown, place, task, component, executor, given), domain, finish)

    def _ended(self, name: str, end: _End) -> None:
        self.ends[name] = end
        if end.state == "failed":
            self.engine.stop(self.domain)
        self.engine.revisit(self)

    def _final_status(self, task: str) -> dict[str, Any]:
        """Return kfp's PipelineTaskFinalStatus of a task."""
        end = self.ends[task]
        error = {"code": 1, "message": end.why} if end.state == "failed" else {}
        return {"state": _STATUS[end.state], "pipelineJobResourceName": "{{$.pipeline_job_name}}", "pipelineTaskName": task, "error": error}

    def _end(self) -> _End:
        for end in self.ends.values():
            if end.state == "failed":
                return end
        if any(end.cut for end in self.ends.values()):
            return _CUT
        outputs, wanted = Values(), self.dag.get("outputs", {})
        for name, source in wanted.get("parameters", {}).items():
            selectors = [source["valueFromParameter"]] if "valueFromParameter" in source else source["valueFromOneof"]["parameterSelectors"]
            _choose(name, selectors, [self._outputs(each).parameters for each in selectors], "outputParameterKey", outputs.parameters)
        for name, source in wanted.get("artifacts", {}).items():
            selectors = source["artifactSelectors"]
            _choose(name, selectors, [self._outputs(each).artifacts for each in selectors], "outputArtifactKey", outputs.artifacts)
        return _End("done", outputs)

    def _outputs(self, selector: dict[str, Any]) -> Values:
        return self.ends[selector["producerSubtask"]].outputs


def _choose(name: str, selectors: list[dict[str, Any]], made: list[dict[str, Any]], key: str, outputs: dict[str, Any]) -> None:
    """Set a graph's output to that of the first selector whose task gave one: of several branches, the one that ran."""
    found = [each[selector[key]] for selector, each in zip(selectors, made, strict=True) if selector[key] in each]
    if found:
        outputs[name] = found[0]


class _Loop:
    """A task that runs once for each item of a list."""

    def __init__(
        self,
        graph: _Graph,
        name: str,
        task: dict[str, Any],
        component: dict[str, Any],
        given: Values,
        loop: tuple[str, str, list[Any]],
        domain: _Domain,
        finish: _Finish,
    ) -> None:
        self.graph, self.name, self.task, self.component, self.given = graph, name, task, component, given
        self.kind, self.input, self.items = loop
        self.domain, self.finish = domain, finish
        self.limit = int(task.get("iteratorPolicy", {}).get("parallelismLimit", 0)) or len(self.items)
        self.started = 0
        self.ends: dict[int, _End] = {}

    def advance(self) -> None:
        """Start as many iterations as may run at a time; end when all have ended."""
        stopped = self.domain.stopped or self.graph.engine.stopping()
        while not stopped and self.started < len(self.items) and self.started - len(self.ends) < self.limit:
            self._start(self.started)
        if len(self.ends) == self.started and (stopped or self.started == len(self.items)):
            self.graph.engine.close(self)
            failed = [end for end in self.ends.values() if end.state == "failed"]
            cut = self.started < len(self.items) or any(end.cut for end in self.ends.values())
            self.finish(failed[0] if failed else _CUT if cut else _End("done", self._collected()))

    def _start(self, number: int) -> None:
        self.started += 1
        given = Values(dict(self.given.parameters), dict(self.given.artifacts))
        getattr(given, self.kind)[self.input] = self.items[number]

        def finish(end: _End) -> None:
            self.ends[number] = end
            if end.state == "failed":
                self.graph.engine.stop(self.domain)
            self.graph.engine.revisit(self)

        iterations = (*self.graph.iterations, (self.name, number))
        try:
            self.graph.start(self.name, self.task, self.component, typed(given, self.component), iterations, self.domain, finish)
        except ConfigurationError as error:
            self.graph.engine.failed(f"{self.name}[{number}]", error, finish)

    def _collected(self) -> Values:
        """Return the outputs of all iterations, as lists: of artifacts one flat list, of parameters one list for each loop."""
        ends = [self.ends[number].outputs for number in range(len(self.items))]
        defined = self.component.get("outputDefinitions", {})
        lists = Values()
        for name in defined.get("parameters", {}):
            lists.parameters[name] = [each.parameters[name] for each in ends if name in each.parameters]
        for name in defined.get("artifacts", {}):
            found = [each.artifacts[name] for each in ends if name in each.artifacts]
            lists.artifacts[name] = [one for each in found for one in (each if isinstance(each, list) else [each])]
        return lists
