"""What a component that searches does when its trials run elsewhere: it is the same command, asked for a part of its work.

What starts trials asks for the `plan` (arguments checked, nothing trained), starts the command as a `trial` with values on other machines, and
at the end asks for the `outputs` of the trials that ended. Without the variable the component searches by itself.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from intermodal.runtime.errors import ConfigurationError

#: The variable with what is asked, in JSON.
ROLE: Final = "INTERMODAL_SEARCH"
FINISHED, PRUNED, FAILED, INTERRUPTED = "finished", "pruned", "failed", "interrupted"


@dataclass(frozen=True)
class Asked:
    """What the component is asked for.

    Attributes:
        part: `plan`: write a `Plan` to `file`; `trial`: train once with `values`; `outputs`: write the outputs of the `Ended` in `file`.
        file: A file of this machine, in JSON.
        values: Hyperparameter to its value as a text (`tuning.values`).
    """

    part: Literal["plan", "trial", "outputs"]
    file: str = ""
    values: dict[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """Return the variable that asks for it."""
        return {ROLE: json.dumps(asdict(self))}


def asked(variables: Mapping[str, str] = os.environ) -> Asked | None:
    """Return what a component is asked for; None: to search by itself."""
    return Asked(**json.loads(variables[ROLE])) if variables.get(ROLE) else None


@dataclass(frozen=True)
class Plan:
    """A search whose arguments were checked.

    Attributes:
        space: As the component takes it.
        metric: What is searched for; a trial's lines have it under this name.
        others: Other numbers of a trial's lines.
        maximize: Whether more of it is better.
        trials: How many, the failed and the pruned ones included.
        parallel: Trials at a time.
        early_stopping: The rule by which trials end early, as the component calls it.
        timeout: Seconds after which no trial begins. 0: no limit.
        seed: Of the search.
    """

    space: dict[str, Any]
    metric: str
    others: list[str]
    maximize: bool
    trials: int
    parallel: int
    early_stopping: str
    timeout: float
    seed: int

    def write(self, file: str) -> None:
        """Write it for `read`."""
        Path(file).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: str | Path) -> "Plan":
        """Return what the component wrote.

        Raises:
            ConfigurationError: It wrote nothing.
        """
        try:
            return cls(**json.loads(Path(file).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ConfigurationError(
                f"the command wrote no plan of a search: it does not know {ROLE}; build its image again from this version"
            ) from None


@dataclass(frozen=True)
class Tried:
    """A trial that has ended.

    Attributes:
        number: From 0, in the order in which they began.
        parameters: The searched hyperparameters; of trials elsewhere their values as texts.
        state: `finished`, `pruned`, `failed`, or `interrupted`: the search ended before it, and it counts for nothing.
        value: The metric; of a pruned one that of its last epoch; None where there is none.
        epochs: Epochs made.
        seconds: From its start to its end, that of its process included.
        reason: Why it failed.
    """

    number: int
    parameters: dict[str, Any]
    state: str
    value: float | None
    epochs: int
    seconds: float
    reason: str


@dataclass(frozen=True)
class Ended:
    """A search that has ended elsewhere.

    Attributes:
        tried: Its trials.
        seconds: How long this attempt of the task took.
    """

    tried: list[Tried]
    seconds: float

    def write(self, file: str) -> None:
        """Write it for `read`."""
        Path(file).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: str) -> "Ended":
        """Return what `write` wrote."""
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        return cls([Tried(**each) for each in content["tried"]], content["seconds"])
