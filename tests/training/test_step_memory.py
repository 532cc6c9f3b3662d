"""Steps that take more memory than there is: real limits of real processes, and the batch that the error names trains in them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: Trains with all rows in one step, under a limit of a kind, then with the batch that the error names.
PROGRAM = """
import os, re, resource, sys, tempfile
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

kind, folder, free = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) << 20
if kind == "jax":
    os.environ["KERAS_BACKEND"] = "jax"
from intermodal.runtime.tensorflow import keras
from intermodal.runtime.datasets import open_dataset
from intermodal.runtime.errors import ConfigurationError
from intermodal.training.cluster import Cluster
from intermodal.training.diagnosis import memory
from intermodal.training.loop import Loop, Settings
from intermodal.training.progress import Progress
from intermodal.training.rows import Part, Source

ROWS, WIDTH = 100_000, 20

def build():
    inputs = keras.Input((WIDTH,))
    hidden = keras.layers.Dense(256, "relu")(keras.layers.Dense(256, "relu")(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))

def steps():
    given = {"learning_rate": 0.001, "precision": "float32"}
    if kind == "jax":
        from intermodal.training.jax_steps import JaxSteps
        made = JaxSteps(Cluster(0, 1), model_parallel=1, **given)
    else:
        from intermodal.training.tensorflow_steps import TensorFlowSteps
        made = TensorFlowSteps(Cluster(0, 1), steps_per_execution=1, jit_compile=False, **given)
    made.begin(build)
    return made

def limit():
    if kind == "cgroup":
        Path(sys.argv[4], "cgroup.procs").write_text(str(os.getpid()))
    else:
        used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
        resource.setrlimit(resource.RLIMIT_AS, (used + free, used + free))

class Limiting:
    def write(self, epoch, values):
        limit()

values = np.random.default_rng(0).normal(size=(ROWS, WIDTH + 1))
for part, count in (("train", ROWS), ("validation", 500)):
    (folder / part).mkdir()
    table = {f"x{place}": values[:count, place] for place in range(WIDTH)} | {"y": values[:count, WIDTH] > 0}
    pq.write_table(pa.table(table), folder / part / "0.parquet")

def convert(table):
    features = np.stack([table.column(f"x{place}").to_numpy() for place in range(WIDTH)], 1)
    return features, table.column("y").to_numpy(zero_copy_only=False)

def train(batch, epochs, curves=None):
    cluster = Cluster(0, 1)
    with open_dataset(str(folder)) as examples, tempfile.TemporaryDirectory() as scratch:
        columns = [*(f"x{place}" for place in range(WIDTH)), "y"]
        sources = [Source(examples, part, count, columns, convert, WIDTH) for part, count in (("train", ROWS), ("validation", 500))]
        parts = [Part(source, cluster, size, Path(scratch), seed=seed) for source, size, seed in zip(sources, (batch, 500), (1, None))]
        Loop(steps(), *parts, Settings(epochs, 9, 1, 0, 0.0), cluster, None, curves, Progress(False, ROWS)).run()

def refused(**given):
    try:
        train(ROWS, **given)
    except ConfigurationError as error:
        print("refused:", error, flush=True)
        return int(re.search(r"batch_size (\\d+) fits", str(error))[1])

if kind == "cgroup":
    train(100, 0)  # what a process takes before its first step is no part of the limit
    limit()
    train(refused(epochs=1), 1)
    print("trained", flush=True)
    memory.free_memory = lambda: 1 << 40
    train(ROWS, 1)
    print("not killed", flush=True)
else:
    train(refused(epochs=2, curves=Limiting()), 2)
    print("trained", flush=True)
"""
MEBIBYTES = 250


def run(folder, *arguments):
    variables = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "NPROC": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    kind, *more = arguments
    command = [sys.executable, "-c", PROGRAM, kind, str(folder), str(MEBIBYTES), *more]
    return subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False)


@pytest.mark.fault("Training", "a step takes more memory than the process may have", "the error names a batch that fits, found by trials")
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_batch_that_an_allocation_error_names_trains_under_the_same_limit(tmp_path, backend):
    done = run(tmp_path, backend)
    words = r"refused: step 1 of epoch 2 ran out of memory with batch_size 100000: .*(OOM|[Oo]ut of memory|allocat).*\. batch_size (\d+) fits, found"
    assert re.search(words, done.stdout), done.stdout[-3000:]
    assert done.stdout.rstrip().endswith("trained"), done.stdout[-3000:]
    assert done.returncode == 0
    # It is no tiny batch either: a row takes some 5 kB.
    assert int(re.search(r"batch_size (\d+) fits", done.stdout)[1]) > MEBIBYTES * 2**20 / 5_000 / 4


@pytest.fixture
def small_cgroup():
    """A memory cgroup with room for `MEBIBYTES`."""
    root = Path("/sys/fs/cgroup/memory" if Path("/sys/fs/cgroup/memory").exists() else "/sys/fs/cgroup")
    place = root / f"intermodal-{os.getpid()}"
    try:
        place.mkdir()
        limit = "memory.max" if (place / "memory.max").exists() else "memory.limit_in_bytes"
        (place / limit).write_text(str(MEBIBYTES << 20))
    except OSError as error:
        pytest.skip(f"this account makes no cgroups: {error}")
    yield place
    place.rmdir()


@pytest.mark.fault("Training", "a step takes more memory than its container may have", "an error before the first step names a batch that fits")
def test_a_step_that_the_kernel_would_kill_is_refused_and_the_batch_that_is_named_trains(tmp_path, small_cgroup):
    done = run(tmp_path, "cgroup", str(small_cgroup))
    assert re.search(
        r"refused: a step with batch_size 100000 needs about \S+ [GM]iB of memory, and [12]\d\d MiB are free; batch_size \d+ fits", done.stdout
    )
    assert done.stdout.rstrip().endswith("trained"), done.stdout[-3000:]
    assert done.returncode == -signal.SIGKILL
    assert int(re.search(r"batch_size (\d+) fits", done.stdout)[1]) > MEBIBYTES * 2**20 / 5_000 / 4
