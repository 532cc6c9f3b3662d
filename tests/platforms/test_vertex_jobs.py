"""A task whose workers run on several machines of Vertex AI: what is compiled, what is refused before a submission, and Google's launcher at work."""

from pathlib import Path

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from intermodal import __version__
from intermodal.authoring.pipeline import load_job
from intermodal.compiler.build import write_specification
from intermodal.compiler.specification import forbid_caching_by_tag, replica_of
from intermodal.configuration.targets import Shape, load_targets
from intermodal.linting import lint_documents
from intermodal.platforms.compiling import ClusterTarget
from intermodal.platforms.vertex.jobs import restore
from intermodal.platforms.vertex.settings import VertexSettings
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.provenance import IMAGE_VARIABLE
from intermodal.submission.parameters import check_fixed
from intermodal.submission.prepare import find_destination, prepare

REPOSITORY = "europe-west4-docker.pkg.dev/my-project/intermodal"
GPU = {"cpu": 8, "memory": "32G", "accelerator": "t4"}


@pytest.fixture
def compiled(tmp_path):
    """Compile the pipeline for a number of workers, with keys of its task's settings, and a shape."""

    def compile_it(workers=2, shape=None, entry="pipeline", retries=0, task="say-place", digests=None, **keys):
        path = tmp_path / "spread.yaml"
        pipeline = Path(__file__).with_name("spreading.py")
        path.write_text(f"name: spread\npipeline: {pipeline}:{entry}\ntraining: {{workers: {workers}}}\n")
        tasks = {task: keys | ({"shape": "wide"} if shape else {})}
        settings = VertexSettings(
            project="my-project", region="europe-west4", root="gs://b/r", image_repository=REPOSITORY, tasks=tasks, retries=retries
        )
        shapes = {"wide": Shape(**shape)} if shape else {}
        return ClusterTarget("vertex", image_repository=REPOSITORY, settings=settings, shapes=shapes, digests=digests or {}).compile(load_job(path))

    return compile_it


def job_of(specification):
    """Return the defaults of the CustomJob's parameters."""
    parameters = specification["components"]["comp-say-place"]["inputDefinitions"]["parameters"]
    return {name: each.get("defaultValue") for name, each in parameters.items()}


def pools_of(specification):
    """Return the worker pools, as the API's own messages read them."""
    found = job_of(specification)["worker_pool_specs"]
    return [json_format.ParseDict(each, types.WorkerPoolSpec.pb(types.WorkerPoolSpec())) for each in found]


def machines(specification):
    return [(pool.replica_count, pool.machine_spec.machine_type) for pool in pools_of(specification)]


def test_one_worker_stays_an_ordinary_task(compiled):
    container = compiled(workers=1)["deploymentSpec"]["executors"]["exec-say-place"]["container"]
    assert container["image"].startswith(f"{REPOSITORY}/intermodal-train")


def test_more_workers_are_a_job_of_a_chief_and_workers_that_run_the_tasks_own_command(compiled):
    specification = compiled(workers=3)
    own = compiled(workers=1)["deploymentSpec"]["executors"]["exec-say-place"]["container"]
    json_format.ParseDict(specification, pipeline_spec_pb2.PipelineSpec())
    chief, workers = pools_of(specification)
    assert (chief.replica_count, workers.replica_count) == (1, 2)
    assert chief.container_spec == workers.container_spec
    assert chief.container_spec.image_uri == own["image"]
    assert list(chief.container_spec.command) == own["command"]
    assert list(chief.container_spec.args) == [each if each != "{{$}}" else "{{$.json_escape[1]}}" for each in own["args"]]
    job = job_of(specification)
    assert (job["strategy"], job["timeout"], job["restart_job_on_worker_restart"]) == ("STANDARD", "604800s", True)
    assert (job["service_account"], job["network"]) == ("{{$.pipeline_service_account}}", "{{$.pipeline_network}}")
    assert job["encryption_spec_key_name"] == "{{$.pipeline_encryption_key_name}}"


def test_the_tasks_inputs_and_outputs_stay_and_the_jobs_name_is_one_more(compiled):
    ordinary, job = (compiled(workers=each)["components"]["comp-say-place"] for each in (1, 2))
    assert job["outputDefinitions"]["artifacts"] == ordinary["outputDefinitions"]["artifacts"]
    assert set(job["outputDefinitions"]["parameters"]) == {"Output", "gcp_resources"}
    for name, definition in ordinary["inputDefinitions"]["parameters"].items():
        assert job["inputDefinitions"]["parameters"][name] == definition


