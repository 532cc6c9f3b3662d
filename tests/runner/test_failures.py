"""What a person is told when a task fails, and what is left behind."""
# ruff: noqa: PTH123 (bodies of tasks import what they use)

import io
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kfp import dsl
from rich.console import Console

from intermodal.authoring.decorator import component
from intermodal.execution.containers import check_docker, container_name, image_content, run_command
from intermodal.runner.cache import Cache
from intermodal.runner.inputs import Values
from intermodal.runner.local import LocalTarget
from intermodal.runtime.errors import MachineError, TaskError


@component(image="data")
def refuse():
    from intermodal.runtime.errors import DataError

    try:
        {}["first"]
    except KeyError as error:
        raise DataError("orders.csv: no column 'amount'; the columns are id, price") from error


@component(image="data")
def divide() -> float:
    return 1 / 0


@component(image="data")
def die(number: int):
    import os

    os.kill(os.getpid(), int(number))


@component(image="data")
def write(text: str, written: dsl.Output[dsl.Dataset]):
    with open(written.path, "w") as file:
        file.write(text)


@component(image="data")
def fill(before: dsl.Input[dsl.Dataset], bytes_: int, filled: dsl.Output[dsl.Dataset]):
    from intermodal.runtime.artifacts import whole_file

    with whole_file(filled.path) as scratch:
        scratch.write_bytes(bytes(int(bytes_)))


@component(image="data")
def leave(how: str, path: str, written: dsl.Output[dsl.Dataset]) -> str:
    import os
    import sys

    if how == "import":
        sys.path.insert(0, path)
        import leaving  # noqa: F401 - a user's file that exits
    elif how == "os":
        os._exit(0)
    elif how == "first attempt" and not os.path.exists(f"{path}/tried"):  # noqa: PTH110
        open(f"{path}/tried", "w").close()
        sys.exit(0)
    elif how == "forgets":
        return "done"
    elif how == "describes":
        written.metadata["rows"] = 3
        return "done"
    elif how == "elsewhere":
        written.uri = path
        return "done"
    with open(written.path, "w") as file:
        file.write("whole")
    return None if how == "returns nothing" else "done"


@dsl.container_component
def shell(script: str, written: dsl.Output[dsl.Dataset], said: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="python:3.11", command=["sh", "-c", script], args=[written.path, said])


@component(image="data", cached=False)
def serve(folder: str):
    import subprocess
    import sys

    program = "import time; time.sleep(600)"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, **quiet)
    helper = subprocess.Popen([sys.executable, "-c", program], **quiet)
    with open(f"{folder}/pids", "w") as file:
        file.write(f"{server.pid} {helper.pid}")


@component(image="data")
def count_to(last: int, killed: str, counted: dsl.Output[dsl.Dataset]):
    """Count on from where an earlier attempt was killed, which it is at 2 for as often as a file has bytes."""
    import os
    from pathlib import Path

    folder, left = Path(os.environ["INTERMODAL_CHECKPOINTS"]), Path(killed)
    folder.mkdir(parents=True, exist_ok=True)
    first = max((int(each.name) for each in folder.iterdir()), default=0)
    for number in range(first + 1, int(last) + 1):
        (folder / str(number)).touch()
        if number == first + 2 and left.stat().st_size:
            left.write_bytes(left.read_bytes()[1:])
            os.kill(os.getpid(), 9)
    Path(counted.path).write_text(f"from {first} to {number}")


@pytest.fixture
def target(tmp_path):
    return LocalTarget(tmp_path / "home", console=Console(file=io.StringIO(), width=100))


def failure(target, pipeline, arguments=None):
    with pytest.raises(TaskError) as caught:
        target.run(pipeline, arguments or {})
    return caught.value


def test_the_sentence_of_an_error_raised_on_purpose_is_the_message(target):
    error = failure(target, refuse)
    assert error.sentence == "orders.csv: no column 'amount'; the columns are id, price"
    assert error.task == "refuse"
    assert "Traceback" in Path(error.log).read_text()


def test_any_other_error_is_named_with_its_type(target):
    assert failure(target, divide).sentence == "ZeroDivisionError: division by zero"


