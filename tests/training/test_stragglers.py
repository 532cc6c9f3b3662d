"""A worker that is slower than the others: two real processes, one of which is stopped again and again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from intermodal.training.cluster import Cluster
from intermodal.training.diagnosis.stragglers import Stragglers

PROGRAM = """
import os, sys, tempfile
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from intermodal.runtime.tensorflow import keras
from intermodal.runtime.datasets import open_dataset
from intermodal.training.checkpoints.keeping import Checkpoints
from intermodal.training.cluster import find_cluster
from intermodal.training.loop import Loop, Settings
from intermodal.training.progress import Progress
from intermodal.training.rows import Part, Source
from intermodal.training.tensorflow_steps import TensorFlowSteps

cluster, WIDTH, ROWS = find_cluster(os.environ, 2), 20, 400
steps = TensorFlowSteps(cluster, learning_rate=0.001, steps_per_execution=1, precision="float32", jit_compile=False)
steps.begin(lambda: keras.Sequential([keras.Input((WIDTH,)), *(keras.layers.Dense(size, "relu") for size in (64, 64)), keras.layers.Dense(1)]))

class Said:
    def write(self, epoch, values):
        print(f"epoch {epoch} ended", flush=True)

with tempfile.TemporaryDirectory() as scratch:
    values = np.random.default_rng(0).normal(size=(20_000, WIDTH + 1))
    for part, count in (("train", ROWS), ("validation", 20_000)):
        Path(scratch, part).mkdir()
        table = {f"x{place}": values[:count, place] for place in range(WIDTH)} | {"y": values[:count, WIDTH] > 0}
        pq.write_table(pa.table(table), Path(scratch, part, "0.parquet"))

    def convert(table):
        features = np.stack([table.column(f"x{place}").to_numpy() for place in range(WIDTH)], 1)
        return features, table.column("y").to_numpy(zero_copy_only=False)

    with open_dataset(scratch) as examples:
        columns = [*(f"x{place}" for place in range(WIDTH)), "y"]
        sources = [Source(examples, part, count, columns, convert, WIDTH) for part, count in (("train", ROWS), ("validation", 20_000))]
        parts = [Part(source, cluster, 200, Path(scratch), seed=seed) for source, seed in zip(sources, (1, None))]
        curves = Said() if cluster.chief else None
        # The chief reads the sums earlier when it writes a checkpoint: no exchange between the workers may depend on that.
        kept = Checkpoints(str(Path(scratch, "checkpoints")), 1, {}) if cluster.chief else None
        outcome = Loop(steps, *parts, Settings(10_000, 10_000, 1, 5, 0.0), cluster, kept, curves, Progress(False, ROWS)).run()
print("numbers", outcome.shares, flush=True)
"""
SECONDS = 240


@pytest.fixture
def workers(tmp_path):
    """Two workers that train until they get SIGTERM; what the chief says goes to a list of lines."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]
    processes = []
    for index in range(2):
        place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        variables = {"TF_CONFIG": json.dumps(place), "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        output = subprocess.PIPE if index == 0 else (tmp_path / "worker.log").open("w")
        command = [sys.executable, "-c", PROGRAM]
        processes.append(subprocess.Popen(command, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT, text=True))
    lines = []
    threading.Thread(target=lambda: lines.extend(processes[0].stdout), daemon=True).start()
    yield processes, lines
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def wait_for(lines, words, count=1, meanwhile=lambda: time.sleep(0.05)):
    deadline = time.monotonic() + SECONDS
    while sum(words in line for line in lines) < count:
        assert time.monotonic() < deadline, "".join(lines[-30:])
        meanwhile()


@pytest.mark.fault("Training", "one worker is slower than the others", "the log and the metrics name it, how much slower it is, over how many rows")
def test_a_worker_that_is_held_up_is_named_and_equal_ones_are_not(workers):
    processes, lines = workers
    wait_for(lines, "ended", 4)
    wait_for(lines, "ended", 10)
    assert not any("slow" in line for line in lines)

    def hold_up():
        processes[1].send_signal(signal.SIGSTOP)
        time.sleep(0.06)
        processes[1].send_signal(signal.SIGCONT)
        time.sleep(0.02)

    wait_for(lines, "worker 1", 1, hold_up)
    line = next(line for line in lines if "slow" in line)
    assert line.startswith("worker 1 (127.0.0.1:")
    assert "times the others'" in line
    assert "rows, and in every step the others wait for it" in line
    wait_for(lines, "keeps up with the others again")
    for process in processes:
        process.terminate()
    wait_for(lines, "numbers")
    numbers = lines[-1]
    assert "'slowest_worker': 1.0" in numbers
    assert "'cpu_utilisation': 0." in numbers


@pytest.mark.parametrize("count", [2, 8])
def test_equal_workers_raise_no_alarm(count, capsys):
    """2,000 windows of 100 steps whose times vary by half of their mean, and in common by as much again."""
    generator = np.random.default_rng(count)
    window = np.zeros(count)
    chief = Stragglers(Cluster(0, count), lambda mine: np.stack([window, np.full(len(window), 1000)]))
    for _ in range(2000):
        window = generator.gamma(4, 0.25, (100, count)).sum(axis=0) * generator.gamma(4, 0.25) * 0.05
        chief.look(window[0], 1000)
    assert capsys.readouterr().out == ""
    assert chief.numbers()["slowest_worker_ratio"] < 1.05


@pytest.mark.parametrize(("slower", "named"), [(1.3, False), (1.8, True)])
def test_a_worker_that_takes_nearly_twice_as_long_is_named_once(slower, named, capsys):
    generator = np.random.default_rng(0)
    window = np.zeros(4)
    chief = Stragglers(Cluster(0, 4), lambda mine: np.stack([window, np.full(len(window), 1000)]))
    for _ in range(100):
        window = generator.gamma(4, 0.25, (100, 4)).sum(axis=0) * 0.05 * np.array([1, 1, slower, 1])
        chief.look(window[0], 1000)
    assert capsys.readouterr().out.count("worker 2 is slow") == named
    assert chief.numbers()["slowest_worker"] == 2
    assert chief.numbers()["slowest_worker_ratio"] == pytest.approx(slower, rel=0.05)
