"""Every rule fires on what it is for, names the place, and on nothing else; no file at all makes the linter fall over."""

import copy
import datetime
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kfp import compiler, dsl, kubernetes

from intermodal.compiler.build import compile_specification
from intermodal.linting import lint, lint_documents
from intermodal.runtime.errors import ConfigurationError
from tests.linting import wired
from tests.linting.wired import WIRED, changed
from tests.runner.pipelines import conditional, say

ROOT = Path(__file__).resolve().parents[2]
COMPILED = [*ROOT.glob("compiled/*/*.yaml")]


@dsl.pipeline(name="accelerated")
def accelerated(text: str):
    say(text=text).set_cpu_request("1").set_cpu_limit("2").set_memory_limit("4G").set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(1)


@dsl.pipeline(name="chosen")
def chosen(text: str) -> str:
    with dsl.If(text == "a"):
        first = say(text="b")
    with dsl.Else():
        second = say(text="c")
    return dsl.OneOf(first.output, second.output)


@dsl.pipeline(name="secretive")
def secretive(text: str):
    kubernetes.use_secret_as_env(say(text=text), "mlflow", {"password": "PASSWORD"})


CONDITIONAL = compile_specification(conditional)
ACCELERATED = compile_specification(accelerated)
CONTAINER = "deploymentSpec.executors.exec-say.container"


def documents(pipeline, path):
    compiler.Compiler().compile(pipeline, str(path))
    return list(yaml.safe_load_all(path.read_text()))


