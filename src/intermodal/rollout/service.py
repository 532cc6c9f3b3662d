"""What a platform can do for a rollout."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from intermodal.rollout.state import State
from intermodal.runtime.errors import DeploymentError

Action = Literal["promote", "roll back", "pause", "resume"]


class Superseded(DeploymentError):  # noqa: N818
    """Another attempt has the service now: nothing may be changed any more, not even back."""


@dataclass(frozen=True)
class Wish:
    """What somebody asked of a rollout.

    Attributes:
        rollout: Which one.
        action: What to do.
    """

    rollout: str
    action: Action


class Service(Protocol):
    """A service of one platform, with its members: the models that are loaded for it.

    Every method may raise StoreError (the platform does not answer, or refuses a right) and does the same when it is called again.
    """

    name: str

    def label(self, member: str) -> str:
        """Return what people call a member: its version where it has one."""
        ...

    def lock(self) -> AbstractContextManager[Any]:
        """Hold the right to change the service.

        Raises:
            DeploymentError: Somebody else has it, and lives; says who.
        """
        ...

    def now(self) -> float:
        """Return the time in seconds, by the clock that `State.since` and the metrics go by."""
        ...

    def state(self) -> State:
        """Return the state; where no rollout was made yet, what serves as `stable`."""
        ...

    def apply(self, state: State) -> None:
        """Write a state, and lead the requests as it says (`weights`, `current`), in one change; return when that holds.

        Raises:
            Superseded: The lock was lost.
        """
        ...

    def start(self, member: str) -> None:
        """Load a candidate, without requests, and wait until it is ready; nothing where it is.

        Raises:
            DeploymentError: It cannot become ready; says why.
        """
        ...

    def ask(self, member: str) -> Callable[[str, Any], Any]:
        """Return what posts JSON to a path of a member, or gets the path, past the split."""
        ...

    def retire(self, member: str) -> None:
        """Remove a member that gets no requests, once those under way are answered; nothing where it is gone."""
        ...

    def wish(self) -> Wish | None:
        """Return the last wish that was not dropped."""
        ...

    def make_wish(self, wish: Wish | None) -> None:
        """Write down a wish for whoever drives the rollout, which needs no lock; None: drop it."""
        ...
