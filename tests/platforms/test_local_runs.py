"""The runs of this machine are listed and read like those of a platform; what there is not is said."""

import pytest
from kfp import dsl
from rich.console import Console

from intermodal.authoring.images import image_reference
from intermodal.platforms.local.runs import LocalRuns
from intermodal.runner.local import LocalTarget
from intermodal.runner.records import recorded
from intermodal.runtime.errors import ConfigurationError, PlatformError, TaskError


@dsl.component(base_image=image_reference("data"), install_kfp_package=False)
def greet(name: str):
    print(f"hello {name}")
    if name == "nobody":
        raise ValueError("nobody is there")


@dsl.pipeline(name="greeting")
def greeting(name: str):
    greet(name=name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    target = LocalTarget(home, console=Console(quiet=True))
    target.run(greeting, {"name": "Ada"})
    with pytest.raises(TaskError):
        target.run(greeting, {"name": "nobody"})
    return LocalRuns(home)


def test_the_newest_comes_first_with_its_state(runs):
    assert [(run.name, run.state) for run in runs.runs()] == [("greeting", "failed"), ("greeting", "succeeded")]
    assert [run.name for run in runs.runs(1)] == ["greeting"]


def test_a_run_shows_its_tasks_and_why_it_failed(runs):
    failed, succeeded = (runs.run(run.id) for run in runs.runs())
    assert [(task.name, task.state) for task in succeeded.tasks] == [("greet", "succeeded")]
    assert [(task.name, task.state) for task in failed.tasks] == [("greet", "failed")]
    assert "nobody is there" in failed.error


def test_logs_are_what_the_tasks_printed(runs):
    run = runs.runs()[1].id
    assert ("greet", "hello Ada") in list(runs.logs(run))
    with pytest.raises(PlatformError, match="did you mean 'greet'"):
        list(runs.logs(run, "great"))


def test_a_run_without_an_end_still_runs_or_was_killed(tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    with recorded(folder, {}):
        assert LocalRuns(tmp_path).run("a").state == "running"
    assert (LocalRuns(tmp_path).run("a").state, LocalRuns(tmp_path).run("a").error) == ("cancelled", "the process that ran it was killed")


@pytest.mark.parametrize("name", ["absent", "..", "", "a/b"])
def test_a_run_that_is_not_there_is_refused(runs, name):
    with pytest.raises(PlatformError, match="there is no run"):
        runs.run(name)


def test_what_this_machine_does_not_do_is_said(runs):
    for refused in (lambda: runs.cancel("a"), lambda: runs.pause_schedule("a"), lambda: runs.delete_schedule("a")):
        with pytest.raises(ConfigurationError, match="--target local"):
            refused()
    assert runs.schedules() == []
