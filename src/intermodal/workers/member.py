"""One worker of several, each on a machine of its own: `python -m intermodal.workers.member OPTIONS -- COMMAND`.

It fetches the task's inputs, waits until it knows where all workers listen, and runs the task's own command with its place among them. The chief,
worker 0, then uploads what the command wrote. Its standard output is the command's.

Variables that it reads: `JOB_COMPLETION_INDEX` (which worker it is; Kubernetes sets it), `INTERMODAL_ATTEMPT` (changes when all workers start
again) and `INTERMODAL_HOST` (its address). Variables that it sets for the command: `TF_CONFIG` and `INTERMODAL_CHECKPOINTS`. Where
`JAX_COORDINATOR_ADDRESS` is set, as Kubeflow Trainer's JAX runtime does, the place is known already.
"""

import argparse
import json
import os
import socket
import sys
import time
from dataclasses import dataclass

from intermodal.runtime.errors import ConfigurationError, IntermodalError
from intermodal.workers.command import LASTING, Stopped, fetch_inputs, judged, leave, run
from intermodal.workers.exchange import Exchange
from intermodal.workers.executor_input import Task, task_of
from intermodal.workers.meeting import Announced, Door, meet
from intermodal.workers.status_server import StatusServer
from intermodal.workers.words import LastWords, say


@dataclass(frozen=True)
class Place:
    """One worker among its kind.

    Attributes:
        index: Which it is; 0 is the chief.
        workers: How many there are.
        attempt: Changes when all of them start again.
        host: The address where the others reach it.
    """

    index: int
    workers: int
    attempt: str
    host: str


def main(arguments: list[str]) -> int:
    """Run one worker; return its exit status."""
    options, task, command = _parse(arguments)
    variables = os.environ
    place = Place(
        int(variables["JOB_COMPLETION_INDEX"]),
        options.workers,
        variables.get("INTERMODAL_ATTEMPT", "0"),
        variables.get("INTERMODAL_HOST", "127.0.0.1"),
    )
    stopped = Stopped()
    try:
        exchange = Exchange(options.exchange)
        fetch_inputs(task)
        settings = {"INTERMODAL_CHECKPOINTS": options.checkpoints} if options.checkpoints else {}
        if "JAX_COORDINATOR_ADDRESS" not in variables:
            settings["TF_CONFIG"] = _meet(exchange, place, options.patience, stopped)
        words = LastWords()
        progress = StatusServer(variables if place.index == 0 else {})
        status = run(command, dict(variables) | settings, [words.hear, progress.hear], stopped)
        progress.end()
        if status == 0 and place.index == 0:
            started, files = time.monotonic(), exchange.publish(task, place.attempt)
            say(f"outputs uploaded: {files} files in {time.monotonic() - started:.1f} s")
    except IntermodalError as error:
        sentence = f"{type(error).__name__}: {error}"
        leave(f"worker {place.index}: {sentence}")
        return LASTING if isinstance(error, ConfigurationError) else 1
    code, why = judged(status, f"worker {place.index}", words, stopped)
    if why:
        leave(why)
    return code


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, Task, list[str]]:
    parser = argparse.ArgumentParser(prog="intermodal.workers.member")
    parser.add_argument("--exchange", required=True, help="URI of the folder that all workers share")
    parser.add_argument("--checkpoints", default="", help="URI of the folder for checkpoints")
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--patience", type=float, required=True, help="seconds to wait for the others")
    cut = arguments.index("--")
    options, command = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    if (task := task_of(command)) is None:
        raise ConfigurationError(f"{command[:3]} has no --executor_input, so its inputs cannot be brought to other machines; set workers=1")
    return options, task, command


def _meet(exchange: Exchange, place: Place, seconds: float, stopped: Stopped) -> str:
    """Return `TF_CONFIG`, when all workers have said where they listen, and answer."""
    door = Door(place.host, lambda: stopped.asked)  # for the life of this process: another worker may look for this one when its command runs
    with socket.socket() as held:
        held.bind(("", 0))  # a free port, kept from others until the command takes it: pods on the host's network share them
        mine = Announced(place.host, int(held.getsockname()[1]), door.port, door.key)
        found = meet(exchange, place.attempt, place.index, mine, place.workers, seconds)
    say(f"worker {place.index} of {place.workers}, attempt {place.attempt}: {', '.join(found)}")
    return json.dumps({"cluster": {"worker": found}, "task": {"type": "worker", "index": place.index}})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
