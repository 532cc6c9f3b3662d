"""What docs/how-to/kubeflow.md tells to apply fits what infra/kubernetes has."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "kubeflow.md").read_text()
ACCOUNTS = list(yaml.safe_load_all((ROOT / "infra" / "kubernetes" / "accounts.yaml").read_text()))


@pytest.fixture
def manifests():
    """The page's manifests by kind."""
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
    parsed = [yaml.safe_load(re.sub(f"(?m)^{indent}", "", text)) for indent, text in blocks]
    assert all(isinstance(each, dict) for each in parsed)
    return {each.get("kind", "workflowDefaults"): each for each in parsed}


def test_the_launcher_may_read_its_configuration_and_the_secret_that_it_names(manifests):
    (role,) = (each for each in ACCOUNTS if each["kind"] == "Role" and each["metadata"]["name"] == "intermodal-launcher")
    allowed = {(kind, name) for rule in role["rules"] for kind in rule["resources"] for name in rule.get("resourceNames", [])}
    launcher = manifests["ConfigMap"]
    default = yaml.safe_load(launcher["data"]["providers"])["s3"]["default"]
    assert ("configmaps", launcher["metadata"]["name"]) in allowed
    assert ("secrets", default["credentials"]["secretRef"]["secretName"]) in allowed
    assert set(default) == {"endpoint", "region", "disableSSL", "credentials"}, "members of the backend's S3ProviderDefault (v2/config/s3.go)"


def test_the_predictors_account_is_given_the_models_secret(manifests):
    secret = manifests["Secret"]["metadata"]
    assert {each.partition("/")[0] for each in secret["annotations"]} == {"serving.kserve.io"}
    patch = re.search(r"patch serviceaccount (\S+) -p '(.*)'", PAGE)
    assert patch[1] in [each["metadata"]["name"] for each in ACCOUNTS if each["kind"] == "ServiceAccount"]
    assert yaml.safe_load(patch[2]) == {"secrets": [{"name": secret["name"]}]}
