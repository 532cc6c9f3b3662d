"""A small training, by `train_model`, that the tests of worker processes share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defaults_of: Callable[[str], dict[str, Any]]) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Train a small network without dropout on 1,500 rows by batches of 256, the last of 220, into a folder of a name; return the curves too."""
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    generator = np.random.default_rng(1)
    for part, count in (("train", 1500), ("validation", 601)):
        x, color = generator.normal(5, 2, count), generator.choice(["red", "green", "blue"], count)
        y = (generator.random(count) < 1 / (1 + np.exp(-(x - 5) - (color == "red")))).astype(int)
        (tmp_path / "examples" / part).mkdir(parents=True)
        pq.write_table(pa.table({"x": x, "color": color, "y": y}), tmp_path / "examples" / part / "0.parquet", row_group_size=200)

    def run(name: str, **given: Any) -> tuple[Any, dict[str, Any]]:
        from intermodal.components.train_model.logic import train_model  # TensorFlow, which most tests of this folder do without

        outputs = {f"{each}_path": str(tmp_path / name / each) for each in ("model", "training", "metrics", "curves")}
        paths = {"examples_path": str(tmp_path / "examples"), "schema_path": None, "statistics_path": None, "code_path": None, "tuned_path": None}
        small = {"hidden_units": [16], "dropout": 0.0, "batch_size": 256, "epochs": 3, "learning_rate": 0.01, "seed": 7, "label": "y"}
        defaults = {key: value for key, value in defaults_of("train_model").items() if key not in ("schema", "statistics", "code", "tuned")}
        trained = train_model(**{**defaults, **small, **paths, **outputs, **given})
        return trained, json.loads((tmp_path / name / "training" / "history.json").read_text())

    return run
