"""A model version in the registry, with its numbers and its lineage."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.registry.client import CHAMPION, MODEL_TAG, alone, database_file, open_registry, reached
from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.runtime.errors import StoreError
from intermodal.runtime.redaction import redacted
from intermodal.runtime.tree import tree_hash

_LONGEST_PARAMETER = 6000
_METRICS_A_REQUEST = 500


def register_model(
    *,
    model_path: str,
    training_path: str,
    schema_path: str,
    statistics_path: str,
    evaluation_path: str,
    decision_path: str,
    tables_path: str,
    repository_path: str,
    model_registry: str,
    model_name: str,
    parameters: Mapping[str, Any],
    run_name: str,
    registration_path: str,
) -> None:
    """Register a model; when its gate passed, make it the champion.

    The same model, by content, is one version however often it is registered. A version appears only after all its files are stored, and the
    alias moves last, so that a registration that was cut short is completed by the next one and never half taken.

    Args:
        model_path: The SavedModel.
        training_path: Curves; `history.json` is stored.
        schema_path: Stored beside the model.
        statistics_path: Stored beside the model.
        evaluation_path: Its numbers become the run's metrics.
        decision_path: Its verdict decides about the alias.
        tables_path: Its manifest names the data, and is stored.
        repository_path: Its hash names the code.
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.
        parameters: The run's parameters.
        run_name: The run's name.
        registration_path: The directory to write, whole or not at all: what was registered, with what was stored beside the model.

    Raises:
        ConfigurationError: The registry's URI is of no kind that is known.
        StoreError: The registry cannot be reached or refuses, or its champion changed since the gate compared with it.
        DataError: An input cannot be read.
    """
    decision = read_json(Path(decision_path) / "decision.json")
    manifest = read_json(Path(tables_path) / "manifest.json")
    evaluation = read_json(Path(evaluation_path) / "evaluation.json")
    lineage = {
        MODEL_TAG: tree_hash(Path(model_path)),
        "data_fingerprint": manifest["fingerprint"],
        "tables": {name: table["sha256"] for name, table in manifest["tables"].items()},
        "repository_sha256": tree_hash(Path(repository_path)),
        "schema_sha256": tree_hash(Path(schema_path)),
        "decision_sha256": tree_hash(Path(decision_path)),
    }
    files = {
        "model": Path(model_path),
        "statistics": Path(statistics_path),
        "schema.pbtxt": Path(schema_path) / "schema.pbtxt",
        "evaluation.json": Path(evaluation_path) / "evaluation.json",
        "decision.json": Path(decision_path) / "decision.json",
        "history.json": Path(training_path) / "history.json",
        "manifest.json": Path(tables_path) / "manifest.json",
    }
    metrics = _metrics(evaluation, read_json(files["history.json"]))
    passed = decision["verdict"] == "passed"
    with alone(model_registry):
        client = open_registry(model_registry)
        with reached(model_registry):
            version = _version_of(client, model_name, lineage[MODEL_TAG])
            if version is None:
                run = _log_run(client, _experiment(client, model_registry, model_name), run_name, parameters, metrics, lineage, files)
                version = _new_version(client, model_name, run, lineage[MODEL_TAG])
            _judge(client, version, decision["verdict"], lineage, files)
            previous = _aliased(client, model_name)
            if passed:
                judged_against = decision.get("champion_version")
                _crown(client, version, previous, judged_against, model_registry)
                if previous == str(version.version):  # an attempt that was stopped after it moved the alias, or the same model again
                    previous = None if judged_against is None else str(judged_against)
    with whole_directory(registration_path) as folder:
        shutil.copytree(files["statistics"], folder / "statistics")
        for name in files.keys() - {"model", "statistics"}:
            shutil.copyfile(files[name], folder / name)
        write_json(
            folder / "registration.json",
            {
                "name": model_name,
                "version": str(version.version),
                "run_id": version.run_id,
                "champion": passed,
                "previous_champion": previous,
                "registry": redacted(model_registry),
                "lineage": lineage,
            },
        )


def _version_of(client: Any, name: str, model_hash: str) -> Any:
    found = client.search_model_versions(f"name = '{name}' and tags.{MODEL_TAG} = '{model_hash}'")
    return min(found, key=lambda each: int(each.version)) if found else None


def _new_version(client: Any, name: str, run: Any, model_hash: str) -> Any:
    _ensure_model(client, name)
    made = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, tags={MODEL_TAG: model_hash})
    first = _version_of(client, name, model_hash)
    if first.version != made.version:  # on a server, somebody registered the same model meanwhile: the lower number stays
        client.delete_model_version(name, made.version)
    return first


def _judge(client: Any, version: Any, verdict: str, lineage: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Keep the latest verdict on a version beside it: the same model may be judged again, by other rules."""
    if version.tags.get("decision_sha256") == lineage["decision_sha256"]:
        return
    client.log_artifact(version.run_id, str(files["evaluation.json"]))
    client.log_artifact(version.run_id, str(files["decision.json"]))
    for key, value in {"gate": verdict, "decision_sha256": lineage["decision_sha256"]}.items():
        client.set_model_version_tag(version.name, version.version, key, value)


