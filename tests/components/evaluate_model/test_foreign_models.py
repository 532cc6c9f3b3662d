"""Models that others trained, on tables that others wrote."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from intermodal.components.evaluate_model.logic import evaluate_model
from intermodal.components.train_model.logic import train_model
from intermodal.inference.scoring import Scorer, score_rows
from intermodal.runtime.errors import DataError

keras = tf.keras


@pytest.fixture(scope="module")
def cancer():
    """scikit-learn's table: 30 columns of numbers with spaces in their names, and `target`."""
    found = load_breast_cancer()
    columns = {name: found.data[:, index] for index, name in enumerate(found.feature_names)}
    return pa.table({**columns, "target": found.target})


@pytest.fixture
def table():
    return pa.table({"x": [0.5, -1.0, 2.0, 0.0], "big size": [1.0, 2.0, 3.0, 4.0], "colour": ["red", "blue", "red", "red"], "y": [1, 0, 1, 0]})


def linear(width, activation):
    """Return a network that adds up its inputs."""
    model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(1, activation=activation, kernel_initializer="ones")])
    model.build()
    return model


def expected(table):
    return 1 / (1 + np.exp(-(table["x"].to_numpy() + table["big size"].to_numpy())))


@pytest.mark.parametrize("activation", ["sigmoid", None])
@pytest.mark.parametrize("suffix", [".keras", ""])
def test_a_keras_file_takes_the_numeric_columns_in_the_tables_order(table, tmp_path, activation, suffix):
    linear(2, activation).save(tmp_path / "model.keras")
    path = (tmp_path / "model.keras").rename(tmp_path / f"model{suffix}")
    scorer = Scorer(path, table, "y")
    assert scorer.columns == ["x", "big size"]
    np.testing.assert_allclose(scorer.score(table), expected(table), atol=1e-6)
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / "model.keras")
    np.testing.assert_allclose(score_rows(tmp_path / "folder", table, "y"), expected(table), atol=1e-6)


def test_a_bare_saved_model_takes_the_numeric_columns_in_the_tables_order(table, tmp_path):
    linear(2, "sigmoid").export(tmp_path / "model", verbose=False)
    np.testing.assert_allclose(score_rows(tmp_path / "model", table, "y"), expected(table), atol=1e-6)
    (tmp_path / "versions").mkdir()
    (tmp_path / "model").rename(tmp_path / "versions" / "1")
    np.testing.assert_allclose(score_rows(tmp_path / "versions", table, "y"), expected(table), atol=1e-6)


def save(path, function, *specs):
    module = tf.Module()
    tf.saved_model.save(module, str(path), signatures=tf.function(function, input_signature=list(specs)))


def test_a_saved_model_with_an_input_a_column_takes_the_columns_by_name(table, tmp_path):
    save(
        tmp_path / "model",
        lambda big_size, colour: {"my_logits": big_size[:, 0] * tf.cast(colour == "red", tf.float32)},
        tf.TensorSpec((None, 1), tf.float32, "big_size"),
        tf.TensorSpec((None,), tf.string, "colour"),
    )
    scorer = Scorer(tmp_path / "model", table, "y")
    assert scorer.columns == ["big size", "colour"]
    np.testing.assert_allclose(scorer.score(table), 1 / (1 + np.exp(-np.array([1.0, 0.0, 3.0, 4.0]))), atol=1e-6)


