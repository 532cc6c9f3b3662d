"""Worker processes of one training: real processes, real gRPC."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.train_model.logic import train_model
from intermodal.runtime.errors import ConfigurationError

#: A model function that kills worker 1 once there is a checkpoint, in its first attempt.
LOSING = """
import json, os, pathlib, signal, threading, time
import keras

def build(width, settings):
    folder = pathlib.Path(settings["lose"] or "/nowhere")
    second = json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1
    if second and settings["lose"] and not folder.exists():
        def wait():
            while not list(folder.glob("step-*")):
                time.sleep(0.002)
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Thread(target=wait, daemon=True).start()
    return keras.Sequential([keras.Input((width,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
"""


@pytest.fixture
def train(tmp_path, monkeypatch, defaults_of):
    """Train a small network without dropout on 1,500 rows by batches of 256, the last of 220; return the curves, and what was written."""
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    generator = np.random.default_rng(1)
    for part, count in (("train", 1500), ("validation", 601)):
        x, color = generator.normal(5, 2, count), generator.choice(["red", "green", "blue"], count)
        y = (generator.random(count) < 1 / (1 + np.exp(-(x - 5) - (color == "red")))).astype(int)
        (tmp_path / "examples" / part).mkdir(parents=True)
        pq.write_table(pa.table({"x": x, "color": color, "y": y}), tmp_path / "examples" / part / "0.parquet", row_group_size=200)

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "losing.py").write_text(LOSING)

    def run(name, **given):
        outputs = {f"{each}_path": str(tmp_path / name / each) for each in ("model", "training", "metrics", "curves")}
        paths = {"examples_path": str(tmp_path / "examples"), "schema_path": None, "statistics_path": None, "code_path": None, "tuned_path": None}
        small = {"hidden_units": [16], "dropout": 0.0, "batch_size": 256, "epochs": 3, "learning_rate": 0.01, "seed": 7, "label": "y"}
        defaults = {key: value for key, value in defaults_of("train_model").items() if key not in ("schema", "statistics", "code", "tuned")}
        trained = train_model(**{**defaults, **small, **paths, **outputs, **given})
        written = {each.relative_to(tmp_path / name).as_posix() for each in (tmp_path / name).rglob("*") if each.is_file()}
        return trained, json.loads((tmp_path / name / "training" / "history.json").read_text()), written

    return run


def test_one_two_and_three_workers_have_the_same_curves(train, capfd):
    # 1 MB of gradients between the layers: reduced by itself, beside the small ones.
    wide = {"hidden_units": [512, 512], "learning_rate": 0.001}
    alone, curves, written = train("one", **wide)
    for workers, more in ((2, {}), (3, {"steps_per_execution": 4})):
        trained, found, also_written = train(f"by{workers}", workers=workers, **wide, **more)
        for name, values in curves.items():
            np.testing.assert_allclose(found[name], values, rtol=2e-6, err_msg=f"{name} with {workers} workers")
        assert trained.model["workers"] == str(workers)
        assert trained.model["hardware"].startswith(f"{workers} workers, each 1 ")
        assert trained.metrics["val_loss"] == pytest.approx(alone.metrics["val_loss"], rel=2e-6)
        # One worker writes: as many files as one alone, TensorBoard's names apart.
        assert len(also_written) == len(written)
        assert {each for each in also_written if "events" not in each} == {each for each in written if "events" not in each}
    assert capfd.readouterr().out.count("epoch 3/3") == 3


@pytest.mark.fault("Training", "one of two local workers is killed by SIGKILL after a checkpoint", "the model of the undisturbed training")
def test_a_training_that_loses_a_worker_ends_as_if_it_had_not(train, tmp_path, capfd):
    given = {
        "workers": 2,
        "restarts": 1,
        "model_function": "losing.py:build",
        "code_path": str(tmp_path / "code"),
        "checkpoint_steps": 2,
        "epochs": 20,
        "patience": 20,
        "checkpoints_kept": 9,
    }
    undisturbed, curves, _ = train("undisturbed", hyperparameters={"lose": ""}, **given)
    folder = tmp_path / "kept"
    disturbed, found, _ = train("disturbed", hyperparameters={"lose": str(folder)}, checkpoints=str(folder), **given)
    said = capfd.readouterr().out
    assert "worker 1 of 2 was killed by SIGKILL; all 2 start again (restart 1 of 1)" in said
    assert "checkpoints: training goes on after step" in said
    for name, values in curves.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)
    assert disturbed.metrics["val_loss"] == pytest.approx(undisturbed.metrics["val_loss"], rel=1e-6)


@pytest.mark.fault("Wrong input", "`workers` does not fit TF_CONFIG, or the rows", "train_model says both numbers")
def test_workers_that_do_not_fit_are_refused(train, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}))
    with pytest.raises(ConfigurationError, match="TF_CONFIG in the environment names 2 workers, and `workers` is 1"):
        train("one")
    monkeypatch.delenv("TF_CONFIG")
    with pytest.raises(ConfigurationError, match="workers: 0 must be a whole number, at least 1"):
        train("none", workers=0)
