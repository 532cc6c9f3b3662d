import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.evaluate_model.logic import evaluate_model
from intermodal.components.train_model.logic import train_model
from intermodal.drawing.wording import number
from intermodal.inference.scoring import score_rows
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.runtime.tree import tree_hash


def rows(count, seed):
    generator = np.random.default_rng(seed)
    x, color = generator.normal(5, 2, count), generator.choice(["red", "green", "blue"], count)
    y = (generator.random(count) < 1 / (1 + np.exp(-(x - 5) - (color == "red")))).astype(int)
    times = (np.datetime64("2020-01-01") + (np.arange(count) // 50)).astype("datetime64[us]")  # PyArrow misreads days
    x[:3] = [np.nan, np.inf, -np.inf]
    whole = pa.array(generator.integers(0, 9, count), mask=np.arange(count) % 11 == 10)
    colors = pa.array(color, mask=np.arange(count) % 13 == 12)
    return pa.table({"when": pa.array(times, pa.timestamp("us", tz="UTC")), "x": x, "whole": whole, "color": colors, "y": y})


@pytest.fixture
def data(tmp_path):
    schema, statistics = schema_pb2.Schema(), statistics_pb2.DatasetFeatureStatisticsList()
    found = statistics.datasets.add(name="train")
    for name, kind, mean, deviation in (("x", schema_pb2.FLOAT, 5, 2), ("whole", schema_pb2.INT, 4, 2.5), ("y", schema_pb2.INT, 0.5, 0.5)):
        schema.feature.add(name=name, type=kind)
        feature = found.features.add()
        feature.path.step.append(name)
        feature.num_stats.mean, feature.num_stats.std_dev = mean, deviation
    schema.feature.add(name="color", type=schema_pb2.BYTES)
    feature = found.features.add()
    feature.path.step.append("color")
    for value in ("red", "green", "blue"):
        feature.string_stats.rank_histogram.buckets.add(label=value, sample_count=10)
    (tmp_path / "schema.pbtxt").write_text(text_format.MessageToString(schema))
    (tmp_path / "train.pb").write_bytes(statistics.SerializeToString())
    for seed, part in enumerate(("train", "validation", "test")):
        (tmp_path / "examples" / part).mkdir(parents=True)
        pq.write_table(rows(1500, seed), tmp_path / "examples" / part / "0.parquet")
    return tmp_path


@pytest.fixture
def arguments(data, defaults_of):
    """Arguments of `train_model`: its defaults, a small network, and outputs in a folder of a name."""

    def make(name="one", **given):
        defaults = {key: value for key, value in defaults_of("train_model").items() if key not in ("schema", "statistics", "code", "tuned")}
        small = {"epochs": 3.0, "batch_size": 256.0, "hidden_units": [16.0], "learning_rate": 0.01, "seed": 7}
        paths = {f"{each}_path": str(data) for each in ("schema", "statistics", "code")} | {"tuned_path": None}
        outputs = {f"{each}_path": str(data / name / each) for each in ("model", "training", "metrics", "curves")}
        return {**defaults, **small, **paths, **outputs, "examples_path": str(data / "examples"), "label": "y", **given}

    return make


def spoil(data, part, column, values):
    path = data / "examples" / part / "0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), path)


def test_the_saved_model_takes_raw_rows_and_learns_the_same_twice(data, arguments, monkeypatch):
    monkeypatch.setenv("INTERMODAL_COMMIT", "c0ffee-dirty")
    trained, again = train_model(**arguments()), train_model(**arguments("two"))
    metrics = trained.metrics
    assert trained.model == again.model == json.loads((data / "one" / "training" / "reproduction.json").read_text())
    assert {"seed": "7", "workers": "1", "precision": "float32", "commit": "c0ffee-dirty", "image": "unknown"}.items() <= trained.model.items()
    assert len(trained.model["weights_sha256"]) == 64
    assert trained.model["examples_sha256"] == " ".join(tree_hash(data / "examples" / part) for part in ("train", "validation"))
    assert 0 <= metrics["input_wait"] < 1
    assert metrics["rows_per_second"] > 0
    test = pq.read_table(data / "examples" / "test")
    first, second = (score_rows(data / name / "model", test) for name in ("one", "two"))
    assert metrics["val_auc"] > 0.75
    np.testing.assert_array_equal(first, second)
    assert json.loads((data / "one" / "metrics").read_text()) == metrics
    history = json.loads((data / "one" / "training" / "history.json").read_text())
    assert min(history["val_loss"]) == metrics["val_loss"]
    assert list((data / "one" / "training" / "logs").rglob("events*"))
    page = (data / "one" / "curves").read_text()
    assert "<h3>Learning: ROC AUC</h3>" in page
    assert f"3 epochs; best validation value {number(min(history['val_loss']))} in epoch" in page
    assert (data / "one" / "training" / "checkpoints" / "best.weights.h5").is_file()
    # The exported graph gives the loss that the training reported: preprocessing inside equals preprocessing outside.
    validation = pq.read_table(data / "examples" / "validation")
    scores, labels = score_rows(data / "one" / "model", validation), validation["y"].to_numpy()
    loss = -np.where(labels == 1, np.log(scores), np.log1p(-scores)).mean()
    assert loss == pytest.approx(metrics["val_loss"], abs=1e-4)

    serve = tf.saved_model.load(str(data / "one" / "model")).signatures["serving_default"]
    odd = serve(
        x=tf.constant([np.nan, np.inf, 5.0, 5.0], tf.float64),
        whole=tf.constant([np.nan, 3, 1e300, 2], tf.float64),
        color=tf.constant([b"", b"violet", b"x" * 1_000_000, b"\xff"]),
    )["probability"].numpy()
    assert odd.shape == (4,)
    assert np.isfinite(odd).all()

    assert json.loads((data / "one" / "model" / "signature.json").read_text())["inputs"] == [
        {"name": "x", "type": "number", "required": False},
        {"name": "whole", "type": "integer", "required": False},
        {"name": "color", "type": "string", "required": False},
    ]


def test_training_stops_early_and_exports_the_best_epoch(data, arguments):
    generator = np.random.default_rng(0)
    spoil(data, "train", "y", pa.array(generator.integers(0, 2, 1500)))
    metrics = train_model(**arguments(epochs=60, patience=1, learning_rate=0.05)).metrics
    assert metrics["epochs"] < 60
    history = json.loads((data / "one" / "training" / "history.json").read_text())
    assert metrics["val_loss"] == min(history["val_loss"]) < history["val_loss"][-1]


def test_a_function_of_the_repository_builds_the_model(data, arguments):
    (data / "nets.py").write_text(
        "import keras\ndef linear(width, settings):\n    return keras.Sequential([keras.Input((width,)), keras.layers.Dense(1)])\n"
    )
    train_model(**arguments(model_function="nets.py:linear", epochs=1))
    with pytest.raises(ConfigurationError, match=r"no function 'lnear'"):
        train_model(**arguments(model_function="nets.py:lnear"))
    with pytest.raises(ConfigurationError, match="does not exist"):
        train_model(**arguments(model_function="net.py:linear"))


@pytest.mark.fault(
    "Wrong input", "a model function's file, the function, or the model in training calls sys.exit(0)", "train_model fails with a sentence"
)
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys\nsys.exit(0)\n", r"exits\.py, line 2: it calls sys\.exit\(0\)"),
        ("import sys\ndef build(width, settings):\n    sys.exit(0)\n", r"model_function 'exits\.py:build': it calls sys\.exit\(0\)"),
        (
            "import keras, sys\nclass Head(keras.Sequential):\n    def call(self, *a, training=None, **k):\n"
            "        if training: sys.exit()\n        return super().call(*a, **k)\n"
            "def build(width, settings):\n    return Head([keras.Input((width,)), keras.layers.Dense(1)])\n",
            r"the model of 'exits\.py:build': it calls sys\.exit\(\)",
        ),
        ("1 / 0\n", r"exits\.py, line 1: ZeroDivisionError"),
    ],
)
def test_an_exit_in_a_model_function_is_an_error(data, arguments, code, words):
    (data / "exits.py").write_text(code)
    with pytest.raises(ConfigurationError, match=words):
        train_model(**arguments(model_function="exits.py:build"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([1] * 1500), "all 1500 rows"),
        (pa.array([0, None] * 750), "null in 750 rows"),
        (pa.array([0, 2] * 750), "must be 0 or 1"),
        (pa.array(["yes", "no"] * 750), "is text, for instance 'yes'; it must be 0 or 1"),
    ],
)
def test_a_label_that_cannot_be_learnt_is_refused(data, arguments, values, message):
    spoil(data, "train", "y", values)
    with pytest.raises(DataError, match=message):
        train_model(**arguments())
    assert not (data / "one" / "model").exists()


