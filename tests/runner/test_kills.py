"""A run that is killed at a random moment: nothing goes on, and the next run ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runner.test_stopping import kill, marked, wait_for

ATTEMPTS = 10
PROGRAM = """
import json, sys
from pathlib import Path
from kfp import dsl
from intermodal.authoring.decorator import component
from intermodal.runner.local import LocalTarget
from rich.console import Console

@component(image="data")
def words(salt: str, written: dsl.Output[dsl.Dataset]) -> list:
    # Written in halves and without care, as a stranger's component may.
    import os, subprocess, sys, time
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], process_group=0)
    os.mkdir(written.path)
    for number in range(4):
        with open(f"{written.path}/{number}", "w") as file:
            file.write(f"first half {salt} ")
            file.flush()
            time.sleep(0.03)
            file.write("second half")
    return ["a", "b", "c"]

@component(image="data")
def double(before: dsl.Input[dsl.Dataset], word: str, doubled: dsl.Output[dsl.Dataset]) -> str:
    import os, time
    with open(doubled.path, "w") as file:
        for name in sorted(os.listdir(before.path)):
            text = open(f"{before.path}/{name}").read()
            file.write(f"{word} {text}")
            file.flush()
            time.sleep(0.02)
            file.write(f" {text}\\n")
    return word

@component(image="data")
def join(parts: dsl.Input[list[dsl.Dataset]], words: list, joined: dsl.Output[dsl.Dataset]) -> str:
    with open(joined.path, "w") as file:
        for part in sorted(open(each.path).read() for each in parts):
            file.write(part)
    return " ".join(sorted(words))

@component(image="data", cached=False)
def say(before: dsl.Input[dsl.Dataset], said: str) -> str:
    return f"{said}: {len(open(before.path).read())}"

@dsl.pipeline(name="kills")
def pipeline(salt: str) -> str:
    first = words(salt=salt)
    with dsl.ParallelFor(["a", "b", "c"]) as word:
        each = double(before=first.outputs["written"], word=word)
    last = join(parts=dsl.Collected(each.outputs["doubled"]), words=dsl.Collected(each.outputs["Output"]))
    with dsl.If(last.outputs["Output"] == "a b c"):
        said = say(before=last.outputs["joined"], said=last.outputs["Output"])
    with dsl.Else():
        other = say(before=last.outputs["joined"], said="none")
    return dsl.OneOf(said.output, other.output)

run = LocalTarget(Path(sys.argv[1]), console=Console(width=100, stderr=True)).run(pipeline, {"salt": sys.argv[2]})
joined = next(task for task in run.tasks if task.name == "join")
print(json.dumps([run.outputs, Path(joined.outputs["joined"]).read_text(), {task.name: task.state for task in run.tasks}]))
"""


def expected(salt):
    text = f"first half {salt} second half"
    joined = "".join(f"{word} {text} {text}\n" * 4 for word in "abc")
    return [{"Output": f"a b c: {len(joined)}"}, joined]


@pytest.mark.timeout(600)
@pytest.mark.fault(
    "Local runs",
    "SIGKILL, SIGTERM or SIGINT to the runner at 10 random times during a pipeline with a loop, a condition and tasks that write in halves",
    "no process goes on, no half-written output is taken for one, and the next run ends with the outputs of an undisturbed one",
)
def test_a_run_killed_at_any_moment_is_finished_by_the_next(tmp_path, fault_random):
    program, home = tmp_path / "program.py", tmp_path / "home"
    program.write_text(PROGRAM)

    def start(salt):
        command = [sys.executable, str(program), str(home), salt]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def finish(salt):
        run = start(salt)
        said, complained = run.communicate(timeout=120)
        assert run.returncode == 0, complained
        return json.loads(said)

    started = time.monotonic()
    assert finish("undisturbed")[:2] == expected("undisturbed")
    whole = time.monotonic() - started
    cut = 0
    for attempt in range(ATTEMPTS):
        salt = f"attempt-{attempt}"
        run = start(salt)
        time.sleep(fault_random.uniform(0.2, 1.0) * whole)
        number = fault_random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        os.kill(run.pid, number)
        run.communicate(timeout=60)
        try:
            wait_for(lambda: not marked(str(home).encode()), 12.0)
        finally:
            left = marked(str(home).encode())
            kill(*left)
        assert not left, f"{number.name}: {left}"
        cut += run.returncode != 0
        *outputs, states = finish(salt)
        assert outputs == expected(salt), f"after {number.name}: {states}"
    assert cut >= 6, "most of the moments fell into a run"
    # What every entry of the cache answers with is whole, those of the killed runs too.
    entries = [json.loads(entry.read_text())["outputs"]["artifacts"] for entry in (home / "cache").glob("comp-double.*")]
    assert len(entries) == 3 * (ATTEMPTS + 1)
    for entry in entries:
        assert Path(entry["doubled"]["uri"]).read_text().count("\n") == 4
