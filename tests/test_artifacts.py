import pytest

from intermodal.artifacts import read_json, whole_directory, whole_file, write_json
from intermodal.errors import DataError


def test_a_directory_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "out"
    with pytest.raises(RuntimeError), whole_directory(target) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_directory(target) as folder:
        (folder / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"


def test_a_failed_rewrite_leaves_what_was_there(tmp_path):
    target = tmp_path / "out"
    with whole_directory(target) as folder:
        (folder / "file").write_text("first")
    with pytest.raises(RuntimeError), whole_directory(target) as folder:
        (folder / "file").write_text("second")
        raise RuntimeError
    assert (target / "file").read_text() == "first"
    with pytest.raises(RuntimeError), whole_file(target / "file") as file:
        file.write_text("second")
        raise RuntimeError
    assert (target / "file").read_text() == "first"
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_json_that_others_cannot_read_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_broken_json_artifact_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.json: no such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json: not JSON"):
        read_json(tmp_path / "a.json")
