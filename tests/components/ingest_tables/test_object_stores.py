"""A table in an object store that does not answer, or at a URI that says nothing: one sentence, soon."""

import time

import pytest

from intermodal.runtime.errors import DataError, StoreError


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


def test_a_store_that_cannot_be_reached_is_named_with_the_remedy_and_soon(ingest):
    started = time.monotonic()
    with pytest.raises(
        StoreError, match=r"s3://raw/flights\.csv.*: the store cannot be reached or refuses .*; check the task's endpoint, credentials"
    ):
        ingest("s3://raw/flights.csv?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("uri", ["ftp://host/rows.csv", "s3://raw/rows.csv?endpoint=127.0.0.1:9"])
def test_a_uri_that_cannot_be_understood_is_refused(ingest, uri):
    with pytest.raises(DataError, match=r"not a URI of an object store .*; write gs://bucket/path or s3://bucket/path"):
        ingest(uri)
