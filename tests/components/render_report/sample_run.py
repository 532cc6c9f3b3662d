"""The artifacts of a run, small and in the formats of docs/explanation/design.md, for the report to be rendered from."""

import json
import math
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

FEATURES = ("distance", "wind", "carrier", "origin")


def model(shift: float) -> dict[str, Any]:
    def measure(value: float, width: float = 0.01) -> dict[str, float]:
        return {"value": round(value, 4), "low": round(value - width, 4), "high": round(value + width, 4)}

    steps = [index / 20 for index in range(21)]
    table = []
    for threshold in steps:
        tp, fp = 2300 * math.exp(-2.0 * threshold), 7700 * math.exp(-5.0 * threshold) * (1 - threshold)
        precision, recall = tp / (tp + fp), tp / 2300
        row = {"threshold": threshold, "precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}
        table.append(row | {"flagged": (tp + fp) / 10000, "tp": tp, "fp": fp, "tn": 7700 - fp, "fn": 2300 - tp})
    return {
        "metrics": {
            "auc": measure(0.7631 + shift),
            "pr_auc": measure(0.5127 + shift, 0.02),
            "log_loss": measure(0.4429 - shift),
            "brier": measure(0.1423 - shift, 0.004),
            "accuracy": measure(0.8011),
        },
        "roc": [[x, x ** (0.35 - shift), 1 - x] for x in steps],
        "pr": [[x, 0.9 - 0.65 * x + shift, 1 - x] for x in steps],
        "calibration": [{"predicted": p, "observed": p * 1.05, "low": p * 0.97, "high": p * 1.12, "rows": 1000} for p in (0.05, 0.1, 0.2, 0.35, 0.6)],
        "thresholds": table,
        "slices": [
            {"column": "origin", "value": value, "rows": rows, "positives": rows * 0.2, "auc": measure(auc + shift, 0.02), "log_loss": measure(0.45)}
            for value, rows, auc in (("EWR", 4000, 0.77), ("JFK", 3500, 0.75), ("LGA", 2500, 0.74))
        ],
    }


def statistics(names: tuple[str, ...], part: str, shift: float) -> bytes:
    found = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = found.datasets.add(name=part, num_examples=1000)
    for name in names:
        feature = dataset.features.add()
        feature.path.step.append(name)
        if name in ("carrier", "origin"):
            feature.type = statistics_pb2.FeatureNameStatistics.STRING
            feature.string_stats.unique = 3
            feature.string_stats.common_stats.num_non_missing = 1000
            for label, count in (("UA", 500), ("AA", 300 + 50 * shift), ("B6", 200)):
                feature.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
            continue
        feature.type = statistics_pb2.FeatureNameStatistics.FLOAT
        feature.num_stats.common_stats.num_non_missing = 950
        feature.num_stats.common_stats.num_missing = 50
        feature.num_stats.mean, feature.num_stats.std_dev = 12.5, 4.25
        standard = feature.num_stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
        for bucket in range(10):
            count = 1000 * math.exp(-(((bucket - 4 - shift) / 2) ** 2))
            standard.buckets.add(low_value=bucket * 3.0, high_value=bucket * 3.0 + 3, sample_count=count)
    return found.SerializeToString()


def trial(number: int, state: str, value: float | None, units: list[int], rate: float, reason: str = "") -> dict[str, Any]:
    parameters = {"hidden_units": units, "learning_rate": rate}
    return {"number": number, "parameters": parameters, "state": state, "value": value, "epochs": 3, "seconds": 1.5, "reason": reason}


def files() -> dict[str, Any]:
    """The JSON artifacts of a run that passed, met a champion and deployed, by path."""
    rule = {"name": "minimum auc", "passed": True, "text": "ROC AUC is at least 0.7", "value": 0.7631, "bound": 0.7, "interval": None}
    against = {
        "name": "champion",
        "passed": True,
        "text": "Log loss is not worse than the champion's",
        "value": -0.0048,
        "bound": 0.0,
        "interval": [-0.0066, -0.0031],
    }
    split = {"train": {"rows": 7000, "sha256": "b1"}, "validation": {"rows": 1000, "sha256": "b2"}, "test": {"rows": 2000, "sha256": "b3"}}
    flights = {"rows": 10000, "sha256": "a" * 64, "columns": {"distance": "int64", "origin": "string"}, "splits": split}
    return {
        "tables/manifest.json": {
            "fingerprint": "f00dfeed",
            "tables": {"flights": flights, "weather": {"rows": 2611, "sha256": "c" * 64, "columns": {}, "splits": {}}},
        },
        "anomalies/anomalies.json": {
            "verdict": "passed",
            "anomalies": [
                {"part": "test", "feature": "wind", "kind": "OUT_OF_RANGE", "severity": "warning", "text": "1 value above 60, the largest in train."}
            ],
            "drift": [
                {"feature": name, "measure": "jensen_shannon", "value": 0.03 + 0.05 * index, "threshold": 0.1} for index, name in enumerate(FEATURES)
            ],
            "skew": [{"feature": "origin", "measure": "l_infinity", "value": 0.02, "threshold": 0.08, "part": "test"}],
            "baseline": "version 6",
        },
        "training/history.json": {
            "loss": [0.6, 0.5, 0.46, 0.44],
            "val_loss": [0.58, 0.5, 0.47, 0.48],
            "auc": [0.6, 0.7, 0.74, 0.76],
            "val_auc": [0.6, 0.69, 0.73, 0.72],
        },
        "training/reproduction.json": {
            "seed": "7",
            "commit": "c0ffee" * 6 + "c0ff-dirty",
            "image": "registry.example/intermodal-train@sha256:" + "e" * 64,
        },
        "search/search.json": {
            "metric": "val_loss",
            "maximize": False,
            "space": {
                "hidden_units": {"type": "categorical", "choices": [[64], [64, 32]]},
                "learning_rate": {"type": "float", "low": 0.0003, "high": 0.03, "log": True},
            },
            "importance": {"hidden_units": 0.29, "learning_rate": 0.71},
            "trials": [
                trial(0, "finished", 0.47, [64], 0.001),
                trial(1, "pruned", 0.55, [64, 32], 0.0003),
                trial(2, "finished", 0.45, [64], 0.01),
                trial(3, "finished", 0.43, [64, 32], 0.003),
                trial(4, "failed", None, [64], 0.03, "ValueError: no such layer"),
            ],
        },
        "evaluation/evaluation.json": {
            "rows": 10000,
            "positives": 2300,
            "blocks": 92,
            "seed": 0,
            "champion_version": "6",
            "models": {"challenger": model(0.0), "champion": model(-0.012)},
            "difference": {
                "auc": {"value": 0.012, "low": 0.008, "high": 0.016},
                "log_loss": {"value": -0.0048, "low": -0.0066, "high": -0.0031},
                "accuracy": {"value": 0.0004, "low": -0.002, "high": 0.0028},
            },
        },
        "decision/decision.json": {
            "verdict": "passed",
            "rules": [rule, against],
            "reasons": [],
            "champion_version": "6",
            "inputs": {"evaluation": "d" * 64},
        },
        "registration/registration.json": {
            "name": "flight-delay",
            "version": "7",
            "run_id": "run7",
            "registry": "sqlite:///registry.db",
            "lineage": {"data": "f00dfeed", "repository": "e" * 64},
        },
        "promotion/promotion.json": {
            "name": "flight-delay",
            "version": "7",
            "champion": True,
            "previous_champion": "6",
            "registry": "sqlite:///registry.db",
            "outcome": "version 7 is the champion now, in place of version 6",
        },
        "deployment/deployment.json": {
            "name": "flight-delay",
            "url": "http://127.0.0.1:8080",
            "version": "7",
            "protocols": {"v1": "http://127.0.0.1:8080/v1/models/flight-delay:predict", "v2": "http://127.0.0.1:8080/v2/models/flight-delay/infer"},
            "request": {"instances": [{"distance": 1400, "origin": "EWR"}]},
            "response": {"predictions": [0.2178]},
            "rollout": {
                "strategy": "canary",
                "events": [{"time": 0, "text": "version 7 answers 20 %"}, {"time": 60, "text": "version 7 is promoted: no harm"}],
            },
            "command": "curl -s http://127.0.0.1:8080/v1/models/flight-delay:predict -d '{\"instances\": []}'",
        },
    }


def write(root: Path, content: dict[str, Any], features: tuple[str, ...] = FEATURES) -> None:
    for path, value in content.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(value), encoding="utf-8")
    (root / "statistics").mkdir(exist_ok=True)
    for index, part in enumerate(("train", "validation", "test")):
        (root / "statistics" / f"{part}.pb").write_bytes(statistics(features, part, index * 0.5))
