"""The TrainJob that is made after a task's own pod, what several versions of Trainer take, and what a task's command line says."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from intermodal.authoring.catalog import load_component
from intermodal.compiler.build import compile_specification
from intermodal.execution.prestart.program import program
from intermodal.platforms.kubeflow.settings import KubeflowSettings
from intermodal.platforms.kubeflow.workers import distribute
from intermodal.runtime.errors import ConfigurationError, PlatformError
from intermodal.workers.executor_input import task_of
from intermodal.workers.trainjob.manifest import NODE, Settings, job_name, make
from intermodal.workers.words import LastWords

SETTINGS = Settings("TrainingRuntime/intermodal-workers", "", 0, 60)
#: Fields of a TrainJob's spec, of which versions differ in these: github.com/kubeflow/trainer 2.0.1, 2.1.0, 2.2.0 and 2.3.0.
VERSIONS = {
    "2.0": {"podSpecOverrides", "trainer", "runtimeRef"},
    "2.1": {"podTemplateOverrides", "trainer", "runtimeRef"},
    "2.2": {"runtimePatches", "activeDeadlineSeconds", "trainer", "runtimeRef"},
}


def command(uri="s3://bucket/root/run/task/model", **parameters):
    artifacts = {"model": {"artifacts": [{"name": "model", "uri": uri}]}} if uri else {}
    executor_input = {"inputs": {"parameterValues": parameters}, "outputs": {"artifacts": artifacts}}
    return ["sh", "-ec", "a script", "--executor_input", json.dumps(executor_input), "--function_to_execute", "train_model"]


def pod(**changes):
    container = {
        "name": "main",
        "image": "registry.example/team/intermodal-train@sha256:" + "a" * 64,
        "env": [{"name": "KFP_POD_NAME", "value": "task"}, {"name": "LEVEL", "value": "2"}],
        "resources": {"limits": {"memory": "8G", "nvidia.com/gpu": "1"}},
        "volumeMounts": [{"name": "lake", "mountPath": "/lake"}, {"name": "kube-api-access-x", "mountPath": "/var/run/secrets"}],
    }
    lake = {"name": "lake", "persistentVolumeClaim": {"claimName": "lake"}}
    spec = {
        "containers": [{"name": "wait", "image": "argo"}, container],
        "serviceAccountName": "intermodal-pipeline",
        "nodeSelector": {"kind": "gpu"},
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [lake, {"name": "kube-api-access-x", "projected": {}}, {"name": "scratch", "emptyDir": {}}],
    }
    return {"metadata": {"name": "task", "uid": "1-2"}, "spec": spec | changes}


def made(version="2.2", settings=SETTINGS, own=None):
    words = command()
    return make(
        name="train-model-1",
        exchange="s3://bucket/x",
        task=task_of(words),
        command=words,
        workers=2,
        settings=settings,
        pod=own or pod(),
        fields=VERSIONS[version],
    )


def patched(spec):
    """Return what is patched into the pods, wherever a version wants it."""
    if "runtimePatches" in spec:
        (patch,) = spec["runtimePatches"]
        (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        assert job["name"] == NODE
        return job["template"]["spec"]["template"]["spec"]
    (patch,) = spec.get("podTemplateOverrides") or spec["podSpecOverrides"]
    assert patch.pop("targetJobs") == [{"name": NODE}]
    return patch.get("spec", patch)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_trainer_gets_the_tasks_nodes_account_and_volumes_in_its_own_field(version):
    spec = made(version)["spec"]
    assert spec.keys() <= VERSIONS[version]
    wanted = {
        "serviceAccountName": "intermodal-pipeline",
        "nodeSelector": {"kind": "gpu"},
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "lake", "persistentVolumeClaim": {"claimName": "lake"}}, {"name": "intermodal-artifacts", "emptyDir": {}}],
        "containers": [
            {
                "name": NODE,
                "volumeMounts": [{"name": "lake", "mountPath": "/lake"}, {"name": "intermodal-artifacts", "mountPath": "/s3", "subPath": "s3"}],
            }
        ],
    }
    if version == "2.0":
        del wanted["imagePullSecrets"]  # its definition has none
    assert patched(spec) == wanted


def test_the_workers_get_the_image_the_resources_and_the_variables_of_the_tasks_container():
    trainer = made()["spec"]["trainer"]
    assert trainer["image"].endswith("intermodal-train@sha256:" + "a" * 64)
    assert trainer["resourcesPerNode"] == {"limits": {"memory": "8G", "nvidia.com/gpu": "1"}}
    assert trainer["env"] == [{"name": "LEVEL", "value": "2"}]
    assert trainer["command"][-7:] == command()


def test_a_timeout_needs_a_version_that_keeps_it():
    timed = Settings("TrainingRuntime/intermodal-workers", "", 60, 60)
    assert made("2.2", timed)["spec"]["activeDeadlineSeconds"] == 60
    with pytest.raises(PlatformError, match=r"cannot end a TrainJob after a time; install 2\.2"):
        made("2.1", timed)


def test_every_attempt_of_a_task_gives_one_name_and_other_tasks_and_runs_give_others():
    task = task_of(command())
    assert job_name(task, "run") == job_name(task_of(command(workers=3)), "run")
    others = {job_name(task, "other"), job_name(task_of(command("s3://bucket/root/run/task-2/model")), "run")}
    assert job_name(task, "run") not in others
    assert len(others) == 2


@pytest.mark.fault("Training", "a task's artifacts are where other machines cannot read them", "it says so before anything starts")
@pytest.mark.parametrize("uri", ["/tmp/model", "", "oci://registry/model"])
def test_artifacts_must_be_in_an_object_store(uri):
    with pytest.raises(ConfigurationError, match="workers=1"):
        made_of = task_of(command(uri))
        make(name="n", exchange="s3://b/x", task=made_of, command=[], workers=2, settings=SETTINGS, pod=pod(), fields=VERSIONS["2.2"])


def test_a_command_that_is_not_kfps_executor_is_no_task():
    assert task_of(["python3", "train.py"]) is None
    assert task_of(["python3", "--executor_input", "not JSON"]) is None


def test_a_component_is_wrapped_with_the_settings_of_its_target_and_runs_here_as_if_it_were_not():
    specification = compile_specification(load_component("train_model"))
    container = specification["deploymentSpec"]["executors"]["exec-train-model"]["container"]
    plain = [*container["command"], *container["args"]]
    values = {"endpoint": "http://e.example", "root": "s3://b/r", "image_repository": "i.example"}
    distribute(specification, "comp-train-model", KubeflowSettings.model_validate(values | {"training_queue": "team"}))
    cut = container["command"].index("--")
    wrapper = container["command"][:cut]
    assert wrapper[:3] == ["python3", "-m", "intermodal.workers.trainjob"]
    options = dict(zip(wrapper[3::2], wrapper[4::2], strict=True))
    assert options == {
        "--workers": "1",
        "--runtime": "TrainingRuntime/intermodal-workers",
        "--start-timeout": "1800",
        "--queue": "team",
    }
    whole = [*container["command"], *container["args"]]
    assert whole[cut + 1 :] == plain
    assert program(whole) == program(plain)


def test_the_runtime_that_the_wrapper_names_is_the_one_that_is_installed():
    path = Path(__file__).resolve().parents[2] / "infra" / "kubernetes" / "workers.yaml"
    (runtime,) = [each for each in yaml.safe_load_all(path.read_text()) if each["kind"] == "TrainingRuntime"]
    assert KubeflowSettings.model_fields["training_runtime"].default == f"{runtime['kind']}/{runtime['metadata']['name']}"
    assert [each["name"] for each in runtime["spec"]["template"]["spec"]["replicatedJobs"]] == [NODE]


def test_the_last_words_are_the_last_error_even_when_more_is_said_after_it():
    words = LastWords(["Traceback (most recent call last):", '  File "a.py", line 1', "intermodal.runtime.errors.DataError: no rows", "bye"])
    assert words.sentence == "intermodal.runtime.errors.DataError: no rows"
    assert words.lasting
    assert not LastWords(["ValueError: no rows"]).lasting
    assert LastWords(["killed"]).sentence == "killed"
    assert LastWords().sentence == ""


@given(st.lists(st.text(max_size=40), max_size=60))
def test_any_output_has_last_words(lines):
    words = LastWords(lines)
    assert words.sentence in "\n".join(lines)
    assert len(words.text.splitlines()) <= 30 * 41
