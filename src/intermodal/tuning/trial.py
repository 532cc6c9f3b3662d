"""One trial of a search, on a machine of its own: `python -m intermodal.tuning.trial [--NAME=VALUE …]`.

It fetches the task's inputs and runs the task's own command, asked for one trial. What the command says goes to standard output; a line of it is
`epoch 3: val_loss=0.41 val_auc=0.87` for each epoch, and at the end such a line has the numbers of the epoch whose weights are kept.

Variables that it reads: `INTERMODAL_COMMAND` (the command, a list in JSON), `INTERMODAL_TRIAL` (hyperparameter to value, both texts, in JSON; those
of the command line come on top) and `INTERMODAL_REPORT` (URI of the object that gets a `Report` after each epoch and at the end; may be missing).
"""

import json
import os
import re
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Final

from intermodal.runtime.errors import ConfigurationError, IntermodalError
from intermodal.storage.object_store import Content, endpoint_here, place_of
from intermodal.tuning.roles import Asked
from intermodal.workers.command import LASTING, Stopped, fetch_inputs, judged, leave, run
from intermodal.workers.executor_input import task_of
from intermodal.workers.words import LastWords

COMMAND: Final = "INTERMODAL_COMMAND"
TRIAL: Final = "INTERMODAL_TRIAL"
REPORT: Final = "INTERMODAL_REPORT"
#: A line with an epoch's numbers, and one of its numbers.
_EPOCH: Final = re.compile(r"epoch (\d+): (\w+=\S+(?: \w+=\S+)*)")


@dataclass
class Report:
    """What is known of a trial while it runs, and after it ended.

    Attributes:
        epochs: How many it made.
        numbers: Of its last line of numbers.
        seconds: Since its start.
        ended: Whether it ended by itself, well or badly.
        reason: Why it failed; empty where it did not.
        hopeless: Whether every other trial would fail in the same way: wrong data.
    """

    epochs: int = 0
    numbers: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    ended: bool = False
    reason: str = ""
    hopeless: bool = False


class Reporter:
    """Keeps a trial's report in an object store.

    Args:
        uri: Of the object. Empty: it is kept nowhere.
    """

    def __init__(self, uri: str) -> None:
        self.report, self._started = Report(), time.monotonic()
        self._place = place_of(uri, endpoint_here()) if uri else None

    def hear(self, line: str) -> None:
        """Take a line that the command said."""
        if numbers := epoch_numbers(line):
            epoch, self.report.numbers = numbers
            self.report.epochs = max(self.report.epochs, epoch)
            self.write()

    def end(self, reason: str, *, hopeless: bool) -> None:
        """Keep how the trial ended: well, without a reason."""
        self.report.ended, self.report.reason, self.report.hopeless = True, reason, hopeless
        self.write()

    def write(self) -> None:
        """Write the report."""
        self.report.seconds = round(time.monotonic() - self._started, 3)
        if self._place:
            store, key = self._place
            store.put(key, Content(json.dumps(asdict(self.report)).encode()))


def epoch_numbers(line: str) -> tuple[int, dict[str, float]] | None:
    """Return the epoch and the numbers of a line that a trial said; None of another line."""
    found = _EPOCH.fullmatch(line.strip())
    if not found:
        return None
    try:
        return int(found[1]), {name: float(value) for name, _, value in (each.partition("=") for each in found[2].split())}
    except ValueError:
        return None


def epoch_line(epoch: int, numbers: dict[str, float]) -> str:
    """Return the line that `epoch_numbers` reads."""
    return f"epoch {epoch}: " + " ".join(f"{name}={value:.10g}" for name, value in numbers.items())


def main(arguments: list[str]) -> int:
    """Run one trial; return its exit status."""
    command: list[str] = json.loads(os.environ[COMMAND])
    values: dict[str, str] = json.loads(os.environ.get(TRIAL, "{}")) | dict(_given(each) for each in arguments)
    stopped, words, reporter = Stopped(), LastWords(), None
    try:
        if (task := task_of(command)) is None:
            raise ConfigurationError(f"{command[:3]} has no --executor_input, so its inputs cannot be brought to other machines")
        reporter = Reporter(os.environ.get(REPORT, ""))
        reporter.write()
        fetch_inputs(task)
        status = run(command, dict(os.environ) | Asked("trial", values=values).variables(), [words.hear, reporter.hear], stopped)
        code, why = judged(status, "the trial", words, stopped)
        reporter.end(why, hopeless="DataError: " in words.error)
    except IntermodalError as error:
        code, why = (LASTING if isinstance(error, ConfigurationError) else 1), f"the trial: {type(error).__name__}: {error}"
    if why:
        leave(why)
    return code


def _given(argument: str) -> tuple[str, str]:
    name, equals, value = argument.removeprefix("--").partition("=")
    if not argument.startswith("--") or not equals:
        raise ConfigurationError(f"{argument!r} must be --NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
