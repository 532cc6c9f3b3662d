"""The overhead of one task: the local target, kfp's own runner, and the bare process, in one run.

    .venv/bin/python benchmarks/task_overhead.py [--tasks 10] [--rounds 3]

A chain of tasks that only write a few bytes. *Bare* is the process of each task without a runner: kfp's executor in the image's environment, started
by `subprocess.run` with the same command. kfp's own runner runs all tasks in the runner's environment, writes no log files, does not end processes
that a task leaves, and runs without cache, as does the local target; *cached* is the local target again, with every task in the cache.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kfp.local
from kfp import dsl
from rich.console import Console

from intermodal.authoring.images import image_reference
from intermodal.execution.environments import environment
from intermodal.runner.local import LocalTarget


@dsl.component(base_image=image_reference("data"), install_kfp_package=False)
def write(before: str) -> str:
    """Return the input."""
    return before


def chain(tasks: int):
    """Return a pipeline of that many tasks, one after the other."""

    @dsl.pipeline(name="chain")
    def pipeline(word: str = "a"):
        last = word
        for _ in range(tasks):
            last = write(before=last).output

    return pipeline


def bare(tasks: int, folder: Path) -> float:
    """Return the seconds of the processes without a runner."""
    container = write.pipeline_spec.deployment_spec["executors"]["exec-write"]["container"]
    given = {"inputs": {"parameterValues": {"before": "a"}}, "outputs": {"parameters": {}, "outputFile": str(folder / "output.json")}}
    given["outputs"]["parameters"] = {"Output": {"outputFile": str(folder / "Output")}}
    command = [*container["command"], *container["args"]]
    command = [json.dumps(given) if part == "{{$}}" else part for part in command]
    variables = {"PATH": f"{environment('data').parent}:{os.environ['PATH']}", "_KFP_RUNTIME": "true"}
    started = time.perf_counter()
    for _ in range(tasks):
        subprocess.run(command, env=variables, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def own_runner(tasks: int, folder: Path) -> float:
    """Return the seconds of kfp's SubprocessRunner, without a virtual environment."""
    kfp.local.init(kfp.local.SubprocessRunner(use_venv=False), pipeline_root=str(folder))
    pipeline = chain(tasks)
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        pipeline()
    return time.perf_counter() - started


def local_target(tasks: int, folder: Path, *, cached: bool) -> float:
    """Return the seconds of the local target."""
    target = LocalTarget(folder, console=Console(file=io.StringIO()))
    pipeline = chain(tasks)
    started = time.perf_counter()
    target.run(pipeline, {}, cached=cached)
    return time.perf_counter() - started


def main() -> None:
    """Measure, in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environment("data")
    seconds: dict[str, list[float]] = {"bare process": [], "kfp's own runner": [], "local target": [], "local target, cached": []}
    folder = Path(tempfile.mkdtemp(prefix="task-overhead-"))
    try:
        for _ in range(options.rounds + 1):
            seconds["bare process"].append(bare(options.tasks, folder))
            seconds["kfp's own runner"].append(own_runner(options.tasks, folder / "own"))
            seconds["local target"].append(local_target(options.tasks, folder / "home", cached=False))
            seconds["local target, cached"].append(local_target(options.tasks, folder / "home", cached=True))
    finally:
        shutil.rmtree(folder)
    base = statistics.median(seconds["bare process"][1:]) / options.tasks
    print(f"{options.tasks} tasks, median of {options.rounds} rounds, one to warm up; Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    for name, values in seconds.items():
        each = statistics.median(values[1:]) / options.tasks
        print(f"{name:22} {each * 1000:7.1f} ms a task   {each / base:5.2f}x the bare process   {(each - base) * 1000:+7.1f} ms")


if __name__ == "__main__":
    main()