def _crown(client: Any, version: Any, previous: str | None, judged_against: Any, registry: str) -> None:
    """Move the alias, unless another champion came since the one that the gate compared with."""
    own = str(version.version)
    if previous not in (None, own, None if judged_against is None else str(judged_against)):
        compared = f"version {judged_against}" if judged_against is not None else "none"
        raise StoreError(
            f"model registry {registry}: the champion of {version.name} is version {previous} by now, and version {own} was compared with {compared};"
            " run the pipeline again"
        )
    if previous != own:
        client.set_registered_model_alias(version.name, CHAMPION, version.version)


def _experiment(client: Any, registry: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    from mlflow.exceptions import MlflowException

    # Beside a local database go its files; a server has a place of its own.
    file = database_file(registry)
    location = str(file.absolute().parent / "mlflow-artifacts" / name) if file else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        # Somebody else made it in between.
        if again := client.get_experiment_by_name(name):
            return str(again.experiment_id)
        raise


def _ensure_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_run(
    client: Any,
    experiment: str,
    run_name: str,
    parameters: Mapping[str, Any],
    metrics: list[tuple[str, float, int]],
    lineage: Mapping[str, Any],
    files: Mapping[str, Path],
) -> Any:
    from mlflow.entities import Metric, Param, RunTag

    run = client.create_run(experiment, run_name=run_name)
    identity = run.info.run_id
    tags = [RunTag(name, value if isinstance(value, str) else json.dumps(value, sort_keys=True)) for name, value in lineage.items()]
    client.log_batch(identity, params=[Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in parameters.items()], tags=tags)
    for start in range(0, len(metrics), _METRICS_A_REQUEST):
        some = metrics[start : start + _METRICS_A_REQUEST]
        client.log_batch(identity, metrics=[Metric(name, value, run.info.start_time, step) for name, value, step in some])
    for name, path in files.items():
        if path.is_dir():
            client.log_artifacts(identity, str(path), name)
        else:
            client.log_artifact(identity, str(path))
    client.set_terminated(identity)
    return run


def _metrics(evaluation: Mapping[str, Any], history: Mapping[str, list[float]]) -> list[tuple[str, float, int]]:
    """Return name, value and step of the evaluation's numbers and of the training curves, without what is undefined."""
    found = [
        (f"{name}{suffix}", estimate[part], 0)
        for name, estimate in evaluation["models"]["challenger"]["metrics"].items()
        for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high"))
    ]
    found += [(f"training/{name}", value, epoch) for name, values in history.items() for epoch, value in enumerate(values)]
    return [(name, float(value), step) for name, value, step in found if value is not None and math.isfinite(value)]


def _aliased(client: Any, name: str) -> str | None:
    model = client.get_registered_model(name)
    found = (model.aliases or {}).get(CHAMPION)
    return None if found is None else str(found)
