"""Both platforms as servers on loopback, and a targets file that leads to them."""

from pathlib import Path

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.servers.kubeflow import KubeflowServer
from tests.servers.storage import gcs_server, s3_server
from tests.servers.vertex import VertexServer

EXAMPLE = (Path(__file__).resolve().parents[2] / "targets.example.toml").read_text()


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Object stores with the artifact roots of the example."""
    folder = tmp_path_factory.mktemp("stores")
    with s3_server(folder) as s3, gcs_server(folder) as gcs, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "STORAGE_EMULATOR_HOST": gcs,
            "GOOGLE_CLOUD_PROJECT": "my-project",
        }.items():
            patch.setenv(name, value)
        boto3.Session().client("s3", endpoint_url=s3).create_bucket(Bucket="pipelines")
        storage.Client(credentials=AnonymousCredentials(), project="my-project").create_bucket("my-project-dev-pipelines")
        yield s3


@pytest.fixture
def platforms(stores, tmp_path, monkeypatch):
    """Both platforms, and a targets file that leads to them."""
    with KubeflowServer().running() as kubeflow, VertexServer().running() as vertex:
        text = EXAMPLE.replace("http://127.0.0.1:8888", kubeflow.url).replace("http://127.0.0.1:9000", stores)
        text = text.replace('region = "europe-west4"\n', f'region = "europe-west4"\nendpoint = "{vertex.url}"\n', 1)
        (tmp_path / "targets.toml").write_text(text)
        monkeypatch.setenv("INTERMODAL_TARGETS", str(tmp_path / "targets.toml"))
        monkeypatch.setenv("COLUMNS", "200")
        yield {"kubeflow": kubeflow, "vertex": vertex}
