"""What a rollout says in the log of its task."""

import time
from collections.abc import Callable
from typing import Final

from intermodal.rollout.state import State
from intermodal.rollout.verdict import Verdict

_SECONDS: Final = 15.0


class Log:
    """Prints what happens, and now and then what the judge says."""

    def __init__(self, say: Callable[[str], None] = lambda line: print(line, flush=True), clock: Callable[[], float] = time.monotonic) -> None:  # noqa: T201
        """Begin; nothing was said yet."""
        self._say, self._clock = say, clock
        self._events, self._decision, self._last = 0, "", 0.0
        self._rollout = ""

    def watch(self, state: State, verdict: Verdict | None) -> None:
        """Say what is new: events at once, the judge's words when its decision changes, and every 15 seconds."""
        if state.rollout != self._rollout:
            self._rollout, self._events = state.rollout, 0
        for each in state.events[self._events :]:
            self._say(str(each["text"]))
        self._events = len(state.events)
        if verdict and (verdict.decision != self._decision or self._clock() - self._last >= _SECONDS):
            self._decision, self._last = verdict.decision, self._clock()
            self._say(f"  {verdict.decision}: {verdict}")
