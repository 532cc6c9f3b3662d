"""What the rules call enforced is what Google's own client does: it refuses those files, and takes the others."""

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials

from intermodal.linting import lint
from tests.linting.wired import WIRED, changed

JOB = {"pipelineSpec": WIRED, "runtimeConfig": {}}
REFUSED = {
    "vertex-name-length": [changed(WIRED, "pipelineInfo.name", "a" * 114), changed(WIRED, "pipelineInfo.name", "1st")],
    "vertex-schema-version": [changed(WIRED, "schemaVersion", "two"), changed(WIRED, "schemaVersion", ...)],
    "vertex-job-runtime": [{"pipelineSpec": WIRED}, JOB | {"runtimeConfig": {"parameterValues": {"txet": "a"}}}],
    "vertex-one-document": [[WIRED, {"platforms": {}}]],
    "pipeline-name": [changed(WIRED, "pipelineInfo", ...)],
    "root": [changed(WIRED, "root", ...)],
}
TAKEN = [WIRED, JOB, changed(WIRED, "pipelineInfo.name", "a" * 113), JOB | {"labels": {"team": "ml"}}]


def job_of(path):
    """Return the job as the client would send it; nothing leaves."""
    from google.cloud import aiplatform

    return aiplatform.PipelineJob(
        display_name="wired",
        template_path=str(path),
        pipeline_root="gs://bucket/root",
        project="some-project",
        location="europe-west4",
        credentials=AnonymousCredentials(),
    )


def written(content, folder):
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump_all(content if isinstance(content, list) else [content]))
    return path


@pytest.mark.parametrize(("rule", "content"), [(rule, content) for rule, contents in REFUSED.items() for content in contents])
def test_what_the_linter_refuses_the_client_refuses(tmp_path, rule, content):
    path = written(content, tmp_path)
    assert rule in {each.rule for each in lint(path, "vertex") if each.severity == "error"}
    with pytest.raises((ValueError, KeyError, TypeError, yaml.YAMLError)):
        job_of(path)


@pytest.mark.parametrize("content", TAKEN)
def test_what_the_linter_takes_the_client_takes(tmp_path, content):
    path = written(content, tmp_path)
    assert [each for each in lint(path, "vertex") if each.severity == "error"] == []
    job_of(path)


def test_the_labels_of_a_pipelinejob_are_dropped(tmp_path):
    path = written(TAKEN[-1], tmp_path)
    assert [each.rule for each in lint(path, "vertex")] == ["vertex-job-dropped"]
    assert dict(job_of(path)._gca_resource.labels) == {}


def test_of_two_equal_keys_the_client_takes_the_last(tmp_path):
    path = written(WIRED, tmp_path)
    path.write_text(path.read_text() + "pipelineInfo:\n  name: other\n")
    assert [each.rule for each in lint(path, "vertex")] == ["duplicate-key"]
    assert job_of(path)._gca_resource.pipeline_spec["pipelineInfo"]["name"] == "other"
