"""The valid compiled files that are mutated: what this project ships, and pipelines with all that kfp can write."""

import tempfile
from pathlib import Path

import yaml
from kfp import compiler, dsl, kubernetes

from tests.linting.wired import WIRED

ROOT = Path(__file__).resolve().parents[2]
_image = {"base_image": "registry.example/team/say:1", "install_kfp_package": False}


@dsl.component(**_image)
def train(data: dsl.Input[dsl.Dataset], size: str, rows: int, model: dsl.Output[dsl.Model], table: str = "flights"):
    pass


@dsl.component(**_image)
def judge(model: dsl.Input[dsl.Model], verdicts: dict, verdict: dsl.OutputPath(str)):
    pass


@dsl.component(**_image)
def serve(model: dsl.Input[dsl.Model], verdict: str):
    pass


@dsl.pipeline(name="release")
def release(model: dsl.Input[dsl.Model], verdict: str):
    serve(model=model, verdict=verdict).set_display_name("serve it")


def _rich(accelerator, requests):
    @dsl.pipeline(name="rich")
    def rich(rows: int = 10, verdicts: dict = {"passed": True}, parts: list = [1, 2]):  # noqa: B006
        data = dsl.importer(artifact_uri="gs://bucket/flights", artifact_class=dsl.Dataset, metadata={"kind": "tables"})
        trained = train(data=data.output, size="small", rows=rows).set_cpu_limit("4").set_memory_limit("16G").set_retry(3, "10s", 2.0, "60s")
        trained.set_accelerator_type(accelerator).set_accelerator_limit(1).set_env_variable("EPOCHS", "5").set_env_variable(
            "STORE", "redis://cache:6379/0"
        )
        if requests:
            trained.set_cpu_request("2").set_memory_request("8G")
            kubernetes.use_secret_as_env(trained, "store", {"password": "STORE_PASSWORD"})
            kubernetes.use_secret_as_volume(trained, "certificates", "/certificates")
            kubernetes.use_config_map_as_env(trained, "settings", {"level": "LOG_LEVEL"})
            kubernetes.use_config_map_as_volume(trained, "settings", "/settings")
            kubernetes.mount_pvc(trained, "raw", "/data")
            kubernetes.add_toleration(trained, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
            kubernetes.add_node_selector(trained, "pool", "training")
            kubernetes.add_pod_label(trained, "team", "ml")
            kubernetes.set_image_pull_policy(trained, "IfNotPresent")
            kubernetes.set_timeout(trained, 3600)
            kubernetes.use_field_path_as_env(trained, "NODE", "spec.nodeName")
        judged = judge(model=trained.outputs["model"], verdicts=verdicts).set_caching_options(False)
        with dsl.If(judged.outputs["verdict"] == "passed"):
            release(model=trained.outputs["model"], verdict=judged.outputs["verdict"])
        with dsl.ParallelFor(parts, parallelism=2) as part:
            train(data=data.output, size="large", rows=part, table=f"flights-{part}")

    return rich


def _read(path):
    return list(yaml.safe_load_all((ROOT / "compiled" / path).read_text(encoding="utf-8")))


def _documents(pipeline):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


_KUBEFLOW = _documents(_rich("nvidia.com/gpu", requests=True))
for _name in ("comp-train", "comp-train-2"):
    # The specification of kfp 2.17 has literals; its compiler does not write them.
    _KUBEFLOW[0]["components"][_name]["inputDefinitions"]["parameters"]["size"]["literals"] = ["small", "large"]

#: Name to (documents, the platforms that it is for).
SUBJECTS = {
    "wired": ([WIRED], ("kubeflow", "vertex")),
    "rich-kubeflow": (_KUBEFLOW, ("kubeflow",)),
    "rich-vertex": (_documents(_rich("NVIDIA_TESLA_T4", requests=False)), ("vertex",)),
    "job": ([{"pipelineSpec": WIRED, "runtimeConfig": {"parameterValues": {"text": "a"}, "gcsOutputDirectory": "gs://bucket/root"}}], ("vertex",)),
    "flights-kubeflow": (_read("kubeflow/flights.yaml"), ("kubeflow",)),
    "flights-vertex": (_read("vertex/flights.yaml"), ("vertex",)),
    "batch-vertex": (_read("vertex/batch_prediction.yaml"), ("vertex",)),
    "component": (_read("components/train_model.yaml"), ("kubeflow", "vertex")),
}
