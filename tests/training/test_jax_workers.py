"""Worker processes that train in JAX: real processes, real connections."""

import os
import re
import signal
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from intermodal.inference.scoring import score_rows
from intermodal.runtime.errors import ConfigurationError

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def train(train, monkeypatch):
    """Train as `tests/training/conftest.py` says, in JAX."""
    monkeypatch.setenv("NPROC", "1")
    return partial(train, backend="jax")


def kill_when(written: Path) -> threading.Thread:
    """Kill this process's first worker when a first checkpoint is written."""

    def kill() -> None:
        deadline = time.monotonic() + 300
        while not list(written.glob("step-*.npz")) and time.monotonic() < deadline:
            time.sleep(0.005)
        here = Path("/proc/self/task").iterdir()
        children = [int(each) for task in here for each in (task / "children").read_text().split()]
        workers = [each for each in children if b"intermodal.workers.replica" in Path(f"/proc/{each}/cmdline").read_bytes()]
        os.kill(workers[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_one_two_and_three_workers_have_the_same_curves_and_a_killed_one_goes_on_bit_by_bit(train, tmp_path, capfd):
    one, curves = train("one")
    assert one.model["hardware"].endswith("JAX, rows over 1, weights over 1")
    assert (one.model["framework"], one.model["backend"], one.model["workers"]) == ("tensorflow", "jax", "1")
    # The SavedModel, which TensorFlow made of JAX's weights, gives the loss that the training reported.
    validation = pq.read_table(tmp_path / "examples" / "validation")
    scores, labels = score_rows(tmp_path / "one" / "model", validation), validation["y"].to_numpy()
    loss = -np.where(labels == 1, np.log(scores), np.log1p(-scores)).mean()
    assert loss == pytest.approx(one.metrics["val_loss"], abs=1e-5)

    for workers in (2, 3):
        trained, found = train(f"by{workers}", workers=workers, steps_per_execution=workers - 1)
        for name, values in curves.items():
            np.testing.assert_allclose(found[name], values, rtol=2e-6, err_msg=f"{name} with {workers} workers")
        assert trained.model["hardware"].startswith(f"{workers} workers, each 1 CPU (")

    capfd.readouterr()
    kept = tmp_path / "kept"
    killed = kill_when(kept)
    again, found = train("again", checkpoints=str(kept), checkpoint_steps=2, restarts=1)
    killed.join()
    said = capfd.readouterr().out
    assert "worker 0 of 1 was killed by SIGKILL" in said
    assert "training goes on after step" in said
    assert again.model["weights_sha256"] == one.model["weights_sha256"]
    assert found == curves


def ask_to_stop_when(said: str, logs: Path) -> threading.Thread:
    """Send SIGTERM to the second of this process's workers, and to no other, when the chief's log says something."""

    def ask() -> None:
        deadline = time.monotonic() + 300
        while not any(said in log.read_text(errors="replace") for log in logs.glob("workers-*/0/0.log")) and time.monotonic() < deadline:
            time.sleep(0.002)
        here = Path("/proc/self/task").iterdir()
        children = [int(each) for task in here for each in (task / "children").read_text().split()]
        places = {each: Path(f"/proc/{each}/environ").read_bytes() for each in children}
        (second,) = [each for each, place in places.items() if b'"index": 1' in place]
        os.kill(second, signal.SIGTERM)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


@pytest.mark.fault(
    "Training",
    "SIGTERM of one JAX worker, not the chief",
    "all stop after the same step, the chief writes one last checkpoint, and they go on from it",
)
def test_sigterm_of_a_jax_worker_that_is_not_the_chief_leaves_a_last_checkpoint_that_is_gone_on_from(train, tmp_path, capfd, monkeypatch):
    long = {"workers": 2, "epochs": 24, "patience": 24}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asked = ask_to_stop_when("epoch 1/24", tmp_path)
    _, curves = train("stopped", **long, checkpoints=str(tmp_path / "kept"), checkpoint_steps=100_000, checkpoint_minutes=0.0, restarts=1)
    asked.join()
    said = capfd.readouterr().out
    last = re.search(r"stopped by SIGTERM; the last checkpoint is \S+/step-(\d+)-", said)
    assert last, said
    assert "all 2 start again (restart 1 of 1)" in said
    assert f"training goes on after step {int(last[1])}, from " in said
    assert 6 <= int(last[1]) < 24 * 6
    assert len(curves["val_loss"]) == 24
    assert said.count("epoch 1/24: ") == 1
    assert curves["val_loss"][-1] < curves["val_loss"][0]


@pytest.mark.fault(
    "Wrong input", "weights are to be split with the backend tensorflow; JAX is not installed", "train_model says what to set or install"
)
def test_what_does_not_go_together_is_refused(train, monkeypatch):
    with pytest.raises(ConfigurationError, match="model_parallel: it is 2, and backend is 'tensorflow'; only 'jax' splits weights: use that, or 1"):
        train("one", backend="tensorflow", model_parallel=2)
    with pytest.raises(ConfigurationError, match="backend: 'torch' must be one of tensorflow, jax"):
        train("one", backend="torch")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"backend is jax, and JAX is not installed in this environment; install jax<=0\.11\.1, or use"):
        train("one")
