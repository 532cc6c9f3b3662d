"""Terraform, as far as it can be held to account without providers: format, references, arguments, rights."""

import re
import shutil
import subprocess
from pathlib import Path

import hcl2
import pytest

ROOT = Path(__file__).resolve().parents[2] / "infra"
FILES = sorted(ROOT.rglob("*.tf"))
FOLDERS = sorted({path.parent for path in FILES})


def plain(value):
    """Return a parsed value without the quotes that python-hcl2 leaves around texts and names."""
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items() if key not in ("__is_block__", "__comments__", "__inline_comments__")}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value[1:-1] if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"' else value


def blocks(folder, kind):
    """Return the blocks of a kind, label(s) to body."""
    found = {}
    for path in folder.glob("*.tf"):
        with path.open() as file:
            for block in plain(hcl2.load(file)).get(kind, []):
                labels, body = [], block
                while len(body) == 1 and isinstance(next(iter(body.values())), dict) and len(labels) < (2 if kind in ("resource", "data") else 1):
                    key, body = next(iter(body.items()))
                    labels.append(key)
                found[".".join(labels)] = body
    return found


def text(folder):
    return "\n".join(re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE) for path in sorted(folder.glob("*.tf")))


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_it_is_formatted():
    done = subprocess.run(["terraform", "fmt", "-check", "-recursive", str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_there_is_something_to_check():
    assert len(FOLDERS) == 8
    assert sum(len(blocks(folder, "resource")) for folder in FOLDERS) > 15


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_variable_is_described_typed_and_used_and_every_one_used_is_declared(folder):
    declared = blocks(folder, "variable")
    assert all(each.get("description") and each.get("type") for each in declared.values())
    assert set(re.findall(r"\bvar\.(\w+)", text(folder))) == set(declared)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_reference_leads_to_something(folder):
    body = text(folder)
    resources = blocks(folder, "resource")
    local = {name for path in folder.glob("*.tf") for block in plain(hcl2.loads(path.read_text())).get("locals", []) for name in block}
    modules = blocks(folder, "module")
    assert set(re.findall(r"\blocal\.(\w+)", body)) <= local
    assert {f"{kind}.{name}" for kind, name in re.findall(r"(?<![\w.\"])(google_\w+)\.(\w+)", body) if f"data.{kind}.{name}" not in body} <= set(
        resources
    )
    assert {f"{kind}.{name}" for kind, name in re.findall(r"\bdata\.(google_\w+)\.(\w+)", body)} <= set(blocks(folder, "data"))
    assert set(re.findall(r"\bmodule\.(\w+)", body)) <= set(modules)
    for name, output in re.findall(r"\bmodule\.(\w+)\.(\w+)", body):
        assert output in blocks(ROOT / "modules" / name, "output"), f"module.{name}.{output}"


def test_every_module_gets_the_arguments_it_takes_and_all_it_requires():
    for name, call in blocks(ROOT, "module").items():
        known = blocks(ROOT / str(call["source"]), "variable")
        given = set(call) - {"source", "depends_on"}
        assert given <= set(known), name
        assert {key for key, variable in known.items() if "default" not in variable} <= given, name


def test_both_environments_give_every_variable_that_has_no_default_and_no_other():
    declared = blocks(ROOT, "variable")
    files = sorted((ROOT / "environments").glob("*.tfvars"))
    assert [path.stem for path in files] == ["dev", "prod"]
    for path in files:
        given = set(plain(hcl2.loads(path.read_text())))
        assert given <= set(declared)
        assert {name for name, each in declared.items() if "default" not in each} <= given


def test_providers_are_pinned():
    (terraform,) = [block for path in FILES for block in plain(hcl2.loads(path.read_text())).get("terraform", [])]
    assert terraform["required_version"].startswith("~>")
    for block in terraform["required_providers"]:
        assert all(each["version"].startswith("~>") for each in block.values() if isinstance(each, dict))


def test_no_right_is_wider_than_it_must_be():
    whole = "\n".join(text(folder) for folder in FOLDERS)
    roles = set(re.findall(r"roles/[\w.]+", whole))
    assert roles & {"roles/owner", "roles/editor", "roles/viewer", "roles/storage.admin", "roles/iam.serviceAccountTokenCreator"} == set()
    assert not re.search(r"allUsers|allAuthenticatedUsers|google_service_account_key", whole)
    assert not any(role.endswith(("admin", "Admin")) for role in roles)


@pytest.mark.fault(
    "Nobody in", "the repository or its owner is renamed, and somebody takes the name", "its tokens are refused: both are known by number"
)
def test_the_federation_knows_the_repository_by_number():
    resources = blocks(ROOT / "modules" / "federation", "resource")
    provider = resources["google_iam_workload_identity_pool_provider.github"]
    condition = text(ROOT / "modules" / "federation").split("attribute_condition")[1].split("])")[0]
    assert re.findall(r"assertion\.(\w+) == '\$\{var\.(\w+)\}'", condition) == [
        ("repository_id", "github_repository_id"),
        ("repository_owner_id", "github_owner_id"),
    ]
    assert 'join(" && "' in condition
    assert set(provider["attribute_mapping"].values()) == {"assertion.sub", "assertion.repository_id"}
    member = resources["google_service_account_iam_member.builder"]["member"]
    assert member.endswith("/attribute.repository_id/${var.github_repository_id}")


@pytest.mark.fault("New data", "a bucket's age rules, on staged code and artifacts that schedules and cache entries name", "no rule deletes by age")
def test_no_bucket_deletes_by_age_what_schedules_cache_entries_and_served_models_name():
    for folder in FOLDERS:
        for name, bucket in blocks(folder, "resource").items():
            if not name.startswith("google_storage_bucket."):
                continue
            assert not {"retention_policy", "soft_delete_policy"} & set(bucket)
            rules = [
                rule
                for kind, body in bucket.items()
                if kind in ("lifecycle_rule", "dynamic")
                for rule in (body if isinstance(body, list) else [body])
            ]
            assert rules
            assert set(re.findall(r"'type': '(\w+)'", str(rules))) == {"AbortIncompleteMultipartUpload"}


def test_buckets_are_private_and_the_registrys_tags_stand():
    bucket = blocks(ROOT / "modules" / "storage", "resource")["google_storage_bucket.kept"]
    assert bucket["uniform_bucket_level_access"] is True
    assert bucket["public_access_prevention"] == "enforced"
    images = blocks(ROOT / "modules" / "registry", "resource")["google_artifact_registry_repository.images"]
    assert "immutable_tags = true" in text(ROOT / "modules" / "registry")
    assert 'tag_state  = "UNTAGGED"' in text(ROOT / "modules" / "registry"), "an image that a tag names is never deleted"
    signatures = blocks(ROOT / "modules" / "registry", "resource")["google_artifact_registry_repository.signatures"]
    assert signatures["repository_id"] == f"{images['repository_id']}-signatures", "as images/sign names it"
    assert "docker_config" not in signatures, "cosign moves its tags"


APIS = {
    "google_artifact_registry_": "artifactregistry",
    "google_cloud_scheduler_": "cloudscheduler",
    "google_cloudbuild_": "cloudbuild",
    "google_iam_": "iam",
    "google_kms_": "cloudkms",
    "google_project_iam_": "cloudresourcemanager",
    "google_pubsub_": "pubsub",
    "google_service_account": "iam",
    "google_storage_": "storage",
}


def test_every_resource_is_of_an_api_that_is_switched_on_before_it():
    services = set(re.findall(r'"(\w+)\.googleapis\.com"', text(ROOT / "modules" / "apis")))
    kinds = {name.split(".")[0] for folder in FOLDERS if folder.name != "apis" for name in blocks(folder, "resource")}
    for kind in kinds:
        (api,) = {api for prefix, api in APIS.items() if kind.startswith(prefix)}
        assert api in services, kind
    for name, call in blocks(ROOT, "module").items():
        assert name == "apis" or "module.apis" in str(call.get("depends_on")), name


def test_pull_requests_whose_build_file_is_anyones_run_as_an_account_that_may_only_log():
    granted = re.findall(r'account\s*=\s*"checker".*?role\s*=\s*"([\w./]+)"', text(ROOT / "modules" / "identities"))
    assert granted == ["roles/logging.logWriter"]
    assert 'each.key == "pull-request" ? var.checker : var.builder' in text(ROOT / "modules" / "triggers")
    assert "checker" not in str(blocks(ROOT / "modules" / "identities", "resource")["google_service_account_iam_member.acts_as"]["for_each"])


def test_every_right_is_in_the_documentation():
    page = (ROOT.parent / "docs" / "how-to" / "continuous-training.md").read_text()
    whole = "\n".join(text(folder) for folder in FOLDERS)
    assert {role for role in re.findall(r"roles/[\w.]+", whole) if role not in page} == set()


def test_the_substitutions_that_triggers_set_are_those_that_the_builds_have():
    for name, file in (("code", "cloudbuild.yaml"), ("event", "cloudbuild.trigger.yaml")):
        body = text(ROOT / "modules" / "triggers").split(f'"google_cloudbuild_trigger" "{name}"')[1].split("substitutions = {")[1].split("}")[0]
        given = set(re.findall(r"^\s*(_\w+)\s*=", body, re.MULTILINE))
        assert {"_TARGETS_URI", "_PROFILE"} <= given
        build = (ROOT.parent / file).read_text()
        assert given
        assert all(f"\n  {each}:" in build for each in given)
