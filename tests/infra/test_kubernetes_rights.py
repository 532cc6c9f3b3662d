"""What the manifests hand out, on a real API server: each call that the components make is allowed, and everything else is refused."""

import os
import time
import uuid
from pathlib import Path

import pytest
import yaml
from kubernetes import client, config, utils

from intermodal.compiler.build import compile_specification
from intermodal.platforms.kubeflow.options import platform_document
from intermodal.platforms.kubeflow.settings import KubeflowTaskSettings
from tests.runner.pipelines import conditional

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = [ROOT / "infra/kubernetes/accounts.yaml", ROOT / "infra/kubernetes/submitter.yaml", ROOT / "components/deploy_kserve/role.yaml"]
pytestmark = pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="needs a cluster with KServe: set KUBECONFIG")


@pytest.fixture(scope="module")
def namespace():
    config.load_kube_config(os.environ["KUBECONFIG"])
    core, name = client.CoreV1Api(), f"rights-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            utils.create_from_dict(client.ApiClient(), document, namespace=name)
    core.create_namespaced_secret(name, {"metadata": {"name": "mlflow"}, "stringData": {"password": "open-sesame"}})
    yield name
    core.delete_namespace(name, propagation_policy="Background")


def as_account(namespace, account):
    """Return a client that is the service account, by a token that the API server issued."""
    review = client.CoreV1Api().create_namespaced_service_account_token(account, namespace, {"spec": {"expirationSeconds": 600}})
    admin = client.Configuration.get_default_copy()
    configuration = client.Configuration(host=admin.host)
    configuration.ssl_ca_cert = admin.ssl_ca_cert
    configuration.api_key = {"authorization": review.status.token}
    configuration.api_key_prefix = {"authorization": "Bearer"}
    return client.ApiClient(configuration)


@pytest.fixture(scope="module")
def pipeline(namespace):
    return as_account(namespace, "intermodal-pipeline")


def rules(api, namespace) -> set:
    """Return what an account may do, (group, resource, name, verb), without what every account may."""
    body = {"spec": {"namespace": namespace}}
    found = client.AuthorizationV1Api(api).create_self_subject_rules_review(body).status.resource_rules
    return {
        (group, resource, name, verb)
        for rule in found
        for group in rule.api_groups or []
        for resource in rule.resources or []
        for name in rule.resource_names or [""]
        for verb in rule.verbs
        if group not in ("authorization.k8s.io", "authentication.k8s.io")
    }


def test_the_pipelines_account_may_do_exactly_what_is_listed(pipeline, namespace):
    service = "serving.kserve.io"
    assert rules(pipeline, namespace) == {
        *((service, "inferenceservices", "", verb) for verb in ("get", "create", "patch", "delete")),
        *(("coordination.k8s.io", "leases", "", verb) for verb in ("get", "create", "update", "delete")),
        ("", "pods", "", "list"),
        ("", "pods", "", "get"),
        ("", "pods/log", "", "get"),
        ("", "pods/proxy", "", "create"),
        ("", "configmaps", "kfp-launcher", "get"),
        ("", "secrets", "mlpipeline-minio-artifact", "get"),
        *(("argoproj.io", "workflowtaskresults", "", verb) for verb in ("create", "patch")),
    }


def test_the_predictors_account_may_do_nothing(namespace):
    assert rules(as_account(namespace, "intermodal-predictor"), namespace) == set()


def test_every_call_that_deploy_model_makes_is_allowed(pipeline, namespace):
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "model"},
        "spec": {"predictor": {"containers": [{"name": "kserve-container", "image": "registry.example/serve:1"}]}},
    }
    custom = client.CustomObjectsApi(pipeline)
    where = ("serving.kserve.io", "v1beta1", namespace, "inferenceservices")
    custom.create_namespaced_custom_object(*where, service, dry_run="All")
    with pytest.raises(client.ApiException) as absent:
        custom.get_namespaced_custom_object(*where, "model")
    assert absent.value.status == 404
    assert client.CoreV1Api(pipeline).list_namespaced_pod(namespace).items == []
    leases = client.CoordinationV1Api(pipeline)
    made = leases.create_namespaced_lease(namespace, {"metadata": {"name": "intermodal-model"}, "spec": {"holderIdentity": "a"}})
    made.spec.holder_identity = "b"
    assert leases.replace_namespaced_lease("intermodal-model", namespace, made).spec.holder_identity == "b"
    leases.delete_namespaced_lease("intermodal-model", namespace)


