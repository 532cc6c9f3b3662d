"""What the rules' sources say, asked of the sources themselves: clients that are installed, and tables measured with Kubernetes' own code."""

import copy

import pytest
from google.auth.credentials import AnonymousCredentials
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl
from kfp.dsl.types.type_utils import InconsistentTypeException
from kfp.local import graph_utils
from kubernetes.utils.quantity import parse_quantity as parsed_by_kubernetes

from intermodal.compiler.build import compile_specification
from intermodal.linting import lint_documents
from intermodal.linting.quantities import parse_quantity
from tests.linting.wired import WIRED, changed

DIGEST = "a" * 64
#: k8s.io/apimachinery 0.34.4, resource.ParseQuantity.
QUANTITIES = ["1", "+1", "1.", "-1", ".5", "1k", "1Ki", "1e3", "1E3", "1E", "1Ei", "1m", "1u", "1n", "0.5Gi", "1e-3", "100000000000000000000"]
NO_QUANTITIES = ["1K", "1ki", "1e", "1 G", "1GB", "4g", "4G ", "", "1_000", "nan", "Infinity", "5E2G", "lots"]
#: github.com/distribution/reference 0.6.0, ParseNormalizedNamed.
IMAGES = [
    "a",
    "a:1",
    "a/b:1",
    "A/b:1",
    "Reg.example/b:1",
    "reg:5000/b",
    "a_b/c-d.e:T_1",
    "a__b",
    "[::1]:5000/a",
    "localhost/b",
    f"a:1@sha256:{DIGEST}",
]
NO_IMAGES = [
    "A",
    "reg:port/b",
    "a//b",
    "a b",
    "a:",
    "a@sha256:abc",
    "https://a/b",
    "a:t:t",
    "-a",
    "a___b",
    "a..b",
    "a/",
    "/a",
    ":1",
    "a-",
    " a",
    "a/b:-x",
]
#: k8s.io/apimachinery 0.34.4: IsEnvVarName and IsRelaxedEnvVarName, "" for neither, "relaxed" for the second alone.
VARIABLES = {"A": "both", "1a": "relaxed", "a b": "relaxed", "a/b": "relaxed", "": "", "=": "", "a=b": "", "é": "", "a\tb": ""}
IMAGE, ENV = "deploymentSpec.executors.exec-tool.container.image", "deploymentSpec.executors.exec-tool.container.env.0.name"


def rules(specification, target="kubeflow"):
    return {each.rule for each in lint_documents([specification], target)}


@pytest.mark.parametrize("text", QUANTITIES)
def test_a_quantity_that_kubernetes_reads_is_read(text):
    assert parse_quantity(text) != 0


@pytest.mark.parametrize("text", NO_QUANTITIES)
def test_a_quantity_that_kubernetes_refuses_is_refused(text):
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@given(st.decimals(0, 10**9, allow_nan=False, places=3), st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]))
def test_a_quantity_is_the_number_that_the_kubernetes_client_reads(number, suffix):
    text = f"{number:f}{suffix}"
    assert parse_quantity(text) == pytest.approx(float(parsed_by_kubernetes(text)))


@pytest.mark.parametrize("image", [*IMAGES, *NO_IMAGES])
def test_an_image_is_refused_as_a_container_runtime_refuses_it(image):
    assert ("image" in rules(changed(WIRED, IMAGE, image))) == (image in NO_IMAGES)


@pytest.mark.parametrize(("name", "taken"), VARIABLES.items())
def test_a_variable_is_refused_as_kubernetes_refuses_it(name, taken):
    found = rules(changed(WIRED, ENV, name))
    assert ("environment-name" in found, "environment-name-shell" in found) == (taken == "", taken == "relaxed")


def test_kfp_local_starts_a_task_by_its_dependencies_alone():
    """Without the dependency, what reads comes before what makes it, or together with it; `data-dependency` says so."""

    def earlier(tasks):
        specification = copy.deepcopy(WIRED)
        specification["components"]["comp-exit-handler-3"]["dag"]["tasks"] = tasks
        found = compile_from(specification)["comp-exit-handler-3"].dag.tasks
        return {name: list(before) for name, before in graph_utils.build_dependency_map(found).items()}

    tasks = copy.deepcopy(WIRED["components"]["comp-exit-handler-3"]["dag"]["tasks"])
    assert earlier(tasks)["inner"] == ["say"]
    del tasks["inner"]["dependentTasks"]
    assert earlier(tasks)["inner"] == []
    made = copy.deepcopy(WIRED)
    made["components"]["comp-exit-handler-3"]["dag"]["tasks"] = tasks
    assert "data-dependency" in rules(made)


def compile_from(specification):
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    return json_format.ParseDict(specification, pipeline_spec_pb2.PipelineSpec()).components


def test_kfp_refuses_to_compile_an_artifact_that_does_not_fit():
    @dsl.component(base_image="registry.example/team/say:1", install_kfp_package=False)
    def make(made: dsl.Output[dsl.Dataset]):
        pass

    @dsl.component(base_image="registry.example/team/say:1", install_kfp_package=False)
    def use(model: dsl.Input[dsl.Model]):
        pass

    with pytest.raises(InconsistentTypeException):

        @dsl.pipeline(name="misfit")
        def misfit():
            use(model=make().output)


def test_kfp_compiles_a_memory_in_k_that_kubernetes_refuses():
    @dsl.component(base_image="registry.example/team/say:1", install_kfp_package=False)
    def say(text: str):
        pass

    @dsl.pipeline(name="thousands")
    def thousands():
        say(text="a").set_memory_limit("16000000K")

    assert rules(compile_specification(thousands)) == {"kubeflow-quantity"}


def test_google_s_client_reads_parameters_in_another_way_at_2_0_0(tmp_path):
    import yaml
    from google.cloud import aiplatform

    def sent(version):
        path = tmp_path / f"{version}.yaml"
        path.write_text(yaml.safe_dump(changed(WIRED, "schemaVersion", version)))
        values = {"text": "a", "n": 1, "items": ["a"]}
        return aiplatform.PipelineJob(
            display_name="wired",
            template_path=str(path),
            pipeline_root="gs://bucket/root",
            parameter_values=values,
            project="some-project",
            location="europe-west4",
            credentials=AnonymousCredentials(),
        )

    assert sent("2.1.0")._gca_resource.runtime_config.parameter_values["text"] == "a"
    with pytest.raises((TypeError, ValueError)):
        sent("2.0.0")
    assert "vertex-schema-version" in rules(changed(WIRED, "schemaVersion", "2.0.0"), "vertex")
