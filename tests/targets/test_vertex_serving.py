"""Deployment by Vertex AI's managed steps: Google's own launchers, run as compiled, against Vertex AI on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp import components, dsl
from kfp.local.status import Status

from intermodal.images import image_of
from intermodal.targets.cache import ContentCache
from intermodal.targets.cluster import CLUSTER_TARGETS, ClusterTarget
from intermodal.targets.compilation import compile_specification
from intermodal.targets.environments import environment
from intermodal.targets.orchestration import orchestrate
from intermodal.targets.vertex_serving import deploy_on_vertex
from tests.servers.vertex_serving import ServingVertex, https_proxy

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "a" * 64
REGION = "projects/my-project/locations/europe-west4"
ENDPOINT, MODEL = f"{REGION}/endpoints/flight-delay", f"{REGION}/models/7"
PLACEHOLDERS = {"{{$.pipeline_google_cloud_location}}": "europe-west4", "{{$.pipeline_google_cloud_project_id}}": "my-project"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model, its evaluation and its registration, as directories."""
    folder = tmp_path_factory.mktemp("inputs")
    code = """
import json, sys
from pathlib import Path
sys.path[:0], folder = [sys.argv[1]], Path(sys.argv[3])
sys.path.append(sys.argv[2])
from tests.components.serve_model.conftest import ROWS, probability, save_model
save_model(folder / "model", 0.0)
(folder / "evaluation").mkdir()
(folder / "evaluation" / "smoke.json").write_text(json.dumps({"instances": ROWS, "probabilities": [probability(row, 0.0) for row in ROWS]}))
"""
    testing = next((environment("testing").parent.parent / "lib").glob("python*/site-packages"))
    command = [str(environment("serve")), "-c", code, str(ROOT), str(testing), str(folder)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True, capture_output=True)
    (folder / "registration").mkdir()
    (folder / "registration" / "registration.json").write_text('{"version": "3"}')
    return folder


@pytest.fixture
def vertex(tmp_path):
    """A region with an endpoint, and the variables that lead there."""
    server = ServingVertex(tmp_path)
    server.state["endpoints"][ENDPOINT] = {"name": ENDPOINT, "displayName": "flight-delay"}
    with server.running(), https_proxy(server, "europe-west4-aiplatform.googleapis.com", tmp_path) as variables:
        try:
            yield server, variables
        finally:
            server.end()


@pytest.fixture
def deploy(tmp_path, inputs, vertex):
    """Run the compiled deployment, each task with the command line that Vertex AI would run in the task's image."""
    places = {name: str(inputs / name) for name in ("model", "evaluation", "registration")}

    @dsl.pipeline(name="deployment")
    def deployment(deployments: str, service_name: str, serving: dict):
        given = {name: dsl.importer(artifact_uri=place, artifact_class=dsl.Model if name == "model" else dsl.Artifact) for name, place in places.items()}
        deploy_on_vertex(
            **{name: each.output for name, each in given.items()}, deployments=deployments, service_name=service_name, serving=serving
        )

    launched: list[list[str]] = []

    def launch(image, command, variables):
        python = environment(image_of(image)) if image_of(image) else Path(sys.executable)
        for placeholder, value in PLACEHOLDERS.items():
            command = [part.replace(placeholder, value) for part in command]
        inside = {"PATH": f"{python.parent}{os.pathsep}{os.defpath}", "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
        done = subprocess.run(command, env=inside | vertex[1] | variables, capture_output=True, text=True, check=False, cwd=tmp_path)
        launched.append([command[-1], done.stdout + done.stderr])
        print(done.stdout, done.stderr)
        return Status.FAILURE if done.returncode else Status.SUCCESS

    def run(**serving):
        folders = iter(range(1000))

        def execute(original, **details):
            return original(**details)

        specification = compile_specification(deployment)
        return orchestrate(
            components.load_component_from_text(yaml.safe_dump(specification)).pipeline_spec,
            {"deployments": ENDPOINT, "service_name": "flight-delay", "serving": serving},
            run_id="run",
            root=str(tmp_path / "runs"),
            workspace=str(tmp_path / "workspace"),
            task_cache=ContentCache(tmp_path / "cache", reading=False),
            execute=execute,
            launch=launch,
            task_folder=lambda: str(tmp_path / "runs" / str(next(folders))),
            sleep=lambda seconds: None,
        )

    return run


def test_it_all(deploy, vertex, tmp_path):
    print(deploy())
    print(json.dumps(vertex[0].state, indent=1))
    assert 0
