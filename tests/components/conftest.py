"""What more than one component's tests need; the standard library alone, for it runs in the environment of every image."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def registrable(tmp_path):
    """Make what `register_model` takes beside a name and a registry, for a model of the given content."""

    def make(content: str = "weights", *, verdict: str = "passed", against: str | None = None, auc: float = 0.75) -> dict[str, Any]:
        folder = tmp_path / f"run-{uuid.uuid4().hex[:6]}"
        files = {
            "model/saved_model.pb": content.encode() + bytes(range(256)),
            "model/variables/variables.index": b"\0" * 10,
            "model/signature.json": b'{"inputs": []}',
            "training/history.json": json.dumps({"loss": [0.6, 0.5], "val_loss": [0.61, None], "auc": [0.7, 0.72]}).encode(),
            "training/reproduction.json": b'{"seed": "7", "commit": "c0ffee-dirty", "image": "unknown"}',
            "training/hyperparameters.json": b'{"epochs": 9.0, "dropout": 0.5}',
            "schema/schema.pbtxt": b'feature { name: "hour" }\n',
            "statistics/train.pb": b"\x0a\x01",
            "statistics/test.pb": b"\x0a\x02",
            "evaluation/evaluation.json": json.dumps(
                {"models": {"challenger": {"metrics": {"auc": {"value": auc, "low": auc - 0.01, "high": None}}}, "champion": None}}
            ).encode(),
            "evaluation/smoke.json": b"{}",
            "decision/decision.json": json.dumps({"verdict": verdict, "champion_version": against, "auc": auc}).encode(),
            "tables/manifest.json": json.dumps({"fingerprint": "f" * 64, "tables": {"rows": {"sha256": "a" * 64, "rows": 3}}}).encode(),
            "repository/views.py": b"# features\n",
        }
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        names = ("model", "training", "schema", "statistics", "evaluation", "decision", "tables", "repository", "registration", "registered")
        plain = {"framework": "", "metrics": {}, "parameters": {"epochs": 3.0}, "run_name": "run-1"}
        return {f"{name}_path": str(folder / name) for name in names} | {"code_path": None} | plain

    return make


@pytest.fixture
def register_champion(registrable, tmp_path):
    """Register a model of the given content and make it the champion, as the pipeline does after it serves; return what it was registered with."""
    from intermodal.components.promote_model.logic import promote_model
    from intermodal.components.register_model.logic import register_model

    def make(registry: str, name: str, content: str = "weights", **verdict: Any) -> dict[str, Any]:
        paths = registrable(content, **verdict)
        register_model(**paths, registry=registry, name=name)
        promotion = str(tmp_path / f"promotion-{uuid.uuid4().hex[:6]}")
        promote_model(registration_path=paths["registration_path"], deployment_path=None, registry=registry, promotion_path=promotion)
        return paths

    return make


@pytest.fixture(scope="session")
def local_registry(tmp_path_factory):
    """URI of a local registry; tests keep apart by the name of their model, for to make one takes a second."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture
def model_name():
    """A registered model's name of the test's own."""
    return f"model-{uuid.uuid4().hex[:8]}"


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def files_of():
    """How to compare folders byte for byte."""
    return content