def test_an_empty_part_and_a_column_of_another_type_are_refused(data, arguments):
    spoil(data, "validation", "x", pa.array(["a"] * 1500))
    with pytest.raises(DataError, match="column 'x' is string"):
        train_model(**arguments())
    pq.write_table(rows(10, 0).slice(0, 0), data / "examples" / "train" / "0.parquet")
    with pytest.raises(DataError, match="no rows"):
        train_model(**arguments())


def test_a_training_that_diverges_is_an_error_and_leaves_nothing(data, arguments):
    with pytest.raises(
        ConfigurationError, match=r"in epoch 1, step [23]: the loss is no number; lower learning_rate, now 1e\+38, or raise batch_size"
    ):
        train_model(**arguments(learning_rate=1e38))
    spoil(data, "train", "x", pa.array([1e6, 5.0] * 750))
    with pytest.raises(
        ConfigurationError,
        match=r"The batch of that step: \d+ rows of this worker; columns x .* to .* \(\d\d% cut\).*; values 5 deviations",
    ):
        train_model(**arguments(learning_rate=1e38))
    assert not (data / "one" / "model").exists()
    assert not (data / "one" / "training").exists()


def test_a_killed_trainer_leaves_no_model(data, arguments):
    code = "import json, sys\nfrom intermodal.components.train_model.logic import train_model\ntrain_model(**json.loads(sys.argv[1]))"
    given = json.dumps(arguments(epochs=100000, patience=100000))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    process = subprocess.Popen([sys.executable, "-c", code, given], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((data).glob("one/.training*.partial/logs/train/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert not (data / "one" / "model").exists()
    assert not (data / "one" / "training").exists()


def test_evaluation_scores_both_models_on_the_same_rows(data, arguments):
    train_model(**arguments())
    champion = data / "champion"
    champion.mkdir()
    (champion / "champion.json").write_text('{"version": "3"}')
    (champion / "model").symlink_to(data / "one" / "model")

    def evaluate():
        return evaluate_model(
            model_path=str(data / "one" / "model"),
            champion_path=str(champion),
            examples_path=str(data / "examples"),
            label="y",
            block="when",
            slices=["color"],
            part="test",
            seed=1.0,
            evaluation_path=str(data / "evaluation"),
            predictions_path=str(data / "predictions"),
            metrics_path=str(data / "evaluation_metrics"),
        ), json.loads((data / "evaluation" / "evaluation.json").read_text())

    evaluated, found = evaluate()
    challenger = found["models"]["challenger"]
    assert found["blocks"] == 30
    assert challenger["metrics"]["auc"]["low"] < evaluated.metrics["auc"] < challenger["metrics"]["auc"]["high"]
    assert found["difference"]["auc"] == {"value": 0, "low": 0, "high": 0}
    assert np.isfinite(evaluated.roc).all()
    assert evaluated.roc[0][0] == 0
    assert evaluated.roc[0][-1] == evaluated.roc[1][-1] == 1
    assert sum(map(sum, evaluated.confusion[1])) == found["rows"] == 1500
    assert {each["value"] for each in challenger["slices"]} == {"red", "green", "blue", ""}
    table = pq.read_table(data / "predictions" / "predictions.parquet")
    assert table.column_names == ["label", "block", "color", "challenger", "champion", "reference"]
    assert table["block"][0].as_py() == "2020-01-01"
    smoke = json.loads((data / "evaluation" / "smoke.json").read_text())
    again = pa.Table.from_pylist(smoke["instances"])
    np.testing.assert_allclose(score_rows(data / "one" / "model", again), smoke["probabilities"], atol=1e-6)

    (champion / "model").unlink()
    (champion / "model").mkdir()
    for file in (data / "one" / "model").iterdir():
        if file.name != "signature.json":
            (champion / "model" / file.name).symlink_to(file)
    (champion / "model" / "signature.json").write_text('{"inputs": [{"name": "gone", "type": "number"}], "output": "probability"}')
    _, found = evaluate()
    assert found["models"]["champion"] is None
    assert "gone" in found["champion_error"]


@pytest.fixture
def judged(data, arguments):
    """Train a champion on the examples, and return what evaluates a model against it on a table of test rows."""
    train_model(**arguments())

    def evaluate(test, **given):
        pq.write_table(test, data / "examples" / "test" / "0.parquet")
        evaluate_model(
            **{
                "model_path": str(data / "one" / "model"),
                "champion_path": str(data / "one" / "model"),
                "examples_path": str(data / "examples"),
                "label": "y",
                "block": "when",
                "slices": [],
                "part": "test",
                "seed": 0,
                **{f"{each}_path": str(data / each) for each in ("evaluation", "predictions")},
                "metrics_path": str(data / "numbers"),
                **given,
            }
        )
        return json.loads((data / "evaluation" / "evaluation.json").read_text())

    return evaluate


def without_record(data):
    """A copy of the model that does not tell what it was trained on."""
    copy = shutil.copytree(data / "one" / "model", data / "copy", dirs_exist_ok=True)
    (copy / "trained_rows.parquet").unlink()
    return str(copy)


def test_the_reference_is_scored_too_where_the_champion_brings_one(data, judged):
    champion = data / "fetched"
    champion.mkdir()
    (champion / "champion.json").write_text('{"version": "3", "reference_version": "1"}')
    for name in ("model", "reference"):
        (champion / name).symlink_to(data / "one" / "model")
    found = judged(rows(1500, 2), champion_path=str(champion))
    scores = pq.read_table(data / "predictions" / "predictions.parquet")
    assert (found["champion_version"], found["reference_version"]) == ("3", "1")
    assert scores["reference"].equals(scores["champion"])
    (champion / "reference").unlink()
    shutil.copytree(data / "one" / "model", champion / "reference")
    (champion / "reference" / "signature.json").write_text('{"inputs": [{"name": "gone", "type": "number"}], "output": "probability"}')
    found = judged(rows(1500, 2), champion_path=str(champion))
    assert (found["reference_version"], found["champion_error"]) == ("1", None)
    assert "gone" in found["reference_error"]
    assert pq.read_table(data / "predictions" / "predictions.parquet")["reference"].null_count == 1500


def test_rows_that_the_champion_was_trained_on_are_left_out(data, judged, capsys):
    trained, new = rows(1500, 0), rows(1500, 2)
    found = judged(pa.concat_tables([trained.slice(0, 400), new]), model_path=without_record(data))
    assert (found["rows"], found["left_out"]) == (1500, {"challenger": None, "champion": 400})
    assert pq.read_metadata(data / "predictions" / "predictions.parquet").num_rows == 1500
    assert "400 of 1900 rows of the part 'test' are left out: a model was trained on them (400 by the champion)" in capsys.readouterr().out


def test_rows_that_the_reference_was_trained_on_are_left_out(data, judged):
    champion = data / "fetched"
    champion.mkdir()
    (champion / "champion.json").write_text('{"version": "3", "reference_version": "1"}')
    (champion / "model").symlink_to(without_record(data))
    (champion / "reference").symlink_to(data / "one" / "model")
    new = rows(1500, 2)
    found = judged(pa.concat_tables([rows(1500, 0).slice(0, 400), new]), model_path=without_record(data), champion_path=str(champion))
    assert (found["rows"], found["left_out"]) == (1500, {"challenger": None, "champion": None, "reference": 400})
    found = judged(rows(1500, 0), model_path=without_record(data), champion_path=str(champion))
    assert "it was trained on every row" in found["reference_error"]
    assert found["rows"] == 1500
    assert found["models"]["champion"]


def test_a_champion_that_was_trained_on_all_rows_is_not_compared(data, judged):
    found = judged(rows(1500, 0), model_path=without_record(data))
    assert found["models"]["champion"] is None
    assert "it was trained on every row" in found["champion_error"]
    assert found["rows"] == 1500


def test_a_model_is_not_measured_on_what_it_was_trained_on_or_chosen_by(data, judged):
    found = judged(pa.concat_tables([rows(1500, 1).slice(0, 100), rows(1500, 2)]), champion_path=None)
    assert (found["rows"], found["left_out"]) == (1500, {"challenger": 100, "champion": None})
    with pytest.raises(DataError, match="the model was trained on every one of its 1500 rows"):
        judged(rows(1500, 0), champion_path=None)


def test_a_row_is_known_by_its_key_where_there_is_one(data, arguments, judged):
    """Features that are computed otherwise by now, and a key that is no input."""
    parts = enumerate(("train", "validation"))
    keyed = {part: rows(1500, seed).append_column("key", pa.array(range(seed * 2000, seed * 2000 + 1500))) for seed, part in parts}
    for part, table in keyed.items():
        pq.write_table(table, data / "examples" / part / "0.parquet")
    shutil.rmtree(data / "one")
    train_model(**arguments())
    moved = keyed["train"].set_column(1, "x", pa.array(np.random.default_rng(9).normal(5, 2, 1500))).slice(0, 300)
    test = pa.concat_tables([moved, rows(1500, 2).append_column("key", pa.array(range(9000, 10500)))])
    assert judged(test)["left_out"] == {"challenger": 300, "champion": 300}


def test_a_damaged_record_is_refused(data, judged):
    (data / "one" / "model" / "trained_rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"trained_rows\.parquet: not the rows that a model was trained on"):
        judged(rows(1500, 2))
