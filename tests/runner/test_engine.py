"""What the engine makes of a compiled pipeline: the rules of Kubeflow Pipelines' backend."""
# ruff: noqa: PTH123 (bodies of tasks import what they use)

import time
from typing import List, NamedTuple, Optional  # noqa: UP035 - as kfp's signatures are written

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kfp import dsl

from intermodal.runner.engine import Engine
from intermodal.runner.inputs import Values
from intermodal.runtime.errors import ConfigurationError, IntermodalError
from tests.runner.in_process import InProcess

IMAGE = {"base_image": "python:3.11", "install_kfp_package": False}


@dsl.component(**IMAGE)
def kinds(value: dict) -> str:
    import json

    return json.dumps(value)


@dsl.component(**IMAGE)
def kind(number: int) -> str:
    return type(number).__name__ + str(number)


@dsl.component(**IMAGE)
def numbers(count: int) -> List[int]:  # noqa: UP006
    return list(range(count))


@dsl.component(**IMAGE)
def pair(number: int) -> NamedTuple("Pair", [("less", int), ("items", List[int])]):  # noqa: UP006
    return (number - 1, [number, number])


@dsl.component(**IMAGE)
def show(values: list) -> str:
    import json

    return json.dumps(values)


@dsl.component(**IMAGE)
def write(text: str, written: dsl.Output[dsl.Dataset]):
    with open(written.path, "w") as file:
        file.write(text)
    written.metadata["length"] = len(text)


@dsl.component(**IMAGE)
def read(parts: dsl.Input[List[dsl.Dataset]]) -> str:  # noqa: UP006
    return " ".join(f"{open(each.path).read()}:{each.metadata['length']}" for each in parts or [])


@dsl.component(**IMAGE)
def fail(message: str) -> int:
    raise RuntimeError(message)


