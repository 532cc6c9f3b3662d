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
@pytest.mark.fault("Nobody in", "the tag of a GitHub action is moved to other code", "it changes nothing: each is named by commit")
def test_every_action_is_pinned_by_commit_and_no_secret_is_read(path):
    steps = [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]
    used = re.findall(r"uses: (.+)", path.read_text())
    assert len(used) == sum("uses" in step for step in steps) > 0
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
    assert "secrets." not in path.read_text()
    assert not any(re.search(r"\$\{\{", step.get("run", "")) for step in steps), "an expression in a script is an injection"


def test_the_readmes_test_command_is_what_is_run():
    assert [path.name for path in FILES] == ["ci.yaml", "train.yaml"]
    assert all("make test" in path.read_text() or "make check test" in path.read_text() for path in FILES)


def test_main_scans_lists_and_signs_before_anything_is_trained_as_cloud_build_does():
    (job,) = yaml.safe_load(FILES[1].read_text())["jobs"].values()
    steps = job["steps"]
    order = [next(index for index, step in enumerate(steps) if word in step.get("run", "")) for word in ORDER]
    assert order == sorted(order), dict(zip(ORDER, order, strict=True))
    sign = next(step for step in steps if step.get("run") == "images/sign")
    wanted = re.findall(r"\$([A-Z_]+)", (FILES[1].parents[2] / "images" / "sign").read_text().split("printf")[1].split(">")[0])
    assert set(wanted) | {"KEY"} == set(sign["env"])


ORDER = ("make check test", "images/build", "images/sbom", "images/scan", "images/push", "images/sign", "intermodal compile", "intermodal submit")
