"""Following a run: what is printed, and when following ends without the run's end."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from intermodal.platforms.following import follow
from intermodal.platforms.interface import RemoteRun, RemoteTask
from intermodal.runtime.errors import DeniedError, PlatformError

START = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = RemoteTask("train", "running", START)
DONE = RemoteTask("ingest", "succeeded", START, START + timedelta(seconds=3))
WAITING = RemoteTask("train", "pending", START, reason="its pod has not started: kubectl describe pod a-1")
BRANCH = RemoteTask("condition-1", "running", START, group=True)


class Platform:
    """Answers one state of the run a look, the last one for ever; an error is raised."""

    name = "kubeflow"

    def __init__(self, *states):
        self._states = list(states)
        self.looks = 0

    def run(self, run_id):
        self.looks += 1
        found = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if isinstance(found, Exception):
            raise found
        return found


def a_run(state, *tasks, error=""):
    return RemoteRun("r-1", "flights", "k", state, "http://127.0.0.1", tasks=tasks, error=error)


def followed(*states, **options):
    text = io.StringIO()
    end = follow(Platform(*states), a_run("pending"), Console(file=text, width=100), sleep=lambda seconds: None, **options)
    return end, text.getvalue()


def test_each_task_is_shown_once_with_its_end():
    failed = RemoteTask("train", "failed", START, START + timedelta(seconds=5), error="no rows")
    end, text = followed(a_run("running", DONE, RUNNING), a_run("running", DONE, RUNNING), a_run("failed", DONE, failed))
    assert end.state == "failed"
    assert [line.split()[1] for line in text.splitlines() if "train" in line or "ingest" in line] == ["ingest", "train"]
    assert "no rows" in text


@pytest.mark.fault(
    "Kubeflow", "a task never starts, and `--wait` waits", "after `start_timeout` it ends, says what waits and where the reason stands"
)
@pytest.mark.parametrize("tasks", [(DONE, WAITING), (DONE, BRANCH, WAITING)])
def test_a_run_of_which_nothing_starts_ends_the_wait_with_what_waits_and_why(tasks):
    with pytest.raises(PlatformError, match=r"start train: its pod has not started: kubectl describe pod a-1.*start_timeout.*intermodal cancel r-1"):
        followed(a_run("running", *tasks), poll=10, start_timeout=60)


def test_a_run_that_no_controller_takes_up_ends_the_wait():
    with pytest.raises(PlatformError, match="start its first task"):
        followed(a_run("pending"), poll=10, start_timeout=60)


def test_a_task_may_wait_while_another_runs_and_the_wait_begins_anew_after_it():
    waits, runs = [a_run("running", WAITING)] * 5, [a_run("running", RUNNING, WAITING)] * 20
    end, _ = followed(*waits, *runs, *waits, *runs, a_run("succeeded"), poll=10, start_timeout=60)
    assert end.state == "succeeded"


def test_a_paused_or_cancelling_run_and_no_limit_wait_on():
    for state, limit in [("paused", 60), ("cancelling", 60), ("running", 0)]:
        end, _ = followed(*[a_run(state, WAITING)] * 50, a_run("succeeded"), poll=10, start_timeout=limit)
        assert end.state == "succeeded"


def test_a_platform_that_is_away_for_a_while_is_no_end():
    away = PlatformError("away")
    assert followed(away, away, a_run("succeeded"), poll=10, patience=30)[0].state == "succeeded"
    with pytest.raises(PlatformError, match="away"):
        followed(away, poll=10, patience=30)


@pytest.mark.fault("Kubeflow", "the token expires while a run is followed", "following ends at once, in words; the run goes on")
def test_credentials_that_are_refused_end_it_at_once():
    platform = Platform(a_run("running"), DeniedError("the token is expired (401)"))
    with pytest.raises(DeniedError, match="401"):
        follow(platform, a_run("pending"), Console(quiet=True), sleep=lambda seconds: None)
    assert platform.looks == 2
