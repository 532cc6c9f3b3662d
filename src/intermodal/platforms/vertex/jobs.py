"""A task whose workers run on several machines: a CustomJob of Vertex AI, by google-cloud-pipeline-components.

Each machine runs the task's own command, with the same executor input; Vertex AI mounts the artifacts, and tells each its place (`CLUSTER_SPEC`,
`TF_CONFIG`). The launcher creates the job, waits for its end, and writes the job's name to the output `gcp_resources`.
"""

import copy
import re
from typing import Any

import yaml

from intermodal.authoring.images import image_of
from intermodal.compiler.specification import Specification, compiled_value, component_container, graphs, parameters_of, replica_of
from intermodal.platforms.vertex.machines import machine_spec
from intermodal.platforms.vertex.settings import VertexSettings, VertexTaskSettings
from intermodal.runtime.errors import ConfigurationError, MachineError

# The executor's input, and the same inside a text of a JSON text.
_INPUT, _ESCAPED = "{{$}}", "{{$.json_escape[1]}}"
#: Filled in by Vertex AI when the task starts: what the pipeline's job has.
_ACCOUNT, _NETWORK, _KEY = "{{$.pipeline_service_account}}", "{{$.pipeline_network}}", "{{$.pipeline_encryption_key_name}}"


def distribute(specification: Specification, component: str, settings: VertexSettings | None) -> None:
    """Make a component a CustomJob, in place, where it has more than one worker or settings that only a CustomJob understands.

    See `Platform.distribute` for the arguments. Such a task gets no retries of the target: a second launcher follows the job that the first one
    created, which has failed; Vertex AI itself restarts a job that loses a worker.

    Raises:
        ConfigurationError: There is no such machine, the number of workers is not known when compiling, or settings exclude each other.
        MachineError: google-cloud-pipeline-components is not installed.
    """
    tasks = {name: task for graph in graphs(specification) for name, task in graph["tasks"].items() if task["componentRef"]["name"] == component}
    for name, task in tasks.items():
        given = (settings.tasks if settings else {}).get(name) or VertexTaskSettings()
        workers = _workers(specification, name)
        if workers > 1 or given.job_keys:
            pools = _pools(specification, component, name, workers, given)
            _replace(specification, component, pools, name, given, settings.labels if settings else {})
            task.pop("retryPolicy", None)


def _workers(specification: Specification, task: str) -> int:
    value, _ = compiled_value(specification, task, "workers")
    if value is None:
        raise ConfigurationError(
            f"{task}: another task gives its `workers`, and a job of Vertex AI has as many machines as the compiled file says; write a number"
        )
    return int(value)


def _pools(specification: Specification, component: str, task: str, workers: int, given: VertexTaskSettings) -> list[dict[str, Any]]:
    """Return the job's worker pools without their containers: the chief, the other workers, the reduction servers."""
    container = component_container(specification, component)
    where = f"tasks.{task}" + (f" (shapes.{given.shape})" if given.shape else "")
    machine = machine_spec(where, container.get("resources", {}), given.machine_type, given.tpu_topology)
    kind = machine.get("accelerator_type", "")
    if "tpu_topology" in machine and workers > 1:
        raise ConfigurationError(f"{where}: workers is {workers}, and a CustomJob with TPUs has one replica; write workers: 1")
    pool = {"machine_spec": machine, "disk_spec": {"boot_disk_type": given.boot_disk_type, "boot_disk_size_gb": given.boot_disk_size}}
    pools = [pool | {"replica_count": count} for count in (1, workers - 1) if count]
    if given.reduction_server:
        if "tpu_topology" in machine or not kind.startswith("NVIDIA"):
            raise ConfigurationError(f"{where}: a reduction server adds up what GPUs send by NCCL, and the shape has none; remove `reduction_server`")
        if workers < 2:
            raise ConfigurationError(f"{where}: a reduction server is for two workers or more, and workers is {workers}; remove `reduction_server`")
        server = given.reduction_server
        servers = {"machine_spec": {"machine_type": server.machine_type}, "container_spec": {"image_uri": server.image}}
        pools.append(servers | {"replica_count": server.replicas})
    return pools


