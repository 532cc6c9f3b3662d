"""A run on this machine: a password comes by the environment's name for it, and what tasks print is kept without it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import dsl
from rich.console import Console

from intermodal.authoring.images import image_reference
from intermodal.runner.local import LocalTarget
from intermodal.runtime.errors import ConfigurationError, TaskError

CANARY = "c4nary/pa55word"


@dsl.component(base_image=image_reference("data"), install_kfp_package=False)
def connect(store: dict, fail: bool):
    import os

    # Past Python's own streams, as a library in C does.
    # In two halves: the run's request keeps the source, as the compiled pipeline does, and what is looked for is what the task printed.
    os.write(1, b"connecting to postgresql://me:literal-" + b"pa55@db\n" + os.environ["STORE_ACCESS"].encode() + b"\n")
    os.system('echo "a child: $STORE_ACCESS"')
    if fail:
        raise OSError(f"cannot reach redis://:{os.environ['STORE_ACCESS']}@{store['host']}")


@dsl.pipeline(name="connecting")
def connecting(store: dict, fail: bool = False):
    connect(store=store, fail=fail)


def shown(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


@pytest.mark.fault(
    "Nobody in", "a task and its children print a password past Python, and fail with it", "log, record and message have its name instead"
)
def test_what_a_task_prints_and_dies_of_is_kept_without_its_password(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STORE_ACCESS", CANARY)
    store = {"host": "db", "connection_string": "password=${STORE_ACCESS}"}
    target = LocalTarget(tmp_path, console=Console(width=160))
    run = target.run(connecting, {"store": store})
    log = run.tasks[0].log.read_text()
    assert "postgresql://me:***@db" in log
    assert log.count("${STORE_ACCESS}") >= 2
    with pytest.raises(TaskError, match=r"redis://:\*\*\*@db|\$\{STORE_ACCESS\}") as caught:
        target.run(connecting, {"store": store, "fail": True})
    everything = shown(tmp_path) + str(caught.value).encode() + caught.value.sentence.encode() + capsys.readouterr().out.encode()
    for secret in (CANARY, "c4nary%2Fpa55word", "literal-pa55"):
        assert secret.encode() not in everything


def test_a_variable_that_no_argument_names_is_not_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("STORE_ACCESS", CANARY)
    with pytest.raises(TaskError, match="STORE_ACCESS"):
        LocalTarget(tmp_path, console=Console(quiet=True)).run(connecting, {"store": {"host": "db"}})


@pytest.mark.parametrize("store", [{"uri": f"redis://:{CANARY}@db"}, {"password": CANARY}])
def test_an_argument_that_holds_a_password_is_refused_before_anything_runs(tmp_path, store):
    with pytest.raises(ConfigurationError, match=r"pipeline connecting: store\.\w+ carries a password") as caught:
        LocalTarget(tmp_path, console=Console(quiet=True)).run(connecting, {"store": store})
    assert CANARY not in str(caught.value)
    assert CANARY.encode() not in shown(tmp_path)


@pytest.mark.fault("Nobody in", "a log that holds a password is shown by `intermodal logs`", "the terminal gets it redacted")
def test_a_log_is_shown_without_the_password_in_it(tmp_path):
    folder = tmp_path / ".intermodal" / "runs" / "training-1" / "fit"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text(f"connecting to redis://:{CANARY}@db\n")
    command = [str(Path(sys.executable).parent / "intermodal"), "logs", "training-1", "--target", "local"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"COLUMNS": "40"}, capture_output=True, text=True, timeout=60, check=True)
    assert "fit  connecting to redis://:***@db" in done.stdout
