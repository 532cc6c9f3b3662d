"""`intermodal rollout`: what is shown, and what is asked of the task that rolls a model out."""

import json
import os

import pytest

from intermodal.rollout.plan import Plan
from intermodal.rollout.service import Wish
from intermodal.rollout.state import State
from intermodal.runtime.artifacts import write_json
from intermodal.serving.records import Deployment, start_time
from intermodal.serving.splitting.service import LocalService
from tests.cli.invoking import said

PLAN = Plan.of(strategy="canary", weights=[20, 100], bake=60, deadline=600)


@pytest.fixture
def home(tmp_path):
    """A home with a service `toy` whose rollout is at 20 %, and is driven by this process."""
    folder = tmp_path / "deployments" / "toy"
    folder.mkdir(parents=True)
    made = {"name": "toy", "url": "http://127.0.0.1:1", "version": "1", "pid": os.getpid(), "started": start_time(os.getpid()), "port": 1}
    Deployment(**made, model_sha256="a" * 64, log="", since="", splits=True).save(tmp_path / "deployments")
    state = State(stable="a" * 16, candidate="b" * 16, rollout="r1", phase="step", plan=PLAN).with_event(0, f"{'b' * 16} answers 20 %")
    write_json(folder / "rollout.json", {"state": json.loads(state.written())})
    return tmp_path


def test_status_shows_shares_roles_and_what_happened(home):
    shown = said("rollout", "status", "toy", "--home", str(home))
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.startswith(("aaaa", "bbbb"))}
    assert rows["a" * 16] == ["1", "80", "%", "stable"]
    assert f"{'b' * 16} answers 20 %" in shown
    assert "toy: step" in shown


@pytest.mark.parametrize(("command", "action"), [("pause", "pause"), ("promote", "promote"), ("roll-back", "roll back")])
def test_what_is_asked_is_written_down_for_the_task(home, command, action):
    service = LocalService(home / "deployments", "toy")
    with service.lock():
        assert "at the next look of the task" in said("rollout", command, "toy", "--home", str(home))
    assert service.wish() == Wish("r1", action)


def test_a_rollout_that_is_not_paused_cannot_be_resumed(home):
    assert said("rollout", "resume", "toy", "--home", str(home), code=1) == f"toy: the rollout of {'b' * 16} is not paused"


def test_a_service_that_is_not_there_is_refused_with_those_that_are(home):
    assert said("rollout", "status", "absent", "--home", str(home), code=1).endswith("'absent' is not served; these are: toy")