def test_two_classes_give_the_probability_of_the_second(table, tmp_path):
    save(tmp_path / "model", lambda x: {"p": tf.stack([1 - tf.abs(x) / 9, tf.abs(x) / 9], 1)}, tf.TensorSpec((None,), tf.float32, "x"))
    np.testing.assert_allclose(score_rows(tmp_path / "model", table), np.abs(table["x"].to_numpy()) / 9, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "spec", "message"),
    [
        (
            lambda x: {"output": x},
            tf.TensorSpec((None,), tf.float32, "x"),
            r"from -1 to 2, so they are no probabilities",
        ),
        (lambda x: {"a": x, "b": x}, tf.TensorSpec((None,), tf.float32, "x"), "it has the outputs a, b; name the one with the probability"),
        (lambda x: {"p": tf.stack([x, x, x], 1)}, tf.TensorSpec((None,), tf.float32, "x"), r"has the shape \(4, 3\) for 4 rows"),
        (lambda gone: {"p": gone}, tf.TensorSpec((None,), tf.float32, "gone"), "the model takes gone, and the rows have x, big size, colour, y"),
        (lambda m: {"p": m[:, 0]}, tf.TensorSpec((None, 5), tf.float32, "m"), "takes 5 numbers a row, and the rows have 2 numeric columns"),
        (lambda x: {"p": x}, tf.TensorSpec((None, 3, 3), tf.float32, "x"), "are no columns"),
        (lambda colour: {"p": colour}, tf.TensorSpec((None,), tf.float32, "colour"), "column 'colour' is string"),
    ],
)
def test_a_model_whose_inputs_or_output_cannot_be_understood_is_refused(table, tmp_path, function, spec, message):
    save(tmp_path / "model", function, spec)
    with pytest.raises(DataError, match=message):
        score_rows(tmp_path / "model", table, "y")


