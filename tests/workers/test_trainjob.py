"""Tasks with several workers on the real Kubeflow Trainer, with a small task in place of a training; `test_training.py` trains."""

import json
import re
import time

import pytest
from kubernetes.stream import stream

from tests.workers.conftest import TRAINJOBS
from tests.workers.small_task import share


def test_two_workers_share_the_rows_and_the_chiefs_outputs_arrive_where_kfp_takes_them(space, examples):
    done = space.launch(share, examples, workers=2, wait=True)
    assert done.status == 0, done.log
    assert (done.output("model") / "variables" / "all").read_text().split() == [f"row{number:03}" for number in range(100)]
    assert (done.output("model") / "saved_model.pb").read_bytes() == b"\x00\xff"
    assert not done.output("unwritten").exists()
    written = done.executor_output
    assert written["parameterValues"] == {"rows": 100}
    (model,) = written["artifacts"]["model"]["artifacts"]
    assert model["uri"] == f"{done.root}/model"
    assert model["metadata"] == {"attempt": "0", "checkpoints": f"{done.root}/.checkpoints"}
    # The chief's log is the task's log; the folder that the workers shared is gone.
    assert re.search(r"^worker 0 of 2 of workers=2 in attempt 0: finish$", done.log, re.MULTILINE)
    assert "Contents" not in space.store.list_objects_v2(Bucket="pipelines", Prefix=done.root.split("/", 3)[3])


def test_one_worker_is_the_tasks_own_process(space, examples):
    done = space.launch(share, examples, workers=1)
    assert done.wait().job is None
    assert "worker 0 of 1 of workers=1 in attempt none: finish" in done.log


@pytest.mark.fault("Training", "the command of a worker fails", "the task fails with the worker's own last words, after three more attempts")
def test_a_worker_that_fails_is_named_with_its_last_words(space, examples):
    done = space.launch(share, examples, workers=2, what="raise").wait(180)
    assert done.status == 1, done.log
    words = "worker 1 ended with status 1: ValueError: no such thing as a column"
    assert re.search(rf"JobFailedError: TrainJob .* failed after 4 attempts .*: {words}", done.log)
    assert f"all workers start again (attempt 2): {words}" in done.log
    assert not done.output("model").exists()


@pytest.mark.fault("Training", "a worker finds its data wrong", "no second attempt is made: it would find the same")
def test_wrong_data_is_not_tried_again(space, examples):
    done = space.launch(share, examples, workers=2, what="wrong data", wait=True)
    assert done.status == 1, done.log
    assert "DataError: examples: the column 'late' is missing; correct label" in done.log
    assert "attempt 2" not in done.log
    # The TrainJob stays, to be looked at; the same task, started again, does not take its state for its own.
    failed = done.job
    assert failed
    again = space.launch(share, examples, root=done.root, workers=2, wait=True)
    assert again.status == 0, again.log
    assert "of an earlier attempt failed: it is replaced" in again.log
    assert again.job["metadata"]["name"] == failed["metadata"]["name"]
    assert again.job["metadata"]["uid"] != failed["metadata"]["uid"]


@pytest.mark.fault("Training", "a worker takes more memory than its limit", "the task fails at once, and says the limit and what to change")
def test_out_of_memory_is_said_in_words(space, examples):
    limits = {"requests": {"cpu": "10m"}, "limits": {"memory": "256Mi"}}
    done = space.launch(share, examples, workers=2, what="eat", resources=limits, wait=True)
    assert done.status == 1, done.log
    assert re.search(r"worker 1 ran out of memory.*256.*; give the task a shape with more memory, or take a smaller batch_size", done.log)
    assert "attempt 2" not in done.log


@pytest.mark.fault("Training", "the workers' image cannot be pulled", "the task fails within a minute and names the image")
def test_an_image_that_cannot_be_pulled_is_named(space, examples):
    done = space.launch(share, examples, workers=2, after={"image": "registry.example/team/intermodal-train:0"}, wait=True)
    assert done.status == 1, done.log
    assert re.search(r"cannot get its image registry\.example/team/intermodal-train:0 \(.*\); push it", done.log)
    space.until(lambda: done.job is None)


@pytest.mark.fault("Training", "no node can take the workers", "the task says why, waits for the start timeout, and leaves nothing behind")
def test_pods_that_no_node_takes_end_with_the_start_timeout(space, examples):
    done = space.launch(share, examples, workers=2, after={"nodeSelector": {"disk": "none"}}, settings={"start_timeout": 8}, wait=True)
    assert done.status == 1, done.log
    assert re.search(r"not all of its 2 pods have started after 8 s; no node takes pod .*node\(s\) didn't match", done.log)
    space.until(lambda: done.job is None)


@pytest.mark.fault(
    "Training",
    "the TrainJob is put into a queue while it runs, and let go",
    "the task says so, the start timeout does not count, and the new pods do not use the addresses of the old ones",
)
def test_a_suspended_job_is_said_to_be_queued_and_its_new_pods_find_each_other(space, examples):
    started = space.launch(share, examples, workers=2, settings={"training_queue": "somebody", "start_timeout": 8}, what="wait once")
    job = space.until(lambda: started.job)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "somebody"
    where = (*TRAINJOBS, space.name, "trainjobs", job["metadata"]["name"])
    started.running(1)
    space.custom.patch_namespaced_custom_object(*where, {"spec": {"suspend": True}})
    space.until(lambda: "is suspended: it waits in a queue (Kueue)" in started.log)
    time.sleep(9)
    assert started.phase == "Running"
    space.custom.patch_namespaced_custom_object(*where, {"spec": {"suspend": False}})
    started.running(1)
    space.core.delete_namespaced_pod(started.workers()[1].metadata.name, space.name, grace_period_seconds=0)
    assert started.wait().status == 0, started.log
    # JobSet counts no attempt for it: what the pods said before is in the folder still.
    before, after = re.findall(r"^worker 0 of 2, attempt 0: (.*)$", started.log, re.MULTILINE)
    assert not set(before.split(", ")) & set(after.split(", "))