REFUSED = {
    "another secret": lambda core, apps, name: core.read_namespaced_secret("mlflow", name),
    "all secrets": lambda core, apps, name: core.list_namespaced_secret(name),
    "another configuration": lambda core, apps, name: core.list_namespaced_config_map(name),
    "a pod of its own": lambda core, apps, name: core.create_namespaced_pod(name, {"metadata": {"name": "a"}, "spec": {"containers": []}}),
    "another namespace's pods": lambda core, apps, name: core.list_namespaced_pod("default"),
    "the nodes": lambda core, apps, name: core.list_node(),
    "the namespaces": lambda core, apps, name: core.list_namespace(),
    "all leases": lambda core, apps, name: client.CoordinationV1Api(core.api_client).list_namespaced_lease(name),
    "a deployment": lambda core, apps, name: apps.create_namespaced_deployment(name, {"metadata": {"name": "a"}}),
    "a role": lambda core, apps, name: client.RbacAuthorizationV1Api(core.api_client).create_namespaced_role(name, {"metadata": {"name": "a"}}),
    "a token of its own": lambda core, apps, name: core.create_namespaced_service_account_token("intermodal-predictor", name, {"spec": {}}),
    "another namespace's service": lambda core, apps, name: client.CustomObjectsApi(core.api_client).list_namespaced_custom_object(
        "serving.kserve.io", "v1beta1", "default", "inferenceservices"
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_pipelines_account_is_refused(pipeline, namespace, what):
    with pytest.raises(client.ApiException) as refused:
        REFUSED[what](client.CoreV1Api(pipeline), client.AppsV1Api(pipeline), namespace)
    assert refused.value.status == 403


def test_the_submitters_role_covers_what_the_target_asks_of_a_multi_user_installation(namespace):
    rbac = client.RbacAuthorizationV1Api()
    core = client.CoreV1Api()
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "person"}})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "intermodal-submitter"}
    subject = {"kind": "ServiceAccount", "name": "person", "namespace": namespace}
    rbac.create_namespaced_role_binding(namespace, {"metadata": {"name": "submitter"}, "roleRef": reference, "subjects": [subject]})
    api = client.AuthorizationV1Api(as_account(namespace, "person"))

    def allowed(resource, verb, where=namespace):
        attributes = {"group": "pipelines.kubeflow.org", "resource": resource, "verb": verb, "namespace": where}
        return api.create_self_subject_access_review({"spec": {"resourceAttributes": attributes}}).status.allowed

    wanted = [("experiments", "create"), ("runs", "create"), ("runs", "terminate"), ("runs", "delete"), ("jobs", "create"), ("jobs", "disable")]
    assert all(allowed(*each) for each in wanted)
    assert not allowed("runs", "create", "default")
    assert not allowed("experiments", "delete")


def test_the_role_of_searches_gives_what_a_search_on_katib_asks_and_no_more(namespace):
    core, rbac, name = client.CoreV1Api(), client.RbacAuthorizationV1Api(), f"{namespace}-searches"
    core.create_namespace({"metadata": {"name": name}})
    core.create_namespaced_service_account(name, {"metadata": {"name": "intermodal-pipeline"}})
    role, binding = yaml.safe_load_all((ROOT / "infra/kubernetes/searches.yaml").read_text())
    rbac.create_namespaced_role(name, role)
    rbac.create_namespaced_role_binding(name, binding)
    account = as_account(name, "intermodal-pipeline")
    assert rules(account, name) == {
        *(("kubeflow.org", "experiments", "", verb) for verb in ("get", "create", "patch", "delete")),
        *(("", kind, "", "list") for kind in ("pods", "events")),
        ("kubeflow.org", "trials", "", "list"),
    }
    custom, place = client.CustomObjectsApi(account), ("kubeflow.org", "v1beta1")
    for refused in (
        lambda: custom.delete_namespaced_custom_object(*place, name, "trials", "a"),
        lambda: custom.list_namespaced_custom_object(*place, name, "experiments"),
        lambda: custom.get_namespaced_custom_object(*place, namespace, "experiments", "a"),
        lambda: client.BatchV1Api(account).create_namespaced_job(name, {"metadata": {"name": "a"}}),
    ):
        with pytest.raises(client.ApiException) as error:
            refused()
        assert error.value.status == 403
    core.delete_namespace(name, propagation_policy="Background")


