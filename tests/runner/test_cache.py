"""What an earlier run finished is taken when, and only when, nothing that the task saw has changed."""
# ruff: noqa: PTH123, PTH208 (bodies of tasks import what they use)

import os
import time
from pathlib import Path

import pytest
from kfp import dsl

from intermodal.authoring.decorator import UNCACHED, component
from intermodal.authoring.images import image_reference
from intermodal.compiler.build import compile_specification
from intermodal.compiler.specification import apply_cache_policy
from intermodal.execution import code
from intermodal.execution.environments import environment_digest
from intermodal.runner import commands
from intermodal.runner.local import LocalTarget


@component(image="data")
def write(text: str, written: dsl.Output[dsl.Dataset]):
    with open(written.path, "w") as file:
        file.write(text)


@component(image="data")
def copy(source: dsl.Input[dsl.Dataset], copied: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]):
    import shutil

    shutil.copyfile(source.path, copied.path)
    metrics.log_metric("copies", 1)


@dsl.pipeline(name="chain")
def chain(text: str):
    copy(source=write(text=text).output)


@pytest.fixture
def target(tmp_path):
    return LocalTarget(tmp_path / "home")


def states(run):
    return [(task.name, task.state) for task in run.tasks]


FRESH = [("write", "done"), ("copy", "done")]
CACHED = [("write", "cached"), ("copy", "cached")]


def test_a_second_run_takes_everything_from_the_first(target):
    first, second = target.run(chain, {"text": "a"}), target.run(chain, {"text": "a"})
    assert states(first) == FRESH
    assert states(second) == CACHED
    assert second.tasks[1].outputs == first.tasks[1].outputs
    assert second.tasks[1].log == first.tasks[1].log


@component(image="data")
def tell() -> str:
    import os

    return f"{os.environ['INTERMODAL_COMMIT']} {os.environ['INTERMODAL_IMAGE']}"


def test_a_task_is_told_which_commit_and_environment_it_runs_and_another_commit_changes_no_key(target, monkeypatch):
    specification = compile_specification(tell)
    [executor] = specification["deploymentSpec"]["executors"].values()
    executor["container"]["env"] = [{"name": "INTERMODAL_IMAGE", "value": "registry.example/intermodal-data@sha256:" + "a" * 64}]  # not run here
    runs = []
    for commit in ("a" * 40, "b" * 40 + "-dirty"):
        monkeypatch.setattr(commands, "source_commit", lambda commit=commit: commit)
        runs.append(target.run(specification, {}))
    first, second = (run.tasks[0] for run in runs)
    assert first.outputs["Output"] == f"{'a' * 40} none: environment data {environment_digest('data')}"
    assert (second.state, second.outputs) == ("cached", first.outputs)  # what made them is still the first commit


def test_another_argument_runs_again(target):
    target.run(chain, {"text": "a"})
    assert states(target.run(chain, {"text": "b"})) == FRESH


def test_without_the_cache_everything_runs_but_is_kept_for_later(target):
    target.run(chain, {"text": "a"})
    assert states(target.run(chain, {"text": "a"}, cached=False)) == FRESH
    assert states(target.run(chain, {"text": "a"})) == CACHED


@pytest.mark.parametrize("harm", ["changed", "changed, size and time kept", "truncated", "deleted"])
@pytest.mark.fault("New data", "an artifact that the local cache names is deleted, cut or changed, its size and time kept too", "the task runs again")
def test_an_artifact_that_is_no_longer_whole_is_made_again(target, harm):
    path = Path(target.run(chain, {"text": "abc"}).tasks[1].outputs["copied"])
    time.sleep(0.2)
    assert states(target.run(chain, {"text": "abc"})) == CACHED, "its hash is remembered now"
    status = path.stat()
    if harm == "deleted":
        path.unlink()
    else:
        path.write_text("a" if harm == "truncated" else "xyz")
    if "kept" in harm:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = target.run(chain, {"text": "abc"})
    assert states(again) == [("write", "cached"), ("copy", "done")]
    assert Path(again.tasks[1].outputs["copied"]).read_text() == "abc"


def test_a_task_that_ran_again_and_wrote_the_same_changes_nothing_downstream(target):
    first = target.run(chain, {"text": "a"})
    Path(first.tasks[0].outputs["written"]).unlink()
    assert states(target.run(chain, {"text": "a"})) == [("write", "done"), ("copy", "cached")]


def test_changed_code_of_the_package_runs_again(target, tmp_path, monkeypatch):
    package = tmp_path / "package" / "intermodal"
    (package / "components" / "shout").mkdir(parents=True)
    for name in ("", "components", "components/shout"):
        (package / name / "__init__.py").write_text("")
    logic = package / "components" / "shout" / "logic.py"
    logic.write_text("from intermodal.loud import mark\n\ndef shout(word): return word.upper() + mark()\n")
    (package / "loud.py").write_text("def mark(): return '!'\n")
    (package / "other.py").write_text("")
    monkeypatch.setattr(code, "_ROOT", package)
    monkeypatch.setattr("intermodal.__file__", str(package / "__init__.py"))

    @component(image="data")
    def shout(word: str) -> str:
        from intermodal.components.shout.logic import shout

        return shout(word)

    def said():
        task = target.run(shout, {"word": "a"}).tasks[0]
        return task.state, task.outputs["Output"]

    assert said() == ("done", "A!")
    assert said() == ("cached", "A!")
    (package / "other.py").write_text("changed = True\n")
    assert said() == ("cached", "A!"), "code that the task does not reach does not count"
    (package / "loud.py").write_text("def mark(): return '?!'\n")
    code._imports.cache_clear()
    assert said() == ("done", "A?!"), "code that the task reaches through another module counts"


