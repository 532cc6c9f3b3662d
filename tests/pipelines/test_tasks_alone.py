"""Every task of the pipeline needs its inputs only: it runs in an empty folder, its inputs copied elsewhere, the run that made them gone."""

import json
import shutil
from pathlib import Path

import pytest
from kfp import dsl

from intermodal.authoring.catalog import load_component
from intermodal.authoring.pipeline import load_job
from intermodal.configuration.sections import Place
from intermodal.runner.local import LocalTarget
from intermodal.serving.records import stop
from tests.ports import free_port

pytestmark = pytest.mark.timeout(600)
CLASSES = {each.schema_title: each for each in (dsl.Artifact, dsl.Dataset, dsl.HTML, dsl.Metrics, dsl.Model)}
TASKS = [
    "find_champion",
    "fetch_champion",
    "fingerprint_sources",
    "ingest_tables",
    "transform_tables",
    "retrieve_features",
    "validate_data",
    "require_valid_data",
    "materialize_features",
    "train_model",
    "evaluate_model",
    "gate_model",
    "register_model",
    "serve_model",
    "promote_model",
    "render_report",
]


@pytest.fixture(scope="module")
def alone(first_run, workplace, tmp_path_factory):
    """Copy what the first run made to another place, and hide the run while the tests of this module last."""
    folder = tmp_path_factory.mktemp("alone")
    run = min((workplace.home / "runs").iterdir(), key=lambda each: each.stat().st_mtime)
    for task in run.iterdir():
        if task.is_dir():
            shutil.copytree(task, folder / "made" / task.name)
    hidden = workplace.home / "hidden"
    (workplace.home / "runs").rename(hidden)
    yield folder
    hidden.rename(workplace.home / "runs")


@pytest.fixture(scope="module")
def arguments(alone, workplace):
    """What each task gets: parameters from the configuration, artifacts from the copies, stores of its own."""
    port = free_port()
    job = load_job(workplace.configuration, [f"serving.local.port={port}"])
    place = Place(job.base, folder=str, source=lambda path, pattern: str(path / pattern), home=lambda key: str(alone / "home"))
    settings = job.sections("local", job.arguments("local", place))
    registry = {"registry": settings.registry, "name": settings.name}
    label, seed = {"label": settings.label}, {"seed": settings.seed}

    def made(task: str, output: str) -> str:
        return str(next(alone.glob(f"made/{task}/**/{output}")))

    repository = str(shutil.copytree(settings.features.repository, alone / "repository"))
    fingerprint = json.loads(Path(made("ingest-tables", "tables"), "manifest.json").read_text())["fingerprint"]
    tables, transformed = made("ingest-tables", "tables"), made("transform-tables", "transformed")
    examples, champion = made("retrieve-features", "examples"), made("fetch-champion", "champion")
    data = {name: made("validate-data", name) for name in ("schema", "statistics", "anomalies")}
    model, training = made("train-model", "model"), made("train-model", "training")
    evaluation, predictions = made("evaluate-model", "evaluation"), made("evaluate-model", "predictions")
    decision, registration = made("gate-model", "decision"), made("register-model", "registration")
    features = {"repository": repository, "service": settings.features.service, "store": settings.features.store}
    return {
        "find_champion": registry,
        "fetch_champion": registry,
        "fingerprint_sources": {"sources": settings.data.sources},
        "ingest_tables": dict(settings.data) | {"fingerprint": fingerprint},
        "transform_tables": {"tables": tables, "repository": repository},
        "retrieve_features": {"tables": transformed, "repository": repository, **settings.features},
        "validate_data": {
            "examples": examples,
            "baseline": champion,
            **label,
            **settings.validation,
        },
        "require_valid_data": {"anomalies": data["anomalies"]},
        "materialize_features": {"tables": transformed, **features},
        "train_model": {
            "examples": examples,
            "schema": data["schema"],
            "statistics": data["statistics"],
            "code": repository,
            **label,
            **seed,
            **settings.training,
        },
        "evaluate_model": {"model": model, "champion": champion, "examples": examples, **label, **seed, **settings.evaluation},
        "gate_model": {"evaluation": evaluation, "predictions": predictions, **seed, **settings.gate},
        "register_model": {
            "model": model,
            "training": training,
            "schema": data["schema"],
            "statistics": data["statistics"],
            "evaluation": evaluation,
            "decision": decision,
            "tables": tables,
            "repository": repository,
            "parameters": settings.training.hyperparameters,
            **registry,
        },
        "serve_model": {
            "model": model,
            "evaluation": evaluation,
            "registration": registration,
            "name": settings.name,
            **settings.serving,
        },
        "promote_model": {"registration": registration, "deployment": made("serve-model", "deployment"), "registry": settings.registry},
        "render_report": {
            "registration": registration,
            "promotion": made("promote-model", "promotion"),
            "anomalies": data["anomalies"],
            "deployment": made("serve-model", "deployment"),
            "title": settings.title,
        },
    }


@pytest.fixture(scope="module")
def finished(arguments, alone):
    """Run all tasks in one run, in this order, none with an input from another: artifacts are imported from the copies."""

    @dsl.pipeline(name="alone")
    def every_task() -> None:
        before = None
        for name in TASKS:
            component = load_component(name)
            declared = component.component_spec.inputs
            given = {
                key: dsl.importer(artifact_uri=value, artifact_class=CLASSES[declared[key].type.partition("@")[0]]).output
                if "@" in declared[key].type
                else value
                for key, value in arguments[name].items()
                if value is not None
            }
            task = component(**given)
            if before:
                task.after(before)
            before = task

    yield {task.name: task for task in LocalTarget(alone / "home").run(every_task, {}, cached=False).tasks}
    stop(alone / "home" / "deployments", "flight-delay")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_needs_nothing_but_its_inputs(name, finished, alone):
    outputs = finished[name.replace("_", "-")].outputs
    declared = load_component(name).component_spec.outputs or {}
    assert set(outputs) >= set(declared) - {"metrics", "curves"}
    for key, value in outputs.items():
        if key in ("metrics", "curves") or "@" not in declared[key].type:  # a value
            continue
        assert Path(value).exists(), f"{name} did not write {key}"
        assert_same(Path(value), next(alone.glob(f"made/{name.replace('_', '-')}*/**/{key}")))


def assert_same(made: Path, before: Path) -> None:
    """The same files as in the run, and the same numbers in those that say nothing of places and times."""
    if made.is_file():
        assert before.is_file()
        return
    names = {str(path.relative_to(made)) for path in made.rglob("*.json")}
    assert names == {str(path.relative_to(before)) for path in before.rglob("*.json")}
    for stable in ("manifest.json", "smoke.json", "signature.json", "evaluation.json"):
        if stable in names:
            assert json.loads((made / stable).read_text()) == json.loads((before / stable).read_text()), stable
