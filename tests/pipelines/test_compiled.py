"""The compiled pipelines, as the platforms read them."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from intermodal.authoring.pipeline import load_job
from intermodal.authoring.platform import platforms
from intermodal.compiler.build import compile_specification
from intermodal.compiler.specification import executor_of, graphs

ROOT = Path(__file__).resolve().parents[2]
COMPILED = sorted(path.relative_to(ROOT / "compiled") for path in (ROOT / "compiled").glob("*/*.yaml"))


def read(path):
    return next(yaml.safe_load_all((ROOT / "compiled" / path).read_text()))


@pytest.mark.fault(
    "Kubeflow", "an importer with a display name, under which the backend records it: no task finds what it gave", "no compiled importer has one"
)
@pytest.mark.parametrize("path", COMPILED, ids=str)
def test_an_importer_is_named_like_its_task(path):
    specification = read(path)
    for graph in graphs(specification):
        for name, task in graph["tasks"].items():
            if "importer" in (executor_of(specification, task) or {}):
                assert task["taskInfo"]["name"] == name


@pytest.mark.parametrize("platform", ["kubeflow", "vertex"])
def test_the_graph_page_names_the_branches_and_every_task(platform):
    """A platform's page shows `taskInfo.name`: a graph's tasks, and conditions as boxes to open."""
    tasks = read(Path(platform) / "flights.yaml")["root"]["dag"]["tasks"]
    shown = {task["taskInfo"]["name"]: name for name, task in tasks.items()}
    assert {name for name, key in shown.items() if key.startswith("condition")} == {"passed", "blocked"}
    assert all(name == key for name, key in shown.items() if not key.startswith("condition"))


@pytest.mark.fault("Kubeflow", "the deploy step fails", "the task that moves the champion's alias does not start: it takes that step's output")
@pytest.mark.parametrize(("platform", "step"), [("kubeflow", "deploy-kserve"), ("vertex", "verify-deployment")])
def test_the_champion_changes_only_after_the_model_serves(platform, step):
    specification = read(Path(platform) / "flights.yaml")
    (tasks,) = (graph["tasks"] for graph in graphs(specification) if "promote-model" in graph["tasks"])
    promoting = tasks["promote-model"]
    assert promoting["inputs"]["artifacts"]["deployment"]["taskOutputArtifact"]["producerTask"] == step
    assert step in promoting["dependentTasks"]
    # It starts when that succeeded, whatever else there is (no trigger strategy), and nothing else moves the alias.
    assert "triggerPolicy" not in promoting
    assert {task["componentRef"]["name"] for task in specification["root"]["dag"]["tasks"].values()}.isdisjoint({"comp-promote-model"})


def test_on_a_platform_that_serves_nothing_a_model_that_passed_becomes_the_champion_once_it_is_registered(monkeypatch):
    job = load_job(ROOT / "pipelines" / "flights.yaml")
    monkeypatch.setitem(platforms(), "local", replace(platforms()["local"], deploy=None))
    specification = compile_specification(job.wire("local"))
    shown = {task["taskInfo"]["name"]: task["componentRef"]["name"] for task in specification["root"]["dag"]["tasks"].values()}
    branches = {name: specification["components"][shown[name]]["dag"]["tasks"] for name in ("passed", "blocked")}
    assert {name: set(tasks) for name, tasks in branches.items()} == {"passed": {"promote-model", "render-report"}, "blocked": {"render-report-2"}}
    assert "deployment" not in branches["passed"]["promote-model"]["inputs"]["artifacts"]
    assert "promotion" in branches["passed"]["render-report"]["inputs"]["artifacts"]


@pytest.mark.parametrize("platform", ["kubeflow", "vertex"])
def test_few_artifacts_cross_into_the_branches(platform):
    tasks = read(Path(platform) / "flights.yaml")["root"]["dag"]["tasks"]
    crossing = {task["taskInfo"]["name"]: len(task["inputs"]["artifacts"]) for name, task in tasks.items() if name.startswith("condition")}
    assert crossing == {"passed": 4, "blocked": 2}
