"""The commands that reach platforms, from configuration to a run on a server that parses what it is sent."""

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml
from kfp import dsl

from intermodal.compiler.build import compile_specification, write_specification
from intermodal.platforms import following
from tests.cli.invoking import runs, said
from tests.platforms.test_local_runs import greet, greeting
from tests.servers.faults import Fault
from tests.servers.kubeflow import node_id, workflow_nodes

ROOT = Path(__file__).resolve().parents[2]
FLIGHTS = str(ROOT / "pipelines" / "flights.yaml")
EXAMPLE = (ROOT / "targets.example.toml").read_text()


def submitted(target: str, *more: str) -> str:
    match = re.search(r"^Run\s+(\S+)", said("submit", FLIGHTS, "--target", target, *more), re.MULTILINE)
    assert match
    return match[1]


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_the_flights_go_from_their_configuration_to_a_run_on_each_platform(platforms, target):
    run = submitted(target, "--key", "build-1")
    assert submitted(target, "--key", "build-1") == run, "the same key twice is one run"
    assert len(runs(platforms, target)) == 1
    assert run in said("list", "--target", target)
    assert "pending" in said("status", run, "--target", target)
    assert run in said("cancel", run, "--target", target)


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_compile_lint_and_submit_the_very_file_as_a_build_does(platforms, target, tmp_path):
    digests = tmp_path / "digests.json"
    digests.write_text(json.dumps(dict.fromkeys(("data", "validate", "train", "track", "serve"), "sha256:" + "a" * 64)))
    said("compile", FLIGHTS, "--target", target, "--profile", "dev", "--digests", str(digests), "--output", str(tmp_path / "release"))
    file = str(tmp_path / "release" / target / "flights.yaml")
    assert "0 errors, 0 warnings" in said("lint", file, "--target", target)
    said("submit", file, "--configuration", FLIGHTS, "--target", target, "--digests", str(digests), "--key", "build-2")
    (run,) = runs(platforms, target).values()
    assert "@sha256:" in json.dumps(run)


def test_a_command_says_that_images_by_tag_are_not_cached_and_what_to_do(platforms, tmp_path):
    note = (
        "Cache    off for registry.example/team/intermodal-data:0.1.0 and 3 more images: the content behind a tag can change; name images by digest"
    )
    digests = tmp_path / "digests.json"
    digests.write_text(json.dumps(dict.fromkeys(("data", "validate", "train", "track", "serve"), "sha256:" + "a" * 64)))
    output = ("--profile", "dev", "--output", str(tmp_path))
    schedule = ("schedule", "create", FLIGHTS, "--target", "kubeflow", "--cron", "0 3 * * *")
    assert note in said("submit", FLIGHTS, "--target", "kubeflow")
    assert note in said(*schedule, "--name", "nightly")
    assert note in said("compile", FLIGHTS, "--target", "kubeflow", *output)
    for command in (("submit", FLIGHTS, "--target", "kubeflow"), (*schedule, "--name", "weekly"), ("compile", FLIGHTS, *output)):
        assert "Cache" not in said(*command, "--digests", str(digests))
    assert "Cache" not in said("submit", FLIGHTS, "--target", "kubeflow", "--no-cache")


def test_a_file_compiled_by_kfp_is_uploaded_without_caching(platforms, tmp_path):
    file = tmp_path / "greeting.yaml"
    write_specification(compile_specification(greeting), file)
    assert "Cache    off for intermodal-data:0.1.0:" in said("upload", str(file), "--name", "greeting", "--version", "1")
    assert "enableCache" not in json.dumps(platforms["kubeflow"].state["versions"])


def test_a_configuration_is_compiled_on_the_way_to_its_upload(platforms, tmp_path):
    assert "Uploaded flight-delay 1" in said("upload", FLIGHTS, "--version", "1")
    assert [each["display_name"] for each in platforms["kubeflow"].state["pipelines"].values()] == ["flight-delay"]


