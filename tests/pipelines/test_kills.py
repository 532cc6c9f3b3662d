"""The whole pipeline, killed at random moments: whatever was cut, the next run ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)
COMMAND = Path(sys.executable).parent / "intermodal"
KILLS = 3


@pytest.fixture
def places(make_workplace, tmp_path):
    made = [make_workplace("examples/breast_cancer/breast_cancer.yaml", tmp_path / name) for name in ("undisturbed", "disturbed")]
    yield made
    for place in made:
        place.intermodal("serve", "stop", "breast-cancer")


def options(place):
    return ["--set", f"serving.local.port={place.port}", "--set", "training.epochs=20", "--set", "gate.minimum.auc=0.9"]


def descendants(pid: int) -> list[int]:
    """Return a process's children and theirs, the nearest first."""
    found, level = [], [pid]
    while level:
        below = []
        for parent in level:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                try:
                    below += [int(each) for each in task.read_text().split()]
                except OSError:
                    continue
        found += below
        level = below
    return found


def disturb(place, chance, seconds: float) -> str:
    """Start a run, kill it or one of its processes at a random moment, and wait until it has ended; return what was done."""
    environ = os.environ | {"INTERMODAL_HOME": str(place.home), "TERM": "dumb"}
    command = [str(COMMAND), "run", str(place.configuration), *options(place)]
    root = Path(__file__).resolve().parents[2]
    place.home.mkdir(parents=True, exist_ok=True)
    log = place.home.with_suffix(".log")
    with log.open("wb") as output:
        run = subprocess.Popen(command, cwd=root, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        moment = chance.uniform(0, seconds)
        time.sleep(moment)
        victims = descendants(run.pid)
        victim = chance.choice(["runner", "task"]) if victims else "runner"
        number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        try:
            os.kill(run.pid if victim == "runner" else chance.choice(victims), number)
        except ProcessLookupError:
            victim = "nothing"
        run.wait(300)
    assert "Traceback" not in log.read_text(), log.read_text()
    return f"{signal.Signals(number).name} to {victim} after {moment:.2f} s"


def processes_of(home: Path) -> dict[int, str]:
    """Return the processes that name a folder in their command line."""
    found = {}
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in text and int(each.parent.name) != os.getpid():
            found[int(each.parent.name)] = text
    return found


def outcome(place) -> dict:
    """Return what a run came to: what was decided, registered, served and promoted."""
    report = next(iter(sorted(place.home.glob("runs/*/report.html"))[-1:]))
    decision, evaluation, registration, promotion = (
        json.loads(sorted(place.home.glob(f"runs/*/**/{name}.json"), key=lambda each: each.stat().st_mtime)[-1].read_text())
        for name in ("decision", "evaluation", "registration", "promotion")
    )
    request = (report.parent / "request.json").read_bytes()
    url = f"http://127.0.0.1:{place.port}/v1/models/breast-cancer:predict"
    with urllib.request.urlopen(urllib.request.Request(url, request, {"Content-Type": "application/json"}), timeout=30) as answer:
        served = json.load(answer)["predictions"]
    return {
        "verdict": decision["verdict"],
        "metrics": {name: each["value"] for name, each in evaluation["models"]["challenger"]["metrics"].items()},
        "version": registration["version"],
        "champion": (promotion["version"], promotion["champion"]),
        "tables": registration["lineage"]["tables"],
        "served": served,
    }


@pytest.mark.fault(
    "Local runs",
    "SIGKILL or SIGTERM to the runner or to one of its processes at random times during the whole pipeline, three times in a row",
    "the next run decides, registers and serves what an undisturbed one does; no process and no half-written output is left",
)
def test_a_killed_pipeline_is_completed_by_the_next_run(places, fault_random):
    undisturbed, disturbed = places
    started = time.monotonic()
    undisturbed.run(*options(undisturbed))
    seconds = time.monotonic() - started
    done = [disturb(disturbed, fault_random, seconds) for _ in range(KILLS)]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any("predictor" not in each for each in processes_of(disturbed.home).values()):
        time.sleep(0.1)
    left = {pid: text for pid, text in processes_of(disturbed.home).items() if "predictor" not in text}
    assert not left, f"{done}: {left}"

    killed = list(disturbed.home.glob("runs/*"))
    disturbed.run(*options(disturbed))
    expected, found = outcome(undisturbed), outcome(disturbed)
    assert found["served"] == pytest.approx(expected.pop("served"), abs=1e-6), done
    assert found["metrics"] == pytest.approx(expected.pop("metrics"), abs=1e-6), done
    assert {key: found[key] for key in expected} == expected, done
    # A process that SIGKILL ends cannot tidy up: what it was filling stays, hidden, in the folder of its own run.
    partial = [str(path) for path in disturbed.home.rglob("*.partial") if not any(path.is_relative_to(run) for run in killed)]
    assert not partial, done
    assert len([each for each in processes_of(disturbed.home).values() if "predictor" in each]) == 1, done
