"""The Experiment of a task, without a cluster; `tests/workers/test_katib.py` gives it to Katib."""

import json
from dataclasses import replace

import pytest

from intermodal.compiler.build import compile_specification
from intermodal.platforms.kubeflow.settings import KubeflowSettings
from intermodal.platforms.kubeflow.workers import tune
from intermodal.runtime.errors import ConfigurationError
from intermodal.tuning.katib.manifest import dropped, make
from intermodal.tuning.roles import Plan
from tests.workers.small_search import lowest

SPACE = {
    "units": {"type": "int", "low": 8, "high": 64, "step": 8},
    "rate": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
    "kind": {"type": "categorical", "choices": ["relu", [64, 32], "two words"]},
}
PLAN = Plan(SPACE, "val_auc", ["val_loss"], maximize=True, trials=20, parallel=2, early_stopping="median", timeout=0.0, seed=7)
POD = {
    "metadata": {"name": "task", "uid": "u1"},
    "spec": {
        "serviceAccountName": "intermodal-pipeline",
        "nodeSelector": {"disk": "ssd"},
        "containers": [
            {
                "name": "main",
                "image": "registry.example/train@sha256:1",
                "env": [
                    {"name": "ARGO_TEMPLATE", "value": "{}"},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "k"}}},
                ],
                "resources": {"limits": {"memory": "2Gi"}},
            },
            {"name": "wait", "image": "registry.example/argoexec:1"},
        ],
    },
}


def experiment(plan=PLAN, exchange="s3://bucket/run/.trials/a1", command=("sh", "-c", 'echo "$0"')):
    return make(name="tune-model-0123456789", exchange=exchange, plan=plan, command=list(command), pod=POD)


def test_the_search_space_is_katibs():
    spec = experiment()["spec"]
    assert spec["parameters"] == [
        {"name": "kind", "parameterType": "categorical", "feasibleSpace": {"list": ["relu", "[64,32]", "%22two%20words%22"]}},
        {"name": "rate", "parameterType": "double", "feasibleSpace": {"min": "1e-05", "max": "0.1", "distribution": "logUniform"}},
        {"name": "units", "parameterType": "int", "feasibleSpace": {"min": "8", "max": "64", "step": "8"}},
    ]
    assert (spec["objective"]["type"], spec["objective"]["objectiveMetricName"]) == ("maximize", "val_auc")
    assert (spec["maxTrialCount"], spec["parallelTrialCount"], spec["earlyStopping"]["algorithmName"]) == (20, 2, "medianstop")
    assert "earlyStopping" not in experiment(replace(PLAN, early_stopping="none"))["spec"]


def test_a_trial_is_made_after_the_tasks_own_pod_and_no_shell_sees_its_command():
    template = experiment()["spec"]["trialTemplate"]
    pod = template["trialSpec"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (container["image"], container["resources"]) == ("registry.example/train@sha256:1", {"limits": {"memory": "2Gi"}})
    assert (pod["serviceAccountName"], pod["nodeSelector"]) == ("intermodal-pipeline", {"disk": "ssd"})
    given = {each["name"]: each.get("value") or each["valueFrom"] for each in container["env"]}
    assert given["KEY"] == {"secretKeyRef": {"name": "store", "key": "k"}}
    assert "ARGO_TEMPLATE" not in given
    assert container["command"] == ["python3", "-m", "intermodal.tuning.trial"]
    # Kubernetes makes one $ of two.
    assert json.loads(given["INTERMODAL_COMMAND"].replace("$$", "$")) == ["sh", "-c", 'echo "$0"']
    assert json.loads(given["INTERMODAL_TRIAL"])["rate"] == "${trialParameters.rate}"
    text = json.dumps(template["trialSpec"])
    assert all("${trialParameters." + each["name"] + "}" in text for each in template["trialParameters"])


def test_another_attempt_has_the_same_specification_and_another_search_has_not():
    hashes = [
        each["metadata"]["annotations"]["intermodal/specification"]
        for each in (experiment(), experiment(exchange="s3://bucket/run/.trials/b2"), experiment(replace(PLAN, trials=21)))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_what_katib_cannot_express_is_refused_and_what_it_drops_is_named():
    with pytest.raises(ConfigurationError, match=r"early_stopping is 'halving', and Katib ends trials early by none or median only"):
        experiment(replace(PLAN, early_stopping="halving"))
    with pytest.raises(ConfigurationError, match=r"space\.a\{b: Katib puts parameters into a template by their names"):
        experiment(replace(PLAN, space={"a{b": SPACE["units"]}))
    wanted = experiment()
    assert dropped(wanted, wanted) == ""
    older = json.loads(json.dumps(wanted))
    del older["spec"]["parameters"][1]["feasibleSpace"]["distribution"]
    assert dropped(wanted, older) == "space.rate: distribution"


def test_the_target_decides_where_trials_run():
    def command(**settings):
        specification = compile_specification(lowest)
        given = {"endpoint": "http://unused.example", "root": "s3://bucket/root", "image_repository": "unused.example", "start_timeout": 60}
        tune(specification, "comp-lowest", KubeflowSettings.model_validate(given | settings))
        return specification["deploymentSpec"]["executors"]["exec-lowest"]["container"]["command"]

    assert command()[0] == "sh"
    assert command(tuning="katib")[:6] == ["python3", "-m", "intermodal.tuning.katib", "--start-timeout", "60", "--"]
    assert command(tuning="katib")[6:] == command()
