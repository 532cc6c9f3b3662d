"""The engine without processes: each task's function is run here, by kfp's own executor, on the ExecutorInput that a process would get."""

import itertools
import threading
import time

from kfp.dsl.executor import Executor

from intermodal.compiler.build import compile_specification
from intermodal.runner.engine import Engine
from intermodal.runner.inputs import Values, executor_input
from intermodal.runner.outputs import read_outputs
from intermodal.runner.placeholders import command_line, imported, resolved
from intermodal.runtime.errors import IntermodalError

PLACEHOLDERS = {"pipeline_job_name": "job-1", "pipeline_job_uuid": "7"}


class InProcess:
    """Runs pipelines of lightweight components.

    Attributes:
        spans: Of each task that ran, by name: when it started and when it ended.
        commands: Of each container component: its command line.
    """

    def __init__(self, folder, *components, parallelism=2):
        self.folder, self.parallelism = folder, parallelism
        self.functions = {each.python_func.__name__: each.python_func for each in components}
        self.spans, self.commands = {}, {}
        self._numbers, self._lock = itertools.count(), threading.Lock()

    def run(self, pipeline, **arguments):
        """Run a pipeline; return its outcome."""
        specification = pipeline if isinstance(pipeline, dict) else compile_specification(pipeline)
        artifacts = {key: value for key, value in arguments.items() if isinstance(value, dict) and "uri" in value}
        parameters = {key: value for key, value in arguments.items() if key not in artifacts}
        return Engine(specification, Values(parameters, artifacts), self._execute, parallelism=self.parallelism).run()

    def outputs(self, pipeline, **arguments):
        """Run a pipeline that must succeed; return its outputs."""
        outcome = self.run(pipeline, **arguments)
        assert not outcome.failures
        return outcome.outputs.plain()

    def _execute(self, instance):
        if "importer" in instance.executor:
            return Values(artifacts={"artifact": imported(instance.executor["importer"], instance.inputs, PLACEHOLDERS)})
        with self._lock:
            folder = self.folder / f"{next(self._numbers)}-{instance.name}"
        folder.mkdir(parents=True)
        inputs = Values(resolved(instance.inputs.parameters, PLACEHOLDERS), instance.inputs.artifacts)
        given = executor_input(instance.component, inputs, str(folder))
        container = instance.executor["container"]
        command = command_line([*container.get("command", []), *container.get("args", [])], given, PLACEHOLDERS)
        started = time.perf_counter()
        if "--function_to_execute" not in command:
            self.commands[instance.name] = command
            for name in [*given["outputs"]["parameters"], *given["outputs"]["artifacts"]]:
                (folder / name).write_text("3")
            return read_outputs(instance.component, folder, command)
        try:
            Executor(executor_input=given, function_to_execute=self.functions[command[command.index("--function_to_execute") + 1]]).execute()
        except RuntimeError as error:
            raise IntermodalError(str(error)) from error
        finally:
            self.spans[instance.name] = (started, time.perf_counter())
        return read_outputs(instance.component, folder, command)
