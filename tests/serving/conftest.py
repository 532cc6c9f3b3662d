import json
import math
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from intermodal.components.serve_model.logic import serve_model
from intermodal.serving.records import Deployment, deployment, deployments, stop
from tests.ports import free_port

SIGNATURE = {
    "inputs": [
        {"name": "carrier", "type": "string", "required": False},
        {"name": "distance", "type": "number", "required": False},
        {"name": "hour", "type": "integer", "required": True},
    ],
    "output": "probability",
    "example": {"carrier": "AA", "distance": 1.5, "hour": 3},
}
ROWS = [
    {"carrier": "AA", "distance": 1.5, "hour": 3},
    {"carrier": "BB", "distance": None, "hour": 1},
    {"carrier": None, "distance": 0.25, "hour": 7},
    {"carrier": "never seen", "distance": -2.0, "hour": 0},
]


def probability(row: dict[str, Any], bias: float) -> float:
    score = 0.5 * (row["distance"] or 0.0) - 0.25 * row["hour"] + {"AA": 1, "BB": 2}.get(row["carrier"], 0) + bias
    return 1 / (1 + math.exp(-score))


def save_model(path: Path, bias: float) -> None:
    """Write the model above as `train_model` would: a SavedModel that takes raw columns, and its signature.json."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable([0.5, -0.25], dtype=tf.float64)
    table = tf.lookup.KeyValueTensorInitializer(tf.constant(["AA", "BB"]), tf.constant([1, 2], tf.int64))
    module.table = tf.lookup.StaticHashTable(table, 0)
    kinds = {"carrier": tf.string, "distance": tf.float64, "hour": tf.float64}

    @tf.function(input_signature=[{name: tf.TensorSpec((None,), kind, name=name) for name, kind in kinds.items()}])
    def serve(columns):
        distance = tf.where(tf.math.is_nan(columns["distance"]), tf.constant(0.0, tf.float64), columns["distance"])
        known = tf.cast(module.table.lookup(columns["carrier"]), tf.float64)
        score = distance * module.weights[0] + columns["hour"] * module.weights[1] + known + bias
        return {"probability": tf.cast(tf.sigmoid(score), tf.float32)}

    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    (path / "signature.json").write_text(json.dumps(SIGNATURE))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Three models: `first` and `second`, which differ in every answer, and `broken`, which cannot be loaded."""
    folder = tmp_path_factory.mktemp("models")
    for name, bias in (("first", 0.0), ("second", 1.0)):
        save_model(folder / name, bias)
    (folder / "broken").mkdir()
    (folder / "broken" / "saved_model.pb").write_bytes(b"no graph")
    (folder / "broken" / "signature.json").write_text(json.dumps(SIGNATURE))
    return folder


@dataclass
class Place:
    """A folder of deployments and a port, with what a task is given."""

    folder: Path
    models: Path
    port: int
    biases: dict[str, float] = field(default_factory=lambda: {"first": 0.0, "second": 1.0, "broken": 0.0})

    @property
    def home(self) -> Path:
        return self.folder / "deployments"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def record(self) -> Deployment | None:
        return deployment(self.home, "toy")

    def arguments(self, model: str, *, version: str = "1", expect: str | None = None, **changes: Any) -> dict[str, Any]:
        folder = self.folder / f"inputs-{model}-{version}-{expect}"
        folder.mkdir(parents=True, exist_ok=True)
        smoke = {"instances": ROWS, "probabilities": [probability(row, self.biases[expect or model]) for row in ROWS]}
        (folder / "smoke.json").write_text(json.dumps(smoke))
        (folder / "registration.json").write_text(json.dumps({"name": "toy", "version": version}))
        return {
            "model_path": str(self.models / model),
            "name": "toy",
            "evaluation_path": str(folder),
            "registration_path": str(folder),
            "port": float(self.port),  # kfp may hand numbers over as floats
            "timeout": 180.0,
            "tolerance": 1e-4,
            "deployments": str(self.home),
            "version": "",
            "strategy": "direct",
            "weights": [5, 25, 50, 100],
            "header": "",
            "bake": 60.0,
            "deadline": 900.0,
            "keep_previous": True,
            "minimum_requests": 100,
            "warm_up": 20.0,
            "tolerated": {},
            "harm": {},
            "false_alarm": 0.05,
            "missed": 0.05,
            "deployment_path": str(folder / "deployment"),
        } | changes

    def serve(self, model: str, **changes: Any) -> dict[str, Any]:
        arguments = self.arguments(model, **changes)
        serve_model(**arguments)
        return json.loads((Path(arguments["deployment_path"]) / "deployment.json").read_text())

    def start_task(self, model: str, before: str = "", **changes: Any) -> "subprocess.Popen[str]":
        """Start `serve_model` as a process of its own, as a task is; `before` is Python that runs first."""
        lines = ["import json, os, sys", "from intermodal.components.serve_model import logic", "from intermodal.serving import server", before]
        code = "\n".join([*lines, "logic.serve_model(**json.loads(sys.argv[1]))"])
        arguments = json.dumps(self.arguments(model, **changes))
        return subprocess.Popen([sys.executable, "-c", code, arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ask(self, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def predict(self, *rows: Any) -> tuple[int, Any]:
        return self.ask("/v1/models/toy:predict", {"instances": list(rows)})


def end(place: Place) -> None:
    """Leave no server behind, whatever the test did: those on record, and those that the folder's name gives away."""
    for each in deployments(place.home):
        stop(place.home, each.name, patience=5)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            ours = str(place.home).encode() in process.read_bytes()
        except OSError:
            continue
        if ours and int(process.parent.name) != os.getpid():
            os.kill(int(process.parent.name), 9)


@pytest.fixture
def place(tmp_path, models):
    """A place of the test's own."""
    made = Place(tmp_path, models, free_port())
    yield made
    end(made)


@pytest.fixture(scope="session")
def served(tmp_path_factory, models):
    """A place that serves the model `first`; for tests that leave it as it is."""
    made = Place(tmp_path_factory.mktemp("served"), models, free_port())
    made.serve("first")
    yield made
    end(made)


@pytest.fixture(scope="session")
def expected():
    """What a model of that bias answers to a row."""
    return probability
