"""What the tests of Vertex AI share."""

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.servers.storage import gcs_server


@pytest.fixture(scope="module")
def gcs(tmp_path_factory):
    """A storage server with the bucket of the artifact root; Google's clients find it."""
    with gcs_server(tmp_path_factory.mktemp("gcs")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
        storage.Client(credentials=AnonymousCredentials(), project="my-project").create_bucket("my-project-pipelines")
        yield url