def test_a_compiled_file_is_kept_on_kubeflow_as_a_version_once(platforms, tmp_path):
    said("compile", FLIGHTS, "--target", "kubeflow", "--profile", "dev", "--output", str(tmp_path))
    for _ in range(2):
        said("upload", str(tmp_path / "kubeflow" / "flights.yaml"), "--name", "training", "--version", "abc1234")
    assert len(platforms["kubeflow"].state["pipelines"]) == 1
    assert "only kubeflow" in said("upload", FLIGHTS, "--name", "a", "--version", "b", "--target", "vertex", code=1)


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_schedule_goes_through_its_life(platforms, target):
    here = ("--target", target)
    assert "active" in said("schedule", "create", FLIGHTS, *here, "--name", "nightly", "--cron", "0 3 * * *")
    assert "paused" in said("schedule", "pause", "nightly", *here)
    assert "active" in said("schedule", "resume", "nightly", *here)
    assert "nightly" in said("schedule", "list", *here)
    assert "deleted" in said("schedule", "delete", "nightly", *here)
    assert "nightly" not in said("schedule", "list", *here)
    assert "five fields" in said("schedule", "create", FLIGHTS, *here, "--name", "n", "--cron", "@daily", code=1)


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_an_event_delivered_twice_is_one_run_and_one_about_something_else_is_none(platforms, target, tmp_path):
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"specversion": "1.0", "id": "7", "source": "monitor", "type": "drift", "subject": "raw/a.csv"}))
    for _ in range(2):
        said("trigger", FLIGHTS, "--target", target, "--event", str(event), "--match", "raw/*")
    assert len(runs(platforms, target)) == 1
    assert "Nothing to do" in said("trigger", FLIGHTS, "--target", target, "--event", str(event), "--match", "other/*")
    assert len(runs(platforms, target)) == 1


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_one_event_starts_each_configuration_once(platforms, target, tmp_path):
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"specversion": "1.0", "id": "7", "source": "monitor", "type": "drift"}))
    values = yaml.safe_load(Path(FLIGHTS).read_text()) | {"name": "flight-delay-2"}
    values["features"]["repository"] = str(ROOT / "feature_repo")
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(values))
    for configuration in (FLIGHTS, str(tmp_path / "second.yaml")) * 2:
        said("trigger", configuration, "--target", target, "--event", str(event))
    assert len(runs(platforms, target)) == 2


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_the_readmes_commands_run_on_each_platform(platforms, target, tmp_path, monkeypatch):
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"specversion": "1.0", "id": "1", "source": "monitor", "type": "drift"}))
    block = next(each for each in re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL) if "submit" in each)
    monkeypatch.chdir(ROOT)
    run = ""
    for line in re.findall(r"^\$ \S*intermodal (.+)$", block, re.MULTILINE):
        words = shlex.split(line.replace("event.json", str(event)).replace("RUN", run).replace("--target vertex", f"--target {target}"))
        output = said(*[word.replace("compiled/vertex", f"compiled/{target}") for word in words])
        run = found[1] if (found := re.search(r"^Run\s+(\S+)", output, re.MULTILINE)) and words[0] == "submit" else run
        if words[0] == "submit" and target == "kubeflow":
            platforms[target].advance(run, "RUNNING", [{"task_id": "1", "display_name": "ingest-tables", "state": "RUNNING"}])
        elif words[0] == "submit":
            job = next(iter(runs(platforms, target)))
            tasks = [{"taskId": "1", "taskName": run}, {"taskId": "2", "parentTaskId": "1", "taskName": "ingest-tables", "state": "RUNNING"}]
            platforms[target].advance(job, "PIPELINE_STATE_RUNNING", tasks)
    assert len(runs(platforms, target)) == 2, "one submitted, one for the event"


def drifted(folder, **parameters):
    """Return the file of an event that sets parameters."""
    event = folder / "event.json"
    event.write_text(json.dumps({"specversion": "1.0", "id": "7", "source": "m", "type": "t", "data": {"parameters": parameters}}))
    return str(event)


