"""A model version in the registry, with its metrics and its lineage."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from intermodal.components.register_model.arguments import check_arguments
from intermodal.components.register_model.evidence import (
    evidence_files,
    framework_of,
    lineage_of,
    metrics_of,
    parameters_of,
    reproduction_of,
)
from intermodal.inference.stored_files import model_files, model_hash
from intermodal.registry.address import database_file
from intermodal.registry.client import FRAMEWORK_TAG, MODEL_TAG, WINDOWS_TAG, champion_of, lock_registry, open_registry, registry_errors
from intermodal.registry.notes import champion_note, registration_key, registry_notes
from intermodal.registry.promotion import check_compared, is_passed
from intermodal.runtime.artifacts import read_json, whole_directory, whole_file, write_json
from intermodal.runtime.redaction import redacted
from intermodal.runtime.tree import file_hash

_LONGEST_PARAMETER = 6000
_METRICS_A_REQUEST = 500


def register_model(
    *,
    model_path: str,
    framework: str,
    training_path: str | None,
    schema_path: str | None,
    statistics_path: str | None,
    evaluation_path: str | None,
    decision_path: str | None,
    tables_path: str | None,
    repository_path: str | None,
    code_path: str | None,
    metrics: Mapping[str, Any],
    name: str,
    registry: str,
    parameters: Mapping[str, Any],
    run_name: str,
    registered_path: str,
    registration_path: str,
) -> dict[str, str]:
    """Register a model with its evidence; `promote_model` makes it the champion.

    The same model, by content, is one version however often it is registered. A version is created after all its files are stored: an interrupted
    registration leaves a run without a version, and the next attempt completes it.

    See the component's contract for the arguments; `framework` is empty where the model's metadata do not name it.

    Returns:
        Metadata of the registered model: `name`, `version`, `framework`, `registry` and `sha256`.

    Raises:
        ConfigurationError: The name or the registry's URI is not one that MLflow takes.
        StoreError: The registry cannot be reached or refuses, or its champion changed since the gate passed this model.
        DataError: An input cannot be read.
    """
    check_arguments(name=name, registry=registry)
    paths = {
        "training": training_path,
        "schema": schema_path,
        "statistics": statistics_path,
        "evaluation": evaluation_path,
        "decision": decision_path,
        "tables": tables_path,
        "repository": repository_path,
        "code": code_path,
    }
    given = {key: Path(path) for key, path in paths.items() if path}
    model = Path(model_path)
    parts = model_files(model)
    framework = framework or framework_of(model)
    evidence = evidence_files(given)
    lineage = lineage_of(given, model_hash(model))
    numbers, parameters = metrics_of(evidence, metrics), parameters_of(given, parameters)
    recorded = {f"training.{each}": value for each, value in reproduction_of(evidence).items()}
    decided = read_json(evidence["decision.json"]) if "decision" in given else None
    notes = registry_notes(registry)
    judged = file_hash(evidence["evaluation.json"]).hex() if "evaluation.json" in evidence else ""
    key = registration_key(name, lineage, judged, framework, parameters)
    with lock_registry(registry):
        outcome = notes.get(key)
        if outcome is None:
            client = open_registry(registry)
            with registry_errors(registry):
                version = _version_of(client, name, lineage[MODEL_TAG])
                if version is None:
                    run = _log_run(client, _experiment(client, registry, name), run_name, parameters, numbers, lineage | recorded, parts, evidence)
                    version = _new_version(client, name, run, {MODEL_TAG: lineage[MODEL_TAG], FRAMEWORK_TAG: framework})
                _record_window(client, version, evidence)
                if decided:
                    _record_decision(client, version, decided["verdict"], lineage, evidence)
                outcome = {"version": str(version.version), "run_id": version.run_id}
                state, champion = notes.state(), champion_of(client, name)
                if decided and is_passed(decided):  # nothing is served of what can no longer become the champion
                    check_compared(name, outcome["version"], str(champion.version) if champion else None, decided, registry)
                notes.put(state, champion_note(client, name) | {key: outcome})
    _copy_model(model, registered_path)
    metadata = {"name": name, "version": outcome["version"], "framework": framework, "registry": redacted(registry)}
    with whole_directory(registration_path) as folder:
        for file, path in evidence.items():
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / file)
        write_json(folder / "registration.json", metadata | outcome | {"lineage": lineage})
    return metadata | {"sha256": lineage[MODEL_TAG]}


def _copy_model(model: Path, target: str) -> None:
    if model.is_dir():
        with whole_directory(target) as folder:
            shutil.copytree(model, folder, dirs_exist_ok=True)
    else:
        with whole_file(target) as scratch:
            shutil.copyfile(model, scratch)


def _version_of(client: Any, name: str, model_hash: str) -> Any:
    found = client.search_model_versions(f"name = '{name}' and tags.{MODEL_TAG} = '{model_hash}'")
    return min(found, key=lambda each: int(each.version)) if found else None


def _new_version(client: Any, name: str, run: Any, tags: Mapping[str, str]) -> Any:
    _ensure_model(client, name)
    made = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)
    first = _version_of(client, name, tags[MODEL_TAG])
    if first.version != made.version:  # another task registered the same model on the server at the same time: the lower number stays
        client.delete_model_version(name, made.version)
    return first


def _record_decision(client: Any, version: Any, verdict: str, lineage: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Store the latest verdict with a version: the same model may be judged again, by other rules."""
    if version.tags.get("decision_sha256") == lineage["decision_sha256"]:
        return
    for file in files.keys() & {"evaluation.json", "decision.json"}:
        client.log_artifact(version.run_id, str(files[file]))
    for key, value in {"gate": verdict, "decision_sha256": lineage["decision_sha256"]}.items():
        client.set_model_version_tag(version.name, version.version, key, value)


