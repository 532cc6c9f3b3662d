"""kfp's local orchestrator with the project's hands in it, for the time of one run.

kfp.local offers no seams, so its functions are replaced by name: the task handler (which process a task is), the cache, where a task's folder is,
what is logged. Two of its errors are put right besides: conditions on named outputs, which it takes for false without a word, and `OneOf` over
artifacts. Written against kfp 2.17.0, which the lock pins.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import kfp.local
from kfp.local import cache, executor_input_utils, logging_utils, subprocess_task_handler
from kfp.local.orchestrator import task_executor
from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from kfp.local.pipeline_orchestrator import run_local_pipeline
from kfp.local.status import Status

from intermodal.compiler.conditions import holds

Outputs = dict[str, Any]
_CHANNEL = "pipelinechannel--"


def orchestrate(
    specification: Any,
    arguments: dict[str, Any],
    *,
    run_id: str,
    root: str,
    workspace: str,
    task_cache: Any,
    execute: Callable[..., tuple[Outputs, Status]],
    launch: Callable[[str, list[str], dict[str, str]], Status],
    task_folder: Callable[[], str],
    sleep: Callable[[float], None],
) -> Outputs:
    """Run a pipeline through kfp's orchestrator.

    Args:
        specification: The pipeline's specification, as kfp's protobuf message.
        arguments: The pipeline's parameters.
        run_id: Names the run; a folder below `root`.
        root: Folder of all runs.
        workspace: Scratch folder; removed at the end.
        task_cache: kfp's cache interface.
        execute: Called in place of kfp's own execution of one task, with that function and its arguments.
        launch: Runs the command of the thread's current task: image, command, environment variables.
        task_folder: Returns the folder of the thread's current task.
        sleep: Waits between attempts.

    Returns:
        The pipeline's outputs.

    Raises:
        RuntimeError: A task failed.
    """

    class Handler:
        def __init__(self, image: str, full_command: list[str], env_vars: dict[str, str] | None = None, **_: Any) -> None:
            self.run: Callable[[], Status] = lambda: launch(image, full_command, env_vars or {})

    original = task_executor.execute_single_task
    replacements: list[tuple[Any, str, Any]] = [
        (subprocess_task_handler, "SubprocessTaskHandler", Handler),
        (cache, "get_local_cache", lambda: task_cache),
        (task_executor, "execute_single_task", lambda **details: execute(original, **details)),
        (task_executor, "time", SimpleNamespace(sleep=sleep)),
        (executor_input_utils, "get_local_pipeline_resource_name", lambda _: run_id),
        (executor_input_utils, "construct_local_task_root", lambda **_: task_folder()),
        (logging_utils, "local_logger_context", nullcontext),
        # kfp's own replaces the built-in print, and in loops does not always put it back.
        (logging_utils, "indented_print", nullcontext),
        (logging_utils, "print_horizontal_line", lambda: None),
        (ConditionEvaluator, "evaluate_condition", staticmethod(condition_holds)),
        (OrchestratorUtils, "get_dag_output_artifacts", staticmethod(graph_artifacts)),
    ]
    with ExitStack() as stack:
        for owner, name, value in replacements:
            stack.enter_context(_replaced(owner, name, value))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        runner = kfp.local.SubprocessRunner(use_venv=False)
        kfp.local.init(runner, pipeline_root=root, workspace_root=workspace, raise_on_error=True, enable_caching=True)
        outputs: Outputs = run_local_pipeline(specification, arguments)
        return outputs


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def condition_holds(condition: str, io_store: Any) -> bool:
    """Tell whether a condition of the specification holds; kfp itself says False where it cannot be evaluated.

    Raises:
        ConfigurationError: It cannot be evaluated.
    """
    return holds(condition, lambda name: _parameter(name, io_store))


def _parameter(reference: str, io_store: Any) -> Any:
    name = reference.removeprefix(_CHANNEL)
    store = io_store
    while store is not None:
        for key in (reference, name):
            if key in store._parent_input_data:
                return store._parent_input_data[key]
        for task, outputs in store._task_output_data.items():
            for output, value in outputs.items():
                if name == f"{task}-{output}":
                    return value
        store = store._parent
    raise KeyError(reference)


def graph_artifacts(dag_outputs_spec: Any, io_store: Any) -> Outputs:
    """Return the artifacts a graph gives; of several branches that could give one, that of the branch that ran."""
    found: Outputs = {}
    for name, given in dag_outputs_spec.artifacts.items():
        for selector in given.artifact_selectors:
            outputs = io_store._task_output_data.get(selector.producer_subtask, {})
            if selector.output_artifact_key in outputs:
                found[name] = outputs[selector.output_artifact_key]
    return found