@pytest.fixture
def open_configuration(tmp_path):
    """The flights' configuration, in which events may set the seed."""
    values = yaml.safe_load((ROOT / FLIGHTS).read_text()) | {"events": {"parameters": ["seed"]}}
    values["features"]["repository"] = str(ROOT / "feature_repo")
    (tmp_path / "open.yaml").write_text(yaml.safe_dump(values))
    return str(tmp_path / "open.yaml")


def test_an_event_sets_what_the_configuration_lets_events_set_checked_by_type(platforms, open_configuration, tmp_path):
    here = ("trigger", open_configuration, "--target", "vertex", "--event")
    assert "'seed' must be a whole number" in said(*here, drifted(tmp_path, seed="x"), code=1)
    assert runs(platforms, "vertex") == {}
    said(*here, drifted(tmp_path, seed=7))
    (job,) = runs(platforms, "vertex").values()
    assert job["runtimeConfig"]["parameterValues"]["seed"] == 7


@pytest.mark.fault(
    "Nobody in", "an event sets the repository whose code is run", "nothing is submitted; the message names the parameter and where to allow it"
)
@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_an_event_that_sets_what_it_may_not_starts_nothing(platforms, target, open_configuration, tmp_path):
    hostile = drifted(tmp_path, seed=1, repository="gs://evil/code")
    message = said("trigger", open_configuration, "--target", target, "--event", hostile, code=1)
    assert "'repository', which events may not" in message
    assert "events.parameters of" in message
    compiled = ("trigger", str(ROOT / "compiled" / target / "flights.yaml"), "--target", target, "--event", drifted(tmp_path, seed=1))
    assert "give --configuration FILE" in said(*compiled, code=1)
    assert runs(platforms, target) == {}


def test_a_targets_file_cannot_widen_what_events_may_set(platforms, tmp_path, monkeypatch):
    """It lies in a bucket; the configuration is reviewed with the code."""
    targets = Path(os.environ["INTERMODAL_TARGETS"])
    wide = targets.read_text().replace("[profiles.dev.kubeflow.set]", '[profiles.dev.kubeflow.set]\n"events.parameters" = ["seed"]')
    assert wide != targets.read_text()
    (tmp_path / "wide.toml").write_text(wide)
    monkeypatch.setenv("INTERMODAL_TARGETS", str(tmp_path / "wide.toml"))
    assert "'seed', which events may not" in said("trigger", FLIGHTS, "--target", "kubeflow", "--event", drifted(tmp_path, seed=1), code=1)


def test_an_event_whose_subject_looks_like_markup_is_shown_as_it_is(platforms, tmp_path):
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"specversion": "1.0", "id": "7", "source": "m", "type": "t", "subject": "[/bold]\x1b[2J"}))
    assert r"'[/bold]\x1b[2J', not 'raw/*'" in said("trigger", FLIGHTS, "--target", "vertex", "--event", str(event), "--match", "raw/*")


CANARY = "c4nary-pa55word"


