"""What every component promises, whoever wrote it."""

import ast
import importlib.metadata
import inspect
import os
import re
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from intermodal.authoring.catalog import component_names, load_component
from intermodal.authoring.decorator import UNCACHED
from intermodal.authoring.images import IMAGES, image_of, image_reference
from intermodal.compiler.build import compile_specification
from intermodal.execution.environments import environment

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = component_names()
PLATFORM_WORDS = re.compile(r"\b(vertex|kubeflow|argo|aiplatform|laptop|minikube|gke|eks)\b", re.IGNORECASE)
DATA_SET_WORDS = re.compile(r"\b(flights?|airports?|airlines?|carriers?|cancer|nycflights13|tailnum)\b", re.IGNORECASE)


def sources(component: str) -> list[Path]:
    return [path for path in sorted((ROOT / "components" / component).rglob("*.py")) if path.name != "__init__.py"]


def logic_of(component: str) -> list[Path]:
    return [path for path in sources(component) if path.name != "component.py"]


def imports(path: Path) -> set[str]:
    """Modules that a file imports, at its top or inside its functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_there_are_components():
    assert len(COMPONENTS) >= 13


@pytest.mark.parametrize("name", COMPONENTS)
class TestEveryComponent:
    def test_has_its_folder_in_order(self, name):
        folder = ROOT / "components" / name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name), "verb_noun"
        for file in ("component.py", "logic.py", "README.md", "__init__.py"):
            assert (folder / file).exists(), f"{name} has no {file}"
        assert list((ROOT / "tests" / "components" / name).glob("test_*.py")), f"{name} has no tests"

    def test_describes_itself_and_every_input_and_output(self, name):
        component = load_component(name)
        assert component.description
        specification = component.component_spec
        for key, value in {**(specification.inputs or {}), **(specification.outputs or {})}.items():
            assert value.description or key == "Output", f"{name}.{key} is not described"
        assert "Args:" in inspect.getdoc(component.python_func)

    def test_runs_in_one_of_our_images_named_in_one_place(self, name):
        reference = load_component(name).component_spec.implementation.container.image
        assert image_of(reference) in IMAGES
        assert reference == image_reference(image_of(reference))
        assert not reference.endswith(":latest")

    def test_carries_no_logic_and_installs_nothing(self, name):
        function = load_component(name).python_func
        body = ast.parse(inspect.getsource(function)).body[0].body
        assert len(body) <= 6, "a contract imports its logic and calls it"
        assert isinstance(body[1], ast.ImportFrom)
        assert body[1].module == f"intermodal.components.{name}.logic"
        assert "pip install" not in yaml.safe_dump(compile_specification(load_component(name)))

    def test_its_logic_knows_no_kfp(self, name):
        for path in logic_of(name):
            assert not {each for each in imports(path) if each.split(".")[0] == "kfp" or each == "intermodal.authoring.decorator"}, path

    def test_knows_no_platform_and_no_data_set(self, name):
        for path in sources(name):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                assert not PLATFORM_WORDS.search(line), f"{path}:{number}: {line}"
                assert not DATA_SET_WORDS.search(line), f"{path}:{number}: {line}"

    def test_reads_no_environment_variable_for_its_own_settings(self, name):
        for path in sources(name):
            assert not re.search(r"(environ(\.get)?[\[(]|getenv\()\s*[\"']INTERMODAL", path.read_text()), path

    def test_its_page_is_about_it(self, name):
        page = (ROOT / "components" / name / "README.md").read_text()
        assert name in page
        assert len(page.splitlines()) >= 10


@pytest.fixture(scope="module")
def by_image():
    found = defaultdict(list)
    for name in COMPONENTS:
        found[image_of(load_component(name).component_spec.implementation.container.image)].append(name)
    return found


@pytest.mark.parametrize("image", IMAGES)
def test_logic_imports_in_its_image_as_the_executor_runs_it(image, by_image, tmp_path):
    (tmp_path / "intermodal").symlink_to(ROOT / "src" / "intermodal")
    modules = [".".join(["intermodal", *path.relative_to(ROOT).with_suffix("").parts]) for name in by_image[image] for path in logic_of(name)]
    code = "import importlib, sys\nimport kfp.dsl.executor_main\nfor name in sys.argv[1:]: importlib.import_module(name)"
    variables = {"_KFP_RUNTIME": "true", "PYTHONPATH": str(tmp_path), "PATH": os.defpath, "HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([str(environment(image)), "-c", code, *modules], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_touches_a_store_is_never_cached():
    assert {
        "find-champion",
        "fingerprint-sources",
        "register-model",
        "promote-model",
        "materialize-features",
        "serve-model",
        "deploy-kserve",
        "verify-endpoint",
    } == UNCACHED & {name.replace("_", "-") for name in COMPONENTS}


def test_kfps_declared_requirements_are_those_we_rewrote():
    """pyproject's dependency-metadata moves kfp's requirements behind an extra; they must stay kfp's own."""
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["dependency-metadata"][0]
    ours = {each.partition(" ;")[0].replace(" ", "") for each in metadata["requires-dist"]}
    theirs = {
        each.partition(";")[0].replace(" ", "")
        for each in importlib.metadata.requires("kfp")
        if "extra ==" not in each and "python_version < " not in each
    }
    assert importlib.metadata.version("kfp") == metadata["version"]
    assert {normal(each) for each in ours} == {normal(each) for each in theirs}


def normal(requirement: str) -> str:
    from packaging.requirements import Requirement

    parsed = Requirement(requirement)
    return f"{parsed.name.lower()}{','.join(sorted(map(str, parsed.specifier)))}"
