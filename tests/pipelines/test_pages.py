"""The pipeline on each component's page, which uses the component outside our own pipeline, runs as it is printed there: loaded from the components'
files or imported from the installed wheel, with our runner or with kfp's own."""

import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from intermodal.authoring.catalog import component_names, load_component
from intermodal.authoring.images import image_of
from intermodal.compiler.build import compile_specification, write_specification
from intermodal.execution.environments import environment
from intermodal.linting.admission import read_pipeline, refuse_errors
from intermodal.serving.records import deployments, stop
from tests.installed import variables
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("page_runner.py")
#: A component that needs a cluster, which takes minutes to make: its page's pipeline is compiled and passes the platform's rules here; the component
#: itself runs against a cluster in tests/components.
ELSEWHERE = {"deploy_kserve": "kubeflow"}
#: Pages that kfp's own runner runs too. It runs every task in one environment, so all tasks of a page must be of one image.
KFPS_RUNNER = {
    "data": ["fingerprint_sources", "ingest_tables", "transform_tables"],
    "validate": ["validate_data", "require_valid_data"],
    "train": ["gate_model", "verify_decision"],
    "track": ["fetch_champion", "find_champion", "register_model", "promote_model", "render_report"],
}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOADED = re.compile(r'^(\w+) = components\.load_component_from_file\("compiled/components/(\w+)\.yaml"\)$', re.MULTILINE)
pytestmark = pytest.mark.timeout(600)


def code_of(name: str) -> str:
    """Return the code on a component's page that defines `my_pipeline`, which loads components from their files."""
    found = [code for code in BLOCK.findall((ROOT / "components" / name / "README.md").read_text()) if "def my_pipeline(" in code]
    assert len(found) == 1, f"components/{name}/README.md: {len(found)} blocks of python define my_pipeline; write one"
    assert "load_component_from_file" in found[0]
    return found[0]


def importing(code: str) -> str:
    """Return the code of a page that imports the components instead, as docs/how-to/one-component.md says."""
    changed = LOADED.sub(r"from intermodal.components.\2.component import \1", code)
    assert "load_component" not in changed
    return changed


class Pages:
    """A process that runs pages with an installed package (see `page_runner`)."""

    def __init__(self, command: list[object], folder: Path, more: dict[str, str]) -> None:
        self.folder = folder
        self._log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            [str(each) for each in command],
            cwd=folder,
            env=variables(**more) | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.package = Path(self._answer()["package"]).parent

    def ask(self, code: str, *, run: bool = False, **arguments: object) -> dict:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"code": code, "run": run, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert "error" not in answer, answer["error"] + "\n" + Path(self._log.name).read_text()[-4000:]
        return answer

    def end(self) -> None:
        self._process.communicate()
        self._log.close()

    def _answer(self) -> dict:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, Path(self._log.name).read_text()[-4000:]
        return json.loads(line)


@pytest.fixture(scope="module")
def site_packages(installed):
    return next(installed.parent.glob("lib/python*/site-packages"))


@pytest.fixture(scope="module")
def stranger(installed, site_packages, caches, tmp_path_factory):
    """Pages run by our local runner, in an environment with the wheel."""
    folder = tmp_path_factory.mktemp("stranger")
    pages = Pages([installed / "python", RUNNER, folder / "home"], folder, caches)
    assert pages.package == site_packages / "intermodal"
    yield pages
    pages.end()


@pytest.fixture(scope="module")
def answer_of(stranger):
    """Return what a page's pipeline compiled to and the outputs of its tasks; it imports its components from the wheel, and each page is run once."""
    done: dict[str, dict] = {}
    served = stranger.folder / "served"

    def made(name: str, task: str, output: str) -> str:
        return answer_of(name)["outputs"][task][output]

    def url() -> str:
        return json.loads(Path(made("serve_model", "serve-model", "deployment"), "deployment.json").read_text())["protocols"]["v1"]

    #: What the reader of a page fills in.
    arguments = {
        "serve_model": lambda: {"model": made("evaluate_model", "train-model", "model"), "folder": str(served), "port": free_port()},
        "test_predictor": lambda: {"model": made("evaluate_model", "train-model", "model")},
        "verify_endpoint": lambda: {"evaluation": made("evaluate_model", "evaluate-model", "evaluation"), "url": url()},
    }

    def answer_of(name: str) -> dict:
        if name not in done:
            run = name not in ELSEWHERE
            done[name] = stranger.ask(importing(code_of(name)), run=run, **arguments.get(name, dict)())
        return done[name]

    yield answer_of
    for each in deployments(served):
        stop(served, each.name)