def test_what_is_no_model_is_refused(table, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("model")
    (tmp_path / "broken").write_bytes(b"PK\x03\x04broken")
    for name, message in (
        ("empty", "no saved_model.pb"),
        ("text", "neither a SavedModel"),
        ("broken", "Keras cannot load it"),
        ("gone", "no such file"),
    ):
        with pytest.raises(DataError, match=message):
            score_rows(tmp_path / name, table, "y")


def test_an_integer_input_refuses_nulls(tmp_path):
    save(tmp_path / "model", lambda n: {"p": tf.cast(n, tf.float32) / 9}, tf.TensorSpec((None,), tf.int64, "n"))
    np.testing.assert_allclose(score_rows(tmp_path / "model", pa.table({"n": [0, 9]})), [0, 1])
    with pytest.raises(DataError, match="column 'n' is null in some rows"):
        score_rows(tmp_path / "model", pa.table({"n": [0, None]}))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_plain_table_is_trained_on_and_evaluated_without_anything_else(cancer, tmp_path, defaults_of, kind):
    path = tmp_path / "cancer"
    (csv.write_csv if kind == "csv" else pq.write_table)(cancer, path)
    outputs = {name: str(tmp_path / name) for name in ("model", "training", "evaluation", "predictions")}
    train = {name: value for name, value in defaults_of("train_model").items() if name not in ("schema", "statistics", "code", "tuned")}
    trained = train_model(
        **{**train, "epochs": 20, "batch_size": 32},
        examples_path=str(path),
        label="target",
        schema_path=None,
        statistics_path=None,
        code_path=None,
        tuned_path=None,
        model_path=outputs["model"],
        training_path=outputs["training"],
        metrics_path=str(tmp_path / "metrics"),
        curves_path=str(tmp_path / "curves"),
    )
    assert trained.model["framework"] == "tensorflow"
    assert trained.model["label"] == "target"
    signature = json.loads((tmp_path / "model" / "signature.json").read_text())["inputs"]
    assert signature[0] == {"name": "mean radius", "type": "number", "required": False, "tensor": "mean_radius"}
    assert json.loads((tmp_path / "training" / "hyperparameters.json").read_text())["epochs"] == 20

    defaults = {name: value for name, value in defaults_of("evaluate_model").items() if name != "champion"}
    evaluate_model(
        **defaults,
        model_path=outputs["model"],
        examples_path=str(path),
        label="target",
        champion_path=outputs["model"],
        evaluation_path=outputs["evaluation"],
        predictions_path=outputs["predictions"],
        metrics_path=str(tmp_path / "metrics"),
    )
    found = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert 20 < found["rows"] < 120
    assert found["models"]["challenger"]["metrics"]["auc"]["value"] > 0.95
    assert found["champion_version"] == "given"
    assert found["difference"]["auc"]["value"] == 0
    everything = score_rows(tmp_path / "model", cancer)
    assert roc_auc_score(cancer["target"].to_numpy(), everything) > 0.95


def test_all_rows_are_scored_where_no_part_is_named(table, tmp_path, defaults_of):
    linear(2, "sigmoid").save(tmp_path / "model.keras")
    pq.write_table(table, tmp_path / "rows.parquet")
    defaults = {name: value for name, value in defaults_of("evaluate_model").items() if name != "champion"}
    evaluate_model(
        **{**defaults, "part": "", "slices": ["colour"]},
        model_path=str(tmp_path / "model.keras"),
        examples_path=str(tmp_path / "rows.parquet"),
        label="y",
        champion_path=None,
        evaluation_path=str(tmp_path / "evaluation"),
        predictions_path=str(tmp_path / "predictions"),
        metrics_path=str(tmp_path / "metrics"),
    )
    assert json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["rows"] == 4
    smoke = json.loads((tmp_path / "evaluation" / "smoke.json").read_text())
    assert set(smoke["instances"][0]) == {"x", "big size"}


@pytest.fixture
def evaluated(tmp_path, defaults_of):
    """What evaluates a model of one column `x` on rows."""

    def run(rows, function=lambda x: {"p": x}, **given):
        save(tmp_path / "model", function, tf.TensorSpec((None,), tf.float32, "x"))
        pq.write_table(rows, tmp_path / "rows.parquet")
        defaults = {name: value for name, value in defaults_of("evaluate_model").items() if name != "champion"}
        paths = {f"{name}_path": str(tmp_path / name) for name in ("model", "evaluation", "predictions", "metrics")}
        evaluate_model(
            **defaults | {"part": "", "label": "y", "champion_path": None, "examples_path": str(tmp_path / "rows.parquet")} | paths | given
        )
        return json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["models"]["challenger"]

    return run


def of_days(count, label=None):
    """400 rows of as many days."""
    generator = np.random.default_rng(0)
    x = generator.uniform(0.1, 0.9, 400).astype(np.float32)
    day = np.datetime64("2026-01-01") + np.arange(400) * count // 400
    return pa.table({"x": x, "y": (generator.random(400) < x).astype(int) if label is None else np.full(400, label), "day": day})


def test_predictions_that_are_no_numbers_are_refused(evaluated):
    with pytest.raises(DataError, match="200 of 400 probabilities are no numbers; look at the model's weights, and at nulls"):
        evaluated(of_days(20).set_column(0, "x", pa.array([0.5, np.nan] * 200, pa.float32())))


def test_no_rows_are_refused(evaluated):
    with pytest.raises(DataError, match="rows"):
        evaluated(of_days(20).slice(0, 0), block="day")


@pytest.mark.parametrize("days", [1, 9])
def test_few_days_give_numbers_without_intervals(evaluated, days):
    for name, numbers in evaluated(of_days(days), block="day")["metrics"].items():
        assert numbers["value"] is not None, name
        assert (numbers["low"], numbers["high"]) == (None, None), name


def test_one_class_gives_its_probabilities_an_interval_and_its_ranking_nothing(evaluated):
    found = evaluated(of_days(20, label=0), block="day")["metrics"]
    assert found["auc"] == found["pr_auc"] == {"value": None, "low": None, "high": None}
    assert found["log_loss"]["low"] < found["log_loss"]["value"] < found["log_loss"]["high"]


def test_equal_predictions_rank_nothing_and_that_without_an_interval(evaluated):
    found = evaluated(of_days(20), lambda x: {"p": 0 * x + 0.5}, block="day")["metrics"]
    assert found["auc"] == {"value": 0.5, "low": None, "high": None}
    assert found["accuracy"]["low"] < found["accuracy"]["value"]