RESOURCES = f"{CONTAINER}.resources"
CASES = [
    # rule, target, specification, place that the finding names
    ("specification-proto", "vertex", changed(CONDITIONAL, "root.dag.tsaks", {}), "root.dag.tsaks"),
    ("specification-proto", "vertex", changed(CONDITIONAL, "components.comp-say.executorLabel", 5), "components.comp-say.executorLabel"),
    ("specification-proto", "kubeflow", changed(CONDITIONAL, "root.dag.tasks.say.dependentTasks", "all"), "root.dag.tasks.say.dependentTasks"),
    ("specification-proto", "kubeflow", changed(CONDITIONAL, "root.inputDefinitions.parameters.text.parameterType", "TEXT"), "text.parameterType"),
    ("deployment-proto", "kubeflow", changed(CONDITIONAL, f"{CONTAINER}.comand", ["sh"]), f"{CONTAINER}.comand"),
    ("deployment-proto", "vertex", changed(CONDITIONAL, f"{CONTAINER}.resources", {"cpuLimit": "a lot"}), f"{CONTAINER}.resources.cpuLimit"),
    ("pipeline-name", "kubeflow", changed(CONDITIONAL, "pipelineInfo.name", "My Pipeline"), "pipelineInfo.name"),
    ("pipeline-name", "vertex", changed(CONDITIONAL, "pipelineInfo", ...), "pipelineInfo.name"),
    ("root", "vertex", changed(CONDITIONAL, "root.dag.tasks", {}), "root"),
    ("component-reference", "vertex", changed(CONDITIONAL, "root.dag.tasks.say.componentRef.name", "comp-sya"), "root.dag.tasks.say.componentRef"),
    ("executor-reference", "vertex", changed(CONDITIONAL, "components.comp-say.executorLabel", "exec-sya"), "components.comp-say.executorLabel"),
    ("executor-reference", "vertex", changed(CONDITIONAL, "components.comp-say.executorLabel", ...), "components.comp-say"),
    (
        "task-reference",
        "vertex",
        changed(CONDITIONAL, "root.dag.tasks.condition-branches-1.dependentTasks", ["sya"]),
        "condition-branches-1.dependentTasks",
    ),
    (
        "task-reference",
        "vertex",
        changed(CONDITIONAL, "components.comp-say.outputDefinitions.parameters", {}),
        "root.dag.tasks.condition-branches-1.inputs",
    ),
    ("input-reference", "vertex", changed(CONDITIONAL, "root.inputDefinitions.parameters.text", ...), "root.dag.tasks"),
    ("task-inputs", "vertex", changed(CONDITIONAL, "root.dag.tasks.say.inputs.parameters", {}), "root.dag.tasks.say.inputs"),
    (
        "task-inputs",
        "vertex",
        changed(CONDITIONAL, "root.dag.tasks.say.inputs.parameters.txet", {"componentInputParameter": "text"}),
        "inputs.parameters.txet",
    ),
    ("cycle", "vertex", changed(CONDITIONAL, "root.dag.tasks.say.dependentTasks", ["condition-branches-1"]), "root.dag.tasks"),
    ("default-type", "vertex", changed(CONDITIONAL, "root.inputDefinitions.parameters.note.defaultValue", 5), "parameters.note.defaultValue"),
    ("vertex-name-length", "vertex", changed(CONDITIONAL, "pipelineInfo.name", "a" * 114), "pipelineInfo.name"),
    ("vertex-name-length", "vertex", changed(CONDITIONAL, "pipelineInfo.name", "1st"), "pipelineInfo.name"),
    ("vertex-schema-version", "vertex", changed(CONDITIONAL, "schemaVersion", ...), "schemaVersion"),
    ("vertex-accelerator", "vertex", changed(ACCELERATED, f"{RESOURCES}.accelerator.resourceType", "BANANA"), f"{RESOURCES}.accelerator"),
    ("vertex-accelerator", "vertex", changed(ACCELERATED, f"{RESOURCES}.accelerator.resourceType", "nvidia.com/gpu"), f"{RESOURCES}.accelerator"),
    ("vertex-machine-limits", "vertex", changed(CONDITIONAL, RESOURCES, {"cpuLimit": 97.0}), RESOURCES),
    ("vertex-machine-limits", "vertex", changed(CONDITIONAL, RESOURCES, {"memoryLimit": 700.0}), RESOURCES),
    ("vertex-runtime-resources", "vertex", changed(CONDITIONAL, RESOURCES, {"resourceCpuLimit": "{{$.inputs.parameters['text']}}"}), RESOURCES),
    ("vertex-requests", "vertex", changed(CONDITIONAL, RESOURCES, {"cpuRequest": 1.0}), RESOURCES),
    (
        "vertex-importer",
        "vertex",
        changed(
            CONDITIONAL,
            "deploymentSpec.executors.exec-i",
            {"importer": {"artifactUri": {"constant": "s3://a"}, "typeSchema": {"schemaTitle": "system.Artifact"}}},
        ),
        "exec-i.importer",
    ),
    (
        "vertex-newer-features",
        "vertex",
        changed(CONDITIONAL, "components.comp-say.inputDefinitions.parameters.t", {"parameterType": "TASK_CONFIG"}),
        "parameters.t",
    ),
    (
        "vertex-newer-features",
        "vertex",
        changed(CONDITIONAL, "root.dag.tasks.say.cachingOptions", {"enableCache": True, "cacheKey": "k"}),
        "say.cachingOptions",
    ),
    ("image-registry", "kubeflow", changed(CONDITIONAL, f"{CONTAINER}.image", "intermodal-train:0.1.0"), f"{CONTAINER}.image"),
    ("kubeflow-schema-version", "kubeflow", changed(CONDITIONAL, "schemaVersion", "2.0.0"), "schemaVersion"),
    ("kubeflow-bare-specification", "kubeflow", {"pipelineSpec": CONDITIONAL, "runtimeConfig": {}}, ""),
    ("kubeflow-accelerator", "kubeflow", ACCELERATED, f"{RESOURCES}.accelerator"),
    ("kubeflow-image-tag", "kubeflow", changed(CONDITIONAL, f"{CONTAINER}.image", "registry.example:5000/say"), f"{CONTAINER}.image"),
    ("kubeflow-image-tag", "kubeflow", changed(CONDITIONAL, f"{CONTAINER}.image", "registry.example/say:latest"), f"{CONTAINER}.image"),
    ("kubeflow-cached-branch", "kubeflow", compile_specification(chosen), "dag.outputs.parameters"),
    *wired.CASES,
]


