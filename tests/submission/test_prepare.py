"""From a configuration or a compiled file to a submission: what is staged, what is checked first, what is refused."""

import json
import sys
from pathlib import Path

import boto3
import pytest
import yaml

from intermodal.authoring.images import IMAGES
from intermodal.authoring.pipeline import load_job
from intermodal.compiler.build import write_specification
from intermodal.compiler.specification import executor_of, graphs
from intermodal.configuration.targets import load_targets
from intermodal.runtime.errors import ConfigurationError, MachineError, PlatformError
from intermodal.submission.prepare import compile_for, find_destination, prepare

ROOT = Path(__file__).resolve().parents[2]
FLIGHTS = ROOT / "pipelines" / "flights.yaml"
DIGESTS = {image: f"sha256:{number:064x}" for number, image in enumerate(IMAGES)}


@pytest.fixture
def bucket(s3, monkeypatch):
    """Yield a function that lists the artifact root's objects."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = boto3.Session().client("s3", endpoint_url=s3)
    client.create_bucket(Bucket="pipelines")
    yield lambda: [each["Key"] for each in client.list_objects_v2(Bucket="pipelines").get("Contents", [])]
    for each in client.list_objects_v2(Bucket="pipelines").get("Contents", []):
        client.delete_object(Bucket="pipelines", Key=each["Key"])


@pytest.fixture
def destination(s3, tmp_path):
    text = (ROOT / "targets.example.toml").read_text().replace("http://127.0.0.1:9000", s3)
    (tmp_path / "targets.toml").write_text(text)
    return find_destination(load_targets(tmp_path / "targets.toml"), "kubeflow", "dev")


@pytest.fixture
def compiled(tmp_path):
    path = tmp_path / "training.yaml"
    write_specification(*compile_for("kubeflow", load_job(FLIGHTS))[:1], path)
    return path


def images(specification):
    return {each["container"]["image"] for each in specification["deploymentSpec"]["executors"].values() if "container" in each}


def test_a_configuration_becomes_a_whole_submission_with_its_files_staged(bucket, destination):
    made = prepare(FLIGHTS, destination, key="k", digests=DIGESTS)
    assert made.name == "flight-delay"
    uris = [source["uri"] for source in made.parameters["data_sources"]]
    assert all(uri.startswith("s3://pipelines/dev/staged/") for uri in uris)
    assert {uri.removeprefix("s3://pipelines/") for uri in uris} <= set(bucket())
    assert f"{made.parameters['features_repository'].removeprefix('s3://pipelines/')}/definitions.py" in bucket()
    assert made.parameters["registry"] == "http://mlflow.team-ml:5000"
    assert made.parameters["serving_kubeflow_namespace"] == "team-ml"
    assert made.parameters["serving_kubeflow_image"] == f"registry.example/team/intermodal-serve@{DIGESTS['serve']}"
    assert f"registry.example/team/intermodal-train@{DIGESTS['train']}" in images(made.specification)


def cached_images(specification):
    """Images of the tasks that a platform may answer from its cache."""
    tasks = [task for graph in graphs(specification) for task in graph["tasks"].values() if task.get("cachingOptions", {}).get("enableCache")]
    return {container["image"] for task in tasks if (container := (executor_of(specification, task) or {}).get("container"))}


@pytest.mark.fault("Kubeflow", "an image pushed again under the tag it had", "no task of an image that goes by a tag is answered from the cache")
def test_only_tasks_of_images_named_by_digest_are_cached(bucket, destination, compiled):
    for by_tag in (prepare(FLIGHTS, destination, key="k"), prepare(compiled, destination, configuration=FLIGHTS, key="k", digests=DIGESTS)):
        assert cached_images(by_tag.specification) == set()
        assert {image.rpartition(":")[0].rpartition("/")[2] for image in by_tag.by_tag} == {
            "intermodal-data",
            "intermodal-validate",
            "intermodal-train",
            "intermodal-track",
        }
    by_digest = prepare(FLIGHTS, destination, key="k", digests=DIGESTS)
    assert by_digest.by_tag == ()
    assert len(cached_images(by_digest.specification)) == 4
    mixed = prepare(FLIGHTS, destination, key="k", digests={"train": DIGESTS["train"]})
    assert cached_images(mixed.specification) == {f"registry.example/team/intermodal-train@{DIGESTS['train']}"}


def test_no_path_of_this_machine_leaves(bucket, destination):
    made = prepare(FLIGHTS, destination, key="k")
    said = json.dumps(made.parameters) + yaml.safe_dump(made.specification)
    assert str(ROOT) not in said
    assert str(Path.home()) + "/" not in said


def test_the_same_twice_is_the_same_submission(bucket, destination):
    assert prepare(FLIGHTS, destination, key="k") == prepare(FLIGHTS, destination, key="k")


def test_a_compiled_file_with_its_configuration_equals_the_configuration_compiled_on_the_way(bucket, destination, compiled):
    from_file = prepare(compiled, destination, configuration=FLIGHTS, key="k", name="flight-delay")
    on_the_way = prepare(FLIGHTS, destination, key="k")
    assert from_file.parameters == on_the_way.parameters


def test_a_compiled_file_alone_says_every_parameter_it_needs_and_nothing_is_staged(bucket, destination, compiled):
    with pytest.raises(ConfigurationError, match="'features_repository' is required"):
        prepare(compiled, destination, key="k")
    assert bucket() == []


def test_a_wrong_parameter_is_refused_before_anything_is_staged(bucket, destination):
    with pytest.raises(ConfigurationError, match="did you mean 'seed'"):
        prepare(FLIGHTS, destination, parameters={"sead": 3}, key="k")
    with pytest.raises(ConfigurationError, match="'seed' must be a whole number"):
        prepare(FLIGHTS, destination, parameters={"seed": "three"}, key="k")
    assert bucket() == []


def test_parameters_win_over_the_configuration_and_a_source_given_is_not_staged(bucket, destination):
    made = prepare(FLIGHTS, destination, parameters={"seed": 3, "data_sources": [{"name": "flights", "uri": "s3://raw/flights.csv"}]}, key="k")
    assert made.parameters["seed"] == 3
    assert made.parameters["data_sources"] == [{"name": "flights", "uri": "s3://raw/flights.csv"}]
    assert not any(".csv" in key for key in bucket())


def test_an_override_wins_over_the_targets_own_setting(bucket, destination):
    made = prepare(FLIGHTS, destination, overrides=["registry=http://elsewhere:5000"], key="k")
    assert made.parameters["registry"] == "http://elsewhere:5000"


@pytest.mark.parametrize("key", ["registry", "features.store"])
def test_a_store_that_is_a_file_of_this_machine_is_refused_by_name(bucket, destination, key):
    changed = {name: value for name, value in destination.settings.set.items() if name != key}
    settings = destination.settings.model_copy(update={"set": changed})
    with pytest.raises(ConfigurationError, match=key):
        prepare(FLIGHTS, type(destination)(destination.platform, settings, destination.targets), key="k")
    assert bucket() == []


def test_a_missing_bucket_is_named(s3, destination, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    settings = destination.settings.model_copy(update={"root": "s3://somebody-elses"})
    with pytest.raises(PlatformError, match="somebody-elses"):
        prepare(FLIGHTS, type(destination)(destination.platform, settings, destination.targets), key="k")


def test_an_unknown_target_and_one_the_profile_lacks_are_named(destination):
    with pytest.raises(ConfigurationError, match="kubeflow, vertex and local"):
        find_destination(destination.targets, "sagemaker", None)
    with pytest.raises(ConfigurationError, match=r"\[profiles.prod.kubeflow\]"):
        find_destination(destination.targets, "kubeflow", "prod")


@pytest.mark.parametrize("text", [None, "- a\n", "a: [", ""])
def test_a_pipeline_file_that_is_none_is_refused_with_its_path(destination, tmp_path, text):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"mine\.yaml"):
        prepare(path, destination, key="k")


def test_a_file_edited_by_hand_is_refused_with_the_rule_and_nothing_is_staged(bucket, destination, compiled):
    compiled.write_text(compiled.read_text().replace("name: comp-train-model", "name: comp-trian-model"))
    with pytest.raises(ConfigurationError, match=r"component-reference") as caught:
        prepare(compiled, destination, configuration=FLIGHTS, key="k")
    assert "did you mean 'comp-train-model'" in str(caught.value)
    assert bucket() == []


def test_a_client_that_is_not_installed_is_named_with_the_command_that_installs_it(destination, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform_v1", None)
    monkeypatch.delattr("google.cloud.aiplatform_v1", raising=False)
    monkeypatch.delitem(sys.modules, "intermodal.platforms.vertex.target", raising=False)
    with pytest.raises(MachineError, match=r"pip install 'intermodal\[vertex\]'"):
        find_destination(destination.targets, "vertex", "dev").open()
