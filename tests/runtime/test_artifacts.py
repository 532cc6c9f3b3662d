import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from intermodal.runtime import artifacts
from intermodal.runtime.artifacts import read_json, whole_directory, whole_file, write_json
from intermodal.runtime.errors import DataError, MachineError
from intermodal.runtime.tree import PARTIAL, check_whole, is_whole, tree_hash


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


WRITE = """
import sys
from intermodal.runtime.artifacts import whole_directory
with whole_directory(sys.argv[1]) as folder:
    for name in ("a/one", "a/two", "b/three", "four"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((sys.argv[2] + name).encode() * 50_000)
    (folder / "empty").mkdir()
"""


def write(target: Path, content: str) -> int:
    """Write an artifact in a process of its own; return its exit status."""
    return subprocess.run([sys.executable, "-c", WRITE, str(target), content], timeout=60, check=False).returncode


def content(target: Path) -> dict[str, bytes]:
    return {path.relative_to(target).as_posix(): path.read_bytes() if path.is_file() else b"" for path in sorted(target.rglob("*"))}


def test_where_directories_cannot_be_renamed_one_is_copied_and_nothing_else_stays(bucket, tmp_path):
    with pytest.raises(OSError, match="Too many open files"):
        (bucket.path / "a").mkdir()
        (bucket.path / "a").rename(bucket.path / "b")
    (bucket.path / "a").rmdir()
    for target in (bucket.path / "out", tmp_path / "out"):
        assert write(target, "first") == 0
        assert write(target, "second") == 0
    assert content(bucket.path / "out") == content(tmp_path / "out")
    assert tree_hash(bucket.path / "out") == tree_hash(tmp_path / "out")
    assert [path.name for path in bucket.path.iterdir()] == ["out"]
    with whole_file(bucket.path / "report") as file:
        file.write_text("whole")
    assert sorted(path.name for path in bucket.path.iterdir()) == ["out", "report"]


def test_a_failure_where_directories_cannot_be_renamed_leaves_what_was_there(bucket):
    target = bucket.path / "out"
    assert write(target, "first") == 0
    with pytest.raises(RuntimeError), whole_directory(target) as folder:
        (folder / "file").write_text("second")
        raise RuntimeError
    assert is_whole(target)
    assert (target / "four").read_bytes().startswith(b"firstfour")
    assert [path.name for path in bucket.path.iterdir()] == ["out"]


def test_a_file_system_that_refuses_and_is_not_known_for_it_is_copied_to_as_well(bucket, monkeypatch):
    monkeypatch.setattr(artifacts, "_on_fuse", lambda folder: False)
    for text in ("first", "second"):
        with whole_directory(bucket.path / "out") as folder:
            (folder / "file").write_text(text)
        assert content(bucket.path / "out") == {"file": text.encode()}
    assert [path.name for path in bucket.path.iterdir()] == ["out"]


@pytest.mark.fault(
    "Stores", "kill -9 while an output is written to a bucket mounted by FUSE", "what is half there is never taken for whole; a retry writes it"
)
def test_an_output_whose_copying_was_killed_is_never_taken_for_whole(bucket, fault_random):
    target = bucket.path / "out"
    assert write(target, "first") == 0
    before = bucket.changes
    assert write(target, "second") == 0
    changes = bucket.changes - before
    assert changes > 10, "the copying is seen by the file system"
    whole = {"first": None, "second": content(target)}
    assert write(target, "first") == 0
    whole["first"] = content(target)
    for moment in sorted(fault_random.sample(range(1, changes + 1), 8)):
        bucket.kill_at(moment)
        assert write(target, "second") == -9
        if is_whole(target):
            assert content(target) in whole.values(), f"killed at change {moment} of {changes}"
        else:
            with pytest.raises(DataError, match="only a part of it was written"):
                check_whole(target)
            with pytest.raises(DataError, match="only a part of it was written"):
                tree_hash(target)
        assert write(target, "first") == 0
        assert content(target) == whole["first"]


@pytest.mark.fault("Stores", "kill -9 while an output replaces an earlier one on a disk", "there is the old one, the new one or none, never a part")
def test_an_output_whose_replacing_was_killed_is_old_new_or_absent(tmp_path):
    target = tmp_path / "out"
    wholes = []
    for text in ("second", "first"):
        assert write(target, text) == 0
        wholes.append(content(target))
    # strace is not everywhere: the audit hook of the interpreter sees every change of the file system before it is made.
    killed = (
        "import os, signal, sys\n"
        "left = int(sys.argv[3])\n"
        "def change(event, arguments):\n"
        "    global left\n"
        "    below = event in ('open', 'os.mkdir', 'os.rename') and os.path.dirname(sys.argv[1]) in str(arguments[0])\n"
        "    if below or event in ('os.remove', 'os.rmdir'):\n"
        "        left -= 1\n"
        "        left or os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(change)\n"
    )
    for moment in range(1, 30):
        done = subprocess.run([sys.executable, "-c", killed + WRITE, str(target), "second", str(moment)], timeout=60, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -9
        assert not target.exists() or content(target) in wholes, f"killed at change {moment}"
        assert write(target, "first") == 0
        assert content(target) == wholes[1]
    else:
        pytest.fail("it never came to its end")
    assert moment > 5


@pytest.mark.fault("Stores", "the disk is full when an output is to be renamed over an earlier one", "the earlier one stays")
def test_an_output_that_cannot_be_renamed_for_want_of_room_leaves_the_earlier_one(tmp_path, monkeypatch):
    target = tmp_path / "out"
    assert write(target, "first") == 0
    before = content(target)
    rename = Path.rename

    def full(self, to):
        if self.suffix == ".partial":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self), None, str(to))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(MachineError, match="no room left"), whole_directory(target) as folder:
        (folder / "file").write_text("second")
    assert content(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_of_a_stranger_is_whole_and_an_empty_one_is_not(tmp_path):
    assert not is_whole(tmp_path / "absent")
    (tmp_path / "out").mkdir()
    assert not is_whole(tmp_path / "out")
    (tmp_path / "out" / "file").write_text("x")
    assert is_whole(tmp_path / "out")
    (tmp_path / "out" / PARTIAL).touch()
    assert not is_whole(tmp_path / "out")
    write_json(tmp_path / "out" / "a.json", 1)
    with pytest.raises(DataError, match=r"out: only a part of it was written"):
        read_json(tmp_path / "out" / "a.json")
