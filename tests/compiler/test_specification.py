"""What a compiled pipeline says of its tasks' parameters, and tasks that share a component."""

import pytest
from kfp import dsl

from intermodal.authoring.decorator import component
from intermodal.compiler.build import compile_specification
from intermodal.compiler.specification import compiled_value, executor_of, graphs, image_run, separate


@component(image="train")
def spread(workers: int = 1) -> int:
    return workers


@dsl.pipeline(name="spreading")
def spreading(many: int = 3, condition: str = "yes"):
    spread().set_display_name("default")
    spread(workers=2)
    first = spread(workers=many)
    spread(workers=first.output)
    with dsl.If(condition == "yes"), dsl.If(condition != "no"):
        spread(workers=many)
    with dsl.ParallelFor([1, 2]) as each:
        spread(workers=each)


@pytest.fixture
def specification():
    return compile_specification(spreading)


def test_a_tasks_parameter_is_followed_to_where_the_file_says_its_value(specification):
    tasks = [name for graph in graphs(specification) for name, each in graph["tasks"].items() if name.startswith("spread")]
    assert [compiled_value(specification, task, "workers") for task in tasks] == [(1, ""), (2, ""), (3, "many"), (None, ""), (3, "many"), (None, "")]


def test_a_task_that_gets_a_component_of_its_own_changes_no_other(specification):
    tasks = {name: task for graph in graphs(specification) for name, task in graph["tasks"].items()}
    before = {name: executor_of(specification, task) for name, task in tasks.items()}
    name = separate(specification, "spread-2")
    assert separate(specification, "spread-2") == name
    executor_of(specification, tasks["spread-2"])["container"]["image"] = "other"
    assert image_run(specification, tasks["spread-2"]) == "other"
    assert {each: executor_of(specification, task) for each, task in tasks.items() if each != "spread-2"} == {
        each: executor for each, executor in before.items() if each != "spread-2"
    }
