"""A rollout on a platform in memory: what it does at each step, and that it may be killed at any call of the platform and started again."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.rollout.engine import RolledBack, Rollout, ask, revert
from intermodal.rollout.plan import Plan
from intermodal.rollout.service import Wish
from intermodal.rollout.state import State
from intermodal.rollout.verdict import Verdict
from intermodal.runtime.arguments import ArgumentError
from intermodal.runtime.errors import DeploymentError, StoreError

CANARY = {"strategy": "canary", "weights": [10, 50, 100], "bake": 10, "deadline": 60}
GOOD, BAD, FEW = Verdict("promote", ("no harm",)), Verdict("roll back", ("12 % errors",)), Verdict("too little data", ("7 requests",))


class Killed(BaseException):
    """The process is gone: nothing after this runs, not even a roll-back."""


class Memory:
    """A platform in memory. It checks at every change what must hold, and can be killed or fall silent at a call."""

    name = "flights"

    def __init__(self, stable="old"):
        self.text = State(stable=stable).written() if stable else State().written()
        self.loaded = {stable} - {""}
        self.time = 0.0
        self.held = False
        self.asked = None
        self.weights = [{stable: 100} if stable else {}]
        self.calls = 0
        self.kill_at = None
        self.silent = range(0)
        self.unready = set()
        self.driver = True

    def called(self):
        self.calls += 1
        if not self.driver or self.calls == self.kill_at:
            self.driver = False
            raise Killed
        if self.calls in self.silent:
            raise StoreError("no answer")

    @contextlib.contextmanager
    def lock(self):
        if self.held:
            raise DeploymentError("flights is being changed by another attempt")
        self.held = True
        try:
            yield
        finally:
            self.held = False

    def label(self, member):
        return member

    def now(self):
        return self.time

    def state(self):
        self.called()
        return State.read(self.text, "memory")

    def apply(self, state):
        self.called()
        assert set(state.weights) <= self.loaded, "a model that is not loaded gets requests"
        assert not state.weights or sum(state.weights.values()) == 100
        self.text = state.written()
        if state.weights != self.weights[-1]:
            self.weights.append(state.weights)
        self.called()  # a kill after the change, before its caller knows

    def start(self, member):
        self.called()
        if member in self.unready:
            raise DeploymentError(f"{member} cannot become ready: no such image")
        self.loaded.add(member)
        self.called()

    def retire(self, member):
        self.called()
        assert member not in State.read(self.text, "memory").weights, "a model that gets requests is removed"
        self.loaded.discard(member)
        self.called()

    def wish(self):
        self.called()
        return self.asked

    def make_wish(self, wish):
        self.called()
        self.asked = wish

    def wait(self, seconds):
        self.time += seconds


def rollout(service, candidate="new", judge=lambda state: GOOD, test=lambda member: None, plan=CANARY, watch=lambda state, verdict: None):
    return Rollout(service, candidate, Plan.of(**plan), test=test, judge=judge, interval=5, patience=0.0, wait=service.wait, watch=watch)


def test_a_good_candidate_rises_in_steps_and_the_old_one_stays_loaded():
    service = Memory()
    state = rollout(service).run()
    assert service.weights == [{"old": 100}, {"old": 90, "new": 10}, {"old": 50, "new": 50}, {"new": 100}]
    assert (state.stable, state.previous, state.phase) == ("new", "old", "promoted")
    assert service.loaded == {"old", "new"}
    assert service.time >= 20  # two steps of bake seconds
    assert [each["text"].split(":")[0] for each in state.events] == [
        "new loads beside old",
        "new answers 10 %",
        "new answers 50 %",
        "new is promoted",
    ]


def test_the_next_rollout_retires_what_was_kept():
    service = Memory()
    rollout(service).run()
    rollout(service, "newer").run()
    assert service.loaded == {"new", "newer"}


def test_without_keep_the_old_one_is_retired_at_once():
    service = Memory()
    rollout(service, plan=CANARY | {"keep": False}).run()
    assert service.loaded == {"new"}


def test_the_first_model_of_a_service_has_nothing_to_be_judged_beside():
    service = Memory(stable="")
    assert rollout(service, judge=lambda state: BAD).run().stable == "new"
    assert service.weights == [{}, {"new": 100}]


def test_a_worse_candidate_is_rolled_back_and_retired_with_the_judges_words():
    service = Memory()
    with pytest.raises(RolledBack, match=r"flights: new is rolled back, and old has all requests. 12 % errors"):
        rollout(service, judge=lambda state: BAD if state.step else GOOD).run()
    assert service.weights == [{"old": 100}, {"old": 90, "new": 10}, {"old": 50, "new": 50}, {"old": 100}]
    assert service.loaded == {"old"}


@pytest.mark.parametrize("fault", ["not ready", "wrong answer"])
def test_a_candidate_that_does_not_come_up_or_answers_wrong_gets_no_request(fault):
    service = Memory()
    if fault == "not ready":
        service.unready.add("new")

    def wrong(member):
        raise DeploymentError("answers 0.7 where 0.2 is expected")

    with pytest.raises(RolledBack, match="no such image" if fault == "not ready" else "answers 0.7"):
        rollout(service, test=wrong).run()
    assert service.weights == [{"old": 100}]
    assert service.loaded == {"old"}


def test_too_little_data_until_the_deadline_is_a_rollback_that_says_what_there_was():
    service = Memory()
    with pytest.raises(RolledBack, match=r"too little data after 60 s at 10 %: 7 requests"):
        rollout(service, judge=lambda state: FEW).run()
    assert service.weights[-1] == {"old": 100}


def test_metrics_that_cannot_be_read_for_a_while_are_too_little_data():
    service, looks = Memory(), itertools.count()

    def judge(state):
        if next(looks) < 4:
            raise StoreError("Prometheus does not answer")
        return GOOD

    assert rollout(service, judge=judge).run().stable == "new"


def test_a_platform_that_does_not_answer_is_asked_again():
    service = Memory()
    service.silent = range(9, 13)
    driven = Rollout(service, "new", Plan.of(**CANARY), test=lambda member: None, judge=lambda state: GOOD, patience=5, wait=service.wait)
    assert driven.run().stable == "new"


def test_shadow_leads_no_request_to_the_candidate_before_its_promotion():
    service, steps = Memory(), []
    rollout(service, plan=CANARY | {"strategy": "shadow"}, watch=lambda state, verdict: steps.append(state.current.mirror)).run()
    assert service.weights == [{"old": 100}, {"new": 100}]
    assert 100 in steps


def test_blue_green_goes_back_from_all_requests():
    service = Memory()
    with pytest.raises(RolledBack):
        rollout(service, plan=CANARY | {"strategy": "blue-green"}, judge=lambda state: BAD).run()
    assert service.weights == [{"old": 100}, {"new": 100}, {"old": 100}]
    assert service.loaded == {"old"}


def test_requests_by_header_last_until_somebody_decides():
    service, looks = Memory(), itertools.count()

    def judge(state):
        if next(looks) == 500:
            ask(service, "promote")
        return GOOD

    assert rollout(service, plan=CANARY | {"strategy": "ab", "header": "X-Variant: new"}, judge=judge).run().stable == "new"
    assert service.time > 2000


def test_a_paused_rollout_stays_where_it_is_past_its_deadline_and_goes_on_when_resumed():
    service, looks = Memory(), itertools.count()

    def judge(state):
        look = next(looks)
        if look == 0:
            ask(service, "pause")
        if look == 50:
            with pytest.raises(DeploymentError, match="paused already"):
                ask(service, "pause")
            ask(service, "resume")
        return GOOD

    assert rollout(service, judge=judge).run().stable == "new"
    assert service.time > 250


def test_a_paused_candidate_that_does_harm_is_rolled_back_nevertheless():
    service, looks = Memory(), itertools.count()

    def judge(state):
        if next(looks) == 0:
            ask(service, "pause")
        return BAD if state.paused else GOOD

    with pytest.raises(RolledBack):
        rollout(service, judge=judge).run()


def test_somebody_rolls_back():
    service = Memory()

    def judge(state):
        ask(service, "roll back")
        return GOOD

    with pytest.raises(RolledBack, match="somebody asked for it"):
        rollout(service, judge=judge).run()


def test_a_wish_for_an_earlier_rollout_is_dropped():
    service = Memory()
    service.asked = Wish("0" * 12, "roll back")
    assert rollout(service).run().stable == "new"
    assert service.asked is None


def test_after_a_promotion_the_model_before_is_back_at_once_and_only_once():
    service = Memory()
    rollout(service).run()
    assert revert(service).stable == "old"
    assert service.loaded == {"old"}
    with pytest.raises(DeploymentError, match="no earlier model is loaded"):
        revert(service)


def test_a_second_rollout_of_the_service_is_refused_while_one_runs():
    service = Memory()

    def judge(state):
        with pytest.raises(DeploymentError, match="another attempt"):
            rollout(service, "other").run()
        return GOOD

    assert rollout(service, judge=judge).run().stable == "new"


def test_without_a_rollout_there_is_nothing_to_pause():
    with pytest.raises(DeploymentError, match="no rollout is under way, old has all requests"):
        ask(Memory(), "pause")


def test_a_candidate_that_serves_already_is_only_tested():
    service = Memory()
    rollout(service).run()
    before = list(service.weights)
    assert rollout(service).run().stable == "new"
    assert service.weights == before


def test_a_paused_rollout_without_a_driver_is_not_swept_away_by_another():
    service = Memory()

    def judge(state):
        if not state.paused:
            ask(service, "pause")
        else:
            service.driver = False
        return GOOD

    with pytest.raises(Killed):
        rollout(service, judge=judge).run()
    service.driver = True
    with pytest.raises(DeploymentError, match="the rollout of new is paused at 10 %"):
        rollout(service, "other").run()


@pytest.mark.parametrize(("action", "stable"), [("promote", "new"), ("roll back", "old"), ("pause", "old")])
def test_what_is_asked_of_a_rollout_whose_task_is_gone_is_done_at_once(action, stable):
    service = Memory()
    service.kill_at = 14
    with pytest.raises(Killed):
        rollout(service).run()
    service.kill_at, service.driver = None, True
    state, done = ask(service, action)
    assert done
    assert (state.stable, state.paused) == (stable, action == "pause")
    assert service.weights[-1] == state.weights
    assert service.loaded == {"promote": {"old", "new"}, "roll back": {"old"}, "pause": {"old", "new"}}[action]


def test_an_ended_task_leads_back():
    service = Memory()

    def judge(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        rollout(service, judge=judge).run()
    assert service.weights[-1] == {"old": 100}
    assert "old has all requests" in caught.value.__notes__[0]


@given(
    kills=st.lists(st.integers(1, 40), max_size=6),
    bad=st.booleans(),
    strategy=st.sampled_from(["canary", "blue-green", "shadow"]),
    keep=st.booleans(),
)
def test_killed_at_any_call_and_started_again_it_ends_as_if_undisturbed(kills, bad, strategy, keep):
    service = Memory()
    ended = None
    for kill in [*kills, None]:
        service.calls, service.kill_at, service.driver = 0, kill, True
        try:
            ended = rollout(service, judge=lambda state: BAD if bad else GOOD, plan=CANARY | {"strategy": strategy, "keep": keep}).run()
        except Killed:
            assert service.weights[-1] == State.read(service.text, "memory").weights
            continue
        except RolledBack:
            ended = State.read(service.text, "memory")
    assert ended.stable == ("old" if bad else "new")
    assert service.weights[-1] == {ended.stable: 100}
    assert service.loaded == ({"old"} if bad else {"old", "new"} if keep else {"new"})


@given(kill=st.integers(1, 40))
def test_killed_at_any_call_another_candidate_starts_from_what_served(kill):
    service = Memory()
    service.kill_at = kill
    with contextlib.suppress(Killed):
        rollout(service).run()
    promoted = State.read(service.text, "memory").stable == "new"
    service.calls, service.kill_at, service.driver = 0, None, True
    state = rollout(service, "other").run()
    assert (state.stable, state.previous) == ("other", "new" if promoted else "old")
    assert service.loaded == {state.stable, state.previous}


@pytest.mark.parametrize("weights", [[], [100], [50, 20, 100], [10, 10, 100], [10, 50], [0, 100], [10, 120], [10.5, 100], ["10", 100], [True, 100]])
def test_weights_that_do_not_rise_to_100_are_refused(weights):
    with pytest.raises(ArgumentError, match=r"weights: .* must be whole per cents that rise to 100"):
        Plan.of(**CANARY | {"weights": weights})


@pytest.mark.parametrize("header", ["", "X-Variant", ": new", "X Variant: new", "X-Variant:"])
def test_a_header_that_is_none_is_refused(header):
    with pytest.raises(ArgumentError, match="NAME: VALUE"):
        Plan.of(**CANARY | {"strategy": "ab", "header": header})


def test_a_deadline_before_the_bake_time_is_refused():
    with pytest.raises(ArgumentError, match="deadline"):
        Plan.of(**CANARY | {"deadline": 5})


def test_what_is_no_state_is_refused_by_name():
    with pytest.raises(StoreError, match=r"annotation x: not the state of a rollout"):
        State.read("{}", "annotation x")
