"""Another team's pipeline: it loads one component from its YAML file, or imports it from the installed wheel."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from kfp import compiler, components, dsl

from intermodal.runner.local import LocalTarget

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "orders.csv").write_text("id,amount\n1,2.5\n2,3.5\n")
    return tmp_path / "orders.csv"


def test_a_pipeline_that_loads_a_component_from_its_file_compiles_and_runs(tmp_path, table):
    ingest = components.load_component_from_file(str(ROOT / "compiled" / "components" / "ingest_tables.yaml"))

    @dsl.pipeline(name="foreign")
    def foreign(uri: str):
        ingest(sources=[{"name": "orders", "uri": str(table)}], fingerprint="1")

    compiler.Compiler().compile(foreign, str(tmp_path / "foreign.yaml"))
    finished = LocalTarget(tmp_path / "home").run(foreign, {"uri": str(table)})
    tables = Path(next(task for task in finished.tasks if task.name == "ingest-tables").outputs["tables"])
    assert json.loads((tables / "manifest.json").read_text())["tables"]["orders"]["rows"] == 2


def test_a_pipeline_that_imports_a_component_from_the_installed_wheel_compiles_and_runs(tmp_path, table):
    uv = Path(sys.executable).parent / "uv"
    quiet = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def sh(*command: object, **more: str) -> str:
        done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=quiet | more, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    sh(uv, "build", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", ROOT)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    sh(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    sh(uv, "pip", "install", "--quiet", "--python", tmp_path / "venv", wheel)
    (tmp_path / "foreign.py").write_text(
        textwrap.dedent(
            f"""
            import json, pathlib
            from kfp import compiler, dsl
            import intermodal
            from intermodal.components.ingest_tables.component import ingest_tables
            from intermodal.runner.local import LocalTarget

            assert "site-packages" in intermodal.__file__

            @dsl.pipeline(name="foreign")
            def foreign():
                ingest_tables(sources=[{{"name": "orders", "uri": {str(table)!r}}}], fingerprint="1")

            compiler.Compiler().compile(foreign, "foreign.yaml")
            finished = LocalTarget(pathlib.Path("home").resolve()).run(foreign, {{}})
            tables = pathlib.Path(next(task for task in finished.tasks if task.name == "ingest-tables").outputs["tables"])
            print("rows", json.loads((tables / "manifest.json").read_text())["tables"]["orders"]["rows"])
            """
        )
    )
    said = sh(tmp_path / "venv" / "bin" / "python", "foreign.py", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "rows 2" in said
