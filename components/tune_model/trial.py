"""One trial: a training in a process of its own, which asks after each epoch whether to go on."""

import ctypes
import os
import signal
from multiprocessing.connection import Connection
from typing import Any, Final

from intermodal.runtime.errors import DataError
from intermodal.training.cluster import Cluster, find_cluster
from intermodal.training.loop import Curves
from intermodal.tuning.trial import epoch_line
from intermodal.workers.words import say

_PR_SET_PDEATHSIG: Final = 1
#: What a trial sends: an epoch's numbers, its end, and how it ended.
EPOCH, DONE, PRUNED, FAILED, BAD_DATA = "epoch", "done", "pruned", "failed", "bad data"


class _PrunedError(Exception):
    """The search ends this trial."""


class _Asking:
    """The curves of a trial: each epoch's numbers go to the search, which answers whether to go on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, epoch: int, values: dict[str, float]) -> None:
        """Send the numbers of an epoch, from 1, and wait for the answer."""
        self._connection.send((EPOCH, (epoch, values)))
        if not self._connection.recv():
            raise _PrunedError


def run_trial(connection: Connection, parent: int, log: str, threads: int, arguments: dict[str, Any]) -> None:
    """Train, in a process that was started for it, and send what came of it.

    Args:
        connection: To the search.
        parent: The process that the trial ends with.
        log: The file that gets its output.
        threads: How many it may use.
        arguments: As `Recipe.of` takes them.
    """
    # The kernel kills this process when the parent dies, however that dies.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the search's
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, str(threads))
    try:
        metrics = _train(arguments, _Asking(connection))
    except _PrunedError:
        connection.send((PRUNED, None))
    except DataError as error:
        connection.send((BAD_DATA, str(error)))
    except (Exception, SystemExit) as error:  # whatever ends a training is this trial's end only
        lines = str(error).strip().splitlines() or [""]
        connection.send((FAILED, f"{type(error).__name__}: {lines[0]}"[:500]))
    else:
        connection.send((DONE, metrics))


class _Saying:
    """The curves of a trial elsewhere: each epoch's numbers are a line of its log, which what started it reads."""

    def __init__(self, metrics: list[str]) -> None:
        self._metrics = metrics

    def write(self, epoch: int, values: dict[str, float]) -> None:
        """Say the numbers of an epoch, from 1."""
        say(epoch_line(epoch, {name: values[name] for name in self._metrics}))


def train_once(arguments: dict[str, Any], metrics: list[str]) -> None:
    """Train in this process, and say the metrics of each epoch, and at the end those of the epoch whose weights are kept.

    Args:
        arguments: As `Recipe.of` takes them.
        metrics: Names of the numbers.
    """
    trained = _train(arguments, _Saying(metrics))
    say(epoch_line(int(trained["epochs"]), {name: trained[name] for name in metrics}))


def _train(arguments: dict[str, Any], curves: Curves) -> dict[str, float]:
    """Train, on one worker and without checkpoints, for trials are short; return the metrics of the epoch whose weights are kept."""
    os.environ["KERAS_BACKEND"] = arguments["backend"]
    # Here, for the search itself has no need of TensorFlow, and the threads are set by now.
    from intermodal.training.fit import Recipe, metrics_of, open_fit

    with open_fit(Recipe.of(arguments), find_cluster(os.environ, 1) or Cluster(0, 1)) as fit:
        return metrics_of(fit.run(None, curves))