@dsl.component(**IMAGE)
def wait(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


@dsl.component(**IMAGE)
def final(status: dsl.PipelineTaskFinalStatus, path: str):
    with open(path, "a") as file:
        file.write(f"{status.state} {status.pipeline_task_name} {status.error_message}")


@dsl.component(**IMAGE)
def say(word: str, note: Optional[str] = None) -> str:  # noqa: UP045
    return f"{word} {note}"


@pytest.fixture
def here(tmp_path):
    return InProcess(tmp_path / "tasks", kinds, kind, numbers, pair, show, write, read, fail, wait, final, say)


def test_integers_stay_integers_wherever_they_come_from(here):
    @dsl.pipeline(name="integers")
    def integers(given: List[int], default: List[int] = [7]) -> NamedTuple("Kinds", [(each, list) for each in "abcd"]):  # noqa: B006, UP006
        with dsl.ParallelFor([1, 2]) as constant:
            first = kind(number=constant)
        with dsl.ParallelFor(given) as item:
            second = kind(number=item)
        with dsl.ParallelFor(numbers(count=2).output) as made:
            third = kind(number=made)
        with dsl.ParallelFor(default) as usual:
            fourth = kind(number=usual)
        kinds_ = NamedTuple("Kinds", [(each, list) for each in "abcd"])
        return kinds_(*(dsl.Collected(each.output) for each in (first, second, third, fourth)))

    assert here.outputs(integers, given=[5]) == {"a": ["int1", "int2"], "b": ["int5"], "c": ["int0", "int1"], "d": ["int7"]}


def test_numbers_within_constants_are_as_they_were_written(here):
    @dsl.pipeline(name="constants")
    def constants() -> str:
        return kinds(value={"whole": 3, "part": 0.5, "list": [1, 2.5], "deep": {"n": 0}}).output

    assert here.outputs(constants) == {"Output": '{"deep": {"n": 0}, "list": [1, 2.5], "part": 0.5, "whole": 3}'}


def test_a_loop_over_a_named_output_and_a_condition_on_one(here):
    @dsl.pipeline(name="named")
    def named() -> list:
        two = pair(number=2)
        with dsl.ParallelFor(two.outputs["items"]) as item, dsl.If(two.outputs["less"] == 1):
            said = kind(number=item)
        return dsl.Collected(said.output)

    assert here.outputs(named) == {"Output": ["int2", "int2"]}


def test_nested_loops_give_lists_of_lists_of_values_and_one_list_of_artifacts(here):
    @dsl.pipeline(name="nested")
    def nested() -> NamedTuple("Both", [("values", str), ("texts", str)]):
        with dsl.ParallelFor(["a", "b"], parallelism=1) as outer, dsl.ParallelFor(["x", "y"]) as inner:
            said = say(word=outer, note=inner)
            made = write(text=f"{outer}{inner}")
        values = show(values=dsl.Collected(said.output)).output
        texts = read(parts=dsl.Collected(made.outputs["written"])).output
        return NamedTuple("Both", [("values", str), ("texts", str)])(values, texts)

    outputs = here.outputs(nested)
    assert outputs == {"values": '[["a x", "a y"], ["b x", "b y"]]', "texts": "ax:2 ay:2 bx:2 by:2"}
    assert {"say[0][0]", "say[0][1]", "say[1][0]", "say[1][1]"} <= set(here.spans)
    ends, starts = here.spans["write[0][1]"][1], here.spans["write[1][0]"][0]
    assert ends < starts, "the outer loop runs one item at a time"


def test_what_is_collected_from_an_empty_loop_is_an_empty_list(here):
    @dsl.pipeline(name="empty")
    def empty() -> NamedTuple("Both", [("values", str), ("texts", str)]):
        with dsl.ParallelFor(numbers(count=0).output) as item:
            said = kind(number=item)
            made = write(text="a")
        values = show(values=dsl.Collected(said.output)).output
        texts = read(parts=dsl.Collected(made.outputs["written"])).output
        return NamedTuple("Both", [("values", str), ("texts", str)])(values, texts)

    assert here.outputs(empty) == {"values": "[]", "texts": ""}


def test_a_loop_over_artifacts(here):
    @dsl.pipeline(name="made")
    def made() -> List[dsl.Dataset]:  # noqa: UP006
        with dsl.ParallelFor(["a", "bc"]) as text:
            each = write(text=text)
        return dsl.Collected(each.outputs["written"])

    @dsl.component(**IMAGE)
    def length(part: dsl.Input[dsl.Dataset]) -> int:
        return part.metadata["length"]

    @dsl.pipeline(name="lengths")
    def lengths() -> list:
        with dsl.ParallelFor(made().output) as part:
            measured = length(part=part)
        return dsl.Collected(measured.output)

    here.functions["length"] = length.python_func
    assert here.outputs(lengths) == {"Output": [1, 2]}


def test_a_text_made_of_others_holds_quotes_and_braces_as_they_are(here):
    @dsl.pipeline(name="texts")
    def texts(word: str) -> str:
        first = say(word=word)
        return say(word=f"<{first.output}|{word}>", note=dsl.PIPELINE_JOB_NAME_PLACEHOLDER).output

    word = "a \"b\" \\ {{$}} {{$.inputs.parameters['word']}}"
    assert here.outputs(texts, word=word) == {"Output": f"<{word} None|{word}> job-1"}


def test_an_optional_input_that_nobody_gives_is_absent_in_sub_pipelines_too(here):
    @dsl.component(**IMAGE)
    def look(note: dsl.Input[dsl.Dataset] = None, word: str = "default") -> str:
        return f"{note is None} {word}"

    @dsl.pipeline(name="inner")
    def inner(note: dsl.Input[dsl.Dataset] = None, word: Optional[str] = None) -> str:  # noqa: UP045
        return look(note=note, word=word).output

    @dsl.pipeline(name="outer")
    def outer(note: dsl.Input[dsl.Dataset] = None) -> str:
        return inner(note=note).output

    here.functions["look"] = look.python_func
    assert here.outputs(outer) == {"Output": "True default"}


def test_a_container_component_gets_its_placeholders_and_passes_on_what_it_wrote(here, tmp_path):
    @dsl.container_component
    def shell(word: str, made: dsl.Output[dsl.Dataset], size: dsl.OutputPath(int), seen: dsl.Input[dsl.Dataset], note: Optional[str] = None):  # noqa: UP045
        note_given = dsl.IfPresentPlaceholder(input_name="note", then=["--note", note], else_=["--quiet"])
        return dsl.ContainerSpec(
            image="any",
            command=["run", dsl.ConcatPlaceholder(["--word=", word])],
            args=[note_given, made.uri, size, seen.path, seen.metadata["rows"]],
        )

    @dsl.component(**IMAGE)
    def double(size: int, made: dsl.Input[dsl.Dataset]) -> str:
        return f"{size * 2} {open(made.path).read()}"

    @dsl.pipeline(name="containers")
    def containers(word: str) -> str:
        seen = dsl.importer(artifact_uri="/data/seen", artifact_class=dsl.Dataset, metadata={"rows": "9", "word": word}).output
        first = shell(word=word, seen=seen)
        shell(word=word, note="n", seen=seen)
        return double(size=first.outputs["size"], made=first.outputs["made"]).output

    here.functions["double"] = double.python_func
    assert here.outputs(containers, word='a "b"') == {"Output": "6 3"}
    with_note, without = here.commands["shell-2"], here.commands["shell"]
    assert with_note[:4] == ["run", '--word=a "b"', "--note", "n"]
    assert without[:3] == ["run", '--word=a "b"', "--quiet"]
    assert without[3].endswith("-shell/made")
    assert without[4].endswith("-shell/size")
    assert without[5:] == ["/data/seen", "9"]


def test_independent_tasks_run_at_the_same_time_and_no_more_of_them_than_allowed(here):
    @dsl.pipeline(name="apart")
    def apart():
        for _ in range(4):
            wait(seconds=0.3)

    started = time.perf_counter()
    here.outputs(apart)
    assert time.perf_counter() - started < 1.1
    for start, end in here.spans.values():
        assert sum(other < end and start < until for other, until in here.spans.values()) <= 3, "itself, one beside it, and one after that"


def test_a_failure_lets_what_runs_end_starts_nothing_else_and_runs_what_runs_whatever_happens(here, tmp_path):
    @dsl.pipeline(name="stops")
    def stops(path: str):
        last = final(path=path)
        with dsl.ExitHandler(last):
            broken = fail(message="no rows")
            slow = wait(seconds=0.3)
            wait(seconds=0.0).after(slow)
            with dsl.If(broken.output == 1):
                say(word="a")

    outcome = here.run(stops, path=str(tmp_path / "status"))
    assert [(name, str(error)) for name, error in outcome.failures] == [("fail", "no rows")]
    assert set(here.spans) == {"fail", "wait", "final"}
    assert sorted(outcome.skipped) == ["say", "wait-2"]
    assert (tmp_path / "status").read_text() == "FAILED exit-handler-1 fail: no rows"


def test_all_failures_are_kept_in_their_order(here):
    @dsl.pipeline(name="both")
    def both():
        fail(message="first")
        fail(message="second")

    assert sorted(str(error) for _, error in here.run(both).failures) == ["first", "second"]


def test_an_exit_task_runs_after_a_condition_that_cannot_be_evaluated(here, tmp_path):
    @dsl.pipeline(name="unreadable")
    def unreadable(path: str, number: int):
        with dsl.ExitHandler(final(path=path)), dsl.If(number > 1):
            say(word="a")

    outcome = here.run(unreadable, path=str(tmp_path / "status"), number="many")
    assert isinstance(outcome.failures[0][1], ConfigurationError)
    assert (tmp_path / "status").read_text().startswith("FAILED")


def test_a_task_that_ignores_what_fails_before_it_runs_and_the_run_has_failed(here):
    @dsl.pipeline(name="ignores")
    def ignores():
        say(word="late", note="still").after(fail(message="early")).ignore_upstream_failure()

    outcome = here.run(ignores)
    assert "say" in here.spans
    assert len(outcome.failures) == 1


def test_a_branch_that_did_not_run_skips_what_reads_it_and_the_run_is_none_the_worse(here):
    @dsl.pipeline(name="inner")
    def inner(number: int) -> str:
        with dsl.If(number == 1):
            said = say(word="one")
        with dsl.Else():
            other = say(word="other")
        return dsl.OneOf(said.output, other.output)

    @dsl.pipeline(name="outer")
    def outer(number: int) -> str:
        chosen = inner(number=number)
        return say(word=chosen.output).output

    outcome = here.run(outer, number=3)
    assert outcome.outputs.parameters == {"Output": "other None None"}
    assert outcome.skipped == ["say-2"]


def test_an_item_without_the_key_that_a_task_reads_is_named(here):
    @dsl.pipeline(name="keys")
    def keys(items: list):
        with dsl.ParallelFor(items) as item:
            say(word=item.word)

    ((name, error),) = here.run(keys, items=[{"word": "a"}, {"other": "b"}]).failures
    assert name == "say"
    assert "'word'" in str(error)


def test_what_is_no_list_cannot_be_looped_over(here):
    @dsl.pipeline(name="loop")
    def loop(items: list):
        with dsl.ParallelFor(items) as item:
            say(word=item)

    ((_, error),) = here.run(loop, items={"a": 1}).failures
    assert str(error) == "the loop over items was given no list"


def test_a_thousand_items_whose_branch_does_not_run_are_no_deep_recursion(here):
    @dsl.pipeline(name="many")
    def many(items: list):
        with dsl.ParallelFor(items, parallelism=1) as item, dsl.If(item == "b"):
            say(word=item)

    outcome = here.run(many, items=["a"] * 1500)
    assert outcome.skipped == ["say"]


def test_a_defect_in_what_runs_tasks_ends_the_run_and_is_raised(here):
    @dsl.pipeline(name="defect")
    def defect():
        say(word="b").after(say(word="a"))

    here.functions.clear()
    with pytest.raises(KeyError, match="say"):
        here.run(defect)


# Random pipelines. A task of a graph is a leaf that gives a number, a graph of its own, or a loop over one; any may have a condition on the number
# of a leaf before it, and may run whatever became of those before it.


@st.composite
def graphs(draw, depth=2):
    tasks = []
    for number in range(draw(st.integers(1, 4))):
        before = [name for name, *_ in tasks]
        leaves = [name for name, kind, *_ in tasks if kind == "leaf"]
        kind = draw(st.sampled_from(["leaf", "leaf", "graph", "loop"] if depth else ["leaf"]))
        inner = draw(graphs(depth=depth - 1)) if kind != "leaf" else draw(st.integers(0, 2))
        after = draw(st.sets(st.sampled_from(before))) if before else set()
        condition = draw(st.none() | st.tuples(st.sampled_from(leaves), st.integers(0, 2))) if leaves else None
        tasks.append((f"t{depth}-{number}", kind, inner, after, condition, draw(st.integers(0, 3)), draw(st.integers(0, 5)) == 0))
    return tasks


def specification(graph):
    """Return the compiled form of a random pipeline: every leaf with the path to it as its component's name."""
    made = {"pipelineInfo": {"name": "random"}, "components": {}, "deploymentSpec": {"executors": {"exec": {"container": {"image": "any"}}}}}

    def dag(tasks, path):
        entries = {}
        for name, kind, inner, after, condition, items, whatever in tasks:
            component = "/".join([*path, name])
            entry = {"componentRef": {"name": component}, "dependentTasks": sorted(after)}
            if condition:
                source = {"taskOutputParameter": {"producerTask": condition[0], "outputParameterKey": "number"}}
                entry["inputs"] = {"parameters": {"seen": source}}
                entry["triggerPolicy"] = {"condition": f"int(inputs.parameter_values['seen']) >= {condition[1]}"}
            if whatever:
                entry.setdefault("triggerPolicy", {})["strategy"] = "ALL_UPSTREAM_TASKS_COMPLETED"
            if kind == "loop":
                entry["parameterIterator"] = {"itemInput": "item", "items": {"raw": str(list(range(items)))}}
            made["components"][component] = {"executorLabel": "exec"} if kind == "leaf" else {"dag": {"tasks": dag(inner, (*path, name))}}
            entries[name] = entry
        return entries

    return made | {"root": {"dag": {"tasks": dag(graph, ())}}}


def read_simply(graph, path=()):
    """Return how often each leaf runs when none fails: the rules, one task after the other."""
    counts, numbers, done = {}, {}, set()
    for name, kind, inner, after, condition, items, whatever in graph:
        needed = after | ({condition[0]} if condition else set())
        if not needed <= done and not (whatever and (not condition or condition[0] in done)):
            continue
        if condition and numbers[condition[0]] < condition[1]:
            continue
        done.add(name)
        if kind == "leaf":
            numbers[name] = inner
            counts["/".join([*path, name])] = 1
        else:
            for leaf, count in read_simply(inner, (*path, name)).items():
                counts[leaf] = count * (items if kind == "loop" else 1)
    return {leaf: count for leaf, count in counts.items() if count}


def run_random(graph, failing, parallelism):
    """Run a random pipeline; return its outcome and, of each leaf, the place and the order of starts and ends."""
    values = {}

    def collect(tasks, path):
        for name, kind, inner, *_ in tasks:
            values["/".join([*path, name])] = inner
            if kind != "leaf":
                collect(inner, (*path, name))

    collect(graph, ())
    events = []

    def execute(instance):
        component = instance.task["componentRef"]["name"]
        events.append(("start", component, instance))
        if component in failing:
            events.append(("failed", component, instance))
            raise IntermodalError("as it was told to")
        events.append(("end", component, instance))
        return Values({"number": values[component]})

    return Engine(specification(graph), Values(), execute, parallelism=parallelism).run(), events


@settings(max_examples=150, deadline=None)
@given(graph=graphs(), parallelism=st.integers(1, 3))
def test_a_random_pipeline_runs_what_the_rules_say_and_each_task_after_those_before_it(graph, parallelism):
    def condition_without_value(tasks):
        # A task that runs whatever became of those before it, on the number of one that did not run: the run fails, which is another test.
        return any(
            (whatever and condition) or (kind != "leaf" and condition_without_value(inner)) for _, kind, inner, _, condition, _, whatever in tasks
        )

    assume(not condition_without_value(graph))
    outcome, events = run_random(graph, set(), parallelism)
    ran = [component for event, component, _ in events if event == "start"]
    expected = read_simply(graph)
    assert {component: ran.count(component) for component in ran} == expected
    assert not outcome.failures
    assert len({instance.name for event, _, instance in events if event == "start"}) == len(ran), "no two have one name"
    assert len({instance.place for event, _, instance in events if event == "start"}) == len(ran), "no two have one folder"
    assert len(outcome.skipped) == len([each for each in specification(graph)["components"].values() if "dag" not in each]) - len(expected)
    order = {(event, instance.name): number for number, (event, _, instance) in enumerate(events)}
    for event, component, instance in events:
        parent = component.rpartition("/")[0]
        for needed in instance.task["dependentTasks"] if event == "start" else ():
            inside = [
                other.name
                for kind, name, other in events
                if kind == "start" and f"{name}/".startswith(f"{parent}/{needed}/".lstrip("/")) and _same_iterations(instance, other)
            ]
            assert all(order["end", other] < order["start", instance.name] for other in inside)


def _same_iterations(one, other):
    """Tell whether two tasks stand in the same iteration of all the loops around the first."""
    loops = one.place.split("/")[:-1]
    return other.place.split("/")[: len(loops)] == loops


@settings(max_examples=150, deadline=None)
@given(graph=graphs(), data=st.data())
def test_of_a_random_pipeline_nothing_starts_after_a_failure_but_what_runs_whatever_happens(graph, data):
    leaves = sorted(read_simply(graph))
    failing = data.draw(st.sets(st.sampled_from(leaves), min_size=1)) if leaves else set()
    outcome, events = run_random(graph, failing, 1)
    by_path = {}

    def index(tasks, path):
        for name, kind, inner, _, _, _, whatever in tasks:
            by_path["/".join([*path, name])] = whatever
            if kind != "leaf":
                index(inner, (*path, name))

    index(graph, ())
    failures = [number for number, (event, *_) in enumerate(events) if event == "failed"]
    assert len(outcome.failures) >= len(failures)
    for number, (event, component, _) in enumerate(events):
        if event == "start" and failures and number > failures[0]:
            steps = component.split("/")
            assert any(by_path["/".join(steps[: length + 1])] for length in range(len(steps))), component
    if not failures:
        return
    # What stands in the pipeline itself and runs whatever happens has run, unless its own condition says no.
    ran = {component for event, component, _ in events if event == "start"}
    for name, kind, _, _, condition, _, whatever in graph:
        assert not (whatever and kind == "leaf" and not condition) or name in ran
