"""The same pipelines by kfp's own local runner and by the local target give the same, where kfp's runner is right."""
# ruff: noqa: PTH123 (bodies of tasks import what they use)

import contextlib
import io
import threading
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import kfp.local
import pytest
from kfp import dsl
from rich.console import Console

from intermodal.runner.local import LocalTarget

IMAGE = {"base_image": "python:3.11", "install_kfp_package": False}


@dsl.component(**IMAGE)
def say(word: str, times: int = 1) -> str:
    return word * times


@dsl.component(**IMAGE)
def judge(number: float, flag: bool, rules: dict, words: list) -> NamedTuple("Judged", [("verdict", str), ("score", float), ("many", list)]):
    return (f"{number} {flag} {rules} {words}", number / 2, [*words, number])


@dsl.component(**IMAGE)
def write(text: str, written: dsl.Output[dsl.Dataset]):
    with open(written.path, "w") as file:
        file.write(text)
    written.metadata["length"] = str(len(text))


@dsl.component(**IMAGE)
def read(written: dsl.Input[dsl.Dataset]) -> str:
    return f"{open(written.path).read()} {written.metadata.get('length')} {type(written).__name__} {written.name}"


@dsl.component(**IMAGE)
def read_all(parts: dsl.Input[list[dsl.Dataset]]) -> str:
    return " ".join(open(each.path).read() for each in parts)


@dsl.component(**IMAGE)
def stumble(path: str) -> int:
    with open(path, "a+") as file:
        file.write("x")
        file.seek(0)
        attempts = len(file.read())
    if attempts < 2:
        raise RuntimeError("stumbles")
    return attempts


@dsl.component(**IMAGE)
def final(path: str, status: dsl.PipelineTaskFinalStatus):
    with open(path, "w") as file:
        file.write(f"{status.state} {status.pipeline_task_name}")


@dsl.pipeline(name="values")
def values(word: str = "a", number: float = 2.0, words: list = ["x"]) -> NamedTuple("Given", [("verdict", str), ("score", float), ("text", str)]):  # noqa: B006
    judged = judge(number=number, flag=True, rules={"minimum": {"auc": 0.5}}, words=words)
    said = say(word=f"{word}-{judged.outputs['score']}", times=2)
    return NamedTuple("Given", [("verdict", str), ("score", float), ("text", str)])(judged.outputs["verdict"], judged.outputs["score"], said.output)


@dsl.pipeline(name="artifacts")
def artifacts(text: str, uri: str) -> NamedTuple("Texts", [("made", str), ("imported", str)]):
    made = read(written=write(text=text).outputs["written"])
    imported = read(written=dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset, metadata={"length": text}).output)
    return NamedTuple("Texts", [("made", str), ("imported", str)])(made.output, imported.output)


@dsl.pipeline(name="branches")
def branches(number: int) -> str:
    measured = say(word="abc", times=number)
    with dsl.If(measured.output == "abc"):
        first = say(word="one")
    with dsl.Elif(number > 4):
        second = say(word="large")
    with dsl.Else():
        third = say(word="other")
    return dsl.OneOf(first.output, second.output, third.output)


@dsl.pipeline(name="loops")
def loops(words: list) -> NamedTuple("Loops", [("texts", str), ("said", list)]):
    with dsl.ParallelFor(words, parallelism=2) as word:
        made = write(text=word)
    with dsl.ParallelFor([{"word": "p", "times": 1}, {"word": "q", "times": 2}]) as item:
        said = say(word=item.word)
    texts = read_all(parts=dsl.Collected(made.outputs["written"]))
    return NamedTuple("Loops", [("texts", str), ("said", list)])(texts.output, dsl.Collected(said.output))


@dsl.pipeline(name="inner")
def inner(word: str) -> str:
    return say(word=say(word=word).output).output


@dsl.pipeline(name="handled")
def handled(folder: str) -> NamedTuple("Handled", [("attempts", int), ("inner", str)]):
    with dsl.ExitHandler(final(path=f"{folder}/status")):
        say(word="a")
    attempts = stumble(path=f"{folder}/attempts").set_retry(1, backoff_duration="0s").set_caching_options(False)
    return NamedTuple("Handled", [("attempts", int), ("inner", str)])(attempts.output, inner(word="deep").output)


@pytest.mark.parametrize(
    ("pipeline", "arguments"),
    [
        (values, {}),
        (values, {"word": 'a"b', "number": 0.5, "words": ["y", "z"]}),
        (artifacts, {"text": "hello", "uri": "{folder}/data"}),
        (branches, {"number": 1}),
        (branches, {"number": 7}),
        (branches, {"number": 3}),
        (loops, {"words": ["a", "b", "c"]}),
        (handled, {"folder": "{folder}"}),
    ],
    ids=["defaults", "values", "artifacts", "if", "elif", "else", "loops", "retry-exit-inner"],
)
def test_the_outputs_are_those_of_kfps_own_runner(pipeline, arguments, tmp_path):
    outputs, files = {}, {}
    for runner in ("kfp", "intermodal"):
        folder = tmp_path / runner
        folder.mkdir()
        (folder / "data").write_text("imported")
        given = {name: value.format(folder=folder) if isinstance(value, str) else value for name, value in arguments.items()}
        if runner == "kfp":
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kfp.local.init(kfp.local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"), enable_caching=False)
                outputs[runner] = dict(pipeline(**given).outputs)
        else:
            outputs[runner] = LocalTarget(folder / "home", console=Console(quiet=True)).run(pipeline, given).outputs
        files[runner] = [path.read_text() for path in (folder / "status", folder / "attempts") if path.exists()]
    assert outputs["intermodal"] == outputs["kfp"]
    assert files["intermodal"] == files["kfp"]


@dsl.component(**IMAGE)
def meet(folder: str, me: str, other: str) -> str:
    import pathlib
    import time

    pathlib.Path(folder, me).touch()
    deadline = time.monotonic() + 60
    while not pathlib.Path(folder, other).exists():
        if time.monotonic() > deadline:
            raise RuntimeError("alone")
        time.sleep(0.01)
    return me


def test_two_branches_run_at_the_same_time(tmp_path):
    @dsl.pipeline(name="meeting")
    def meeting(folder: str):
        meet(folder=folder, me="a", other="b")
        meet(folder=folder, me="b", other="a")

    run = LocalTarget(tmp_path / "home", console=Console(quiet=True), parallelism=2).run(meeting, {"folder": str(tmp_path)})
    assert [task.state for task in run.tasks] == ["done", "done"]


def test_two_runs_go_on_in_one_process_at_the_same_time_and_neither_disturbs_the_other(tmp_path):
    finished = {}

    def start(me, other):
        target = LocalTarget(tmp_path / "home", console=Console(quiet=True), parallelism=1)
        finished[me] = target.run(meet, {"folder": str(tmp_path), "me": me, "other": other})

    threads = [threading.Thread(target=start, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
        time.sleep(0.001)
    for thread in threads:
        thread.join(120)
    assert {me: run.outputs["Output"] for me, run in finished.items()} == {"a": "a", "b": "b"}
    assert len({run.directory for run in finished.values()}) == 2
    assert all(Path(run.directory, "run.json").exists() for run in finished.values())