@pytest.mark.fault(
    "Nobody in", "a password in --params, in targets.toml or in an event's parameter", "refused by its key before anything is sent; nothing shows it"
)
@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
@pytest.mark.parametrize("place", ["params", "targets", "event", "set"])
def test_a_planted_password_is_sent_nowhere(platforms, target, place, tmp_path, monkeypatch):
    uri = f"https://me:{CANARY}@mlflow.example"
    arguments = ["submit", FLIGHTS, "--target", target]
    if place == "params":
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"registry": uri}))
        arguments += ["--params", str(tmp_path / "params.yaml")]
    elif place == "targets":
        targets = Path(os.environ["INTERMODAL_TARGETS"])
        targets.write_text(re.sub(r'(?m)^registry = "[^"]*"', f'registry = "{uri}"', targets.read_text()))
    elif place == "event":
        values = yaml.safe_load((ROOT / FLIGHTS).read_text()) | {"events": {"parameters": ["registry"]}}
        values["features"]["repository"] = str(ROOT / "feature_repo")
        (tmp_path / "open.yaml").write_text(yaml.safe_dump(values))
        arguments = ["trigger", str(tmp_path / "open.yaml"), "--target", target, "--event", drifted(tmp_path, registry=uri)]
    else:
        arguments += ["--set", f"registry={uri}"]
    message = said(*arguments, code=1)
    assert "registry carries a password or token" in message
    assert CANARY not in message
    assert runs(platforms, target) == {}


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_submission_names_a_secret_and_does_not_carry_it(platforms, target, monkeypatch):
    monkeypatch.setenv("FEAST_PASSWORD", CANARY)
    store = {"registry": "postgresql+psycopg://feast:${FEAST_PASSWORD}@postgres/feast", "online_store": {"type": "redis", "connection_string": "r:1"}}
    shown = said("submit", FLIGHTS, "--target", target, "--set", f"features.store={json.dumps(store)}")
    held = json.dumps(list(runs(platforms, target).values()), default=str)
    assert "${FEAST_PASSWORD}" in held
    assert CANARY not in held + shown


JOB = "projects/my-project/locations/europe-west4/pipelineJobs/flight-delay-w"


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELLED", 1)])
def test_wait_follows_a_run_to_its_end_and_fails_when_it_fails(platforms, state, code):
    run = submitted("vertex", "--key", "w")
    tasks = [
        {"taskId": "1", "taskName": run},
        {"taskId": "2", "parentTaskId": "1", "taskName": "ingest-tables", "state": state, "startTime": "2026-01-01T00:00:00Z"},
    ]
    platforms["vertex"].advance(JOB, f"PIPELINE_STATE_{state}", tasks, error="" if code == 0 else "a task said no")
    platforms["vertex"].faults.append(Fault("cut", method="GET", path="pipelineJobs/flight-delay-w"))
    output = said("submit", FLIGHTS, "--target", "vertex", "--key", "w", "--wait", code=code)
    assert ("Done" in output) if code == 0 else ("a task said no" in output and "intermodal logs" in output)


def test_wait_ends_when_nothing_starts_and_says_what_waits(platforms, monkeypatch, tmp_path):
    settings = tmp_path / "targets.toml"
    settings.write_text(settings.read_text().replace("start_timeout = 1800", "start_timeout = 0.3"))
    monkeypatch.setattr(following, "follow", partial(following.follow, poll=0.1))
    output = said("submit", FLIGHTS, "--target", "kubeflow", "--wait", code=1)
    assert "has waited" in output
    assert "intermodal cancel" in output
    assert [run["state"] for run in runs(platforms, "kubeflow").values()] == ["PENDING"]


def test_wait_ends_with_the_failed_tasks_last_error_where_the_platform_gives_none(platforms):
    run = submitted("kubeflow", "--key", "w")
    nodes = {"": ("FAILED", ["root"]), "root": ("FAILED", ["root.a"]), "root.a": ("FAILED", ["root.a.executor"]), "root.a.executor": ("FAILED", [])}
    platforms["kubeflow"].advance(run, "FAILED", workflow_nodes("w", nodes))
    platforms["kubeflow"].state["archive"][node_id("w", "root.a.executor")] = "intermodal.runtime.errors.DataError: no rows\n"
    assert "failed: a: no rows" in said("submit", FLIGHTS, "--target", "kubeflow", "--key", "w", "--wait", code=1)


