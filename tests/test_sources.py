"""Where a configuration's sources lie on this machine, and when their fingerprint changes."""

import sys

import pytest

from intermodal.errors import ConfigurationError
from intermodal.sources import resolve_sources


def resolved(uri, base, **source):
    (only,), fingerprint = resolve_sources([{"name": "rows", "uri": uri, **source}], base)
    return only, fingerprint


def test_relative_paths_start_from_the_configuration(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("id\n1\n")
    only, _ = resolved("data/a.csv", tmp_path / "data" / "..", skip_rows=1)
    assert only == {"name": "rows", "uri": str(tmp_path / "data" / "a.csv"), "skip_rows": 1}


def test_a_file_inside_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "explosive"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "a.csv").write_text("id\n1\n")
    monkeypatch.syspath_prepend(tmp_path)
    only, _ = resolved("package:explosive/data/a.csv", tmp_path)
    assert only["uri"] == str(package / "data" / "a.csv")
    assert "explosive" not in sys.modules


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("package:not_there/a.csv", "the package 'not_there' is not installed here: pip install not_there"),
        ("package:json/a.csv", "the package 'json' has no such file"),
    ],
)
def test_a_package_or_file_that_is_not_there_is_named(tmp_path, uri, message):
    with pytest.raises(ConfigurationError, match=message):
        resolved(uri, tmp_path)


@pytest.mark.parametrize("uri", ["gs://bucket/a*.csv", "s3://bucket/a.parquet"])
def test_remote_uris_stay_and_count_by_their_text(tmp_path, uri):
    only, fingerprint = resolved(uri, tmp_path)
    assert only["uri"] == uri
    assert fingerprint == resolved(uri, tmp_path / "elsewhere")[1]
    assert fingerprint != resolved(uri + "x", tmp_path)[1]


@pytest.mark.parametrize("uri", ["in/a.csv", "in", "in/*.csv", "**/*.csv"])
def test_the_fingerprint_follows_content_and_nothing_else(tmp_path, uri):
    file = tmp_path / "in" / "a.csv"
    file.parent.mkdir()
    file.write_text("id\n1\n")
    _, before = resolved(uri, tmp_path)
    file.touch()
    assert resolved(uri, tmp_path)[1] == before
    file.write_text("id\n2\n")
    _, after = resolved(uri, tmp_path)
    assert after != before
    (tmp_path / "in" / "b.csv").write_text("id\n3\n")
    assert (resolved(uri, tmp_path)[1] == after) == (uri == "in/a.csv")


def test_the_fingerprint_is_the_same_wherever_the_folder_lies(tmp_path):
    fingerprints = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("id\n1\n")
        fingerprints.add(resolved("a.csv", tmp_path / name)[1])
    assert len(fingerprints) == 1


def test_a_password_in_a_uri_is_refused_and_not_shown(tmp_path):
    with pytest.raises(ConfigurationError, match="carries a password") as caught:
        resolved("s3://AKIAEXAMPLE:hunter2@bucket/rows.csv", tmp_path)
    assert "hunter2" not in str(caught.value)
