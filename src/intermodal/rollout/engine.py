"""What drives a rollout.

Every change of the state is one write, which leads the requests too, and what comes before it may be done twice. So a rollout that was killed
anywhere is picked up by the next `Rollout` of the same candidate and plan, or undone by one of another candidate.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import NoReturn, TypeVar

from intermodal.rollout.plan import Plan
from intermodal.rollout.service import Action, Service, Superseded, Wish
from intermodal.rollout.state import State
from intermodal.rollout.verdict import Verdict
from intermodal.runtime.errors import DeploymentError, IntermodalError, StoreError

Value = TypeVar("Value")


class RolledBack(DeploymentError):  # noqa: N818
    """The candidate was given up; what served before has all requests."""


class Rollout:
    """One candidate on its way to all requests."""

    def __init__(
        self,
        service: Service,
        candidate: str,
        plan: Plan,
        *,
        test: Callable[[str], object],
        judge: Callable[[State], Verdict],
        interval: float = 5.0,
        patience: float = 300.0,
        wait: Callable[[float], None] = time.sleep,
        watch: Callable[[State, Verdict | None], None] = lambda state, verdict: None,
    ) -> None:
        """Take what is needed; nothing is called yet.

        Args:
            service: Where.
            candidate: The member that `service.start` loads.
            plan: The steps.
            test: Asks a member and raises DeploymentError where it answers wrong.
            judge: Looks at both models since `state.since`. StoreError: the metrics cannot be read, which is too little data.
            interval: Seconds between two looks.
            patience: Seconds for which a platform that does not answer is asked again; the requests are split as they are meanwhile.
            wait: Sleeps.
            watch: Is called after every change, and every look.
        """
        self._service, self._candidate, self._plan, self._test, self._judge = service, candidate, plan, test, judge
        self._interval, self._patience, self._wait, self._watch = interval, patience, wait, watch
        self.rollout = hashlib.sha256(json.dumps([service.name, candidate, asdict(plan)], sort_keys=True).encode()).hexdigest()[:12]

    def run(self) -> State:
        """Bring the candidate to all requests; return the state then.

        Raises:
            DeploymentError: Another attempt is at this service, or its last rollout is paused; nothing was changed.
            RolledBack: The candidate cannot be loaded, answers wrong or is worse, or somebody asked for it. What served before has all requests.
            StoreError: The platform does not answer; the message says how the requests are split.
        """
        with self._service.lock():
            state = self._begun()
            try:
                while state.under_way:
                    state = self._loaded(state) if state.phase == "loading" else self._looked(state)
            except Superseded:
                raise
            except IntermodalError as error:
                self._give_up(str(error), error)
            except BaseException as ended:
                # The task was asked to end, and is killed soon: no patience.
                self._patience = 0.0
                try:
                    state = self._service.state()
                    if state.under_way and state.rollout == self.rollout:
                        ended.add_note(self._told(self._rolled_back(state, "the task was ended")))
                except IntermodalError as error:
                    ended.add_note(f"{self._service.name} could not be led back to what served before; the next attempt does it: {error}")
                raise
            if state.phase == "promoted":
                return self._cleared(state)
            self._cleared(state)
            raise RolledBack(self._told(state))

    def _begun(self) -> State:
        """Return the state of this very rollout: the one that was interrupted, or a new one."""
        state = self._patiently(self._service.state)
        if state.under_way and state.rollout != self.rollout:
            if state.paused:
                paused = f"the rollout of {self._called(state.candidate)} is paused at {state.current}"
                raise DeploymentError(f"{self._service.name}: {paused}; resume, promote or roll it back first")
            state = self._rolled_back(state, f"its task ended before it did, and {self._called(self._candidate)} is rolled out now")
        state = self._cleared(state)
        if state.under_way:
            return state
        if state.stable == self._candidate:
            self._test(self._candidate)
            serves = replace(state, rollout=self.rollout, phase="promoted", reason="", plan=self._plan)
            return state if serves == state else self._apply(serves, f"{self._called(self._candidate)} serves already, and answers right")
        retiring = (state.previous,) if state.previous not in ("", self._candidate) else ()
        begun = replace(
            state,
            candidate=self._candidate,
            previous="",
            retiring=retiring,
            rollout=self.rollout,
            phase="loading",
            step=0,
            paused=False,
            reason="",
            plan=self._plan,
            events=(),
        )
        return self._cleared(self._apply(begun, f"{self._called(self._candidate)} loads beside {self._called(state.stable)}"))

    def _loaded(self, state: State) -> State:
        self._service.start(state.candidate)
        self._test(state.candidate)
        if not state.stable or not self._plan.steps:
            return self._promoted(state, "it answers right")
        return self._at_step(state, 0)

    def _at_step(self, state: State, step: int) -> State:
        state = replace(state, phase="step", step=step, since=self._patiently(self._service.now))
        return self._apply(state, f"{self._called(state.candidate)} {'gets' if state.current.mirror else 'answers'} {state.current}")

    def _looked(self, state: State) -> State:
        """Return the state after one look at a step: the same, the next one, or the end."""
        if asked := self._asked(state):
            return asked
        try:
            verdict = self._judge(state)
        except StoreError as error:
            verdict = Verdict("too little data", (f"the metrics cannot be read: {error}",))
        self._watch(state, verdict)
        lasted = self._patiently(self._service.now) - state.since
        if verdict.decision == "roll back":
            return self._rolled_back(state, str(verdict))
        if not state.paused:
            # Who leads requests by a header decides by `promote`.
            if verdict.decision == "promote" and lasted >= self._plan.bake and not state.current.header:
                last = state.step + 1 == len(self._plan.steps)
                return self._promoted(state, str(verdict)) if last else self._at_step(state, state.step + 1)
            if self._plan.deadline and lasted >= self._plan.deadline:
                return self._rolled_back(state, f"too little data after {lasted:.0f} s at {state.current}: {verdict}")
        self._wait(self._interval)
        return state

    def _asked(self, state: State) -> State | None:
        """Do what somebody wished, and return the state then; None: no wish."""
        wish = self._patiently(self._service.wish)
        if wish is None:
            return None
        self._patiently(lambda: self._service.make_wish(None))
        if wish.rollout != state.rollout:
            return None
        if wish.action == "promote":
            return self._promoted(state, "somebody asked for it")
        if wish.action == "roll back":
            return self._rolled_back(state, "somebody asked for it")
        if wish.action == "pause":
            return self._apply(replace(state, paused=True), f"paused at {state.current}")
        return self._apply(replace(state, paused=False, since=self._patiently(self._service.now)), f"resumed at {state.current}")

    def _promoted(self, state: State, reason: str) -> State:
        return self._apply(state.promoted(), f"{self._called(state.candidate)} is promoted: {reason}")

    def _rolled_back(self, state: State, reason: str) -> State:
        return self._apply(state.rolled_back(reason), f"{self._called(state.candidate)} is rolled back: {reason}")

    def _give_up(self, reason: str, error: IntermodalError) -> NoReturn:
        """Lead all requests back, and raise what happened."""
        try:
            state = self._patiently(self._service.state)
            if state.under_way and state.rollout == self.rollout:
                state = self._cleared(self._rolled_back(state, reason))
        except Superseded:
            raise
        except IntermodalError as second:
            raise StoreError(
                f"{reason}\n{self._service.name} could not be led back to what served before; the next attempt, or `intermodal rollout roll-back "
                f"{self._service.name}`, does it: {second}"
            ) from error
        if state.phase == "promoted":
            raise error
        raise RolledBack(self._told(state)) from error

    def _told(self, state: State) -> str:
        stays = f"{self._called(state.stable)} has all requests" if state.stable else "nothing serves"
        return f"{self._service.name}: {self._called(self._candidate)} is rolled back, and {stays}. {state.reason}"

    def _called(self, member: str) -> str:
        return self._patiently(lambda: self._service.label(member)) if member else "nothing"

    def _cleared(self, state: State) -> State:
        """Remove what gets no requests any more; what cannot be removed now is by the next attempt."""
        if not state.retiring:
            return state
        try:
            return _without_retired(self._service, state)
        except Superseded:
            raise
        except (DeploymentError, StoreError):
            return state

    def _apply(self, state: State, event: str) -> State:
        if event:
            state = state.with_event(self._patiently(self._service.now), event)
        self._patiently(lambda: self._service.apply(state))
        self._watch(state, None)
        return state

    def _patiently(self, call: Callable[[], Value]) -> Value:
        """Call again while the platform does not answer."""
        begun = time.monotonic()
        while True:
            try:
                return call()
            except StoreError:
                if time.monotonic() - begun >= self._patience:
                    raise
                self._wait(min(self._interval, 1.0))


def ask(service: Service, action: Action) -> tuple[State, bool]:
    """Have something done with the rollout under way: by the task that drives it, at its next look, or at once where none does.

    Returns:
        The state, and whether it holds already.

    Raises:
        DeploymentError: No rollout is under way, or it is paused already, or not paused.
    """
    state = service.state()
    if not state.under_way:
        remedy = f"; {service.label(state.previous)} can be brought back (roll-back)" if state.previous else ""
        serves = service.label(state.stable) if state.stable else "nothing"
        raise DeploymentError(f"{service.name}: no rollout is under way, {serves} has all requests{remedy}")
    if (action == "resume") != state.paused and action in ("pause", "resume"):
        paused = "paused already" if state.paused else "not paused"
        raise DeploymentError(f"{service.name}: the rollout of {service.label(state.candidate)} is {paused}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(service.lock())
        except DeploymentError:
            service.make_wish(Wish(state.rollout, action))
            return state, False
        if action == "promote" and state.phase != "step":
            raise DeploymentError(f"{service.name}: {service.label(state.candidate)} was not loaded and tested to the end; run its deployment again")
        text = "somebody asked for it"
        made = {
            "promote": lambda: state.promoted().with_event(service.now(), f"{service.label(state.candidate)} is promoted: {text}"),
            "roll back": lambda: state.rolled_back(text).with_event(service.now(), f"{service.label(state.candidate)} is rolled back: {text}"),
            "pause": lambda: replace(state, paused=True),
            "resume": lambda: replace(state, paused=False, since=service.now()),
        }[action]()
        service.apply(made)
        return _without_retired(service, made), True


def _without_retired(service: Service, state: State) -> State:
    """Remove what gets no requests any more, and return the state then."""
    for member in state.retiring:
        if member not in (state.stable, state.candidate, state.previous):
            service.retire(member)
    cleared = replace(state, retiring=())
    service.apply(cleared)
    return cleared


def revert(service: Service) -> State:
    """Give all requests back to the model that served before the last promotion, which is still loaded.

    Raises:
        DeploymentError: It is not loaded any more, or somebody is at this service.
    """
    with service.lock():
        state = service.state()
        if state.under_way:
            raise DeploymentError(f"{service.name}: a rollout is under way; roll that back")
        if not state.previous:
            raise DeploymentError(f"{service.name}: no earlier model is loaded; deploy its version again")
        gone = state.stable
        reverted = replace(
            state, stable=state.previous, previous="", retiring=(*state.retiring, gone), phase="rolled back", reason="somebody asked for it"
        )
        text = f"{service.label(gone)} is rolled back to {service.label(reverted.stable)}: somebody asked for it"
        reverted = reverted.with_event(service.now(), text)
        service.apply(reverted)
        return _without_retired(service, reverted)