@pytest.mark.parametrize("name", [name for name in component_names() if name not in ELSEWHERE])
def test_the_pipeline_of_a_page_runs_here_with_components_imported_from_the_wheel(name, answer_of):
    outputs = answer_of(name)["outputs"]
    task = dict(next(outputs[each] for each in outputs if each.startswith(name.replace("_", "-"))))
    assert task.pop("state") in ("done", "cached")
    assert set(task) == set(load_component(name).component_spec.outputs or {})


def test_the_page_of_verify_endpoint_asks_the_predictor_that_the_page_of_serve_model_started(answer_of):
    def deployment(name: str) -> dict:
        return json.loads(Path(answer_of(name)["outputs"][name.replace("_", "-")]["deployment"], "deployment.json").read_text())

    assert deployment("verify_endpoint")["url"] == deployment("serve_model")["protocols"]["v1"]
    verified = deployment("verify_endpoint")
    smoke = json.loads(Path(answer_of("evaluate_model")["outputs"]["evaluate-model"]["evaluation"], "smoke.json").read_text())
    expected = [smoke["probabilities"][smoke["instances"].index(each)] for each in verified["request"]["instances"]]
    assert verified["response"]["predictions"] == pytest.approx(expected, abs=1e-4)


def compiled_here(name: str, monkeypatch) -> dict:
    """Compile a page's pipeline as it is printed, in the folder that the page speaks of: the checkout's root."""
    monkeypatch.chdir(ROOT)
    module = types.ModuleType(f"page_of_{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code_of(name), f"components/{name}/README.md", "exec"), vars(module))
    return compile_specification(module.my_pipeline)


def comparable(compiled: Any) -> Any:
    """Leave out the defaults of a page's pipeline, which name new temporary folders each time, and descriptions, which kfp does not load."""
    for parameter in compiled["root"].get("inputDefinitions", {}).get("parameters", {}).values():
        parameter.pop("defaultValue", None)

    def undescribed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: undescribed(each) for key, each in value.items() if key != "description" or not isinstance(each, str)}
        return [undescribed(each) for each in value] if isinstance(value, list) else value

    return undescribed(compiled)


@pytest.mark.parametrize("name", component_names())
def test_a_page_compiles_to_the_same_pipeline_from_the_components_files_as_from_the_wheels_modules(name, answer_of, monkeypatch):
    assert comparable(compiled_here(name, monkeypatch)) == comparable(answer_of(name)["compiled"])


def test_the_wheel_has_the_components_files_of_the_checkout(stranger):
    for path in (ROOT / "compiled" / "components").iterdir():
        assert (stranger.package / "compiled" / "components" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_the_pipeline_of_a_page_for_a_platform_passes_its_rules(name, tmp_path, monkeypatch):
    write_specification(compiled_here(name, monkeypatch), tmp_path / "pipeline.yaml")
    refuse_errors(read_pipeline(tmp_path / "pipeline.yaml"), ELSEWHERE[name], name)


@pytest.fixture(scope="module")
def kfps_runner(site_packages, tmp_path_factory):
    """Pages run by kfp's own runner, a process for each image; the tasks' processes are given the wheel's package and no other of its environment."""
    code = tmp_path_factory.mktemp("code")
    (code / "intermodal").symlink_to(site_packages / "intermodal")
    made: dict[str, Pages] = {}

    def of(image: str) -> Pages:
        if image not in made:
            folder = tmp_path_factory.mktemp(image)
            made[image] = Pages([environment(image), RUNNER, folder / "root", site_packages, code], folder, {})
            assert made[image].package == site_packages / "intermodal"
        return made[image]

    yield of
    for each in made.values():
        each.end()


@pytest.mark.parametrize(("image", "name"), [(image, name) for image, names in KFPS_RUNNER.items() for name in names])
def test_kfps_own_runner_runs_the_pipeline_of_a_page_in_the_environment_of_its_image(image, name, kfps_runner):
    component = load_component(name).component_spec
    assert image_of(component.implementation.container.image) == image
    pages = kfps_runner(image)
    answer = pages.ask(code_of(name).replace('"compiled/', f'"{pages.package}/compiled/'), run=True)
    written = {path.split("/")[2] for path in answer["outputs"] if path.split("/")[1].startswith(name.replace("_", "-"))}
    assert "executor_output.json" in written
    assert {each for each, output in (component.outputs or {}).items() if "@" in output.type} <= written