@pytest.mark.fault("Training", "a webhook of the cluster refuses the TrainJob", "its words are the task's error, at once")
def test_a_refusal_is_passed_on(space, examples):
    done = space.launch(share, examples, workers=2, settings={"training_runtime": "TrainingRuntime/unknown"}, wait=True)
    assert done.status == 1, done.log
    assert re.search(r"PlatformError: creating TrainJob .* refused: .*denied the request.*unknown", done.log)


@pytest.mark.fault("Training", "the task's account may not create a TrainJob", "the task names the permission and the file with the Role")
def test_an_account_without_the_role_is_told_what_it_lacks(space, examples):
    done = space.launch(share, examples, workers=2, account="default", wait=True)
    assert done.status == 1, done.log
    assert re.search(r"DeniedError: .*cannot list resource .pods.*infra/kubernetes/workers\.yaml", done.log)


@pytest.mark.fault("Training", "the pod of a worker is lost, the chief's or another", "all start again, and the task ends as if nothing had happened")
@pytest.mark.parametrize("victim", [0, 1])
def test_the_loss_of_a_pod_starts_all_workers_again(space, examples, victim):
    started = space.launch(share, examples, workers=2, what="wait once")
    pod = started.running(victim)
    space.core.delete_namespaced_pod(pod.metadata.name, space.name, grace_period_seconds=0)
    done = started.wait()
    assert done.status == 0, done.log
    assert "all workers start again (attempt 2)" in done.log
    assert "in attempt 1: wait once" in done.log
    (model,) = done.executor_output["artifacts"]["model"]["artifacts"]
    assert model["metadata"]["attempt"] == "1"
    assert done.executor_output["parameterValues"] == {"rows": 100}


@pytest.mark.fault("Training", "a node is drained", "workers get SIGTERM and the time for a last checkpoint; the restart counts as no failure")
def test_an_eviction_lets_the_worker_write_a_last_checkpoint(space, examples):
    started = space.launch(share, examples, workers=2, what="wait once")
    name = started.running(0).metadata.name
    space.core.create_namespaced_pod_eviction(name, space.name, {"metadata": {"name": name, "namespace": space.name}})
    done = started.wait()
    assert done.status == 0, done.log
    assert "a last checkpoint" in done.log
    assert "all workers start again (attempt 2)" in done.log


@pytest.mark.fault("Training", "training goes on for longer than training_timeout", "all its pods are ended, and the task fails and says so")
def test_a_timeout_ends_the_job(space, examples):
    done = space.launch(share, examples, workers=2, what="wait", settings={"training_timeout": 12}, wait=True)
    assert done.status == 1, done.log
    assert re.search(r"TrainJob .* failed \(DeadlineExceeded", done.log)
    space.until(lambda: not done.workers())


@pytest.mark.fault("Training", "the run is cancelled: SIGTERM", "the TrainJob and its pods are deleted before the task ends")
def test_a_cancelled_task_deletes_its_job(space, examples):
    started = space.launch(share, examples, workers=2, what="wait")
    started.running(1)
    stream(space.core.connect_get_namespaced_pod_exec, started.pod, space.name, command=["sh", "-c", "kill -TERM 1"], stdout=True, stderr=True)
    done = started.wait()
    assert done.status == 143
    assert re.search(r"the task was asked to end \(SIGTERM\)\. TrainJob .* is deleted, ", done.log)
    space.until(lambda: done.job is None and not done.workers())


@pytest.mark.fault("Training", "the task's pod is deleted and has no time to clean up", "Kubernetes deletes its TrainJob: the pod owns it")
def test_a_job_goes_with_the_pod_of_its_task(space, examples):
    started = space.launch(share, examples, workers=2, what="wait")
    started.running(1)
    space.core.delete_namespaced_pod(started.pod, space.name, grace_period_seconds=0)
    space.until(lambda: started.job is None)


@pytest.mark.fault("Training", "the task's process is killed while its workers train", "its next attempt takes over the running TrainJob")
def test_a_task_that_is_started_again_follows_its_own_running_job(space, examples):
    first = space.launch(share, examples, workers=2, what="wait once")
    victim = first.running(1)
    job = first.job
    first.kill()
    assert first.status == 137
    again = space.launch(share, examples, root=first.root, workers=2, what="wait once")
    space.until(lambda: "is there already, from an earlier attempt of this task: it is followed" in again.log)
    space.core.delete_namespaced_pod(victim.metadata.name, space.name, grace_period_seconds=0)
    assert again.wait().status == 0, again.log
    assert again.job["metadata"]["uid"] == job["metadata"]["uid"]
    assert (again.output("model") / "saved_model.pb").exists()


def test_secrets_reach_the_workers_by_reference_and_what_the_backend_sets_does_not(space, examples):
    started = space.launch(share, examples, workers=2, what="wait")
    pod = started.running(1)
    text = json.dumps(started.job)
    assert "not-in-any-manifest" not in text
    assert "ARGO_TEMPLATE" not in text
    found = {each.name: each for each in pod.spec.containers[0].env}
    assert found["AWS_SECRET_ACCESS_KEY"].value_from.secret_key_ref.key == "secretkey"
    assert pod.spec.service_account_name == "intermodal-pipeline"
    assert pod.spec.automount_service_account_token is False
    assert pod.spec.containers[0].resources.requests == {"cpu": "10m"}
    space.core.delete_namespaced_pod(started.pod, space.name, grace_period_seconds=0)
