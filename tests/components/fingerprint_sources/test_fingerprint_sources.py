"""A fingerprint changes when, and only when, the files that ingest_tables reads change: here, on an S3 server and on a Cloud Storage emulator."""

import json
import os
import urllib.parse
import urllib.request
from dataclasses import dataclass

import pytest

from intermodal.components.fingerprint_sources.logic import fingerprint_sources
from intermodal.components.ingest_tables.logic import ingest_tables
from intermodal.runtime.errors import ConfigurationError, DataError, StoreError
from tests.components.ingest_tables.conftest import call
from tests.ports import free_port
from tests.servers.storage import gcs_server, s3_server


def fingerprint(uri, **source):
    return fingerprint_sources([{"name": "rows", "uri": str(uri), **source}])


def rows(uri, folder, **source):
    call(ingest_tables, [{"name": "rows", "uri": str(uri), **source}], folder / "tables", fingerprint="any")
    return json.loads((folder / "tables" / "manifest.json").read_text())["tables"]["rows"]["rows"]


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server, written to by plain HTTP."""

    url: str
    scheme: str

    @property
    def root(self):
        return f"{self.scheme}://raw"

    def _send(self, method, path, body=None, kind="application/octet-stream"):
        # The S3 server wants to be told who asks, and believes it.
        who = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind, "Authorization": who}, method=method)
        urllib.request.urlopen(request, timeout=10).close()

    def create(self):
        if self.scheme == "s3":
            self._send("PUT", "/raw")
        else:
            self._send("POST", "/storage/v1/b?project=test", b'{"name": "raw"}', "application/json")

    def put(self, key, text):
        quoted = urllib.parse.quote(key, safe="")
        if self.scheme == "s3":
            self._send("PUT", f"/raw/{urllib.parse.quote(key)}", text.encode())
        else:
            self._send("POST", f"/upload/storage/v1/b/raw/o?uploadType=media&name={quoted}", text.encode())

    def delete(self, key):
        quoted = urllib.parse.quote(key, safe="")
        self._send("DELETE", f"/raw/{urllib.parse.quote(key)}" if self.scheme == "s3" else f"/storage/v1/b/raw/o/{quoted}")


@pytest.fixture(scope="module", params=["s3", "gs"])
def bucket(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch, (s3_server if request.param == "s3" else gcs_server)(folder) as url:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
            "STORAGE_EMULATOR_HOST": url,
        }.items():
            patch.setenv(name, value)
        made = Bucket(url, request.param)
        made.create()
        yield made


@pytest.mark.fault(
    "New data", "an object is replaced by one of equal size, its URI unchanged", "the fingerprint changes, and stays while nothing does"
)
@pytest.mark.parametrize("uri", ["replaced", "replaced/*.csv", "replaced/a.csv", "**/a.csv"])
def test_an_object_replaced_by_one_of_equal_size_changes_the_fingerprint(bucket, uri, tmp_path):
    bucket.put("replaced/a.csv", "id\n1\n")
    before = fingerprint(f"{bucket.root}/{uri}")
    assert fingerprint(f"{bucket.root}/{uri}") == before
    assert rows(f"{bucket.root}/{uri}", tmp_path) == 1
    bucket.put("replaced/a.csv", "id\n2\n")
    assert fingerprint(f"{bucket.root}/{uri}") != before


@pytest.mark.fault(
    "New data", "an object is added to, or deleted from, those that a source names", "the fingerprint changes; other objects do not count"
)
def test_an_object_more_or_less_changes_the_fingerprint_and_what_is_not_read_does_not(bucket, tmp_path):
    source = f"{bucket.root}/counted"
    bucket.put("counted/a.csv", "id\n1\n")
    one = fingerprint(source)
    for other in ("counted/_SUCCESS", "counted/.hidden.csv", "counted/_temporary/b.csv", "counted/note.txt", "elsewhere/b.csv"):
        bucket.put(other, "id\n9\n")
    assert fingerprint(source) == one
    bucket.put("counted/deep/b.csv", "id\n2\n")
    two = fingerprint(source)
    assert two != one
    assert rows(source, tmp_path) == 2
    bucket.delete("counted/deep/b.csv")
    assert fingerprint(source) not in (two,)
    assert rows(source, tmp_path) == 1


@pytest.mark.fault("New data", "an object has the name of the folder that a pattern starts from", "what matches the pattern is read, not that object")
def test_an_object_named_like_a_folder_is_not_read_in_place_of_what_matches(bucket, tmp_path):
    for key in ("same", "same/a.csv", "same/b.csv"):
        bucket.put(key, "id\n1\n")
    assert rows(f"{bucket.root}/same/*.csv", tmp_path, format="csv") == 2
    with pytest.raises(DataError, match="no file matches"):
        rows(f"{bucket.root}/same/a.csv/*.csv", tmp_path, format="csv")


@pytest.mark.parametrize("name", ["c[1].csv", "a b.csv", "100%25.csv", "x=1&y=2.csv"])
def test_an_object_is_found_by_its_name_as_it_is_written(bucket, tmp_path, name):
    bucket.put(f"odd names/{name}", "id\n1\n")
    assert rows(f"{bucket.root}/odd names/{name}", tmp_path) == 1
    before = fingerprint(f"{bucket.root}/odd names/{name}")
    bucket.put(f"odd names/{name}", "id\n2\n")
    assert fingerprint(f"{bucket.root}/odd names/{name}") != before


def test_a_folder_of_a_store_with_brackets_in_its_name_is_a_name_and_else_a_glob(bucket, tmp_path):
    bucket.put("run[1]/a.csv", "id\n1\n2\n")
    bucket.put("day1/a.csv", "id\n1\n")
    assert rows(f"{bucket.root}/run[1]/*.csv", tmp_path) == 2
    assert rows(f"{bucket.root}/day[1]/?.csv", tmp_path) == 1


def test_nothing_there_is_said_with_the_uri(bucket):
    with pytest.raises(DataError, match=r"absent: no such file or directory"):
        fingerprint(f"{bucket.root}/absent")
    with pytest.raises(DataError, match=r"absent\*\.csv: no file matches"):
        fingerprint(f"{bucket.root}/absent*.csv")


def test_a_store_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match=r"gs://raw/a\.csv\?retry_limit_seconds=1: the store cannot be reached"):
        fingerprint("gs://raw/a.csv?retry_limit_seconds=1")


def test_a_source_that_makes_no_sense_is_refused_before_anything_is_read():
    with pytest.raises(ConfigurationError, match="did you mean 'encoding'"):
        fingerprint("/absent.csv", encodign="utf-8")


# On this machine.


@pytest.mark.parametrize("uri", ["{}/in/a.csv", "{}/in", "{}/in/*.csv", "{}/**/*.csv", "file://{}/in/a.csv", "file://{}/in"])
@pytest.mark.fault(
    "New data", "a local file changes behind a path, a glob, a folder or a file:// URI", "the fingerprint follows its content, and nothing else"
)
def test_the_fingerprint_follows_content_and_nothing_else(tmp_path, uri):
    uri = uri.format(tmp_path)
    file = tmp_path / "in" / "a.csv"
    file.parent.mkdir()
    file.write_text("id\n1\n")
    before = fingerprint(uri)
    file.touch()
    (file.parent / "_set_aside.txt").write_text("x")
    assert fingerprint(uri) == before
    file.write_text("id\n2\n")
    after = fingerprint(uri)
    assert after != before
    (tmp_path / "in" / "b.csv").write_text("id\n3\n")
    assert (fingerprint(uri) == after) == uri.endswith("a.csv")


def test_the_fingerprint_is_the_same_wherever_the_folder_lies(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("id\n1\n")
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")


@pytest.mark.parametrize("uri", ["data", "data/**/*.csv", "data/*/*.csv", "data/linked"])
@pytest.mark.fault(
    "New data", "a file changes in a subfolder that is a link", "the fingerprint changes: links are followed as the readers follow them"
)
def test_a_change_behind_a_linked_folder_is_seen(tmp_path, uri):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere" / "a.csv").write_text("id\n1\n")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    before = fingerprint(tmp_path / uri)
    assert rows(tmp_path / uri, tmp_path) == 1
    (tmp_path / "elsewhere" / "a.csv").write_text("id\n2\n")
    assert fingerprint(tmp_path / uri) != before


@pytest.mark.parametrize("uri", ["c[1].csv", "run[1]", "run[1]/*.csv", "run[1]/a.csv", "run[[]1]/*.csv", "[c]*.csv"])
@pytest.mark.fault("New data", "`[1]` in a file's or folder's name, as a name and as a glob", "the file that is read is the one whose change counts")
def test_brackets_in_a_name_are_read_and_counted_alike(tmp_path, uri):
    (tmp_path / "run[1]").mkdir()
    for path in (tmp_path / "c[1].csv", tmp_path / "run[1]" / "a.csv"):
        path.write_text("id\n1\n")
    (tmp_path / "run1").mkdir()
    (tmp_path / "run1" / "a.csv").write_text("id\n1\n2\n")
    before = fingerprint(tmp_path / uri)
    assert rows(tmp_path / uri, tmp_path) == 1
    (tmp_path / "c[1].csv").write_text("id\n2\n")
    (tmp_path / "run[1]" / "a.csv").write_text("id\n2\n")
    assert fingerprint(tmp_path / uri) != before


@pytest.mark.fault("New data", "a folder holds links to files and folders that it holds already", "each real file is read once")
def test_each_real_file_is_read_once(tmp_path):
    data = tmp_path / "data"
    (data / "2024").mkdir(parents=True)
    (data / "2024" / "a.csv").write_text("id\n1\n")
    (data / "0-latest").symlink_to(data / "2024")
    (data / "latest.csv").symlink_to(data / "2024" / "a.csv")
    for uri in (data, data / "**" / "*.csv", tmp_path / "*" / "**" / "*.csv"):
        assert rows(uri, tmp_path) == 1


@pytest.mark.parametrize("uri", ["data", "data/**/*.csv", "dat[a]/**"])
@pytest.mark.fault("New data", "a folder holds a link to itself", "it is refused in one sentence: no row is read twice")
def test_a_folder_that_links_to_itself_is_refused(tmp_path, uri):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "a.csv").write_text("id\n1\n")
    (tmp_path / "data" / "deep" / "self").symlink_to(tmp_path / "data")
    for reads in (lambda: fingerprint(tmp_path / uri), lambda: rows(tmp_path / uri, tmp_path)):
        with pytest.raises(DataError, match=r"deep/self: this link leads to .*data, one of its own parent folders"):
            reads()
    assert rows(tmp_path / "data" / "*.csv", tmp_path) == 1


@pytest.mark.fault("New data", "a file of a source is a link that leads nowhere", "it is refused by name, not passed over")
def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("id\n1\n")
    (tmp_path / "data" / "b.csv").symlink_to(tmp_path / "gone.csv")
    for uri in (tmp_path / "data", tmp_path / "data" / "*.csv"):
        with pytest.raises(DataError, match=r"b\.csv: neither a file nor a directory, or a link that leads nowhere"):
            fingerprint(uri)
