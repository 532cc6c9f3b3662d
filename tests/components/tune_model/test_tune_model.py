"""Searches that really train, few and small: each trial is a process that imports TensorFlow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.train_model.logic import train_model
from intermodal.components.tune_model.logic import tune_model
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.tuning.roles import Asked, Ended, Plan, Tried
from intermodal.tuning.trial import epoch_numbers
from intermodal.tuning.values import labels

SPACE = {
    "learning_rate": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
    "hidden_units": {"type": "categorical", "choices": [[4.0], [8.0, 4.0]]},
}
OUTPUTS = ("best", "history", "metrics", "plots")


@pytest.fixture
def data(tmp_path):
    for seed, part in enumerate(("train", "validation", "test")):
        generator = np.random.default_rng(seed)
        x = generator.normal(size=400)
        y = (generator.random(400) < 1 / (1 + np.exp(-3 * x))).astype(int)
        (tmp_path / "examples" / part).mkdir(parents=True)
        pq.write_table(pa.table({"x": x, "y": y}), tmp_path / "examples" / part / "0.parquet")
    # Whoever reads rows of the test part fails.
    with (tmp_path / "examples" / "test" / "0.parquet").open("r+b") as file:
        file.seek(4)
        file.write(b"\xff" * 1000)
    return tmp_path


@pytest.fixture
def arguments(data, defaults_of):
    def make(name="one", **given):
        inputs = ("schema", "statistics", "code")
        defaults = {key: value for key, value in defaults_of("tune_model").items() if key not in inputs} | {f"{key}_path": None for key in inputs}
        small = {"epochs": 2.0, "batch_size": 64.0, "seed": 5, "trials": 3.0, "parallel": 1.0, "space": SPACE}
        outputs = {f"{each}_path": str(data / name / each) for each in OUTPUTS}
        return {**defaults, **small, **outputs, "examples_path": str(data / "examples"), "label": "y", **given}

    return make


def test_the_test_part_of_these_searches_cannot_be_read(data):
    with pytest.raises(OSError, match=r"\w"):
        pq.read_table(data / "examples" / "test")


def test_two_trials_at_a_time_find_a_better_value_than_the_default_and_training_takes_it(data, arguments, defaults_of):
    metrics = tune_model(**arguments(parallel=2.0))
    assert (metrics["trials_finished"], metrics["trials_pruned"], metrics["trials_failed"]) == (3, 0, 0)
    trials = pq.read_table(data / "one" / "history" / "trials.parquet").to_pylist()
    assert min(each["value"] for each in trials) == metrics["best_value"]
    assert all(each["state"] == "finished" and each["epochs"] == 2 and each["seconds"] > 0 for each in trials)
    best = json.loads((data / "one" / "best" / "parameters.json").read_text())
    [row] = [each for each in trials if each["value"] == metrics["best_value"]]
    assert {name: row[f"parameters.{name}"] for name in best} == {**best, "hidden_units": json.dumps(best["hidden_units"])}
    search = json.loads((data / "one" / "history" / "search.json").read_text())
    assert [each["value"] for each in search["trials"]] == [each["value"] for each in trials]
    assert (search["metric"], search["maximize"], search["space"], search["importance"]) == ("val_loss", False, SPACE, {})  # 3 trials tell nothing
    page = (data / "one" / "plots").read_text()
    assert all(f"<h3>{title}</h3>" in page for title in ("Best value so far", "Value by learning_rate", "Value by hidden_units"))
    assert not list((data / "one").glob(".best*"))  # the study that nobody named is gone

    inputs = ("schema", "statistics", "code", "tuned")
    given = {key: value for key, value in defaults_of("train_model").items() if key not in inputs} | {f"{key}_path": None for key in inputs}
    given |= {f"{each}_path": str(data / "trained" / each) for each in ("model", "training", "metrics", "curves")}
    given |= {"examples_path": str(data / "examples"), "label": "y", "epochs": 2, "batch_size": 64, "seed": 5}
    trained = train_model(**{**given, "tuned_path": str(data / "one" / "best")})
    recorded = json.loads((data / "trained" / "training" / "hyperparameters.json").read_text())
    assert {name: recorded[name] for name in best} == best
    # The same code with the same values: the trial's own number, but for the order of sums over another number of threads.
    assert trained.metrics["val_loss"] == pytest.approx(metrics["best_value"], rel=1e-5)
    assert train_model(**given).metrics["val_loss"] > metrics["best_value"]

    for content, words in (
        ('{"learning_rate": -1}', r"parameters\.json: learning_rate: -1 must be above 0"),
        ('{"blocks": 1}', r"parameters\.json: nothing reads blocks"),
    ):
        (data / "one" / "best" / "parameters.json").write_text(content)
        with pytest.raises(ConfigurationError, match=words):
            train_model(**{**given, "tuned_path": str(data / "one" / "best")})


@pytest.mark.fault(
    "Killed process", "tune_model by kill -9 while a trial trains", "the next attempt keeps the finished trials; no trial's process is left"
)
def test_a_killed_search_is_resumed_with_its_finished_trials(data, arguments):
    (data / "code").mkdir()
    (data / "code" / "nets.py").write_text(
        f"import keras, os, time\nfrom pathlib import Path\nhere = Path({str(data)!r})\n"
        "def build(width, settings):\n"
        "    if (here / 'hang').exists() and (here / 'pids').exists():\n"
        "        (here / 'pids').write_text(str(os.getpid()))\n        time.sleep(600)\n"
        "    (here / 'pids').touch()\n"
        "    return keras.Sequential([keras.Input((width,)), keras.layers.Dense(1)])\n"
    )
    given = arguments(
        code_path=str(data / "code"),
        model_function="nets.py:build",
        study=str(data / "study"),
        trials=2.0,
        space={"learning_rate": SPACE["learning_rate"]},
    )
    (data / "hang").touch()
    run = "import json, sys\nfrom intermodal.components.tune_model.logic import tune_model\n"
    run += "if __name__ == '__main__': tune_model(**json.loads(sys.argv[1]))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    process = subprocess.Popen([sys.executable, "-c", run, json.dumps(given)], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not ((data / "pids").exists() and (data / "pids").read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    trial = int((data / "pids").read_text())
    deadline = time.monotonic() + 20
    while Path(f"/proc/{trial}/stat").exists() and Path(f"/proc/{trial}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the trial outlived its search"
        time.sleep(0.1)
    assert not any((data / "one" / name).exists() for name in OUTPUTS)
    (data / "hang").unlink()
    metrics = tune_model(**given)
    trials = pq.read_table(data / "one" / "history" / "trials.parquet").to_pylist()
    assert [each["state"] for each in trials] == ["finished", "interrupted", "finished"]
    assert metrics["trials_finished"] == 2
    assert (data / "study" / "study.jsonl").exists()
    # More of the same study: nothing is left to do, and no trial begins.
    assert tune_model(**given)["best_value"] == metrics["best_value"]


@pytest.mark.fault("Wrong input", "every trial of a search fails, or its process dies", "tune_model fails with the commonest reason")
def test_trials_that_fail_are_recorded_and_a_search_in_which_all_do_is_an_error(data, arguments):
    (data / "code").mkdir()
    (data / "code" / "nets.py").write_text(
        "import keras, os, signal\ndef build(width, settings):\n"
        "    if settings['how'] == 'killed': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if settings['how'] == 'raises': raise ValueError('no such layer')\n"
        "    return keras.Sequential([keras.Input((width,)), keras.layers.Dense(1)])\n"
    )
    own = {"code_path": str(data / "code"), "model_function": "nets.py:build", "trials": 2, "epochs": 1}

    def space(*choices):
        return {"how": {"type": "categorical", "choices": list(choices)}}

    with pytest.raises(ConfigurationError, match=r"none of 2 trials finished, 2 failed; most often: ValueError: no such layer \(2 of them\)"):
        tune_model(**arguments(**own, space=space("raises")))
    assert not (data / "one" / "best").exists()
    metrics = tune_model(**arguments("two", **{**own, "trials": 3}, seed=1, space=space("killed", "fine")))
    assert metrics["trials_finished"] > 0 < metrics["trials_failed"]
    failed = [each for each in pq.read_table(data / "two" / "history" / "trials.parquet").to_pylist() if each["state"] == "failed"]
    assert all("killed by SIGKILL" in each["reason"] for each in failed)


def test_rows_that_no_trial_could_train_on_end_the_search_at_once(data, arguments):
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [1, 1]}), data / "examples" / "train" / "0.parquet")
    with pytest.raises(DataError, match="is 1 in all 2 rows"):
        tune_model(**arguments())


def test_a_trial_that_learns_nothing_ends_early(data, arguments):
    space = {"learning_rate": {"type": "categorical", "choices": [0.05, 1e-7]}}
    metrics = tune_model(**arguments(space=space, early_stopping="halving", epochs=6, patience=6, seed=2))
    trials = pq.read_table(data / "one" / "history" / "trials.parquet").to_pylist()
    assert (metrics["trials_finished"], metrics["trials_pruned"]) == (2, 1)
    assert [each["epochs"] for each in trials if each["state"] == "pruned"] == [1]
    assert json.loads((data / "one" / "best" / "parameters.json").read_text()) == {"learning_rate": 0.05}


def test_no_trial_begins_after_the_time_is_over_but_one_always_ends(data, arguments):
    metrics = tune_model(**arguments(timeout=0.1, metric="val_auc", space={"learning_rate": {"type": "categorical", "choices": [0.05]}}))
    assert metrics["trials_finished"] == 1
    assert metrics["best_value"] > 0.8


def test_a_search_whose_trials_run_elsewhere_is_planned_tried_and_written_by_the_same_function(data, arguments, monkeypatch, capfd):
    def ask(part, **given):
        for name, value in Asked(part, **given).variables().items():
            monkeypatch.setenv(name, value)
        return tune_model(**arguments(metric="val_auc"))

    file = str(data / "file.json")
    assert ask("plan", file=file) == {}
    plan = Plan.read(file)
    assert (plan.space, plan.metric, plan.others, plan.maximize, plan.trials) == (SPACE, "val_auc", ["val_loss"], True, 3)
    values = {"learning_rate": "0.05", "hidden_units": labels([[8.0, 4.0]])[0]}
    assert ask("trial", values=values) == {}
    epochs = [found for line in capfd.readouterr().out.splitlines() if (found := epoch_numbers(line))]
    assert [epoch for epoch, _ in epochs[:2]] == [1, 2]
    # The last line is the epoch whose weights are kept: that of the lowest loss.
    assert epochs[-1] == min(epochs[:2], key=lambda each: each[1]["val_loss"])
    assert not any((data / "one" / name).exists() for name in OUTPUTS)
    tried = [Tried(0, values, "finished", epochs[-1][1]["val_auc"], 2, 1.5, ""), Tried(1, values, "failed", None, 0, 1.0, "too large")]
    Ended(tried, 9.0).write(file)
    written = ask("outputs", file=file)
    assert written == {"best_value": epochs[-1][1]["val_auc"], "trials_finished": 1, "trials_pruned": 0, "trials_failed": 1, "seconds": 9.0}
    assert json.loads((data / "one" / "best" / "parameters.json").read_text()) == {"hidden_units": [8, 4], "learning_rate": 0.05}
    assert [each["reason"] for each in pq.read_table(data / "one" / "history" / "trials.parquet").to_pylist()] == [None, "too large"]