def test_an_uncached_component_always_runs_inside_conditions_too(target, tmp_path):
    @component(image="data", cached=False)
    def count(path: str) -> int:
        with open(path, "a+") as file:
            file.write("x")
            return file.tell()

    @dsl.pipeline(name="counts")
    def counts(path: str, really: bool = True):
        count(path=path)
        with dsl.If(really == True):  # noqa: E712
            count(path=path)

    specification = compile_specification(counts)
    assert "count" in UNCACHED
    for expected in (2, 4):
        # The policy finds a component of the catalogue by itself; this one is the test's own.
        specification_of(target, specification, {"path": str(tmp_path / "count")})
        assert len((tmp_path / "count").read_text()) == expected


def specification_of(target, specification, arguments):
    import yaml

    for graph in [specification["root"]["dag"], *(each["dag"] for each in specification["components"].values() if "dag" in each)]:
        for task in graph["tasks"].values():
            if task["componentRef"]["name"].startswith("comp-count"):
                task["cachingOptions"] = {}
    path = target.home / "counts.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(specification))
    return target.run(path, arguments)


def test_an_exit_task_runs_at_every_end(target, tmp_path):
    @component(image="data")
    def report(path: str, status: dsl.PipelineTaskFinalStatus):
        with open(path, "a") as file:
            file.write(f"{status.state} {status.pipeline_job_resource_name}\n")

    @dsl.pipeline(name="reports")
    def reports(path: str):
        with dsl.ExitHandler(report(path=path)):
            write(text="a")

    path = tmp_path / "reports"
    ids = [target.run(reports, {"path": str(path)}).id for _ in range(2)]
    assert path.read_text().splitlines() == [f"SUCCEEDED {each}" for each in ids]


def test_the_cache_policy_reaches_every_graph_whatever_the_tasks_are_called():
    from intermodal.components.find_champion.component import find_champion

    @dsl.pipeline(name="inner")
    def inner(registry: str):
        find_champion(registry=registry, name="a")

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def find_champion_of_somebody_else():
        pass

    @dsl.pipeline(name="outer")
    def outer(registry: str, really: bool):
        with dsl.If(really == True):  # noqa: E712
            find_champion(registry=registry, name="a")
            find_champion(registry=registry, name="b")
        inner(registry=registry)
        find_champion_of_somebody_else()

    specification = compile_specification(outer)
    apply_cache_policy(specification)
    options = {}
    for graph in [specification["root"]["dag"], *(each["dag"] for each in specification["components"].values() if "dag" in each)]:
        options |= {f"{id(graph)} {name}": task["cachingOptions"] for name, task in graph["tasks"].items() if "find-champion" in name}
    assert sorted(map(str, options.values())) == ["{'enableCache': True}", "{}", "{}", "{}"]


def test_a_fetched_champion_is_cached_only_where_its_version_is_given():
    from intermodal.components.fetch_champion.component import fetch_champion
    from intermodal.components.find_champion.component import find_champion

    @dsl.pipeline(name="fetches")
    def fetches(registry: str, version: str = ""):
        fetch_champion(registry=registry, name="a").set_display_name("present")
        fetch_champion(registry=registry, name="a", version="").set_display_name("empty")
        fetch_champion(registry=registry, name="a", version=version).set_display_name("perhaps empty")
        fetch_champion(registry=registry, name="a", version="3").set_display_name("fixed")
        fetch_champion(registry=registry, name="a", version=find_champion(registry=registry, name="a").outputs["version"]).set_display_name("found")

    specification = compile_specification(fetches)
    apply_cache_policy(specification)
    tasks = specification["root"]["dag"]["tasks"].values()
    assert {each["taskInfo"]["name"] for each in tasks if each["cachingOptions"]} == {"fixed", "found"}


def test_a_reference_that_only_looks_like_ours_is_left_alone():
    specification = compile_specification(write)
    executor = next(iter(specification["deploymentSpec"]["executors"].values()))
    assert executor["container"]["image"] == image_reference("data")
    before = str(specification)
    apply_cache_policy(specification)
    assert str(specification) == before


def test_a_staged_folder_keeps_its_name_and_moves_with_its_content(target, tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "features.py").write_text("a = 1\n")
    first = target.stage(folder)
    assert first == target.stage(folder)
    assert os.listdir(first) == ["features.py"]
    (folder / "features.py").write_text("a = 2\n")
    assert target.stage(folder) != first
    assert (Path(first) / "features.py").read_text() == "a = 1\n"
