"""Every command takes somebody else's platform: an installed package with one entry point, and no file of ours changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
FLIGHTS = HERE.parents[1] / "pipelines" / "flights.yaml"
TARGETS = """
[shapes.large]
cpu = 4
memory = "16G"

[profiles.dev.spool]
image_repository = "registry.example/team"
root = "s3://pipelines/spool"
storage = "{storage}"
spool = "{spool}"
set = {{ registry = "http://mlflow.example:5000", "features.store" = {{ type = "redis", connection_string = "redis.example:6379" }} }}
tasks.train-model.shape = "large"
"""


@pytest.fixture
def command(stores, tmp_path):
    """Calls the command line where the platform's package is installed; a working directory with a targets file."""
    site = tmp_path / "site"
    (site / "spooling-1.0.dist-info").mkdir(parents=True)
    for name in ("spooling.py", "spooling_rules.py"):
        shutil.copy(HERE / name, site / name)
    (site / "spooling-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: spooling\nVersion: 1.0\n")
    (site / "spooling-1.0.dist-info" / "entry_points.txt").write_text("[intermodal.platforms]\nspool = spooling:platform\n")
    (tmp_path / "targets.toml").write_text(TARGETS.format(storage=stores, spool=tmp_path / "spool"))

    def call(*arguments: str, code: int = 0) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
        made = subprocess.run(
            [sys.executable, "-c", "from intermodal.cli.main import main; main()", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert made.returncode == code, made.stdout + made.stderr
        return made.stdout + made.stderr

    return call


def test_the_flights_are_compiled_linted_and_submitted_with_its_own_deploy_step_shapes_and_rules(command, tmp_path):
    command("compile", str(FLIGHTS), "--target", "spool", "--profile", "dev")
    compiled = yaml.safe_load((tmp_path / "compiled/spool/flights.yaml").read_text())
    executors = compiled["deploymentSpec"]["executors"]
    assert executors["exec-publish-model"]["container"]["image"].startswith("registry.example/team/intermodal-serve")
    assert not {"exec-deploy-kserve", "exec-serve-model", "exec-model-upload"} & set(executors)
    assert executors["exec-train-model"]["container"]["resources"]["resourceMemoryLimit"] == "16G"
    assert compiled["root"]["inputDefinitions"]["parameters"]["serving_spool_copies"]["defaultValue"] == 1
    found = command("lint", "compiled/spool/flights.yaml", "--target", "spool", code=1)
    assert "the pipeline is called 'flight-delay'" in found
    assert "1 errors, 0 warnings" in found
    assert "choose a shorter `name`" in command("submit", str(FLIGHTS), "--target", "spool", code=1)
    for _ in range(2):
        assert "(pending)" in command(
            "submit", str(FLIGHTS), "--target", "spool", "--key", "first", "--set", "name=delays", "--set", "serving.spool.copies=3"
        )
    (run,) = (tmp_path / "spool").iterdir()
    sent = json.loads((run / "run.json").read_text())
    assert (sent["parameters"]["serving_spool_copies"], sent["parameters"]["serving_spool_inbox"]) == (3, str(tmp_path / "spool" / "models"))
    assert sent["parameters"]["features_repository"].startswith("s3://pipelines/spool/")
    assert "pending" in command("status", "first", "--target", "spool")


def test_a_mistake_in_its_table_is_named_with_the_key_that_was_probably_meant(command, tmp_path):
    path = tmp_path / "targets.toml"
    path.write_text(path.read_text().replace("spool = ", "spoool = "))
    assert "profiles.dev.spool.spoool: there is no such key; did you mean 'spool'?" in command("list", "--target", "spool", code=1)
    path.write_text(path.read_text().replace("spoool = ", "namespace = "))
    assert "profiles.dev.spool.namespace: this key exists only on kubeflow; remove it" in command("list", "--target", "spool", code=1)


def test_it_is_among_the_targets_that_an_error_names(command):
    assert "there is no target 'spol'; the targets are kubeflow, spool, vertex and local" in command("list", "--target", "spol", code=1)


def test_a_platform_that_does_not_load_is_named_with_its_entry_point(command, tmp_path):
    (tmp_path / "site" / "spooling.py").write_text("import not_there\n")
    message = command("list", "--target", "spool", code=1)
    assert "the platform 'spool' (spooling:platform) does not load" in message
    assert "not_there" in message
