import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.serving.rows import RowError, columns_of_instances, columns_of_tensors

INPUTS = [
    {"name": "text", "type": "string", "required": False},
    {"name": "count", "type": "integer", "required": True},
    {"name": "size", "type": "number", "required": False},
]
row = st.fixed_dictionaries(
    {"count": st.integers(-(2**53), 2**53)},
    optional={
        "text": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        "size": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    },
)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.lists(row, min_size=1, max_size=5))
def test_both_protocols_give_the_same_columns_and_null_is_what_the_model_takes_for_it(rows):
    columns = columns_of_instances(rows, INPUTS)
    tensors = [(each["name"], [len(rows)], {"string": "BYTES", "integer": "INT64", "number": "FP64"}[each["type"]]) for each in INPUTS]
    again = columns_of_tensors([(name, shape, kind, [each.get(name) for each in rows]) for name, shape, kind in tensors], INPUTS)
    for name in columns:
        np.testing.assert_array_equal(columns[name], again[name])
    assert [value.decode() for value in columns["text"]] == [each.get("text") or "" for each in rows]
    for value, each in zip(columns["size"], rows, strict=True):
        assert math.isnan(value) if each.get("size") is None else value == each["size"]


@given(json_value)
def test_whatever_comes_is_taken_or_refused_in_words(value):
    try:
        columns_of_instances(value, INPUTS)
    except RowError as error:
        assert 10 < len(str(error)) < 400


@given(st.sampled_from(["text", "count", "size"]), json_value)
def test_whatever_a_column_holds_is_taken_or_refused_with_its_place(name, value):
    try:
        columns_of_instances([{"count": 1} | {name: value}], INPUTS)
    except RowError as error:
        assert str(error).startswith(f"instances[0].{name} is ")


@given(json_value, st.lists(st.integers(-2, 3), max_size=3), st.text(max_size=5))
def test_whatever_a_tensor_holds_is_taken_or_refused(value, shape, datatype):
    data = value if isinstance(value, list) else [value]
    for kind in (datatype, "INT64"):
        try:
            columns = columns_of_tensors([("count", shape, kind, data)], INPUTS)
        except RowError:
            continue
        assert {len(each) for each in columns.values()} == {len(data)}


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ({"count": 1, "contu": 2}, "instances[0]: there is no column 'contu'; the model takes count, size, text"),
        ({"text": "a"}, "instances[0].count is missing or null; it must be an integer"),
        ({"count": None}, "instances[0].count is missing or null; it must be an integer"),
        ({"count": 1.5}, "instances[0].count is 1.5; it must be an integer"),
        ({"count": "1"}, 'instances[0].count is "1"; it must be an integer'),
        ({"count": 1, "text": 5}, "instances[0].text is 5; it must be a string or null"),
        ({"count": 1, "text": "a\ud800"}, r"instances[0].text is"),
        ({"count": 1, "size": math.inf}, "instances[0].size is Infinity; it must be a number or null"),
        ({"count": 10**400}, "instances[0].count is 1000"),
        ({"count": 1, "size": [1]}, "instances[0].size is a list of 1; it must be a number or null"),
        (7, "instances[0] is 7; it must be an object with one value a column"),
    ],
)
def test_a_wrong_row_is_refused_with_the_value_its_place_and_what_it_should_be(instance, words):
    with pytest.raises(RowError) as caught:
        columns_of_instances([instance], INPUTS)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([("count", [2], "INT64", [1])], "input 'count' has the shape [2] and 1 values; let them agree"),
        ([("count", [1, 2], "INT64", [1, 2])], "input 'count' has the shape [1, 2]; it must be [rows] or [rows, 1]"),
        ([("count", [1], "BYTES", ["1"])], "input 'count' has the datatype 'BYTES'; it must be INT64"),
        ([("count", [1], "INT64", [1]), ("count", [1], "INT64", [1])], "input 'count' came twice; send each column once"),
        ([("count", [1], "INT64", [1]), ("size", [2], "FP64", [1, 2])], "the inputs differ in rows: count 1, size 2; send as many of each"),
        ([("size", [1], "FP64", [1.0])], "input 'count', row 0 is missing or null; it must be an integer"),
        ([("other", [1], "FP64", [1.0])], "there is no input 'other'; the model takes count, size, text"),
        ([], "no input came; the model takes count, size, text"),
    ],
)
def test_wrong_tensors_are_refused_in_words(tensors, words):
    with pytest.raises(RowError) as caught:
        columns_of_tensors(tensors, INPUTS)
    assert str(caught.value) == words


def test_whole_numbers_may_come_as_floats_and_truth_values_as_numbers():
    columns = columns_of_instances([{"count": 5.0, "size": True}], INPUTS)
    assert (columns["count"][0], columns["size"][0]) == (5.0, 1.0)


def test_nan_in_a_tensor_is_null_for_a_binary_tensor_has_no_other():
    columns = columns_of_tensors([("count", [1, 1], "INT64", [[4]]), ("size", [1], "FP64", [math.nan])], INPUTS)
    assert math.isnan(columns["size"][0])
