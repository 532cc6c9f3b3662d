"""The Experiment of a task: the search as Katib has it, and trials whose pods are made after the task's own pod."""

import hashlib
import json
import re
from typing import Any, Final

from intermodal.runtime.errors import ConfigurationError
from intermodal.tuning.katib.api import API_VERSION, EXPERIMENT
from intermodal.tuning.roles import Plan
from intermodal.tuning.trial import COMMAND, REPORT, TRIAL
from intermodal.tuning.values import labels
from intermodal.workers.ownership import SPECIFICATION
from intermodal.workers.trainjob.manifest import EXCHANGE, NODE, own_container, owner_reference, placement_of, variables_of

#: Our early stopping by Katib's: Optuna's MedianPruner waits for five trials, and for no epoch.
_EARLY_STOPPING: Final[dict[str, dict[str, Any] | None]] = {
    "none": None,
    "median": {
        "algorithmName": "medianstop",
        "algorithmSettings": [{"name": "min_trials_required", "value": "5"}, {"name": "start_step", "value": "1"}],
    },
}
_NAME: Final = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
#: The trial's own name, where Katib puts it into the template.
_TRIAL_NAME: Final = "intermodalTrialName"
#: Folders that a trial writes to.
_SCRATCH: Final = ("tmp", "s3", "gcs", "minio")


def make(*, name: str, exchange: str, plan: Plan, command: list[str], pod: dict[str, Any]) -> dict[str, Any]:
    """Return an Experiment whose trials run a task's command with the image, the resources and the secrets of the task's own pod.

    Args:
        name: Its name.
        exchange: URI of the folder that gets the trials' reports.
        plan: The search.
        command: The task's command.
        pod: The task's own pod.

    Raises:
        ConfigurationError: Katib cannot express the search.
    """
    if plan.early_stopping not in _EARLY_STOPPING:
        raise ConfigurationError(
            f"early_stopping is {plan.early_stopping!r}, and Katib ends trials early by {' or '.join(_EARLY_STOPPING)} only; write one of these, or "
            'remove tuning = "katib" from targets.toml'
        )
    spec: dict[str, Any] = {
        "objective": {
            "type": "maximize" if plan.maximize else "minimize",
            "objectiveMetricName": plan.metric,
            "additionalMetricNames": plan.others,
            # The last line of a trial has the numbers of the epoch whose weights are kept.
            "metricStrategies": [{"name": each, "value": "latest"} for each in (plan.metric, *plan.others)],
        },
        "algorithm": {"algorithmName": "tpe", "algorithmSettings": [{"name": "random_state", "value": str(plan.seed)}]},
        "parameters": [_parameter(parameter, searched) for parameter, searched in sorted(plan.space.items())],
        "parallelTrialCount": plan.parallel,
        "maxTrialCount": plan.trials,
        # A search whose trials all fail has failed; a part of them may.
        "maxFailedTrialCount": plan.trials,
        "resumePolicy": "Never",
        "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
        "trialTemplate": {
            "primaryContainerName": NODE,
            "successCondition": 'status.conditions.#(type=="Complete")#|#(status=="True")#',
            "failureCondition": 'status.conditions.#(type=="Failed")#|#(status=="True")#',
            "retain": True,  # Katib would delete the pod of a trial that failed before anybody has read why
            "trialParameters": [
                *({"name": each, "reference": each} for each in sorted(plan.space)),
                {"name": _TRIAL_NAME, "reference": "${trialSpec.Name}"},
            ],
            "trialSpec": _job(name, exchange, plan, command, pod),
        },
    }
    if early_stopping := _EARLY_STOPPING[plan.early_stopping]:
        spec["earlyStopping"] = early_stopping
    compared = json.dumps(spec, sort_keys=True).replace(exchange, "")
    return {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "intermodal"},
            "annotations": {SPECIFICATION: hashlib.sha256(compared.encode()).hexdigest()[:16], EXCHANGE: exchange},
            "ownerReferences": [owner_reference(pod)],
        },
        "spec": spec,
    }


def dropped(wanted: dict[str, Any], taken: dict[str, Any]) -> str:
    """Return which part of a search the installed Katib would not keep; empty where it keeps all.

    Its definitions let every field pass, and its webhook removes those that the version does not know.

    Args:
        wanted: The Experiment.
        taken: What the cluster would make of it.
    """
    for asked, kept in zip(wanted["spec"]["parameters"], taken["spec"].get("parameters", []), strict=True):
        if missing := sorted(set(asked["feasibleSpace"]) - set(kept.get("feasibleSpace", {}))):
            return f"space.{asked['name']}: {', '.join(missing)}"
    return ", ".join(sorted(set(wanted["spec"]) - set(taken["spec"])))


def _parameter(name: str, searched: dict[str, Any]) -> dict[str, Any]:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"space.{name}: Katib puts parameters into a template by their names; take one of letters, digits, _ and -")
    if searched["type"] == "categorical":
        return {"name": name, "parameterType": "categorical", "feasibleSpace": {"list": labels(searched["choices"])}}
    whole = searched["type"] == "int"
    feasible = {"min": _text(searched["low"], whole), "max": _text(searched["high"], whole)}
    if searched.get("step") is not None:
        feasible["step"] = _text(searched["step"], whole)
    if searched.get("log"):
        feasible["distribution"] = "logUniform"
    return {"name": name, "parameterType": "int" if whole else "double", "feasibleSpace": feasible}


def _text(value: float, whole: bool) -> str:
    return str(int(value)) if whole else repr(float(value))


def _job(name: str, exchange: str, plan: Plan, command: list[str], pod: dict[str, Any]) -> dict[str, Any]:
    """Return the Job of a trial.

    The command and the values are variables: Katib's webhook joins a container's words by spaces and hands them to a shell.
    """
    container, placement = own_container(pod), placement_of(pod, own_container(pod))
    values = {each: "${trialParameters." + each + "}" for each in sorted(plan.space)}
    given = {
        COMMAND: json.dumps(command).replace("$", "$$"),  # Kubernetes makes one of two
        TRIAL: json.dumps(values),
        REPORT: f"{exchange}/${{trialParameters.{_TRIAL_NAME}}}",
    }
    mounts = [{"name": "intermodal-scratch", "mountPath": f"/{each}", "subPath": each} for each in _SCRATCH]
    patched = placement.pop("containers", [{}])[0]
    trial = {
        "name": NODE,
        "image": container["image"],
        "command": ["python3", "-m", "intermodal.tuning.trial"],
        "env": [*variables_of(container), *({"name": key, "value": value} for key, value in given.items())],
        "resources": {key: each for key, each in container.get("resources", {}).items() if each},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [*mounts, *patched.get("volumeMounts", [])],
    }
    spec = placement | {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [{key: each for key, each in trial.items() if each}],
        "volumes": [{"name": "intermodal-scratch", "emptyDir": {}}, *placement.get("volumes", [])],
    }
    marks = {EXPERIMENT: name, "sidecar.istio.io/inject": "false"}
    template = {"metadata": {"labels": marks, "annotations": {"sidecar.istio.io/inject": "false"}}, "spec": spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": template}}