def test_status_shows_seconds_so_far_the_last_error_what_waits_and_the_pages_address(platforms):
    run = submitted("kubeflow", "--key", "s")
    begun = (datetime.now(UTC) - timedelta(seconds=100)).isoformat()
    tree = {
        "": ("RUNNING", ["root-driver"]),
        "root-driver": ("SUCCEEDED", ["root"]),
        "root": ("RUNNING", ["root.ingest-tables-driver"]),
        "root.ingest-tables-driver": ("SUCCEEDED", ["root.ingest-tables"]),
        "root.ingest-tables": ("FAILED", ["root.ingest-tables.executor"]),
        "root.ingest-tables.executor": ("FAILED", ["root.train-model", "root.fetch-champion"]),
        "root.train-model": ("RUNNING", ["root.train-model.executor"]),
        "root.train-model.executor": ("RUNNING", []),
        "root.fetch-champion": ("RUNNING", ["root.fetch-champion.executor"]),
        "root.fetch-champion.executor": ("PENDING", []),
    }
    nodes = [each | ({"start_time": begun} if each["display_name"] == "train-model" else {}) for each in workflow_nodes("w", tree)]
    platforms["kubeflow"].advance(run, "RUNNING", nodes)
    log = "Traceback\nintermodal.runtime.errors.DataError: the table [flights] has no rows\n"
    platforms["kubeflow"].state["archive"][node_id("w", "root.ingest-tables.executor")] = log
    output = said("status", run, "--target", "kubeflow")
    assert re.search(r"ingest-tables +failed +0 +the table \[flights\] has no rows", output)
    assert re.search(r"train-model +running +1\d\d ", output)
    assert re.search(r"fetch-champion +pending +\d+ +its pod has not started", output)
    assert f"See      http://127.0.0.1:8080/#/runs/details/{run}" in output, "the pages', not the API's"


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_schedules_next_run_is_shown(platforms, target):
    said("schedule", "create", FLIGHTS, "--target", target, "--name", "nightly", "--cron", "0 3 * * *")
    assert re.search(r"nightly +0 3 \* \* \* +UTC +active +\d{4}-\d\d-\d\d \d\d:\d\d UTC", said("schedule", "list", "--target", target))


def test_a_schedule_with_an_active_run_is_not_deleted_and_help_says_so(platforms):
    said("schedule", "create", FLIGHTS, "--target", "kubeflow", "--name", "nightly", "--cron", "0 3 * * *")
    run = platforms["kubeflow"].start_scheduled(next(iter(platforms["kubeflow"].state["recurringruns"])))
    assert run in said("schedule", "delete", "nightly", "--target", "kubeflow", code=1)
    assert "Kubeflow would kill them" in " ".join(said("schedule", "delete", "--help").split())


def test_logs_are_printed_with_the_tasks_name(platforms):
    run = submitted("kubeflow", "--key", "l")
    (identifier,) = platforms["kubeflow"].state["runs"]
    platforms["kubeflow"].advance(identifier, "RUNNING", [{"task_id": "1", "display_name": "ingest-tables", "child_tasks": [{"pod_name": "pod"}]}])
    platforms["kubeflow"].state["archive"]["pod"] = "reading [flights]\n"
    assert "ingest-tables  reading [flights]" in said("logs", run, "--target", "kubeflow")