@pytest.mark.parametrize(("rule", "target", "specification", "place"), CASES, ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)])
def test_the_rule_fires_with_the_place_and_a_remedy(tmp_path, rule, target, specification, place):
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(specification))
    found = [each for each in lint(path, target) if each.rule == rule]
    assert found, [each.rule for each in lint(path, target)]
    assert any(place in each.where for each in found)
    assert all(each.what and each.why and each.remedy and each.source and target in each.platforms for each in found)
    assert all(re.search(r"pipeline\.yaml:\d+", each.where) for each in found)


def test_options_of_kubernetes_are_right_on_kubeflow_and_an_error_on_vertex(tmp_path):
    made = documents(secretive, tmp_path / "secretive.yaml")
    assert len(made) == 2
    assert lint(tmp_path / "secretive.yaml", "kubeflow") == []
    assert [each.rule for each in lint(tmp_path / "secretive.yaml", "vertex")] == ["vertex-one-document"]


def test_an_option_that_kubernetes_does_not_have_and_one_for_no_task_are_found(tmp_path):
    made = documents(secretive, tmp_path / "secretive.yaml")
    executors = made[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    executors["exec-sya"] = executors["exec-say"] | {"secretsAsEnv": []}
    found = [each for each in lint_documents(made, "kubeflow") if each.rule == "kubeflow-platform-proto"]
    assert len(found) == 2
    assert any("did you mean 'exec-say'" in each.remedy for each in found)
    assert [each.rule for each in lint_documents([*made, {}], "kubeflow") if each.rule == "kubeflow-extra-documents"]


@pytest.mark.parametrize("specification", [CONDITIONAL, compile_specification(accelerated)], ids=["conditional", "accelerated"])
def test_what_kfp_compiles_is_clean_on_vertex(specification):
    assert lint_documents([specification], "vertex") == []


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_this_project_ships_has_no_errors(path):
    target = path.parent.name if path.parent.name in ("kubeflow", "vertex") else None
    assert {each.rule for each in lint(path, target)} <= {"image-registry"}


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_all_that_kfp_can_wire_is_clean(target):
    assert lint_documents([WIRED], target) == []


def test_a_loop_that_kfp_wires_wrongly_is_found_and_the_remedies_of_the_page_are_clean():
    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(say(text="over")), dsl.ParallelFor([{"a": "x"}]) as row:
            say(text=row.a)

    @dsl.pipeline(name="given")
    def given_rows(rows: list[dict]):
        with dsl.ExitHandler(say(text="over")), dsl.ParallelFor(rows) as row:
            say(text=row.a)

    assert {each.rule for each in lint_documents([compile_specification(handled)], "kubeflow")} == {"input-reference"}
    assert lint_documents([compile_specification(given_rows)], "kubeflow") == []


def test_every_fault_of_a_file_is_found_at_once():
    made = changed(changed(changed(CONDITIONAL, "root.dag.tsaks", {}), "components.comp-say.executorLabel", 5), "sdkversion", "")
    found = [each for each in lint_documents([made], "vertex") if each.rule == "specification-proto"]
    assert sorted(each.where.split()[1] for each in found) == ["components.comp-say.executorLabel", "root.dag.tsaks", "sdkversion"]
    assert {each.remedy.partition(";")[0] for each in found} >= {"did you mean 'tasks'?", "did you mean 'sdkVersion'?"}


def test_text_is_read_as_a_file_is(tmp_path):
    text = yaml.safe_dump(changed(CONDITIONAL, "schemaVersion", "2.0.0"))
    (tmp_path / "pipeline.yaml").write_text(text)
    (of_text,), (of_file,) = lint(text, "kubeflow"), lint(tmp_path / "pipeline.yaml", "kubeflow")
    assert of_text.where.removeprefix("pipeline:") == of_file.where.partition(".yaml:")[2]


def test_a_key_that_is_there_twice_is_found_on_its_line():
    text = yaml.safe_dump(CONDITIONAL)
    (finding,) = lint(text + "schemaVersion: 2.1.0\n".replace("2.1.0", "'2.1.0'"), "vertex")
    assert (finding.rule, finding.severity) == ("duplicate-key", "error")
    assert finding.where.endswith(" schemaVersion")


def test_a_finding_in_a_pipelinejob_has_its_own_line(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"pipelineSpec": changed(WIRED, "root.dag.tasks.say.componentRef.name", "comp-sya"), "runtimeConfig": {}}))
    (finding,) = lint(path, "vertex")
    assert "comp-sya" in path.read_text().splitlines()[int(finding.where.split(":")[1].split()[0])]


