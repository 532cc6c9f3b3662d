"""Trainings in processes of their own that tests kill: `train_model` in children of a process that has imported TensorFlow, one for each worker."""

import hashlib
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ports import free_port

# Children import this file by its name.
sys.path += [root] if (root := str(Path(__file__).parents[2])) not in sys.path else []
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["intermodal.components.train_model.logic"])
#: One thread each: sums of floats have one order.
_THREADS = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_ENVIRONMENT = {**_THREADS, "TF_CPP_MIN_LOG_LEVEL": "2", "no_proxy": "127.0.0.1", "no_grpc_proxy": "127.0.0.1"}


def run(arguments: dict[str, Any], environment: dict[str, str], folder: Path, name: str) -> None:
    """Train in this process; its output goes to `NAME.log`, a hash of the rows of each step to `NAME.rows`, what it returns to `NAME.json`."""
    os.setsid()
    log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ.update(environment)
    from intermodal.components.train_model.logic import train_model
    from intermodal.training.tensorflow_steps import TensorFlowSteps

    seen = os.open(folder / f"{name}.rows", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    train = TensorFlowSteps.train

    def noted(self: Any, batches: Any, stop: bool) -> Any:
        for batch in batches:
            content = hashlib.sha256(b"".join(each.tobytes() for each in (batch.features, batch.labels, batch.weights))).hexdigest()
            os.write(seen, f"{content}\n".encode())
        return train(self, batches, stop)

    TensorFlowSteps.train = noted  # type: ignore[method-assign]
    trained = train_model(**arguments)
    (folder / f"{name}.json").write_text(json.dumps({"metrics": trained.metrics, "model": trained.model}))


@dataclass
class Attempt:
    """The workers of one attempt at a training.

    Attributes:
        folder: Where its files are.
        names: Of the workers.
    """

    folder: Path
    names: list[str]
    workers: list[Any] = field(default_factory=list)

    @property
    def first(self) -> int:
        """Steps that were made before this attempt: where the chief says that it goes on."""
        found = re.search(r"training goes on after step (\d+)", self.log())
        return int(found[1]) if found else 0

    def rows(self, worker: int) -> list[str]:
        """Return a hash of the rows of each step that a worker has begun."""
        file = self.folder / f"{self.names[worker]}.rows"
        return file.read_text().split() if file.exists() else []

    def log(self, worker: int = 0) -> str:
        """Return what a worker has written."""
        file = self.folder / f"{self.names[worker]}.log"
        return file.read_text() if file.exists() else ""

    def wait_for(self, step: int) -> None:
        """Wait until the chief has begun a step, counted from the first of the training, or has ended."""
        deadline = time.monotonic() + 120
        while not (begun := len(self.rows(0))) or self.first + begun < step:
            if not self.workers[0].is_alive():
                return
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.002)

    def send(self, worker: int, number: signal.Signals) -> None:
        """Send a signal to a worker, if it is there."""
        if self.workers[worker].is_alive():
            os.kill(self.workers[worker].pid, number)

    def kill(self) -> None:
        """Kill all workers, as a launcher does when one is lost."""
        for worker in range(len(self.workers)):
            self.send(worker, signal.SIGKILL)
        self.end()

    def end(self) -> list[int]:
        """Wait until all workers have ended; return their exit codes."""
        for each in self.workers:
            each.join(180)
            assert each.exitcode is not None, self.log()
        return [each.exitcode for each in self.workers]

    def outcome(self) -> dict[str, Any]:
        """Return what the chief's training returned."""
        return json.loads((self.folder / f"{self.names[0]}.json").read_text())  # type: ignore[no-any-return]


def start(arguments: dict[str, Any], folder: Path, name: str, *, workers: int = 1, environment: Mapping[str, str] | None = None) -> Attempt:
    """Start the workers of a training as a launcher does, each with its place in `TF_CONFIG`."""
    folder.mkdir(parents=True, exist_ok=True)
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(workers)]
    attempt = Attempt(folder, [f"{name}-{worker}" for worker in range(workers)])
    for worker, each in enumerate(attempt.names):
        place = {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": worker}})} if workers > 1 else {}
        variables = {**_ENVIRONMENT, **place, **(environment or {})}
        process = _PROCESSES.Process(target=run, args=(arguments | {"workers": workers}, variables, folder, each))
        process.start()
        attempt.workers.append(process)
    return attempt
