"""The trained Keras model against logistic regression and gradient boosting on the same features and rows.

    PYTHONPATH=src .venvs/train/bin/python benchmarks/model_quality.py RUN   (a folder below .intermodal/runs whose train-model is not cached)

Differences are paired, with intervals from the days.
"""

import argparse
import json
import math
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from intermodal.evaluation.intervals import group_blocks, interval, jackknifed_metrics
from intermodal.inference.scoring import score_rows


def columns(table: pa.Table, inputs: list[dict[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return texts and numbers, each of shape (rows, columns), nulls as "" and NaN."""
    texts = [pc.fill_null(table.column(each["name"]), "").to_numpy() for each in inputs if each["type"] == "string"]
    numbers = [pc.fill_null(table.column(each["name"]).cast(pa.float64()), math.nan).to_numpy() for each in inputs if each["type"] != "string"]
    return np.column_stack(texts), np.column_stack(numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--label", default="late")
    options = parser.parse_args()
    model = options.run / "train-model" / "model"
    examples = options.run / "retrieve-features" / "examples"
    if not model.exists() or not examples.exists():
        parser.error(f"{options.run} has no train-model and retrieve-features of its own (cached?); run with --no-cache")
    inputs = json.loads((model / "signature.json").read_text())["inputs"]
    train, test = pq.read_table(examples / "train"), pq.read_table(examples / "test")
    (train_texts, train_numbers), (test_texts, test_numbers) = columns(train, inputs), columns(test, inputs)
    labels, truth = np.asarray(train.column(options.label)), np.asarray(test.column(options.label)).astype(float)

    width = train_texts.shape[1]
    every_train, every_test = (np.column_stack([t, n]).astype(object) for t, n in ((train_texts, train_numbers), (test_texts, test_numbers)))
    texts, numbers = list(range(width)), list(range(width, every_train.shape[1]))
    linear = make_pipeline(
        ColumnTransformer(
            [
                ("texts", OneHotEncoder(handle_unknown="ignore"), texts),
                ("numbers", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
            ]
        ),
        LogisticRegression(max_iter=300),
    )
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=250)
    boosted = make_pipeline(
        ColumnTransformer([("texts", encode, texts), ("numbers", "passthrough", numbers)]),
        HistGradientBoostingClassifier(max_iter=300, learning_rate=0.08, early_stopping=True, random_state=0),
    )
    scores = {"Keras model of the pipeline": score_rows(model, test)}
    for name, other in (("logistic regression", linear), ("histogram gradient boosting", boosted)):
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other.fit(every_train, labels)
        scores[name] = other.predict_proba(every_test)[:, 1]
        print(f"{name}: trained in {time.monotonic() - started:.1f} s")

    days = pc.strftime(test.column("event_timestamp"), "%Y-%m-%d").combine_chunks().dictionary_encode().indices.to_numpy()
    blocks = group_blocks(days, ordered=True)
    measured = {name: jackknifed_metrics(truth, each, blocks) for name, each in scores.items()}
    ours = measured["Keras model of the pipeline"]
    print(f"\n{len(truth)} rows, {blocks.count} days\n\n| Model | AUC | log loss | ours minus it: AUC | log loss |\n|---|---|---|---|---|")
    for name, each in measured.items():
        cells = []
        for metric in ("auc", "log_loss"):
            found = interval(ours[metric] - each[metric], blocks)
            cells.append("" if each is ours else f"{found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]")
        print(f"| {name} | {each['auc'][0]:.4f} | {each['log_loss'][0]:.4f} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
