"""What is compiled for each platform, from one pipeline function."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import dsl
from kfp.pipeline_spec import pipeline_spec_pb2

from intermodal.authoring.decorator import UNCACHED, component
from intermodal.authoring.images import image_of
from intermodal.authoring.pipeline import load_job
from intermodal.authoring.platform import remote_platforms
from intermodal.compiler.build import compile_specification, write_specification
from intermodal.compiler.specification import distributable
from intermodal.platforms.compiling import ClusterTarget
from intermodal.runtime.provenance import IMAGE_VARIABLE

FLIGHTS = Path(__file__).resolve().parents[2] / "pipelines" / "flights.yaml"


@pytest.fixture(scope="module")
def job():
    return load_job(FLIGHTS)


@pytest.fixture(scope="module", params=remote_platforms())
def specification(request, job):
    return ClusterTarget(request.param).compile(job)


def all_tasks(specification):
    dags = [specification["root"]["dag"], *(each["dag"] for each in specification["components"].values() if "dag" in each)]
    return [task for dag in dags for task in dag["tasks"].values()]


def executor_name(specification, task):
    return specification["components"][task["componentRef"]["name"]].get("executorLabel", "").removeprefix("exec-")


def test_it_parses_into_the_specifications_own_proto(specification):
    parsed = json_format.ParseDict(specification, pipeline_spec_pb2.PipelineSpec())
    assert parsed.pipeline_info.name == "flight-delay"
    assert parsed.schema_version == "2.1.0"


def test_side_effects_are_never_cached_inside_conditions_too(specification):
    seen = set()
    for task in all_tasks(specification):
        name = next((each for each in UNCACHED if executor_name(specification, task).startswith(each)), None)
        if name:
            seen.add(name)
            assert not task.get("cachingOptions", {}).get("enableCache"), task
        elif executor_name(specification, task).startswith("model-"):  # Google's own, which change what is served
            assert not task.get("cachingOptions", {}).get("enableCache"), task
        elif executor_name(specification, task):
            assert task["cachingOptions"]["enableCache"], task
    assert {"find-champion", "register-model", "promote-model", "materialize-features"} <= seen


def test_the_configuration_gives_the_defaults_and_no_machines_path(specification):
    inputs = specification["root"]["inputDefinitions"]["parameters"]
    assert inputs["label"]["defaultValue"] == "late"
    assert "defaultValue" not in inputs["features_repository"]
    assert str(FLIGHTS.parent) not in yaml.safe_dump(specification)


def test_it_is_one_document_which_the_vertex_client_insists_on(specification, tmp_path):
    write_specification(specification, tmp_path / "pipeline.yaml")
    assert len(list(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))) == 1


def test_each_platform_deploys_in_its_own_way_from_the_same_pipeline_function(job):
    executors = {name: set(ClusterTarget(name).compile(job)["deploymentSpec"]["executors"]) for name in remote_platforms()}
    alone = {
        "kubeflow": {"exec-deploy-kserve"},
        "vertex": {"exec-test-predictor", "exec-model-upload", "exec-model-deploy", "exec-verify-deployment"},
    }
    for name, other in (("kubeflow", "vertex"), ("vertex", "kubeflow")):
        assert alone[name] <= executors[name]
        assert not alone[other] & executors[name]
        assert "exec-serve-model" not in executors[name]
        assert "exec-render-report" in executors[name]


def test_images_come_from_the_registry_by_digest_where_one_is_known(job):
    digest = "sha256:" + "a" * 64
    target = ClusterTarget("kubeflow", image_repository="registry.example/team", digests={"train": digest})
    containers = [each["container"] for each in target.compile(job)["deploymentSpec"]["executors"].values() if "container" in each]
    images = {each["image"] for each in containers}
    assert f"registry.example/team/intermodal-train@{digest}" in images
    assert all(image.startswith("registry.example/team/") and image_of(image) for image in images)
    # A task is told its image where the digest says which that is; a tag would not.
    told = [(each["image"], each.get("env", [])) for each in containers]
    assert all(env == ([{"name": IMAGE_VARIABLE, "value": image}] if "@" in image else []) for image, env in told)


def test_only_a_component_of_ours_with_a_parameter_workers_is_distributed():
    @component(image="train")
    def shared(examples: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model], workers: int = 1):
        """Share the work."""
        raise NotImplementedError

    @component(image="train")
    def single(examples: dsl.Input[dsl.Dataset], batch: int = 1):
        """Work in one process."""
        raise NotImplementedError

    @dsl.component(base_image="somebody.example/else:1")
    def foreign(workers: int = 1):
        """Run somebody else's image."""
        raise NotImplementedError

    @dsl.pipeline(name="both")
    def pipeline(uri: str):
        examples = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset)
        shared(examples=examples.output, workers=2)
        single(examples=examples.output)
        foreign(workers=2)

    assert distributable(compile_specification(pipeline)) == ["comp-shared"]
