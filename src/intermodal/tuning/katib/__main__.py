"""A task that searches by Katib: `python -m intermodal.tuning.katib OPTIONS -- COMMAND`.

It asks the command for its plan, creates an Experiment whose trials run that command, follows it, and asks the command for the outputs of the
trials that ended. Outside a cluster this process becomes the command, which then searches by itself. `platforms/kubeflow/workers.py` wraps a
component's command so.
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
    if task is None or not os.environ.get("KUBERNETES_SERVICE_HOST"):
        os.execvp(command[0], command)  # noqa: S606
    from intermodal.cluster.cancellation import Cancelled, cancellable
    from intermodal.tuning.katib.running import CommandFailedError, run

    try:
        with cancellable():
            run(task, command, options.start_timeout)
    except CommandFailedError as error:
        return error.status  # the command has said why
    except IntermodalError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 143 if isinstance(error.__cause__, Cancelled) else 1
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="intermodal.tuning.katib")
    parser.add_argument("--start-timeout", type=int, default=0, help="seconds for which a trial's pod may wait to start; 0: no limit")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
