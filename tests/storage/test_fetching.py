"""Artifacts come whole from an S3 server and from a Cloud Storage emulator."""

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from intermodal.runtime.errors import ConfigurationError, PlatformError
from intermodal.storage.fetching import fetch
from tests.ports import free_port
from tests.servers.storage import gcs_server, s3_server

OBJECTS = {
    "dev/table": b"a,b\n",
    "dev/model/saved_model.pb": b"\0",
    "dev/model/variables/data": b"\1\2",
    "dev/model/": b"",
    "dev/model-2/other": b"no",
}


@pytest.fixture(scope="module", params=["s3", "gs"])
def root(request, tmp_path_factory):
    """Yield a bucket's URI, and the endpoint, which is S3's alone."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "s3":
            with s3_server(folder) as url:
                for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                    patch.setenv(name, "test")
                patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
                client = boto3.client("s3", endpoint_url=url)
                client.create_bucket(Bucket="artifacts")
                for key, body in OBJECTS.items():
                    client.put_object(Bucket="artifacts", Key=key, Body=body)
                yield "s3://artifacts", url
        else:
            with gcs_server(folder) as url:
                patch.setenv("STORAGE_EMULATOR_HOST", url)
                patch.setenv("GOOGLE_CLOUD_PROJECT", "test")
                bucket = storage.Client(credentials=AnonymousCredentials(), project="test").create_bucket("artifacts")
                for key, body in OBJECTS.items():
                    bucket.blob(key).upload_from_string(body)
                yield "gs://artifacts", None


def test_an_object_is_a_file(root, tmp_path):
    uri, endpoint = root
    fetch(f"{uri}/dev/table", tmp_path / "in" / "table", endpoint)
    assert (tmp_path / "in" / "table").read_bytes() == b"a,b\n"


def test_objects_below_it_are_a_folder_and_its_namesake_stays_out(root, tmp_path):
    uri, endpoint = root
    fetch(f"{uri}/dev/model", tmp_path / "model", endpoint)
    found = {path.relative_to(tmp_path / "model").as_posix(): path.read_bytes() for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert found == {"saved_model.pb": b"\0", "variables/data": b"\1\2"}


def test_an_artifact_that_is_not_there_says_why_that_may_be(root, tmp_path):
    uri, endpoint = root
    with pytest.raises(PlatformError, match=r"dev/mode: there is nothing; the task that writes it failed"):
        fetch(f"{uri}/dev/mode", tmp_path / "model", endpoint)
    assert not list(tmp_path.iterdir())


def test_minio_is_s3_at_the_endpoint_of_the_targets_file(root, tmp_path):
    uri, endpoint = root
    if endpoint:
        fetch(f"minio{uri.removeprefix('s3')}/dev/table", tmp_path / "table", endpoint)
        assert (tmp_path / "table").exists()
    with pytest.raises(ConfigurationError, match="storage_endpoint"):
        fetch("minio://artifacts/dev/table", tmp_path / "other")


def test_a_store_that_is_away_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(PlatformError, match="did not answer"):
        fetch("s3://artifacts/dev/table", tmp_path / "table", f"http://127.0.0.1:{free_port()}")
    assert not list(tmp_path.iterdir())
