"""A task that shares its work: `python -m intermodal.workers.trainjob OPTIONS -- COMMAND`.

With one worker, or outside a cluster, this process becomes the task's own command. With more it creates a TrainJob whose pods run that command,
follows it, and brings their outputs to where the command would have written them. `platforms/kubeflow/workers.py` wraps a component's command so.
"""

import argparse
import os
import sys

from intermodal.runtime.errors import IntermodalError
from intermodal.workers.executor_input import task_of


def main(arguments: list[str]) -> int:
    """Run the task; return its exit status."""
    cut = arguments.index("--")
    options, command = _parse(arguments[:cut]), arguments[cut + 1 :]
    task = task_of(command)
    workers = int(task.parameters.get("workers", options.workers)) if task else 1
    if task is None or workers <= 1 or not os.environ.get("KUBERNETES_SERVICE_HOST"):
        os.execvp(command[0], command)  # noqa: S606
    # The client of Kubernetes takes a second to import, which a task with one worker does not pay.
    from intermodal.cluster.cancellation import Cancelled, cancellable
    from intermodal.workers.trainjob.manifest import Settings
    from intermodal.workers.trainjob.running import run

    settings = Settings(options.runtime, options.queue, options.timeout, options.start_timeout)
    try:
        with cancellable():
            run(task, command, workers, settings)
    except IntermodalError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 143 if isinstance(error.__cause__, Cancelled) else 1
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="intermodal.workers.trainjob")
    parser.add_argument("--workers", type=int, default=1, help="how many, where the executor input does not say it")
    parser.add_argument("--runtime", required=True, help="KIND/NAME of the training runtime")
    parser.add_argument("--queue", default="", help="Kueue's queue")
    parser.add_argument("--timeout", type=int, default=0, help="seconds until all pods are ended; 0: no limit")
    parser.add_argument("--start-timeout", type=int, default=0, help="seconds for which pods may wait for images and machines; 0: no limit")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
