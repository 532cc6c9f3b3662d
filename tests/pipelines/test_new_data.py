"""New data behind an unchanged URI: the next run reads it, whether it lies here or in a store, and what did not change is not read again."""

from pathlib import Path

import boto3
import pytest
from kfp import dsl

from intermodal.authoring.pipeline import load_job
from intermodal.compiler.build import compile_specification
from intermodal.components.fingerprint_sources.component import fingerprint_sources
from intermodal.components.ingest_tables.component import ingest_tables
from intermodal.runner.local import LocalTarget
from intermodal.submission.prepare import compile_for
from tests.servers.storage import s3_server

pytestmark = pytest.mark.timeout(300)


@dsl.pipeline(name="read")
def read(sources: list):
    ingest_tables(sources=sources, fingerprint=fingerprint_sources(sources=sources).output)


@pytest.fixture
def states(tmp_path):
    target = LocalTarget(tmp_path / "home")

    def run(uri):
        return [task.state for task in target.run(read, {"sources": [{"name": "rows", "uri": str(uri)}]}).tasks]

    return run


@pytest.mark.fault("New data", "an object is replaced by one of equal size between two runs", "the tables are read anew, and only then")
def test_a_run_reads_an_object_that_was_replaced(states, tmp_path, monkeypatch):
    with s3_server(tmp_path) as url:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.Session().client("s3")
        client.create_bucket(Bucket="raw")
        client.put_object(Bucket="raw", Key="in/a.csv", Body=b"id\n1\n")
        assert states("s3://raw/in") == ["done", "done"]
        assert states("s3://raw/in") == ["done", "cached"]
        client.put_object(Bucket="raw", Key="in/a.csv", Body=b"id\n2\n")
        assert states("s3://raw/in") == ["done", "done"]
        client.put_object(Bucket="raw", Key="in/b.csv", Body=b"id\n3\n")
        assert states("s3://raw/in") == ["done", "done"]
        assert states("s3://raw/in") == ["done", "cached"]


@pytest.mark.fault("New data", "a file behind file://, a linked folder and a name with brackets changes between two runs", "the tables are read anew")
def test_a_run_reads_a_local_file_that_changed_behind_any_name(states, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in[1]").mkdir()
    (tmp_path / "in[1]" / "linked").symlink_to(tmp_path / "elsewhere")
    file = tmp_path / "elsewhere" / "a[1].csv"
    uris = [f"file://{tmp_path}/in%5B1%5D", tmp_path / "in[1]" / "linked" / "a[1].csv", tmp_path / "in[1]" / "**" / "*.csv"]
    for content in ("id\n1\n", "id\n2\n"):
        file.write_text(content)
        for uri in uris:
            assert states(uri) == ["done", "done"], (content, uri)
    assert [states(uri) for uri in uris] == [["done", "cached"]] * 3


@pytest.mark.parametrize("platform", ["kubeflow", "vertex"])
def test_what_is_compiled_for_a_platform_looks_at_the_data_in_every_run(platform):
    specification, _ = compile_for(platform, load_job(Path("pipelines/flights.yaml")))
    assert "fingerprint" not in specification["root"]["inputDefinitions"]["parameters"], "a schedule would keep what it was submitted with"
    graph = specification["root"]["dag"]["tasks"]
    looks = next(task for name, task in graph.items() if name == "fingerprint-sources")
    assert not looks.get("cachingOptions", {}).get("enableCache")
    given = graph["ingest-tables"]["inputs"]["parameters"]["fingerprint"]["taskOutputParameter"]
    assert given == {"producerTask": "fingerprint-sources", "outputParameterKey": "Output"}
    assert compile_specification(read)["root"]["dag"]["tasks"]["ingest-tables"]["cachingOptions"]["enableCache"]