@pytest.mark.fault(
    "Local runs", "kill -9 of a task that writes checkpoints", "its next attempt goes on from them, within the run and in the next run"
)
def test_a_killed_task_finds_its_checkpoints_in_its_next_attempt_and_in_the_next_run(target, tmp_path):
    killed = tmp_path / "killed"

    @dsl.pipeline(name="counting")
    def counting(last: int):
        count_to(last=last, killed=str(killed)).set_retry(1, backoff_duration="0s")

    killed.write_bytes(b"..")
    failure(target, counting, {"last": 6})
    killed.write_bytes(b".")
    run = target.run(counting, {"last": 9})  # another task: it does not find them
    assert (run.directory / "count-to" / "counted").read_text() == "from 2 to 9"
    run = target.run(counting, {"last": 6})
    assert (run.directory / "count-to" / "counted").read_text() == "from 4 to 6"
    assert not [path for path in (tmp_path / "home" / "checkpoints").rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_task_killed_from_outside_is_said_to_be(target, number):
    assert failure(target, die, {"number": int(number)}).sentence.startswith(f"killed by {number.name}")


@pytest.mark.fault(
    "Local runs",
    "user code that calls sys.exit(0) or os._exit(0), or ends without writing a declared output",
    "the task fails with a sentence that says so, and is not cached",
)
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("import", "before its function returned, so its outputs are missing (Output, written)"),
        ("os", "before its function returned"),
        ("forgets", "did not write its output written"),
        ("returns nothing", "did not write its output Output"),
    ],
)
def test_a_task_that_ends_well_without_its_outputs_fails(target, tmp_path, how, sentence):
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    for _ in range(2):
        assert sentence in failure(target, leave, {"how": how, "path": str(tmp_path)}).sentence


@pytest.mark.parametrize("how", ["writes", "describes", "elsewhere"])
def test_an_artifact_that_is_written_described_or_elsewhere_counts_as_written(target, tmp_path, how):
    assert target.run(leave, {"how": how, "path": str(tmp_path)}).succeeded


def test_an_attempt_that_left_without_its_outputs_is_retried(target, tmp_path):
    @dsl.pipeline(name="again")
    def again():
        leave(how="first attempt", path=str(tmp_path)).set_retry(1, backoff_duration="0s")

    assert target.run(again, {}).succeeded


def test_a_container_component_must_write_what_it_declares(target):
    assert "did not write its output said" in failure(target, shell, {"script": 'echo a > "$0"'}).sentence
    assert "did not write its output written" in failure(target, shell, {"script": 'echo a > "$1"'}).sentence
    assert target.run(shell, {"script": 'echo a > "$0"; echo b > "$1"'}).succeeded


def test_a_failed_task_stops_what_depends_on_it_and_is_shown_with_its_log(target, tmp_path):
    @dsl.pipeline(name="broken")
    def broken():
        refuse().set_display_name("refuse")
        fill(before=write(text="a").output, bytes_=1).after(refuse())

    error = failure(target, broken)
    shown = target._console.file.getvalue()
    assert "refuse" in shown
    assert "failed" in shown
    assert "skipped" in shown
    assert Path(error.log).exists()