# The options of tasks, as Kubeflow's driver puts them into a pod's specification (backend/src/v2/driver/k8s.go).


def pod_of(options: dict, image: str, script: str) -> dict:
    container: dict = {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", script],
        "imagePullPolicy": "IfNotPresent",
        "env": [],
        "volumeMounts": [],
    }
    container["resources"] = {"requests": {"cpu": "10m"}}
    spec: dict = {"restartPolicy": "Never", "containers": [container], "volumes": []}
    for secret in options.get("secretAsEnv", []):
        for each in secret["keyToEnv"]:
            reference = {"name": secret["secretName"], "key": each["secretKey"]}
            container["env"].append({"name": each["envVar"], "valueFrom": {"secretKeyRef": reference}})
    for secret in options.get("secretAsVolume", []):
        spec["volumes"].append({"name": secret["secretName"], "secret": {"secretName": secret["secretName"]}})
        container["volumeMounts"].append({"name": secret["secretName"], "mountPath": secret["mountPath"]})
    for claim in options.get("pvcMount", []):
        spec["volumes"].append({"name": claim["constant"], "persistentVolumeClaim": {"claimName": claim["constant"]}})
        container["volumeMounts"].append({"name": claim["constant"], "mountPath": claim["mountPath"]})
    spec["tolerations"] = options.get("tolerations", [])
    spec["nodeSelector"] = options.get("nodeSelector", {}).get("labels", {})
    return {"metadata": {"name": "task", "labels": options.get("podMetadata", {}).get("labels", {})}, "spec": spec}


def options_of(**settings) -> dict:
    document = platform_document(compile_specification(conditional), {"say": KubeflowTaskSettings(**settings)}, {}, {"team": "ml"})
    return document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-say"]


def test_a_pod_with_every_option_is_one_that_the_api_server_takes(namespace):
    options = options_of(
        secrets=[{"name": "mlflow", "env": {"PASSWORD": "password"}, "path": "/secrets"}],
        volumes=[{"claim": "raw", "path": "/data"}],
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        node_selector={"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"},
    )
    taken = client.CoreV1Api().create_namespaced_pod(namespace, pod_of(options, "registry.example/say:1", ""), dry_run="All")
    assert taken.spec.node_selector == {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}
    assert taken.metadata.labels["team"] == "ml"


@pytest.mark.skipif(not os.environ.get("INTERMODAL_TEST_PREDICTOR_IMAGE"), reason="needs an image on the cluster: INTERMODAL_TEST_PREDICTOR_IMAGE")
def test_a_secret_reaches_a_running_pod_as_variable_and_file(namespace):
    options = options_of(secrets=[{"name": "mlflow", "env": {"PASSWORD": "password"}, "path": "/secrets"}])
    script = "import os; print(os.environ['PASSWORD'], open('/secrets/password').read())"
    core = client.CoreV1Api()
    core.create_namespaced_pod(namespace, pod_of(options, os.environ["INTERMODAL_TEST_PREDICTOR_IMAGE"], script))
    for _ in range(120):
        if (phase := core.read_namespaced_pod("task", namespace).status.phase) in ("Succeeded", "Failed"):
            break
        time.sleep(0.5)
    assert (phase, core.read_namespaced_pod_log("task", namespace).strip()) == ("Succeeded", "open-sesame open-sesame")
