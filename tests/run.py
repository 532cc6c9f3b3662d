"""Run every test: the components' in the environment of their image, the rest in the authoring environment; two or, with a cluster, three at a time.

.venv/bin/python tests/run.py [pytest arguments]
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from intermodal.authoring.catalog import component_names, load_component
from intermodal.authoring.images import IMAGES, image_of
from intermodal.execution.environments import environment

ROOT = Path(__file__).resolve().parent.parent
#: Wait for pods, where there is a cluster, and hardly compute.
WAITING = "tests/workers"
# Suites that belong to no component but need an image's packages.
EXTRA = {
    "data": ["tests/feature_repo", "tests/features", "tests/runtime/datasets"],
    "serve": ["tests/rollout/metrics", "tests/serving"],
    "track": ["tests/drawing"],
    "train": ["tests/training"],
    "validate": ["tests/runtime/datasets"],  # its PyArrow is much older
}


def image_suites() -> dict[str, list[str]]:
    """Return the test paths of each image."""
    suites = defaultdict(list)
    for name in component_names():
        image = image_of(load_component(name).component_spec.implementation.container.image)
        suites[image].append(f"tests/components/{name}")
    for image, paths in EXTRA.items():
        suites[image] += [path for path in paths if (ROOT / path).exists()]
    return suites


def run_suite(name: str, command: list[str], variables: dict[str, str]) -> tuple[str, int, float, Counter[str]]:
    """Run one suite, and print what it said when it has ended; return its exit status, seconds and counts."""
    started = time.monotonic()
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    seconds = time.monotonic() - started
    print(f"\n──── {name}: {seconds:.0f} s ────\n{done.stdout}", flush=True)
    summary = (done.stdout.strip().splitlines() or [""])[-1]
    counts = Counter({word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", summary)})
    # A selection (`-m fault`) may leave a suite without tests, which pytest calls a failure; a whole suite may not.
    selected_none = done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED and len(sys.argv) > 1
    return name, 0 if selected_none else done.returncode, seconds, counts


def main() -> int:
    """Run all suites; return 0 when all passed."""
    started = time.monotonic()
    arguments = sys.argv[1:]
    tools = environment("testing").parent.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    environment("servers")  # made here, where uv is: a component's tests may start these programs
    suites = image_suites()
    python = {image: str(environment(image)) for image in IMAGES}
    ignored = [f"--ignore={path}" for paths in suites.values() for path in paths]
    # Two halves, for the one with whole pipelines takes as long as all others: the longest first, so that both workers end together.
    pytest_here = [sys.executable, "-m", "pytest", "-q"]
    jobs: list[tuple[str, list[str], dict[str, str]]] = [
        ("pipelines", [*pytest_here, "tests/pipelines", *arguments], {}),
        ("authoring", [*pytest_here, "tests", "--ignore=tests/pipelines", f"--ignore={WAITING}", *ignored, *arguments], {}),
        ("workers", [*pytest_here, WAITING, *arguments], {}),
    ]
    for image, paths in sorted(suites.items(), key=lambda item: (item[0] != "serve", item[0])):  # `serve` waits for pods too
        command = [python[image], "tests/run_in.py", str(tools), "-q", *paths, *arguments]
        jobs.append((image, command, {"PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "2"}))
    with ThreadPoolExecutor(3 if os.environ.get("KUBECONFIG") else 2) as pool:
        results = list(pool.map(lambda job: run_suite(*job), jobs))
    total: Counter[str] = Counter()
    for name, code, seconds, counts in results:
        total += counts
        print(f"{name:10} {'passed' if code == 0 else f'FAILED ({code})':12} {seconds:4.0f} s")
    words = [f"{total[word]} {word}" for word in ("failed", "error", "passed", "skipped") if total[word]]
    print(f"{', '.join(words)} in {time.monotonic() - started:.2f}s")
    return max(code for _, code, _, _ in results)


if __name__ == "__main__":
    sys.exit(main())