def test_a_full_disk_fails_the_run_in_words_and_leaves_earlier_artifacts_whole(tmp_path):
    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(home)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        # Without the right to mount: the same test in a user namespace of its own.
        test = f"{__file__}::{test_a_full_disk_fails_the_run_in_words_and_leaves_earlier_artifacts_whole.__name__}"
        assert "INTERMODAL_IN_NAMESPACE" not in os.environ, mounted.stderr
        again = [sys.executable, "-m", "pytest", "-q", test, "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'again'}"]
        done = subprocess.run(
            ["unshare", "-rm", *again], env=os.environ | {"INTERMODAL_IN_NAMESPACE": "1"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return

    @dsl.pipeline(name="full")
    def full(size: int):
        fill(before=write(text="early").output, bytes_=size)

    try:
        target = LocalTarget(home, console=Console(file=io.StringIO()))
        error = failure(target, full, {"size": 64 * 2**20})
        assert error.sentence.count(f"no room left in {home}") == 1
        assert "free some" in error.sentence
        assert [path.read_text() for path in home.glob("runs/*/write/written")] == ["early"]
        assert not list(home.glob("runs/*/fill/filled"))
        assert [task.state for task in target.run(full, {"size": 10}).tasks] == ["cached", "done"]
    finally:
        subprocess.run(["umount", str(home)], check=True)


@component(image="data")
def spill(bytes_: int):
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(int(bytes_)))


@pytest.mark.fault("Local runs", "a full temporary directory, the home's disk having room", "the message names the disk that is full")
def test_a_full_temporary_directory_is_named_and_not_the_home(small_disk, temporary, tmp_path):
    disk = small_disk("temporary", 2)
    temporary(disk)
    error = failure(LocalTarget(tmp_path / "home", console=Console(file=io.StringIO())), spill, {"bytes_": 8 * 2**20})
    assert f"no room left in {disk}" in error.sentence
    assert str(tmp_path / "home") not in error.sentence
    assert "finished tasks are kept" in error.sentence


def alive(pid):
    return Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_server_that_a_task_detached_outlives_it_and_what_it_merely_left_does_not(target, tmp_path):
    target.run(serve, {"folder": str(tmp_path)})
    server, helper = map(int, (tmp_path / "pids").read_text().split())
    try:
        assert alive(server)
        assert not alive(helper)
    finally:
        os.kill(server, signal.SIGKILL)


def test_the_command_line_ends_on_ctrl_c_with_one_line_and_status_130(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import typer
from pathlib import Path
from intermodal.authoring.decorator import component
from intermodal.runner.local import LocalTarget

@component(image="data")
def wait(path: str):
    import time
    open(path, "w").close()
    time.sleep(600)

def main():
    LocalTarget(Path({str(tmp_path / "home")!r})).run(wait, {{"path": {str(tmp_path / "started")!r}}})

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(main)
app()
"""
    )
    runner = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        assert runner.poll() is None
        time.sleep(0.02)
    runner.send_signal(signal.SIGINT)
    said, complained = runner.communicate(timeout=20)
    assert runner.returncode == 130
    assert said.count("interrupted") == 1
    assert "failed" not in said
    assert "Traceback" not in said + complained


# Docker: a daemon does not run where these tests do. What is tested is the command line, that its exit status counts, and that a stopped run kills
# the container by its name; `docker` is a script that records its arguments and runs the task's command itself.


@pytest.fixture
def docker(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "docker"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ "$1" = version ] && exit ${{DOCKER_STATUS:-0}}\n'
        '[ "$1" = run ] && exit 3\n[ "$1" = image ] && echo "$DOCKER_IMAGE"\nexit 0\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "calls"


def test_a_container_is_named_and_removed_and_sees_home_the_network_and_the_caller(tmp_path):
    command = run_command(
        "image:1", ["sh", "-c", "true"], name="n", home=tmp_path, mounts=[Path("/data")], variables={"A": "b"}, passed=["AWS_PROFILE", "HOME"]
    )
    text = " ".join(command)
    assert text.startswith("docker run --rm --init --name n --user ")
    assert text.endswith("--entrypoint sh image:1 -c true")
    for part in (
        f"--volume {tmp_path}:{tmp_path}",
        "--volume /data:/data:ro",
        "--network host",
        "--env A=b",
        "--env AWS_PROFILE",
        f"{os.getuid()}:{os.getgid()}",
    ):
        assert part in text
    assert "--env HOME=/tmp" in text
    assert "--env HOME " not in text


def test_container_names_differ_by_run_task_and_attempt():
    names = {container_name(run, task, attempt) for run in ("a", "b") for task in ("score[0]", "score[1]") for attempt in (1, 2)}
    assert len(names) == 8
    assert all(name.replace("-", "").isalnum() for name in names)


@pytest.mark.fault("New data", "an image built again under its tag, then `run --docker`", "its tasks run in it; the old one's outputs are not reused")
def test_an_image_built_again_under_its_tag_is_another_image(docker, tmp_path, monkeypatch):
    keys = []
    for content in ("sha256:1", "sha256:2", "sha256:1", ""):  # the last: not there yet
        monkeypatch.setenv("DOCKER_IMAGE", content)
        cache = Cache(tmp_path / "cache", image_content=image_content)
        keys.append(cache.key("divide", "intermodal-data:0.1.0", ["sh"], Values(), {}))
    assert len(set(keys)) == 3
    assert keys[0] == keys[2]


def test_a_container_that_fails_fails_the_task(docker, tmp_path):
    target = LocalTarget(tmp_path / "home", docker=True, console=Console(file=io.StringIO()))
    assert "status 3" in failure(target, divide).sentence
    assert "intermodal-data:0.1.0" in docker.read_text()


def test_a_docker_that_is_missing_or_silent_is_said_so(docker, monkeypatch):
    monkeypatch.setenv("DOCKER_STATUS", "1")
    with pytest.raises(MachineError, match="does not answer"):
        check_docker()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match="not on PATH"):
        check_docker()


@pytest.mark.parametrize("victim", ["runner", "launcher"])
def test_a_stopped_run_kills_its_container_by_name(docker, tmp_path, victim):
    script = tmp_path / "bin" / "docker"
    script.write_text(script.read_text().replace('[ "$1" = run ] && exit 3', '[ "$1" = run ] && exec sleep 600'))
    program = f"""
from pathlib import Path
from intermodal.authoring.decorator import component
from intermodal.runner.local import LocalTarget

@component(image="data")
def wait():
    pass

LocalTarget(Path({str(tmp_path / "home")!r}), docker=True).run(wait, {{}})
"""
    (tmp_path / "program.py").write_text(program)
    runner = subprocess.Popen([sys.executable, str(tmp_path / "program.py")], stdout=subprocess.DEVNULL)
    wait_for(lambda: docker.exists() and "run --rm" in docker.read_text())
    launcher = next(int(pid) for each in Path(f"/proc/{runner.pid}/task").glob("*/children") for pid in each.read_text().split())
    os.kill(runner.pid if victim == "runner" else launcher, signal.SIGKILL)
    runner.wait()
    name = docker.read_text().split("--name ")[1].split()[0]
    wait_for(lambda: f"kill {name}" in docker.read_text())


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
