"""Deployment by Vertex AI's managed steps."""

import subprocess
import sys

from intermodal.targets.cluster import CLUSTER_TARGETS, ClusterTarget

DIGEST = "sha256:" + "a" * 64


def test_the_predictors_image_goes_by_the_registry_and_digest_too():
    target = ClusterTarget("vertex", CLUSTER_TARGETS["vertex"].deploy, image_repository="registry.example/team", digests={"serve": DIGEST})
    executors = target.compile({})["deploymentSpec"]["executors"].values()
    served = [each["importer"]["metadata"]["containerSpec"] for each in executors if "containerSpec" in each.get("importer", {}).get("metadata", {})]
    assert [each["imageUri"] for each in served] == [f"registry.example/team/intermodal-serve@{DIGEST}"]


def test_without_googles_components_only_vertex_says_what_to_install():
    code = """
import sys
sys.modules["google_cloud_pipeline_components"] = None
from intermodal.errors import MachineError
from intermodal.targets.cluster import CLUSTER_TARGETS
CLUSTER_TARGETS["kubeflow"].compile({})
try:
    CLUSTER_TARGETS["vertex"].compile({})
except MachineError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "google-cloud-pipeline-components is not installed, and pipelines for Vertex AI need it: pip install 'intermodal[vertex]'"
    )
