"""Rollouts on this machine with real predictors and a real splitter, under requests that are all counted."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from intermodal.rollout.engine import RolledBack, Rollout, revert
from intermodal.rollout.plan import Plan
from intermodal.rollout.verdict import Verdict
from intermodal.runtime.errors import DeploymentError
from intermodal.runtime.tree import tree_hash
from intermodal.serving.records import stop
from intermodal.serving.splitting import service as splitting
from intermodal.serving.splitting.members import members
from intermodal.serving.splitting.service import CandidateModel, LocalService
from tests.serving.conftest import ROWS

PLAN = {"strategy": "canary", "weights": [30, 100], "bake": 0.5, "deadline": 30}
ROW = ROWS[0]


class Load:
    """Clients that ask without a pause; what they got."""

    def __init__(self, url):
        self.url, self.answers, self.failures, self.done = url, [], [], threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(2)]

    def run(self):
        body = json.dumps({"instances": [ROW]}).encode()
        while not self.done.is_set():
            try:
                request = urllib.request.Request(f"{self.url}/v1/models/toy:predict", body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self.answers.append(round(json.load(answer)["predictions"][0], 4))
            except Exception as error:
                self.failures.append(repr(error))
            time.sleep(0.01)

    def __enter__(self):
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for each in self.threads:
            each.join()


def candidate(place, model, version):
    return CandidateModel(place.models / model, tree_hash(place.models / model), version, 120.0)


def rollout(place, model, version, judge=lambda state: Verdict("promote"), test=lambda member: None, plan=PLAN):
    given = candidate(place, model, version)
    service = LocalService(place.home, "toy", place.port, given)
    return Rollout(service, given.member, Plan.of(**plan), test=test, judge=judge, interval=0.1, patience=5.0)


def test_a_service_from_its_first_model_over_a_rollout_and_back_loses_no_request(place, expected):
    """One service through its life, for each start of a predictor takes seconds."""
    place.serve("first")
    direct = place.record
    one, other = (round(expected(ROW, bias), 4) for bias in (0.0, 1.0))
    service = LocalService(place.home, "toy")
    with Load(place.url) as load:
        state = rollout(place, "second", "2").run()
        assert not direct.alive
        assert (place.record.version, place.record.splits, place.record.alive) == ("2", True, True)
        assert len(members(service._folder)) == 2
        time.sleep(0.2)
        assert load.answers[-1] == other
        # Back at once, without a start.
        back = revert(service)
        time.sleep(0.3)
        seen = len(load.answers)
        time.sleep(0.2)
        assert set(load.answers[seen:]) == {one}
        assert back.stable == state.previous
        assert place.record.version == "1"
        # A worse candidate goes, and nothing is left of it.
        with pytest.raises(RolledBack, match="too slow"):
            rollout(place, "second", "3", judge=lambda state: Verdict("roll back", ("too slow",))).run()
        assert [each.version for each in members(service._folder)] == ["1"]
        time.sleep(0.3)
        assert load.answers[-1] == one
        # A deployment at once takes the port from the splitter, and ends what is behind it.
        place.serve("second", version="4")
        assert not place.record.splits
        assert members(service._folder) == []
        time.sleep(0.3)
        assert load.answers[-1] == other
    assert load.failures == []
    assert set(load.answers) == {one, other}
    stop(place.home, "toy")


def test_the_component_judges_by_what_the_splitter_counted(place, expected, monkeypatch):
    monkeypatch.setattr(splitting, "SLICE_SECONDS", 0.5)
    place.serve("first")
    generous = {
        "tolerated": {"p50": 50.0, "p95": 50.0, "p99": 50.0, "predictions": 1.0, "errors": 0.1},
        "harm": {"p95": 100.0, "predictions": 1.1, "errors": 0.5},
    }
    steps = {"strategy": "canary", "weights": [50, 100], "bake": 3.0, "deadline": 90.0, "warm_up": 0.0, "minimum_requests": 20}
    with Load(place.url) as load:
        deployed = place.serve("second", version="2", **steps, **generous)
        assert deployed["version"] == place.record.version == "2"
        # A candidate that dies: the stable model answers in its place, and after 15 seconds it is given up.
        stable, candidate = round(expected(ROW, 1.0), 4), tree_hash(place.models / "first")[:16]
        killer = threading.Thread(target=kill_at_step, args=(LocalService(place.home, "toy"), candidate))
        killer.start()
        with pytest.raises(RolledBack, match=r"errors: (candidate 100.00% of|.* of the candidate's last)"):
            place.serve("first", version="3", **steps, **generous)
        killer.join()
        time.sleep(0.3)
        assert (place.record.version, load.answers[-1]) == ("2", stable)
    assert load.failures == []
    assert deployed["rollout"]["strategy"] == "canary"
    told = [each["text"].split(":")[0] for each in deployed["rollout"]["events"]]
    assert told == ["version 2 loads beside version 1", "version 2 answers 50 %", "version 2 is promoted"]
    stop(place.home, "toy")


def kill_at_step(service, candidate):
    while service.state().phase != "step" or service.state().candidate != candidate:
        time.sleep(0.1)
    (found,) = [each for each in members(service._folder) if each.name == candidate]
    os.kill(found.pid, signal.SIGKILL)


def test_a_candidate_that_cannot_be_loaded_leaves_the_service_as_it_was(place):
    place.serve("first")
    before = place.record
    with pytest.raises(RolledBack, match="ended; see its log"):
        rollout(place, "broken", "2").run()
    assert place.record == before
    assert before.alive
    stop(place.home, "toy")


def test_killed_in_the_middle_and_started_again_it_goes_on_where_it_stands(place, expected):
    code = """
import json, os, sys
from pathlib import Path
from intermodal.rollout.engine import Rollout
from intermodal.rollout.plan import Plan
from intermodal.rollout.verdict import Verdict
from intermodal.serving.splitting import service as splitting
from intermodal.serving.splitting.service import CandidateModel, LocalService
home, model, digest, port, plan, phase = json.loads(sys.argv[1])
given = CandidateModel(Path(model), digest, "2", 120.0)
service = LocalService(Path(home), "toy", port, given)
def watch(state, verdict):
    if state.phase == phase and verdict is None:
        os.kill(os.getpid(), 9)
Rollout(service, given.member, Plan.of(**plan), test=lambda member: None, judge=lambda state: Verdict("promote"), interval=0.1, watch=watch).run()
"""
    place.serve("first")
    given = candidate(place, "second", "2")
    with Load(place.url) as load:
        for phase in ("loading", "step", "promoted"):
            arguments = json.dumps([str(place.home), str(given.model), given.model_sha256, place.port, PLAN, phase])
            killed = subprocess.run([sys.executable, "-c", code, arguments], env=os.environ, timeout=120, check=False)
            assert killed.returncode == -signal.SIGKILL
            assert LocalService(place.home, "toy").state().phase == phase
        state = rollout(place, "second", "2").run()
    assert state.phase == "promoted"
    assert load.failures == []
    assert load.answers[-1] == round(expected(ROW, 1.0), 4)
    folder = place.home / "toy"
    assert sorted(each.name for each in members(folder)) == sorted([state.stable, state.previous])
    stop(place.home, "toy")
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(place.home) in _text(path)]


def test_a_second_task_is_refused_while_one_changes_the_service(place):
    service = LocalService(place.home, "toy")
    with service.lock(), pytest.raises(DeploymentError, match="toy is being changed by another task"), LocalService(place.home, "toy").lock():
        pass


def _text(path):
    try:
        return path.read_text()
    except OSError:
        return ""
