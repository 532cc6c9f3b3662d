"""Conditions are CEL, evaluated as Kubeflow Pipelines' driver does, and whatever stands in one runs no code and ends soon."""

import string
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfp import dsl

from intermodal.authoring.decorator import component
from intermodal.compiler.build import compile_specification
from intermodal.compiler.conditions import holds
from intermodal.runtime.errors import ConfigurationError

V = "inputs.parameter_values"


def condition_holds(condition, **values):
    return holds(condition, values.__getitem__)


# The cases of the driver's own tests (kubeflow/pipelines, backend/src/v2/expression/expression_test.go); the last two are what it does today.
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"{V}['type']=='foo'", True),
        (f"{V}['type']=='foo2'", False),
        (f"{V}['type']=='foo' && {V}['num'] == 1.0", True),
        (f"int({V}['num']) == 1", True),
        (f"{V}['num'] < 1.5 || {V}['absent'] == 'a'", True),
        (f"{V}.type == 'foo' && {V}[\"type\"] == 'foo'", True),
        (f"parseJson({V}['json'])['a'] == 2.0", True),
        ("", True),
        ("  ", True),
        ("!(true)", False),
    ],
)
def test_a_condition_holds_as_for_the_driver(condition, expected):
    assert condition_holds(condition, type="foo", num=1, json='{"a": 2}') is expected


NESTED = "true"
for letter in "abcdefgh":
    NESTED = f"[0,1,2,3,4,5,6,7,8,9].all({letter}, {NESTED})"
HOSTILE = {
    "attribute walk": "''.__class__.__mro__[1].__subclasses__()",
    "attribute walk from a value": f"{V}['x'].__class__.__init__.__globals__ == null",
    "import": "__import__('os').system('touch /tmp/owned') == 0",
    "generator": "[x for x in (1).__class__.__bases__] == []",
    "lambda": "(lambda: true)()",
    "exponential": "9**9**9 > 1",
    "a billion steps": NESTED,
    "doubling": "['" + "a" * 1000 + "']" + ".map(x, x + x)" * 24 + " == []",
    "brackets 50,000 deep": "(" * 50_000 + "true" + ")" * 50_000,
    "a list 90,000 deep": "[" * 90_000,
    "not 90,000 times": "!" * 90_000 + "1",
    "minus 90,000 times": "-" * 90_000 + "1 == 'a'",
    "90,000 members": "a" + ".a" * 45_000,
    "ternaries": "true ? " * 12_000 + "true" + " : true" * 12_000,
    "a sum of 45,000": "1" + "+1" * 45_000 + " == 1",
    "a text of 10 MB": f"{V}['x'] == '{'a' * 10_000_000}'",
    "a NUL": "true \0 && true",
    "half a surrogate": f"{V}['x'] == '\ud800'",
    "an open text": f"{V}['x'] == 'it's'",
    "no boolean": f"{V}['x']",
    "text and boolean": f"{V}['x'] && true",
    "no such parameter": f"{V}['y'] == 'a'",
    "overflow": "9223372036854775807 + 1 > 0",
    "division by zero": "1 / 0 == 1",
    "json that is none": f"parseJson({V}['x']) == 1",
    "json 100,000 deep": f"parseJson({V}['deep']) == 1",
    "a parameter beyond 1.8e308": f"{V}['huge'] == 1.0",
}


