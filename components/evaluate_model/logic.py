"""Score a held-out part with a model and its champion, and measure both on the same rows."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from intermodal.artifacts import read_json, whole_directory, write_json
from intermodal.components.evaluate_model.curves import calibration, confusion, precision_recall, roc, threshold_table
from intermodal.components.train_model.examples import read_label, read_part
from intermodal.components.train_model.preprocessing import Column, raw_tensors
from intermodal.errors import DataError
from intermodal.intervals import Blocks, as_json, estimate

_ROWS_AT_A_TIME = 1 << 16
_SMOKE_ROWS = 5
_SLICES_A_COLUMN = 30


@dataclass(frozen=True)
class Evaluated:
    """What the platforms' own views show.

    Attributes:
        metrics: The overall numbers.
        roc: False positive rates, true positive rates, thresholds.
        confusion: Class names and the matrix, rows are true classes, at probability 0.5.
    """

    metrics: dict[str, float]
    roc: tuple[list[float], list[float], list[float]]
    confusion: tuple[list[str], list[list[int]]]


def evaluate_model(
    model_path: str,
    champion_path: str,
    examples_path: str,
    label: str,
    block: str,
    slices: list[str],
    seed: int,
    evaluation_path: str,
    predictions_path: str,
    metrics_path: str,
) -> Evaluated:
    """Evaluate on the part `test`.

    A champion that cannot score these rows (a column it takes is gone) is said so in `champion_error`, and compared with nothing.

    Args:
        model_path: A SavedModel with `signature.json`.
        champion_path: As `fetch_champion` writes it.
        examples_path: Holds the part `test`.
        label: The label's column.
        block: Rows equal here are resampled together; timestamps by day, UTC; empty: rows are independent.
        slices: Columns to give numbers by value for; the 30 most frequent values each.
        seed: Of the bootstrap.
        evaluation_path: Where `evaluation.json` and `smoke.json` go.
        predictions_path: Where `predictions.parquet` goes.
        metrics_path: Where the overall numbers go, as JSON.

    Raises:
        DataError: The rows cannot be scored, or a column is not there.
    """
    table = read_part(examples_path, "test")
    labels = read_label(table, label, "test").astype(np.float64)
    for column in [*slices, *([block] if block else [])]:
        if column not in table.column_names:
            raise DataError(f"part test: there is no column {column!r} to slice or block by; the columns are {', '.join(table.column_names)}")
    groups = _groups(table, block)
    blocks = Blocks(None if groups is None else groups.dictionary_encode().indices.to_numpy(), table.num_rows, seed=int(seed))
    challenger = score(Path(model_path), table)
    champion, champion_error = _champion(Path(champion_path), table)
    models = {"challenger": challenger} | ({} if champion is None else {"champion": champion})
    estimates = {name: estimate(labels, scores, blocks) for name, scores in models.items()}
    evaluation = {
        "rows": table.num_rows,
        "positives": int(labels.sum()),
        "blocks": blocks.number,
        "seed": int(seed),
        "models": {name: _measured(labels, scores, estimates[name], blocks, table, slices) for name, scores in models.items()} | ({} if champion is not None else {"champion": None}),
        "difference": None
        if champion is None
        else {metric: each.minus(estimates["champion"][metric]).as_json() for metric, each in estimates["challenger"].items()},
        "champion_error": champion_error,
    }
    with whole_directory(predictions_path) as folder:
        pq.write_table(_predictions(table, labels, groups, slices, challenger, champion), folder / "predictions.parquet", compression="zstd")
    with whole_directory(evaluation_path) as folder:
        write_json(folder / "evaluation.json", evaluation)
        write_json(folder / "smoke.json", _smoke(table, challenger, Path(model_path)))
    metrics = {name: each.value for name, each in estimates["challenger"].items() if math.isfinite(each.value)} | {"rows": table.num_rows}
    write_json(metrics_path, metrics)
    points = roc(labels, challenger)
    return Evaluated(metrics, tuple(list(values) for values in zip(*points, strict=True)), confusion(labels, challenger))  # type: ignore[arg-type]


def score(model: Path, table: pa.Table) -> np.ndarray:
    """Return the probabilities a SavedModel gives, shape (rows,), float64.

    Raises:
        DataError: The model cannot be read, or takes what the table does not have.
    """
    columns = [Column(each["name"], each["type"], each["required"]) for each in read_json(model / "signature.json")["inputs"]]
    try:
        function = tf.saved_model.load(str(model)).signatures["serving_default"]
    except (OSError, KeyError) as error:
        raise DataError(f"{model}: not a SavedModel with a serving signature ({error}); train it again") from error
    pieces = [
        function(**raw_tensors(table.slice(start, _ROWS_AT_A_TIME), columns))["probability"].numpy()
        for start in range(0, table.num_rows, _ROWS_AT_A_TIME)
    ]
    scores = np.concatenate(pieces).astype(np.float64)
    if not np.isfinite(scores).all():
        raise DataError(f"{model}: {int((~np.isfinite(scores)).sum())} of {len(scores)} probabilities are not numbers; train it again")
    return scores


def _champion(folder: Path, table: pa.Table) -> tuple[np.ndarray | None, str | None]:
    if read_json(folder / "champion.json")["version"] is None:
        return None, None
    try:
        return score(folder / "model", table), None
    except DataError as error:
        return None, str(error)


def _groups(table: pa.Table, block: str) -> pa.Array | None:
    if not block:
        return None
    column = table.column(block).combine_chunks()
    return pc.strftime(column, "%Y-%m-%d") if pa.types.is_timestamp(column.type) else column.cast(pa.string())


def _measured(labels: np.ndarray, scores: np.ndarray, estimates: Any, blocks: Blocks, table: pa.Table, slices: list[str]) -> dict[str, Any]:
    return {
        "metrics": as_json(estimates),
        "roc": roc(labels, scores),
        "pr": precision_recall(labels, scores),
        "calibration": calibration(labels, scores),
        "thresholds": threshold_table(labels, scores),
        "slices": [each for column in slices for each in _sliced(labels, scores, blocks, table.column(column), column)],
    }


def _sliced(labels: np.ndarray, scores: np.ndarray, blocks: Blocks, column: Any, name: str) -> list[dict[str, Any]]:
    counts = sorted(column.value_counts().to_pylist(), key=lambda each: (-each["counts"], str(each["values"])))
    found = []
    for each in counts[:_SLICES_A_COLUMN]:
        mask = np.asarray(pc.fill_null(pc.equal(column, each["values"]), False)) if each["values"] is not None else np.asarray(pc.is_null(column))
        estimates = estimate(labels, scores, blocks, mask, ("auc", "log_loss"))
        entry = {"column": name, "value": str(each["values"]), "rows": int(mask.sum()), "positives": int(labels[mask].sum())}
        found.append(entry | as_json(estimates))
    return found


def _predictions(table: pa.Table, labels: np.ndarray, groups: Any, slices: list[str], challenger: np.ndarray, champion: np.ndarray | None) -> pa.Table:
    columns = {"label": pa.array(labels.astype(np.int8)), "block": groups if groups is not None else pa.nulls(table.num_rows, pa.string())}
    columns |= {name: table.column(name).cast(pa.string()) for name in slices}
    columns["challenger"] = pa.array(challenger)
    columns["champion"] = pa.nulls(table.num_rows, pa.float64()) if champion is None else pa.array(champion)
    return pa.table(columns)


def _smoke(table: pa.Table, scores: np.ndarray, model: Path) -> dict[str, Any]:
    """Return rows from the lowest score to the highest, as a client sends them, and what they must give."""
    names = [each["name"] for each in read_json(model / "signature.json")["inputs"]]
    chosen = np.argsort(scores, kind="stable")[np.linspace(0, len(scores) - 1, min(_SMOKE_ROWS, len(scores))).astype(int)]
    rows = table.select(names).take(pa.array(chosen)).to_pylist()
    instances = [{name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()} for row in rows]
    return {"instances": instances, "probabilities": [float(each) for each in scores[chosen]]}
