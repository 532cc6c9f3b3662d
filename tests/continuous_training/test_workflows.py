"""GitHub's workflows: the least rights, nothing unpinned, no key."""

import re
from pathlib import Path

import pytest
import yaml

FILES = sorted((Path(__file__).resolve().parents[2] / ".github" / "workflows").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_rights_are_named_and_no_more_than_reading_but_for_the_identity_token(path):
    made = yaml.safe_load(path.read_text())
    assert made["permissions"] == {"contents": "read"}
    for job in made["jobs"].values():
        assert set(job.get("permissions", {})) <= {"contents", "id-token"}
        assert job["timeout-minutes"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_and_no_secret_is_read(path):
    steps = [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    assert "secrets." not in path.read_text()
    assert not any(re.search(r"\$\{\{", step.get("run", "")) for step in steps), "an expression in a script is an injection"


def test_the_readmes_test_command_is_what_is_run():
    assert [path.name for path in FILES] == ["ci.yaml", "train.yaml"]
    assert all("make test" in path.read_text() or "make check test" in path.read_text() for path in FILES)