def test_a_line_is_the_one_a_person_would_look_at(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(changed(CONDITIONAL, f"{CONTAINER}.image", "registry.example/say:latest")))
    (finding,) = lint(path, "kubeflow")
    line = int(finding.where.split(":")[1].split()[0])
    assert "say:latest" in path.read_text().splitlines()[line - 1]


HOSTILE = [
    b"{root: " * 100_000,  # libyaml's composer overflows the stack on it
    b"- " * 100_000,
    b"root: &root\n  dag: *root\n",
    b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60)) + b"root: *a59\n",
    b"root: !!python/object/apply:os.getpid []\n",
]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff\xfe", b"- a\n- b\n", b"a: [", b"text", b"{}", b"key: value\n", b"[" * 5000, b"&a [*a]", b"---\n---\n", *HOSTILE],
)
def test_what_is_no_pipeline_gives_one_clear_finding(tmp_path, content):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    (finding,) = lint(path)
    assert (finding.rule, finding.severity) == ("readable", "error")
    assert "broken.yaml" in finding.where


def test_an_absent_file_and_an_unknown_target_are_named(tmp_path):
    assert "no such file" in lint(tmp_path / "absent.yaml")[0].what
    with pytest.raises(ConfigurationError, match="did you mean 'vertex'"):
        lint(tmp_path / "absent.yaml", "vretex")


def paths(value, at=()):
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in children:
        yield from paths(each, (*at, key))


EDITED = {"conditional": CONDITIONAL, "wired": WIRED}
PLACES = [(name, place) for name, specification in EDITED.items() for place in paths(specification) if place]
VALUES = [..., None, 0, -1.5, "", "x", [], ["x"], {}, {"x": 1}, True, float("nan"), datetime.date(2026, 1, 1), {5: 5}, 10**400]


@settings(max_examples=100, deadline=None)
@given(edits=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(VALUES)), min_size=1, max_size=4))
def test_no_edit_by_hand_makes_the_linter_fall_over(edits):
    made = copy.deepcopy(EDITED)
    for (name, place), value in edits:
        at = made[name]
        try:
            for part in place[:-1]:
                at = at[part]
            if value is ...:
                del at[place[-1]]
            else:
                at[place[-1]] = value
        except (KeyError, IndexError, TypeError):  # an earlier edit took it away
            continue
    for specification in made.values():
        for target in ("kubeflow", "vertex"):
            assert all(each.what and each.remedy for each in lint_documents([specification], target))


@pytest.mark.fault(
    "Linter", "a number beyond 1.8e308, or a list or mapping where a variable's name should be", "a finding at its place, no traceback"
)
@pytest.mark.parametrize("value", [["NODE"], {"a": 1}, 10**400])
def test_a_variable_whose_name_is_no_text_is_a_finding(tmp_path, value):
    specification, platform = documents(secretive, tmp_path / "secretive.yaml")
    ((label, options),) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items()
    options["fieldPathAsEnv"] = [{"name": value, "fieldPath": "spec.nodeName"}]
    found = lint_documents([specification, platform], "kubeflow")
    assert any(f"{label}.fieldPathAsEnv.0.name" in each.where for each in found)


def test_a_constant_beyond_all_numbers_is_a_finding():
    huge = changed(CONDITIONAL, "root.inputDefinitions.parameters.count.defaultValue", 10**400)
    assert any("count" in each.where for each in lint_documents([huge], "kubeflow"))
