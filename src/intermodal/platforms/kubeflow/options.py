"""The second document of a file compiled for Kubeflow: what only Kubernetes knows of a task. Written by kfp-kubernetes itself."""

from dataclasses import dataclass, field
from typing import Any

from intermodal.compiler.resources import container_of
from intermodal.compiler.specification import Specification, executor_of, graphs
from intermodal.configuration.targets import Shape
from intermodal.platforms.kubeflow.resources import node_label
from intermodal.platforms.kubeflow.settings import KubeflowTaskSettings
from intermodal.runtime.errors import ConfigurationError


@dataclass
class _Options:
    """The one attribute of a kfp task that kfp-kubernetes writes to."""

    platform_config: dict[str, Any] = field(default_factory=dict)


def platform_document(
    specification: Specification, tasks: dict[str, KubeflowTaskSettings], shapes: dict[str, Shape], labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the platform document of a pipeline.

    Args:
        specification: The compiled pipeline.
        tasks: Task name to its settings.
        shapes: Shape name to shape: one with an accelerator brings its node selector.
        labels: For every task's pod.

    Returns:
        The document; empty when there is nothing to say.

    Raises:
        ConfigurationError: There is no such task, or kfp-kubernetes is not installed.
    """
    wanted = {name: settings for name, settings in tasks.items() if settings.has_options or _selector(settings, shapes)}
    for name in wanted:
        container_of(specification, name)  # says so where there is none
    executors = {}
    for graph in graphs(specification):
        for name, task in graph["tasks"].items():
            if "container" in (executor_of(specification, task) or {}) and (name in wanted or labels):
                label = specification["components"][task["componentRef"]["name"]]["executorLabel"]
                executors[label] = _written(wanted.get(name, KubeflowTaskSettings()), shapes, labels or {})
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}} if executors else {}


def _written(settings: KubeflowTaskSettings, shapes: dict[str, Shape], labels: dict[str, str]) -> dict[str, Any]:
    try:
        from kfp import kubernetes
    except ImportError as error:
        raise ConfigurationError("options of Kubernetes need kfp-kubernetes: pip install 'intermodal[kubeflow]'") from error
    task: Any = _Options()
    for secret in settings.secrets:
        if secret.env:
            kubernetes.use_secret_as_env(task, secret.name, {key: variable for variable, key in secret.env.items()})
        if secret.path:
            kubernetes.use_secret_as_volume(task, secret.name, secret.path)
    for volume in settings.volumes:
        kubernetes.mount_pvc(task, volume.claim, volume.path)
    for toleration in settings.tolerations:
        kubernetes.add_toleration(task, key=toleration.key, operator=toleration.operator, value=toleration.value, effect=toleration.effect)
    for key, value in (_selector(settings, shapes) | settings.node_selector).items():
        kubernetes.add_node_selector(task, key, value)
    for key, value in labels.items():
        kubernetes.add_pod_label(task, key, value)
    written: dict[str, Any] = task.platform_config.get("kubernetes", {})
    return written


def _selector(settings: KubeflowTaskSettings, shapes: dict[str, Shape]) -> dict[str, str]:
    shape = shapes.get(settings.shape or "")
    if shape is None or shape.accelerator is None:
        return {}
    label, value = node_label(settings.shape or "", shape)
    return {label: value} | ({"cloud.google.com/gke-tpu-topology": settings.tpu_topology} if settings.tpu_topology else {})