@pytest.mark.fault(
    "Local runs",
    "conditions of a hostile YAML file: attribute walks, imports, endless loops, 90,000 levels, 10 MB, no boolean, a text and a boolean",
    "one sentence within two seconds; no code is run",
)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_condition_ends_in_one_sentence(name):
    # In a process of its own: what a parser written in C makes of it could be its end.
    code = (
        "import sys\n"
        "from intermodal.runtime.errors import ConfigurationError\n"
        "from intermodal.compiler.conditions import holds\n"
        "values = {'x': 'a', 'deep': '[' * 100_000, 'huge': 10**400}\n"
        "try:\n"
        "    print('holds', holds(sys.stdin.buffer.read().decode('utf-8', 'surrogatepass'), values.__getitem__))\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    before = time.monotonic()
    condition = HOSTILE[name].encode("utf-8", "surrogatepass")
    done = subprocess.run([sys.executable, "-c", code], input=condition, capture_output=True, timeout=60, check=False)
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert said.startswith("the condition "), said[:500]
    assert said.count("\n") == 1
    assert len(said) < 700
    assert time.monotonic() - before < 20, "two seconds, and what a loaded machine adds"


NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = {"text": st.text().filter(lambda text: "\0" not in text), "number": NUMBERS, "truth": st.booleans()}
OPERATORS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def literal(value):
    """Return a value as CEL writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # Escaped here and not by a library: every character that is not plain by its number.
        plain = string.ascii_letters + string.digits + " !#$%&()*+,-./:;<=>?@[]^_`{|}~"
        return "'" + "".join(c if c in plain else f"\\U{ord(c):08x}" for c in value) + "'"
    return repr(float(value))


@st.composite
def comparisons(draw):
    """A comparison of two values, each a literal or a parameter, and what Python says of it."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    left, right = draw(VALUES[kind]), draw(VALUES[kind])
    if draw(st.booleans()):
        right = left
    operator = draw(st.sampled_from(sorted(OPERATORS)))
    values, sides = {}, []
    for side in (left, right):
        if draw(st.booleans()):
            name = f"pipelinechannel--p{draw(st.integers(0, 10**9))}"
            if values.setdefault(name, side) is side:
                sides.append(f"{V}['{name}']")
                continue
        sides.append(literal(side))
    return f"{sides[0]} {operator} {sides[1]}", values, OPERATORS[operator](left, right)


def combined(children):
    """Two conditions joined, or one denied."""

    def join(pair, operator):
        (left, mine, first), (right, yours, second) = pair
        both = mine | yours
        if any(both[name] is not value for name, value in mine.items()):
            return left, mine, first
        return f"({left}) {operator} ({right})", both, (first and second) if operator == "&&" else (first or second)

    joined = st.builds(join, st.tuples(children, children), st.sampled_from(["&&", "||"]))
    return joined | children.map(lambda one: (f"!({one[0]})", one[1], not one[2]))


@settings(max_examples=400, deadline=None)
@given(st.recursive(comparisons(), combined, max_leaves=5))
def test_comparisons_and_their_combinations_mean_what_they_mean_in_python(example):
    condition, values, expected = example
    assert condition_holds(condition, **values) is bool(expected)


@settings(max_examples=200, deadline=None)
@given(st.text() | st.text("()[]{}!&|=<>'\"\\.+-*/%?: 01ax") | st.text("()!&|=' a1").map(lambda text: f"{V}['x'] == {text}"))
def test_any_text_gives_a_boolean_or_one_sentence(condition):
    try:
        assert condition_holds(condition, x="a") in (True, False)
    except ConfigurationError as error:
        assert "\n" not in str(error)


@component(image="data")
def say(text: str) -> str:
    return text


@settings(max_examples=15, deadline=None)
@given(st.text(string.ascii_letters + string.digits + ' _-&|!()="', max_size=12), st.integers(-1000, 1000), st.booleans())
def test_what_kfp_compiles_means_what_its_author_wrote(text, number, flag):
    @dsl.pipeline(name="compiled")
    def pipeline(word: str, count: int, share: float, on: bool):
        for condition in (word == text, count > number, share <= number, on == flag, count != number):
            with dsl.If(condition):
                say(text="a")

    tasks = compile_specification(pipeline)["root"]["dag"]["tasks"].values()
    conditions = [task["triggerPolicy"]["condition"] for task in tasks]
    values = {
        "pipelinechannel--word": text,
        "pipelinechannel--count": number + 1,
        "pipelinechannel--share": number + 0.5,
        "pipelinechannel--on": flag,
    }
    assert [condition_holds(each, **values) for each in conditions] == [True, True, False, True, True]


def test_fifty_branches_are_not_too_many():
    @dsl.pipeline(name="branches")
    def pipeline(count: int):
        with dsl.If(count == 0):
            say(text="0")
        for number in range(1, 50):
            with dsl.Elif(count == number):
                say(text="a")
        with dsl.Else():
            say(text="b")

    graphs = [each["dag"] for each in compile_specification(pipeline)["components"].values() if "dag" in each]
    conditions = [task["triggerPolicy"]["condition"] for graph in graphs for task in graph["tasks"].values() if "triggerPolicy" in task]
    assert len(conditions) == 51
    assert sum(condition_holds(each, **{"pipelinechannel--count": 49}) for each in conditions) == 1


def test_the_library_is_imported_by_the_first_condition_alone():
    code = "import sys, intermodal.runner.engine as e; print({'cel_expr_python', 'kfp'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_text_with_a_nul_is_refused_for_the_library_would_cut_it_off_there():
    with pytest.raises(ConfigurationError, match="NUL"):
        condition_holds(f"{V}['x'] != ''", x="\0")