BAD = {
    "an unknown target": (("submit", FLIGHTS, "--target", "vretex"), "kubeflow, vertex and local"),
    "an unknown profile": (("submit", FLIGHTS, "--target", "vertex", "--profile", "prd"), "did you mean 'prod'"),
    "a target that the profile lacks": (("submit", FLIGHTS, "--target", "kubeflow", "--profile", "prod"), "[profiles.prod.kubeflow]"),
    "no targets file": (("submit", FLIGHTS, "--target", "vertex", "--targets", "absent.toml"), "targets.example.toml"),
    "a key that is none": (("submit", FLIGHTS, "--target", "vertex", "--key", "Not A Key"), "lowercase"),
    "a file that is not there": (("submit", "absent.yaml", "--target", "vertex"), "absent.yaml"),
    "a parameter file that is not there": (("submit", FLIGHTS, "--target", "vertex", "--params", "absent.yaml"), "absent.yaml"),
    "a digest file that is not there": (("submit", FLIGHTS, "--target", "vertex", "--digests", "absent.json"), "absent.json"),
    "a run that is not there": (("status", "absent", "--target", "vertex"), "absent"),
    "a schedule that is not there": (("schedule", "pause", "absent", "--target", "kubeflow"), "absent"),
    "an event that is not there": (("trigger", FLIGHTS, "--target", "vertex", "--event", "absent.json"), "absent.json"),
    "an event without an end": (("trigger", FLIGHTS, "--target", "vertex", "--event", "/dev/zero"), "more than 16 MiB"),
    "a time zone on kubeflow": (
        ("schedule", "create", FLIGHTS, "--target", "kubeflow", "--name", "n", "--cron", "0 3 * * *", "--time-zone", "Europe/Zurich"),
        "UTC",
    ),
    "a bucket that is somebody else's": (("submit", FLIGHTS, "--target", "vertex", "--profile", "prod"), "gs://my-project-prod-pipelines"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_with_one_sentence_and_nothing_submitted(platforms, case, monkeypatch):
    arguments, word = BAD[case]
    assert word in said(*arguments, code=1)
    assert runs(platforms, "vertex") == {}
    assert runs(platforms, "kubeflow") == {}


def test_a_parameter_of_the_wrong_type_or_name_is_refused_with_the_nearest(platforms, tmp_path):
    (tmp_path / "params.yaml").write_text("sead: 3\nseed: three\n")
    message = said("submit", FLIGHTS, "--target", "vertex", "--params", str(tmp_path / "params.yaml"), code=1)
    assert "did you mean 'seed'" in message
    assert "'seed' must be a whole number, not 'three'" in message


def test_a_file_edited_by_hand_is_refused_by_lint_and_submit_alike(platforms, tmp_path):
    text = (ROOT / "compiled" / "vertex" / "flights.yaml").read_text()
    (tmp_path / "edited.yaml").write_text(text.replace("name: comp-train-model", "name: comp-trian-model"))
    assert "component-reference" in said("lint", str(tmp_path / "edited.yaml"), "--target", "vertex", code=1)
    message = said("submit", str(tmp_path / "edited.yaml"), "--configuration", FLIGHTS, "--target", "vertex", code=1)
    assert "component-reference" in message


def test_a_person_sees_one_line_and_status_1_not_a_traceback(tmp_path):
    command = [str(Path(sys.executable).parent / "intermodal"), "submit", FLIGHTS, "--target", "vertex"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"TERM": "dumb"}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error  targets.toml: no such file")


def test_a_compiled_file_runs_on_this_machine_and_is_listed_and_read_there(tmp_path, monkeypatch):
    (tmp_path / "targets.toml").write_text(f'[profiles.dev.local]\nhome = "{tmp_path / "home"}"\n')
    (tmp_path / "params.yaml").write_text("name: Ada\n")
    monkeypatch.setenv("INTERMODAL_TARGETS", str(tmp_path / "targets.toml"))
    write_specification(compile_specification(greeting), tmp_path / "greeting.yaml")
    file = str(tmp_path / "greeting.yaml")
    assert "'name' is required" in said("submit", file, "--target", "local", code=1)
    said("submit", file, "--target", "local", "--params", str(tmp_path / "params.yaml"))
    (run,) = (each.name for each in (tmp_path / "home" / "runs").iterdir())
    assert run in said("list", "--target", "local")
    assert "succeeded" in said("status", run, "--target", "local")
    assert "hello Ada" in said("logs", run, "--target", "local")
    for refused in (("cancel", run), ("schedule", "pause", "nightly"), ("schedule", "create", file, "--name", "n", "--cron", "0 3 * * *")):
        assert "--target local" in said(*refused, "--target", "local", code=1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Submit a compiled file to this machine; its folder has brackets, a quote and a space."""
    folder = tmp_path / "a [x] 'q'"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("INTERMODAL_HOME", str(folder / "home"))
    monkeypatch.setenv("INTERMODAL_TARGETS", str(folder / "absent.toml"))
    (folder / "params.yaml").write_text("name: Ada\n")
    (folder / "nobody.yaml").write_text("name: nobody\n")
    (folder / "empty.yaml").write_text("{}\n")
    write_specification(compile_specification(greeting), folder / "greeting.yaml")
    return lambda *more, code=0, params="params.yaml": said(
        "submit", str(folder / "greeting.yaml"), "--target", "local", "--params", str(folder / params), *more, code=code
    )


def test_the_same_key_twice_is_one_run_on_this_machine(here, tmp_path):
    here("--key", "nightly-1", "--name", "of the night")
    assert "started before under the key nightly-1" in here("--key", "nightly-1")
    here("--key", "nightly-2", "--wait")
    runs = said("list", "--target", "local")
    assert runs.count("key-nightly-1.1") == 1
    assert "key-nightly-1.2" not in runs
    assert "key-nightly-2.1" in runs
    assert "of the night" in runs
    assert "of the night" in said("status", "key-nightly-1.1", "--target", "local")


@pytest.mark.fault(
    "Local runs", "a key is used again with other parameters, or with another pipeline", "it is refused: no earlier run answers for it"
)
def test_a_key_used_for_something_else_is_refused_on_this_machine(here, tmp_path):
    assert "'name' is required" in here("--key", "a", code=1, params="empty.yaml")
    here("--key", "a")
    assert "--key a: it has already started a run with another pipeline or other parameters" in here("--key", "a", code=1, params="nobody.yaml")
    file = next(tmp_path.glob("*/greeting.yaml"))
    file.write_text(file.read_text().replace("name: greeting", "name: greetings"))
    assert "choose another --key" in here("--key", "a", code=1)
    here("--key", "b")


def test_a_failed_run_fails_again_under_its_key_and_a_stopped_one_goes_on(here, tmp_path):
    assert "nobody is there" in here("--key", "a", code=1, params="nobody.yaml")
    assert "give another key" in here("--key", "a", code=1, params="nobody.yaml")
    # What a killed run leaves: its folder, and no record of an end.
    (next(tmp_path.glob("*/home/runs")) / "key-b.1").mkdir()
    here("--key", "b")
    assert "key-b.2" in said("list", "--target", "local")


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--digests", "digests.json"), "leave --digests out"),
        (("--configuration", FLIGHTS), "--configuration does not go with a compiled file here"),
        (("--set", "gate.minimum.auc=0.7"), "--set does not go with a compiled file here"),
        (("--key", "Not A Key"), "a key is 1 to 63 lowercase letters"),
        (("--name", "n" * 61), "a run's name has 1 to 60"),
    ],
)
def test_an_option_that_this_machine_cannot_honour_is_refused(here, tmp_path, option, sentence):
    assert sentence in here(*option, code=1)
    assert not list(tmp_path.glob("*/home/runs/*"))


def test_a_configuration_takes_no_parameters_file_on_this_machine(here, tmp_path):
    for option in ("--params", "--configuration"):
        assert f"{option} goes with a compiled file" in said("submit", FLIGHTS, "--target", "local", option, FLIGHTS, code=1)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("comp-greet:", "comp-great:", "[component-reference]"),
        ("root:", "roof:", "root"),
        ("schemaVersion", "sChemaVersion", "schema"),
        ("pipelineInfo:\n  name: greeting", "pipelineInfo: []", "pipelineInfo"),
    ],
)
def test_a_broken_compiled_file_ends_in_sentences_on_this_machine(here, tmp_path, old, new, sentence):
    file = next(tmp_path.glob("*/greeting.yaml"))
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    message = here(code=1)
    assert sentence in message
    assert "Traceback" not in message


def test_a_condition_that_is_none_ends_in_one_sentence(here, tmp_path):
    @dsl.pipeline(name="greeting")
    def pipeline(name: str):
        with dsl.If(name > "a"):
            greet(name=name)

    file = next(tmp_path.glob("*/greeting.yaml"))
    write_specification(compile_specification(pipeline), file)
    file.write_text(file.read_text().replace("> 'a'", "> 1"))
    sentence = here("--key", "a", code=1)
    assert sentence.startswith("the condition ")
    assert "failed" in said("status", "key-a.1", "--target", "local")
