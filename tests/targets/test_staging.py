"""Files go below the artifact root once, under their content's name, whole: on an S3 server and a Cloud Storage emulator."""

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from intermodal.errors import ConfigurationError, PlatformError
from intermodal.targets import object_store
from intermodal.targets.staging import Staging
from tests.servers.storage import free_port, gcs_server, s3_server


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(scope="module")
def gcs(tmp_path_factory):
    with gcs_server(tmp_path_factory.mktemp("gcs")) as url:
        yield url


@pytest.fixture(params=["s3", "gs"])
def place(request, monkeypatch):
    """Yield a staging place in an empty bucket, and a function that lists what is there."""
    url = request.getfixturevalue("s3" if request.param == "s3" else "gcs")
    bucket = f"bucket-{abs(hash(request.node.nodeid)) % 10**9}"
    if request.param == "s3":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket=bucket)

        def listed():
            return {each["Key"]: each["LastModified"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])}

        return Staging(f"s3://{bucket}/dev/", url), f"s3://{bucket}/dev", listed
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    client = storage.Client(credentials=AnonymousCredentials(), project="test")
    client.create_bucket(bucket)
    return Staging(f"gs://{bucket}/dev/"), f"gs://{bucket}/dev", lambda: {blob.name: blob.updated for blob in client.list_blobs(bucket)}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "repository"
    (made / "transforms").mkdir(parents=True)
    (made / "definitions.py").write_text("a = 1\n")
    (made / "transforms" / "b.sql").write_text("SELECT 1\n")
    (made / "__pycache__").mkdir()
    (made / "__pycache__" / "definitions.pyc").write_bytes(b"\0")
    return made


def test_a_folder_appears_with_its_files_and_a_marker_and_without_byte_code(place, folder):
    staging, root, listed = place
    uri = staging.stage(folder)
    assert uri.startswith(f"{root}/staged/")
    assert uri.endswith("/repository")
    digest = uri.split("/")[-2]
    assert set(listed()) == {
        f"dev/staged/{digest}.complete",
        f"dev/staged/{digest}/repository/definitions.py",
        f"dev/staged/{digest}/repository/transforms/b.sql",
    }


def test_the_same_content_again_writes_nothing_and_other_content_goes_elsewhere(place, folder):
    staging, _, listed = place
    uri = staging.stage(folder)
    before = listed()
    assert staging.stage(folder) == uri
    assert listed() == before
    (folder / "definitions.py").write_text("a = 2\n")
    assert staging.stage(folder) != uri


def test_a_file_moved_within_the_folder_is_other_content(place, folder):
    staging, _, _ = place
    uri = staging.stage(folder)
    (folder / "definitions.py").rename(folder / "moved.py")
    assert staging.stage(folder) != uri


def test_an_upload_cut_half_way_is_made_whole_by_the_next(place, folder, monkeypatch):
    staging, _, listed = place
    store = staging._store
    real, calls = type(store).put, []

    def cut(self, key, path):
        calls.append(key)
        if len(calls) == 2:
            raise PlatformError("cut")
        real(self, key, path)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put", cut)
        with pytest.raises(PlatformError, match="cut"):
            staging.stage(folder)
    assert not any(key.endswith(".complete") for key in listed())
    staging.stage(folder)
    assert len(listed()) == 3


def test_a_glob_takes_what_matches_and_keeps_its_pattern(place, folder):
    staging, _, listed = place
    uri = staging.stage(folder, "*/*.sql")
    assert uri.endswith("/repository/*/*.sql")
    assert [key.rsplit("/", 2)[1:] for key in listed() if not key.endswith(".complete")] == [["transforms", "b.sql"]]


def test_nothing_to_stage_is_refused_with_the_path(place, tmp_path):
    staging, _, _ = place
    with pytest.raises(ConfigurationError, match="absent"):
        staging.stage(tmp_path / "absent")


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_bucket_that_is_not_there_is_named_with_the_remedy(scheme, request, monkeypatch, folder):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("gcs"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with pytest.raises(PlatformError) as caught:
        Staging(f"{scheme}://nobodys-bucket", request.getfixturevalue("s3")).stage(folder)
    assert f"{scheme}://nobodys-bucket" in str(caught.value)
    assert "targets.toml" in str(caught.value)


def test_missing_credentials_say_which(monkeypatch, s3, folder, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PlatformError, match="AWS_ACCESS_KEY_ID"):
        Staging("s3://bucket", s3).stage(folder)


def test_a_store_that_does_not_listen_says_so_soon(monkeypatch, folder):
    monkeypatch.setattr(object_store, "_ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(PlatformError, match="nothing was submitted"):
        Staging("s3://bucket", f"http://127.0.0.1:{free_port()}").stage(folder)


def test_a_root_of_another_kind_is_refused(folder):
    with pytest.raises(ConfigurationError, match="gs://, s3:// or minio://"):
        Staging("ftp://bucket").stage(folder)