def test_the_linter_has_no_error_and_no_placeholder_that_vertex_does_not_know(compiled):
    found = lint_documents([compiled(workers=2, shape=GPU, spot=True)], "vertex", "spread.yaml")
    assert [each for each in found if each.severity == "error" or each.rule.startswith("placeholder")] == []


@pytest.mark.parametrize(
    ("shape", "machine"),
    [
        ({}, {"machine_type": "e2-standard-4"}),
        ({"cpu": 4, "memory": "16G"}, {"machine_type": "e2-standard-4"}),
        ({"cpu": 2, "memory": "120G"}, {"machine_type": "e2-highmem-16"}),
        ({"cpu": 96}, {"machine_type": "n1-standard-96"}),
        (GPU, {"machine_type": "n1-standard-8", "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 1}),
        (
            GPU | {"accelerator": "v100", "accelerators": 8},
            {"machine_type": "n1-standard-8", "accelerator_type": "NVIDIA_TESLA_V100", "accelerator_count": 8},
        ),
        ({"accelerator": "l4", "accelerators": 2}, {"machine_type": "g2-standard-24", "accelerator_type": "NVIDIA_L4", "accelerator_count": 2}),
        ({"accelerator": "a100"}, {"machine_type": "a2-highgpu-1g", "accelerator_type": "NVIDIA_TESLA_A100", "accelerator_count": 1}),
        (
            {"accelerator": "a100-80gb", "accelerators": 4},
            {"machine_type": "a2-ultragpu-4g", "accelerator_type": "NVIDIA_A100_80GB", "accelerator_count": 4},
        ),
        (
            {"accelerator": "h100", "accelerators": 8},
            {"machine_type": "a3-highgpu-8g", "accelerator_type": "NVIDIA_H100_80GB", "accelerator_count": 8},
        ),
    ],
)
def test_a_shape_becomes_the_smallest_machine_that_has_it(compiled, shape, machine):
    specification = compiled(workers=2, shape=shape or None)
    assert [each["machine_spec"] for each in job_of(specification)["worker_pool_specs"]] == [machine, machine]
    gpu = [each.container_spec.image_uri.endswith("-gpu") for each in pools_of(specification)]
    assert gpu == [shape.get("accelerator") is not None] * 2


def test_what_only_a_job_has_makes_a_job_of_one_worker_too(compiled):
    specification = compiled(workers=1, shape=GPU, spot=True, timeout=3600, restart=False, boot_disk_size=500, boot_disk_type="pd-standard")
    (chief,) = pools_of(specification)
    job = job_of(specification)
    assert (job["strategy"], job["timeout"], job["restart_job_on_worker_restart"]) == ("SPOT", "3600s", False)
    assert (chief.replica_count, chief.disk_spec.boot_disk_size_gb, chief.disk_spec.boot_disk_type) == (1, 500, "pd-standard")


def test_a_slice_of_tpus_is_one_replica_that_names_its_topology(compiled):
    for chips, topology, machine in ((1, "1x1", "ct5lp-hightpu-1t"), (8, "2x4", "ct5lp-hightpu-8t")):
        specification = compiled(workers=1, shape={"accelerator": "tpu-v5e", "accelerators": chips}, tpu_topology=topology)
        assert [each["machine_spec"] for each in job_of(specification)["worker_pool_specs"]] == [{"machine_type": machine, "tpu_topology": topology}]


def test_a_reduction_server_is_the_third_pool_with_googles_image(compiled):
    specification = compiled(workers=3, shape=GPU, reduction_server={"replicas": 4})
    assert machines(specification) == [(1, "n1-standard-8"), (2, "n1-standard-8"), (4, "n1-highcpu-16")]
    assert pools_of(specification)[2].container_spec.image_uri == "us-docker.pkg.dev/vertex-ai-restricted/training/reductionserver:latest"


def test_a_job_is_not_started_twice_by_the_targets_retries(compiled):
    policies = [compiled(workers=each, retries=2)["root"]["dag"]["tasks"]["say-place"].get("retryPolicy") for each in (1, 2)]
    assert policies[0]["maxRetryCount"] == 2
    assert policies[1] is None


def test_a_job_is_cached_by_the_digest_of_its_machines_image(compiled):
    for digest, by_tag in ((None, [f"{REPOSITORY}/intermodal-train:{__version__}-gpu"]), ("sha256:" + "a" * 64, [])):
        specification = compiled(workers=3, shape=GPU, reduction_server={"replicas": 2}, digests={"train-gpu": digest} if digest else {})
        assert list(forbid_caching_by_tag(specification)) == by_tag
        assert bool(specification["root"]["dag"]["tasks"]["say-place"]["cachingOptions"]) is not bool(by_tag)
        machine = replica_of(specification, "comp-say-place")  # which is told what image it runs, where that is certain
        assert machine.get("env", []) == ([{"name": IMAGE_VARIABLE, "value": machine["image_uri"]}] if digest else [])


def test_a_replay_runs_the_task_itself_and_no_launcher(compiled):
    ordinary, job = compiled(workers=1), compiled(workers=2)
    restore(job, "comp-say-place")
    assert job["components"]["comp-say-place"]["inputDefinitions"] == ordinary["components"]["comp-say-place"]["inputDefinitions"]
    assert job["components"]["comp-say-place"]["outputDefinitions"] == ordinary["components"]["comp-say-place"]["outputDefinitions"]
    assert job["deploymentSpec"] == ordinary["deploymentSpec"]
    restore(job, "comp-say-place")
    assert job["deploymentSpec"] == ordinary["deploymentSpec"]


@pytest.mark.fault(
    "Wrong input",
    "settings of a CustomJob that no machine has, or that exclude each other",
    "refused when compiling, with the task, the value and the remedy",
)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"workers": 2, "shape": {"accelerator": "banana"}}, "there is no accelerator 'banana'"),
        ({"workers": 2, "shape": GPU | {"accelerators": 3}}, "no machine of Vertex AI has 3 NVIDIA_TESLA_T4; there are machines with 1, 2, 4"),
        ({"workers": 2, "shape": GPU | {"cpu": 64}}, "1 NVIDIA_TESLA_T4, 64 CPUs, 32G; the largest known is n1-"),
        ({"workers": 2, "shape": {"cpu": 4, "accelerator": "tpu-v5e", "accelerators": 4}}, "a CustomJob with TPUs has one replica; write workers: 1"),
        ({"workers": 1, "shape": {"accelerator": "tpu-v5e", "accelerators": 4}, "tpu_topology": "4x4"}, "take 1x1, 2x2, 2x4"),
        ({"workers": 1, "shape": {"accelerator": "tpu-v5e", "accelerators": 4}, "tpu_topology": "2x4"}, "write accelerators = 8"),
        ({"workers": 1, "shape": GPU, "tpu_topology": "2x2"}, "its shape has no TPUs"),
        (
            {"workers": 1, "shape": {"accelerator": "tpu-v5e", "accelerators": 4}, "reduction_server": {"replicas": 2}},
            "adds up what GPUs send by NCCL, and the shape has none",
        ),
        ({"workers": 2, "shape": {"cpu": 4}, "reduction_server": {"replicas": 2}}, "adds up what GPUs send by NCCL"),
        ({"workers": 1, "shape": GPU, "reduction_server": {"replicas": 2}}, "two workers or more, and workers is 1"),
        ({"workers": 2, "shape": GPU, "machine_type": "a2-highgpu-1g"}, "takes NVIDIA_TESLA_A100, and the shape has NVIDIA_TESLA_T4"),
        ({"workers": 2, "machine_type": "g2-standard-4"}, "comes with NVIDIA_L4: name them in a shape"),
        ({"workers": 2, "shape": GPU, "machine_type": "e2-standard-8"}, "takes no NVIDIA_TESLA_T4"),
        ({"workers": 2, "shape": GPU, "machine_type": "n1-standard-4"}, "has 4 CPUs and 16G, less than the shape asks for"),
    ],
)
def test_impossible_combinations_are_refused_with_the_remedy(compiled, given, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        compiled(**given)
    assert str(caught.value).startswith(("tasks.say-place", "shapes.wide"))


def test_a_machine_newer_than_our_table_is_taken_as_it_is_named(compiled):
    assert machines(compiled(workers=2, machine_type="c4-standard-8")) == [(1, "c4-standard-8"), (1, "c4-standard-8")]


def test_a_parameter_that_a_custom_job_has_too_is_refused(compiled):
    with pytest.raises(ConfigurationError, match="its parameter 'timeout' has the name of one of a CustomJob's"):
        compiled(entry="other")


def test_keys_of_a_job_for_a_task_without_workers_are_refused(tmp_path):
    settings = VertexSettings(
        project="my-project", region="europe-west4", root="gs://b/r", image_repository=REPOSITORY, tasks={"evaluate-model": {"spot": True}}
    )
    with pytest.raises(ConfigurationError, match=r"tasks\.evaluate-model: spot: only a task of a component with a parameter `workers`"):
        ClusterTarget("vertex", settings=settings).compile(load_job(Path("pipelines/flights.yaml")))


def test_keys_of_a_job_for_a_task_that_is_not_there_name_the_nearest(compiled):
    with pytest.raises(ConfigurationError, match="there is no task 'say-plaice' that runs a container in this pipeline; did you mean 'say-place'"):
        compiled(task="say-plaice", spot=True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("spott = true", "there is no such key; did you mean 'spot'"),
        ("boot_disk_size = 10", "boot_disk_size: Input should be greater than or equal to 100, not 10"),
        ("reduction_server = { machine_type = 'n1-highcpu-16' }", "reduction_server.replicas: this key is required"),
        ("node_selector = {}", "this key exists only on kubeflow; remove it"),
    ],
)
def test_a_wrong_key_is_named_with_its_place(tmp_path, line, words):
    path = tmp_path / "targets.toml"
    profile = "[profiles.dev.vertex]\nproject = 'my-project'\nregion = 'europe-west4'\nroot = 'gs://b'\nimage_repository = 'r'\n"
    path.write_text(f"{profile}[profiles.dev.vertex.tasks.train-model]\n{line}\n")
    with pytest.raises(ConfigurationError, match=words):
        load_targets(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_compiled_for_one_number_of_workers_is_refused_with_another(compiled, workers):
    specification = compiled(workers=workers)
    check_fixed(specification, ("workers",), {"training_workers": workers}, "spread.yaml")
    with pytest.raises(ConfigurationError) as caught:
        check_fixed(specification, ("workers",), {"training_workers": 3}, "spread.yaml")
    assert str(caught.value) == (
        f"the parameter 'training_workers' is 3 (int), and spread.yaml was compiled for {workers}: on this target workers of say-place is part of "
        "the compiled file; compile it again with training.workers=3, or submit the configuration, which is compiled on the way"
    )


def test_a_submission_refuses_another_number_and_compiles_a_configuration_for_it(compiled, tmp_path):
    write_specification(compiled(workers=2), tmp_path / "compiled.yaml")
    profile = "project = 'my-project'\nregion = 'europe-west4'\nroot = 'gs://b'\nimage_repository = 'r'\n"
    (tmp_path / "targets.toml").write_text(f"[profiles.dev.vertex]\n{profile}")
    destination = find_destination(load_targets(tmp_path / "targets.toml"), "vertex", "dev")
    assert prepare(tmp_path / "compiled.yaml", destination, parameters={"training_workers": 2}, key="k").parameters == {"training_workers": 2}
    with pytest.raises(ConfigurationError, match=r"'training_workers' is 3 .* was compiled for 2"):
        prepare(tmp_path / "compiled.yaml", destination, parameters={"training_workers": 3}, key="k")
    with pytest.raises(ConfigurationError, match=r"'training_workers' is 3 .* was compiled for 2"):
        prepare(tmp_path / "spread.yaml", destination, parameters={"training_workers": 3}, key="k")
    made = prepare(tmp_path / "spread.yaml", destination, overrides=["training.workers=3"], key="k")
    assert [each[0] for each in machines(made.specification)] == [1, 2]
    assert made.parameters["training_workers"] == 3


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda pools: pools[0].update(replica_count=2), "the chief's pool has 2 replicas"),
        (lambda pools: pools.__setitem__(1, {}), "the worker pool 1 has no replicas, is left out by Google's launcher"),
        (lambda pools: pools[1]["machine_spec"].clear(), "the worker pool 1 names no machine"),
        (lambda pools: pools[1]["machine_spec"].update(accelerator_type="BANANA"), "the worker pool 1 cannot be read"),
        (lambda pools: pools[0]["container_spec"].pop("image_uri"), "the worker pool 0 has no image"),
        (lambda pools: pools.extend([pools[1]] * 3), "there are 5 worker pools"),
    ],
)
def test_worker_pools_edited_by_hand_are_found_by_the_linter(compiled, edit, words):
    specification = compiled(workers=2)
    edit(job_of(specification)["worker_pool_specs"])
    found = [each for each in lint_documents([specification], "vertex", "spread.yaml") if each.rule == "vertex-worker-pools"]
    assert words in found[0].what