def _record_window(client: Any, version: Any, files: Mapping[str, Path]) -> None:
    """Tag a version with the rows that it was judged on: they judge the next model the less surely."""
    evaluation = read_json(files["evaluation.json"]) if "evaluation.json" in files else {}
    known = list(filter(None, version.tags.get(WINDOWS_TAG, "").split(",")))
    window = evaluation.get("window")
    if window and window not in known:
        client.set_model_version_tag(version.name, version.version, WINDOWS_TAG, ",".join([*known, window]))


def _experiment(client: Any, registry: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    from mlflow.exceptions import MlflowException

    # The files of a local registry are stored beside its database; a server decides itself.
    file = database_file(registry)
    location = str(file.absolute().parent / "mlflow-artifacts" / name) if file else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        # Another task may have created it meanwhile.
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
    about: Mapping[str, Any],
    model: Mapping[str, Path],
    evidence: Mapping[str, Path],
) -> Any:
    from mlflow.entities import Metric, Param, RunTag

    run = client.create_run(experiment, run_name=run_name or None)
    identity = run.info.run_id
    tags = [RunTag(name, value if isinstance(value, str) else json.dumps(value, sort_keys=True)) for name, value in about.items()]
    client.log_batch(identity, params=[Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in parameters.items()], tags=tags)
    for start in range(0, len(metrics), _METRICS_A_REQUEST):
        some = metrics[start : start + _METRICS_A_REQUEST]
        client.log_batch(identity, metrics=[Metric(name, value, run.info.start_time, step) for name, value, step in some])
    with TemporaryDirectory() as scratch:
        for name, path in {**{f"model/{part}".rstrip("/"): path for part, path in model.items()}, **evidence}.items():
            _log_artifact(client, identity, name, path, Path(scratch))
    client.set_terminated(identity)
    return run


def _log_artifact(client: Any, run: str, name: str, path: Path, scratch: Path) -> None:
    """Store a directory or a file under a name of its run."""
    folder, _, file = name.rpartition("/")
    if path.is_dir():
        client.log_artifacts(run, str(path), name)
        return
    if file != path.name:  # MLflow takes the name from the path
        (scratch / file).symlink_to(path.absolute())
        path = scratch / file
    client.log_artifact(run, str(path), folder or None)
