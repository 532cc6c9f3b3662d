"""Everything a pipeline can be made of runs on the local target, in real subprocesses."""
# ruff: noqa: PTH123, PTH208 (bodies of tasks import what they use)

import json
from pathlib import Path

import pytest
from kfp import compiler, components, dsl

from intermodal.authoring.decorator import component
from intermodal.authoring.images import image_reference
from intermodal.runner.local import LocalTarget
from intermodal.runtime.errors import ConfigurationError, TaskError


@component(image="data")
def say(word: str) -> str:
    return word


@component(image="data")
def write(text: str, written: dsl.Output[dsl.Dataset]):
    with open(written.path, "w") as file:
        file.write(text)


@component(image="data")
def read(written: dsl.Input[dsl.Dataset]) -> str:
    with open(written.path) as file:
        return file.read()


@component(image="data")
def join(words: list) -> str:
    return " ".join(map(str, words))


@component(image="data")
def fail(message: str):
    from intermodal.runtime.errors import DataError

    raise DataError(message)


@component(image="data")
def record(path: str, status: dsl.PipelineTaskFinalStatus):
    import json

    with open(path, "w") as file:
        json.dump({"state": status.state}, file)


@component(image="data", cached=False)
def stumble(path: str, times: int) -> int:
    from pathlib import Path

    attempts = Path(path).read_text().count("x") if Path(path).exists() else 0
    with open(path, "a") as file:
        file.write("x")
    if attempts < times:
        raise RuntimeError(f"attempt {attempts + 1} stumbles")
    return attempts + 1


@pytest.fixture
def target(tmp_path):
    return LocalTarget(tmp_path / "home")


def states(run):
    return {task.name: task.state for task in run.tasks}


@pytest.mark.parametrize(("number", "expected"), [(1, "one"), (2, "two"), (7, "many")])
def test_if_elif_else_run_one_branch_and_one_of_gives_its_output(target, number, expected):
    @dsl.pipeline(name="branches")
    def branches(number: int) -> str:
        with dsl.If(number == 1):
            first = say(word="one")
        with dsl.Elif(number == 2):
            second = say(word="two")
        with dsl.Else():
            third = say(word="many")
        return dsl.OneOf(first.output, second.output, third.output)

    run = target.run(branches, {"number": number})
    assert run.outputs["Output"] == expected
    assert len(run.tasks) == 1
    assert len(run.skipped) == 2


def test_one_of_gives_an_artifact_of_the_branch_that_ran(target):
    @dsl.pipeline(name="artifacts")
    def artifacts(number: int) -> dsl.Dataset:
        with dsl.If(number == 1):
            first = write(text="one")
        with dsl.Else():
            second = write(text="other")
        return dsl.OneOf(first.output, second.output)

    run = target.run(artifacts, {"number": 2})
    assert Path(run.outputs["Output"]).read_text() == "other"


def test_a_condition_on_a_string_with_quotes_and_operators_holds(target):
    @dsl.pipeline(name="quotes")
    def quotes(word: str):
        said = say(word=word)
        with dsl.If(said.output == word):
            say(word="same")

    assert states(target.run(quotes, {"word": 'it\'s && !(that) || "this"'})).keys() == {"say", "say-2"}


def test_a_condition_on_a_named_output_holds(target):
    from typing import NamedTuple

    @dsl.component(base_image=image_reference("data"), install_kfp_package=False)
    def judge() -> NamedTuple("Verdict", [("verdict", str), ("score", float)]):
        return ("passed", 0.5)

    @dsl.pipeline(name="named")
    def named():
        judged = judge()
        with dsl.If(judged.outputs["verdict"] == "passed"):
            say(word="yes")
        with dsl.Else():
            say(word="no")

    run = target.run(named, {})
    assert run.tasks[-1].outputs == {"Output": "yes"}


def test_a_loop_runs_for_every_item_and_its_outputs_are_collected_in_order(target):
    @dsl.pipeline(name="loop")
    def loop() -> str:
        with dsl.ParallelFor(["a", "b", "c", "d"]) as item:
            said = say(word=item)
        return join(words=dsl.Collected(said.output)).output

    run = target.run(loop, {})
    assert run.outputs["Output"] == "a b c d"
    assert sorted(states(run)) == ["join", "say[0]", "say[1]", "say[2]", "say[3]"]
    assert len({task.folder for task in run.tasks}) == 5


def test_the_exit_task_runs_after_a_failure_and_knows_of_it(target, tmp_path):
    @dsl.pipeline(name="exits")
    def exits(path: str):
        with dsl.ExitHandler(record(path=path)):
            fail(message="the table is empty")

    with pytest.raises(TaskError, match="the table is empty"):
        target.run(exits, {"path": str(tmp_path / "status")})
    assert json.loads((tmp_path / "status").read_text())["state"] == "FAILED"


def test_a_task_is_retried_as_often_as_it_says_and_every_attempt_is_in_its_log(target, tmp_path):
    @dsl.pipeline(name="retries")
    def retries(path: str):
        stumble(path=path, times=2).set_retry(2, backoff_duration="0s")

    run = target.run(retries, {"path": str(tmp_path / "attempts")})
    assert run.tasks[0].outputs["Output"] == 3
    log = run.tasks[0].log.read_text()
    assert "attempt 1 stumbles" in log
    assert "attempt 2 stumbles" in log


def test_a_task_that_never_recovers_fails_with_its_last_error(target, tmp_path):
    @dsl.pipeline(name="hopeless")
    def hopeless(path: str):
        stumble(path=path, times=9).set_retry(1, backoff_duration="0s")

    with pytest.raises(TaskError, match="RuntimeError: attempt 2 stumbles"):
        target.run(hopeless, {"path": str(tmp_path / "attempts")})


