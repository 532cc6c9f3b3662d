"""Run every test: the components' in the environment of their image, the rest in the authoring environment; two suites at a time, and with a cluster
beside them the two that wait for its pods.

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
#: Suites that wait for pods, where there is a cluster, and hardly compute; with the image they run in, if any.
WAITING = {"tests/workers": None, "tests/components/deploy_kserve": "serve"}
# Suites that belong to no component but need an image's packages.
EXTRA = {
    "data": ["tests/feature_repo", "tests/features", "tests/runtime/datasets"],
    "serve": ["tests/rollout/metrics", "tests/serving"],
    "track": ["tests/drawing"],
    "train": ["tests/training"],
    "validate": ["tests/runtime/datasets"],  # its PyArrow is much older
}


def image_suites() -> dict[str, list[str]]:
    """Return the test paths of each image, without those that wait."""
    suites = defaultdict(list)
    for name in component_names():
        image = image_of(load_component(name).component_spec.implementation.container.image)
        if (path := f"tests/components/{name}") not in WAITING:
            suites[image].append(path)
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
    pytest_here, here = [sys.executable, "-m", "pytest", "-q"], dict[str, str]()
    there = {"PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "2"}

    def pytest_in(image: str) -> list[str]:
        return [python[image], "tests/run_in.py", str(tools), "-q"]

    waiting = [
        (path.rpartition("/")[2], [*(pytest_in(image) if image else pytest_here), path, *arguments], there if image else here)
        for path, image in WAITING.items()
    ]
    # Two halves, for the one with whole pipelines takes as long as all others; the longest first, so that both workers end together.
    ignored = [f"--ignore={path}" for path in [*WAITING, *(path for paths in suites.values() for path in paths)]]
    computing = [
        ("pipelines", [*pytest_here, "tests/pipelines", *arguments], here),
        ("authoring", [*pytest_here, "tests", "--ignore=tests/pipelines", *ignored, *arguments], here),
    ]
    for image, paths in sorted(suites.items(), key=lambda item: (item[0] != "train", item[0])):
        computing.append((image, [*pytest_in(image), *paths, *arguments], there))
    with ThreadPoolExecutor(2) as computers, ThreadPoolExecutor(2) as waiters:
        cluster = "KUBECONFIG" in os.environ
        first = [waiters.submit(run_suite, *job) for job in waiting] if cluster else []
        then = [computers.submit(run_suite, *job) for job in (computing if cluster else [*computing, *waiting])]
        results = [each.result() for each in first + then]
    total: Counter[str] = Counter()
    for name, code, seconds, counts in results:
        total += counts
        print(f"{name:13} {'passed' if code == 0 else f'FAILED ({code})':12} {seconds:4.0f} s")
    words = [f"{total[word]} {word}" for word in ("failed", "error", "passed", "skipped") if total[word]]
    print(f"{', '.join(words)} in {time.monotonic() - started:.2f}s")
    return max(code for _, code, _, _ in results)


if __name__ == "__main__":
    sys.exit(main())
