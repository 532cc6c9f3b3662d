"""The commit that a model is recorded with: the one of the source that ran, or said to be unknown."""

import os
import re
import subprocess

import pytest

from intermodal.execution.checkout import commit_of

WHO = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def git(tmp_path):
    def run(*words):
        command = ["git", "-c", "init.defaultBranch=main", "-C", str(tmp_path), *words]
        return subprocess.run(command, env=os.environ | WHO, capture_output=True, text=True, check=True).stdout.strip()

    return run


def test_a_commit_is_named_and_said_to_be_dirty_where_files_differ_from_it(tmp_path, git, monkeypatch):
    assert commit_of(tmp_path) == "unknown"
    git("init")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / ".gitignore").write_text("ignored")
    git("add", ".")
    assert commit_of(tmp_path) == "unknown"  # nothing is committed yet
    git("commit", "--message", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "ignored").touch()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert commit_of(tmp_path) == commit
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    assert commit_of(tmp_path) == commit
    monkeypatch.delenv("GIT_DIR")
    (tmp_path / "new.py").touch()
    assert commit_of(tmp_path) == f"{commit}-dirty"
    (tmp_path / "new.py").unlink()
    (tmp_path / "pyproject.toml").write_text("changed")
    assert commit_of(tmp_path) == f"{commit}-dirty"
    inner = tmp_path / "ignored-by-nobody"
    inner.mkdir()
    (inner / "pyproject.toml").touch()
    assert commit_of(inner) == "unknown"  # it lies in a checkout of something else
