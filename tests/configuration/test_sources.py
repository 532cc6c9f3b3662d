"""Where a configuration's sources lie on this machine."""

import sys

import pytest

from intermodal.configuration.sources import resolve_source
from intermodal.runtime.errors import ConfigurationError, DataError


def test_relative_paths_start_from_the_configuration(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("id\n1\n")
    assert resolve_source("data/a.csv", tmp_path / "data" / "..") == str(tmp_path / "data" / "a.csv")


def test_a_file_inside_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "explosive"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "a.csv").write_text("id\n1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_source("package:explosive/data/a.csv", tmp_path) == str(package / "data" / "a.csv")
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
        resolve_source(uri, tmp_path)


@pytest.mark.parametrize("uri", ["gs://bucket/a*.csv", "s3://bucket/a.parquet"])
def test_remote_uris_stay(tmp_path, uri):
    assert resolve_source(uri, tmp_path) == uri


@pytest.mark.parametrize("uri", ["file:///data/a%20b.csv", "file://localhost/data/a%20b.csv"])
def test_a_file_uri_is_a_path(tmp_path, uri):
    assert resolve_source(uri, tmp_path) == "/data/a b.csv"


@pytest.mark.parametrize("uri", ["file://a.csv", "file://elsewhere/a.csv"])
def test_a_file_uri_of_another_machine_is_refused(tmp_path, uri):
    with pytest.raises(DataError, match="write file:///absolute/path"):
        resolve_source(uri, tmp_path)


def test_a_password_in_a_uri_is_refused_and_not_shown(tmp_path):
    with pytest.raises(ConfigurationError, match="carries a password") as caught:
        resolve_source("s3://AKIAEXAMPLE:hunter2@bucket/rows.csv", tmp_path)
    assert "hunter2" not in str(caught.value)
