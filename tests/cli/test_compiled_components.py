"""A component's own file for a platform: who loads it into a pipeline of theirs gets what `workers` means there."""

from pathlib import Path

import pytest
import yaml
from kfp import compiler, components, dsl

from tests.cli.invoking import said

REGISTRY = "registry.example/team"
ROOT = Path(__file__).resolve().parents[2]


def loaded(path, folder):
    """Return the specification of a stranger's pipeline with two workers of a component that is loaded from its file."""
    train = components.load_component_from_file(str(path))

    @dsl.pipeline(name="theirs")
    def theirs(uri: str):
        examples = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset)
        task = train(examples=examples.output, label="target", workers=2)
        task.set_memory_limit("8G")

    compiler.Compiler().compile(theirs, str(folder / "theirs.yaml"))
    return yaml.safe_load((folder / "theirs.yaml").read_text())


def executor(specification):
    (found,) = [each["container"] for each in specification["deploymentSpec"]["executors"].values() if "container" in each]
    return found


@pytest.mark.parametrize("file", ["compiled/components/train_model.yaml", "compiled/kubeflow/components/train_model.yaml"])
def test_a_loaded_component_keeps_its_platforms_command(file, tmp_path):
    own, theirs = executor(yaml.safe_load((ROOT / file).read_text())), executor(loaded(ROOT / file, tmp_path))
    assert [theirs["command"], theirs["args"], theirs["image"]] == [own["command"], own["args"], own["image"]]
    assert ("intermodal.workers.trainjob" in own["command"]) == ("kubeflow" in file)


def test_a_component_is_compiled_for_a_target_with_its_profiles_registry_and_training_queue(tmp_path):
    profile = f'[profiles.prod.kubeflow]\nendpoint = "http://kfp.example"\nroot = "s3://bucket/root"\nimage_repository = "{REGISTRY}"\n'
    (tmp_path / "targets.toml").write_text(f'default_profile = "prod"\n{profile}training_queue = "team"\n')
    profiled = ("--target", "kubeflow", "--profile", "prod", "--targets", str(tmp_path / "targets.toml"), "--output", str(tmp_path))
    said("compile", "train_model", "validate_data", *profiled)
    wrapped = executor(yaml.safe_load((tmp_path / "kubeflow" / "components" / "train_model.yaml").read_text()))
    assert wrapped["image"].startswith(f"{REGISTRY}/intermodal-train:")
    assert wrapped["command"][wrapped["command"].index("--queue") + 1] == "team"
    plain = executor(yaml.safe_load((tmp_path / "kubeflow" / "components" / "validate_data.yaml").read_text()))
    assert plain["image"].startswith(f"{REGISTRY}/intermodal-validate:")
    assert "intermodal.workers.trainjob" not in plain["command"]
