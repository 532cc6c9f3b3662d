"""Tasks whose work is done by other pods: their command creates a TrainJob or an Experiment, whose pods run what was the task's own command."""

from typing import Any

from intermodal.compiler.specification import Specification, component_container, parameters_of
from intermodal.platforms.kubeflow.settings import KubeflowSettings


def distribute(specification: Specification, component: str, settings: KubeflowSettings | None) -> None:
    """Wrap the command of a component; see `Platform.distribute` and `intermodal.workers.trainjob`."""
    options: dict[str, Any] = {"workers": int(parameters_of(specification, component)["workers"].get("defaultValue", 1))}
    fields = KubeflowSettings.model_fields
    options["runtime"] = settings.training_runtime if settings else fields["training_runtime"].default
    options["start-timeout"] = int(settings.start_timeout if settings else fields["start_timeout"].default)
    if settings:
        options |= {"queue": settings.training_queue, "timeout": settings.training_timeout}
    _wrap(specification, component, "intermodal.workers.trainjob", options)


def tune(specification: Specification, component: str, settings: KubeflowSettings | None) -> None:
    """Wrap the command of a component that searches, where the target's trials run on Katib; see `Platform.tune` and `intermodal.tuning.katib`."""
    if settings and settings.tuning == "katib":
        _wrap(specification, component, "intermodal.tuning.katib", {"start-timeout": int(settings.start_timeout)})


def _wrap(specification: Specification, component: str, module: str, options: dict[str, Any]) -> None:
    container = component_container(specification, component)
    words = [word for key, value in options.items() if value for word in (f"--{key}", str(value))]
    container["command"] = ["python3", "-m", module, *words, "--", *container.get("command", [])]