def test_a_sub_pipeline_used_twice_keeps_its_artifacts_apart(target):
    @dsl.pipeline(name="inner")
    def inner(text: str) -> str:
        return read(written=write(text=text).output).output

    @dsl.pipeline(name="outer")
    def outer() -> str:
        first, second = inner(text="first"), inner(text="second")
        return join(words=[first.output, second.output]).output

    assert target.run(outer, {}).outputs["Output"] == "first second"


@pytest.mark.parametrize("given", [True, False], ids=["given", "absent"])
def test_a_component_alone_runs_with_and_without_its_optional_artifact(target, tmp_path, given):
    (tmp_path / "data").write_text("given")

    @dsl.component(base_image=image_reference("data"), install_kfp_package=False)
    def look(note: dsl.Input[dsl.Artifact] = None) -> str:
        return open(note.path).read() if note else "absent"

    run = target.run(look, {"note": str(tmp_path / "data")} if given else {})
    assert run.tasks[0].outputs["Output"] == ("given" if given else "absent")


def test_an_importer_gives_a_staged_folder(target, tmp_path):
    (tmp_path / "data").write_text("imported")

    @dsl.pipeline(name="imports")
    def imports(uri: str) -> str:
        return read(written=dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset).output).output

    run = target.run(imports, {"uri": target.stage(tmp_path / "data")})
    assert run.outputs["Output"] == "imported"


def test_a_container_component_passes_parameters_and_artifacts_on(target):
    @dsl.container_component
    def shell(text: str, written: dsl.Output[dsl.Dataset], length: dsl.OutputPath(int)):
        told = '{"artifacts": {"written": {"artifacts": [{"name": "written", "uri": "%s"}]}}}'
        program = f"""printf %s "$0" > "$1"; printf %s "${{#0}}" > "$2"; printf '{told}' "$1" > "$(dirname "$1")/executor_output.json\""""
        return dsl.ContainerSpec(image=image_reference("data"), command=["sh", "-c", program], args=[text, written.path, length])

    @dsl.pipeline(name="containers")
    def containers_pipeline() -> str:
        made = shell(text="hello")
        return read(written=made.outputs["written"]).output

    assert target.run(containers_pipeline, {}).outputs["Output"] == "hello"


def test_a_single_component_runs_on_artifacts_given_by_path(target, tmp_path):
    (tmp_path / "data").write_text("alone")
    assert target.run(read, {"written": tmp_path / "data"}).tasks[0].outputs["Output"] == "alone"


def test_a_compiled_pipeline_and_a_component_loaded_from_a_file_run(target, tmp_path):
    compiler.Compiler().compile(say, str(tmp_path / "say.yaml"))
    loaded = components.load_component_from_file(str(tmp_path / "say.yaml"))

    @dsl.pipeline(name="foreign")
    def foreign() -> str:
        return loaded(word="loaded").output

    assert target.run(foreign, {}).outputs["Output"] == "loaded"
    compiler.Compiler().compile(foreign, str(tmp_path / "foreign.yaml"))
    assert target.run(tmp_path / "foreign.yaml", {}).outputs["Output"] == "loaded"


def test_arguments_that_the_pipeline_does_not_take_or_lacks_are_named(target):
    with pytest.raises(ConfigurationError, match=r"no input wrd; its inputs are word"):
        target.run(say, {"wrd": "a"})
    with pytest.raises(ConfigurationError, match="needs a value for word"):
        target.run(say, {})


def test_a_task_sees_an_empty_folder_and_a_clean_environment(target, monkeypatch):
    @component(image="data")
    def look() -> dict:
        import importlib.util
        import os

        return {
            "files": os.listdir(),
            "variables": dict(os.environ),
            "typer": importlib.util.find_spec("typer") is not None,
            "duckdb": importlib.util.find_spec("duckdb") is not None,
        }

    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("SOME_SECRET_OF_THE_SHELL", "1")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    seen = target.run(look, {}).tasks[0].outputs["Output"]
    assert seen["files"] == []
    assert seen["duckdb"], "the packages of the image"
    assert not seen["typer"], "none of the runner's"
    assert "PYTHONDONTWRITEBYTECODE" not in seen["variables"]
    assert "SOME_SECRET_OF_THE_SHELL" not in seen["variables"]
    assert seen["variables"]["AWS_PROFILE"] == "mine"
    assert seen["variables"]["_KFP_RUNTIME"] == "true"
    assert not Path(seen["variables"]["TMPDIR"]).exists(), "scratch is removed"


def test_an_image_that_is_not_ours_is_refused_by_name(target):
    @dsl.component(base_image="debian:12", install_kfp_package=False)
    def foreign_image():
        pass

    from intermodal.runtime.errors import MachineError

    with pytest.raises(MachineError, match="debian:12"):
        target.run(foreign_image, {})


def test_packages_are_not_installed_into_an_image_that_tasks_share(target):
    @dsl.component(base_image=image_reference("data"), install_kfp_package=False, packages_to_install=["six"])
    def install():
        pass

    with pytest.raises(TaskError, match="add them to its group"):
        target.run(install, {})


def test_a_task_on_a_python_image_installs_its_packages_into_an_environment_of_its_own(target):
    @dsl.container_component
    def install():
        program = "python3 -m pip install -q --disable-pip-version-check six && python3 -c 'import six; print(six.__file__)'"
        return dsl.ContainerSpec(image="python:3.11", command=["sh", "-c", program])

    log = target.run(install, {}).tasks[0].log.read_text()
    assert "/environment/lib/" in log
    assert not Path(log.strip().splitlines()[-1]).exists()