def _replace(
    specification: Specification, component: str, pools: list[dict[str, Any]], task: str, given: VertexTaskSettings, labels: dict[str, str]
) -> None:
    """Put Google's launcher in the place of what a component runs, which becomes what the job's machines run."""
    try:
        from google.protobuf import json_format
        from google_cloud_pipeline_components.v1.custom_job import CustomTrainingJobOp, create_custom_training_job_from_component
        from kfp.components import load_component_from_text
    except ModuleNotFoundError as error:
        raise MachineError(f"{task} becomes a CustomJob of Vertex AI, and {error.name} is not installed: pip install 'intermodal[vertex]'") from error
    definition, container = specification["components"][component], component_container(specification, component)
    if taken := sorted(parameters_of(specification, component).keys() & (CustomTrainingJobOp.component_spec.inputs or {}).keys()):
        raise ConfigurationError(f"{task}: its parameter {taken[0]!r} has the name of one of a CustomJob's; rename it in the component")
    made = create_custom_training_job_from_component(
        load_component_from_text(yaml.safe_dump(_alone(specification, task, definition, container))),
        display_name=task,
        timeout=f"{given.timeout:g}s",
        restart_job_on_worker_restart=given.restart,
        strategy="SPOT" if given.spot else "STANDARD",
        service_account=_ACCOUNT,
        network=_NETWORK,
        encryption_spec_key_name=_KEY,
        env=container.get("env"),
        labels=labels,
        # Left out, they have no default, and stand in the launcher's JSON as written.
        reserved_ip_ranges=[],
        psc_interface_config={},
    )
    theirs = json_format.MessageToDict(made.pipeline_spec)
    (job,), (launcher,) = theirs["components"].values(), theirs["deploymentSpec"]["executors"].values()
    parameter = job["inputDefinitions"]["parameters"]["worker_pool_specs"]
    (replica,) = parameter["defaultValue"]
    parameter["defaultValue"] = [{"container_spec": copy.deepcopy(replica["container_spec"])} | copy.deepcopy(pool) for pool in pools]
    label = definition["executorLabel"]
    specification["components"][component] = job | {"executorLabel": label}
    specification["deploymentSpec"]["executors"][label] = launcher


def restore(specification: Specification, component: str) -> None:
    """Put back, in place, what a component ran before `distribute`: it runs on any machine then, and starts its workers itself.

    A component that is no job of ours stays.
    """
    definition = specification["components"][component]
    replica = replica_of(specification, component)
    if not image_of(replica.get("image_uri", "")):
        return
    theirs = set(re.findall(r"\$\.inputs\.parameters\['(\w+)'\]", " ".join(component_container(specification, component)["args"])))
    for kind, names in (("inputDefinitions", theirs), ("outputDefinitions", {"gcp_resources"})):
        parameters = definition[kind]["parameters"]
        definition[kind] = definition[kind] | {"parameters": {name: each for name, each in parameters.items() if name not in names}}
    words = {kind: [_INPUT if each == _ESCAPED else each for each in replica.get(kind, [])] for kind in ("command", "args")}
    env = {"env": replica["env"]} if replica.get("env") else {}
    specification["deploymentSpec"]["executors"][definition["executorLabel"]] = {"container": {"image": replica["image_uri"]} | words | env}


def _alone(specification: Specification, task: str, definition: dict[str, Any], container: dict[str, Any]) -> Specification:
    """Return a component as kfp writes it into a file of its own, which is what Google's function takes."""
    name = f"comp-{task}"
    inputs = {
        kind: {key: {f"componentInput{kind[:-1].title()}": key} for key in definition.get("inputDefinitions", {}).get(kind, {})}
        for kind in ("artifacts", "parameters")
    }
    one = {"componentRef": {"name": name}, "inputs": inputs, "taskInfo": {"name": task}}
    return {
        "components": {name: definition | {"executorLabel": f"exec-{task}"}},
        "deploymentSpec": {"executors": {f"exec-{task}": {"container": container}}},
        "pipelineInfo": {"name": task},
        "root": {"dag": {"tasks": {task: one}}, "inputDefinitions": definition.get("inputDefinitions", {})},
        "schemaVersion": specification["schemaVersion"],
        "sdkVersion": specification["sdkVersion"],
    }
