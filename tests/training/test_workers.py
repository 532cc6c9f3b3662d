"""Worker processes of one training: real processes, real gRPC."""

import json

import numpy as np
import pytest

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
def code(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "losing.py").write_text(LOSING)
    return str(tmp_path / "code")


def files_below(folder):
    """Return the names of the files that a training has written, TensorBoard's own without their times."""
    names = (each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
    return sorted("events" if "events" in name else name for name in names)


def test_one_two_and_three_workers_have_the_same_curves(train, tmp_path, capfd):
    # 1 MB of gradients between the layers: reduced by itself, beside the small ones.
    wide = {"hidden_units": [512, 512], "learning_rate": 0.001}
    alone, curves = train("one", **wide)
    for workers, more in ((2, {}), (3, {"steps_per_execution": 4})):
        trained, found = train(f"by{workers}", workers=workers, **wide, **more)
        for name, values in curves.items():
            np.testing.assert_allclose(found[name], values, rtol=2e-6, err_msg=f"{name} with {workers} workers")
        assert trained.model["workers"] == str(workers)
        assert trained.model["hardware"].startswith(f"{workers} workers, each 1 ")
        assert trained.metrics["val_loss"] == pytest.approx(alone.metrics["val_loss"], rel=2e-6)
        # One worker writes: what one alone writes, and nothing more.
        assert files_below(tmp_path / f"by{workers}") == files_below(tmp_path / "one")
    assert capfd.readouterr().out.count("epoch 3/3:") == 3  # not the lines of its steps, which a slow machine prints too


@pytest.mark.fault("Training", "one of two local workers is killed by SIGKILL after a checkpoint", "the model of the undisturbed training")
def test_a_training_that_loses_a_worker_ends_as_if_it_had_not(train, code, tmp_path, capfd):
    given = {
        "workers": 2,
        "restarts": 1,
        "model_function": "losing.py:build",
        "code_path": code,
        "checkpoint_steps": 2,
        "epochs": 20,
        "patience": 20,
        "checkpoints_kept": 9,
    }
    undisturbed, curves = train("undisturbed", hyperparameters={"lose": ""}, **given)
    folder = tmp_path / "kept"
    disturbed, found = train("disturbed", hyperparameters={"lose": str(folder)}, checkpoints=str(folder), **given)
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
