"""The state of a rollout, which lies where the service is: whoever reads it can go on from there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from intermodal.rollout.plan import Plan, Step
from intermodal.runtime.errors import StoreError

Phase = Literal["serving", "loading", "step", "promoted", "rolled back"]
_EVENTS_KEPT: Final = 40


@dataclass(frozen=True)
class State:
    """What serves, and how far a rollout has come. Models have names of their platform (`member`).

    Attributes:
        stable: What answers the requests that the step does not give to the candidate; empty: nothing serves yet.
        candidate: What is tried; empty: nothing.
        previous: What served before the last promotion and is still loaded; empty: nothing.
        retiring: What gets no request any more and is to be removed.
        rollout: Which rollout this is.
        phase: `loading` and `step`: under way. The others: ended, or none yet.
        step: The step's position in the plan.
        since: When the step began, in seconds, by the clock of `Service.now`.
        paused: Whether it stays at its step until somebody resumes it.
        reason: Why it was rolled back.
        plan: The plan; None without a rollout.
        events: What happened, oldest first: `time`, `text`.
    """

    stable: str = ""
    candidate: str = ""
    previous: str = ""
    retiring: tuple[str, ...] = ()
    rollout: str = ""
    phase: Phase = "serving"
    step: int = 0
    since: float = 0.0
    paused: bool = False
    reason: str = ""
    plan: Plan | None = None
    events: tuple[Mapping[str, Any], ...] = ()

    @property
    def under_way(self) -> bool:
        """Whether there is a rollout that has not ended."""
        return self.phase in ("loading", "step")

    @property
    def current(self) -> Step:
        """What the candidate gets now."""
        return self.plan.steps[self.step] if self.plan and self.phase == "step" else Step()

    @property
    def weights(self) -> dict[str, int]:
        """Per cent of the requests by member; members without any are left out."""
        given = {self.stable: 100 - self.current.weight, self.candidate: self.current.weight}
        return {member: weight for member, weight in given.items() if member and weight}

    def promoted(self) -> "State":
        """Return the state in which the candidate is the stable model."""
        before = self.stable if self.stable != self.candidate else ""
        keep = self.plan is not None and self.plan.keep
        retiring = (*self.retiring, before) if before and not keep else self.retiring
        return replace(self, stable=self.candidate, candidate="", previous=before if keep else "", retiring=retiring, phase="promoted", paused=False)

    def rolled_back(self, reason: str) -> "State":
        """Return the state in which the candidate has no requests and is to be removed."""
        retiring = (*self.retiring, self.candidate) if self.candidate else self.retiring
        return replace(self, candidate="", retiring=retiring, phase="rolled back", paused=False, reason=reason)

    def with_event(self, time: float, text: str) -> "State":
        """Return the state with one more event."""
        return replace(self, events=(*self.events, {"time": round(time, 3), "text": text})[-_EVENTS_KEPT:])

    def written(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, text: str, where: str) -> "State":
        """Return what `written` wrote.

        Raises:
            StoreError: It is something else; names `where`.
        """
        try:
            content = json.loads(text)
            plan = Plan.read(content["plan"]) if content["plan"] else None
            return cls(**{**content, "plan": plan, "retiring": tuple(content["retiring"]), "events": tuple(content["events"])})
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{where}: not the state of a rollout ({error!r}); remove it to start from what serves now") from error
