"""Parameters are checked by name and type before anything leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl

from intermodal.compiler.build import compile_specification
from intermodal.runtime.errors import ConfigurationError
from intermodal.submission.parameters import check_parameters, read_parameters


@dsl.component
def nothing(text: str):
    pass


@dsl.pipeline(name="typed")
def typed(text: str, count: int, share: float, wanted: bool, names: list, rules: dict, note: str = "none"):
    nothing(text=text)


SPECIFICATION = compile_specification(typed)
RIGHT = {"text": "a", "count": 3, "share": 0.5, "wanted": True, "names": ["a"], "rules": {"a": 1}}
WRONG = {"text": 5, "count": 2.5, "share": "half", "wanted": 1, "names": "a,b", "rules": [1]}


def test_right_ones_pass_and_a_default_need_not_be_given():
    assert check_parameters(SPECIFICATION, RIGHT) == RIGHT


def test_a_whole_number_may_come_as_a_float_as_json_has_it():
    checked = check_parameters(SPECIFICATION, RIGHT | {"count": 3.0})
    assert checked["count"] == 3
    assert isinstance(checked["count"], int)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_type_names_parameter_value_and_what_it_must_be(name):
    with pytest.raises(ConfigurationError) as caught:
        check_parameters(SPECIFICATION, RIGHT | {name: WRONG[name]})
    assert f"{name!r} must be" in str(caught.value)
    assert repr(WRONG[name]) in str(caught.value)


def test_true_is_no_number():
    with pytest.raises(ConfigurationError, match="'count' must be a whole number, not True"):
        check_parameters(SPECIFICATION, RIGHT | {"count": True})


def test_an_unknown_one_names_the_nearest_and_all_problems_come_at_once():
    with pytest.raises(ConfigurationError) as caught:
        check_parameters(SPECIFICATION, {"cuont": 3, **{key: value for key, value in RIGHT.items() if key != "count"}, "share": "x"})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "did you mean 'count'" in lines[0]
    assert "'count' is required" in lines[2]


@given(st.dictionaries(st.sampled_from([*RIGHT, "other"]), st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers()), max_size=7))
def test_whatever_is_given_it_passes_typed_or_is_refused_in_words(values):
    try:
        checked = check_parameters(SPECIFICATION, values)
    except ConfigurationError as error:
        assert str(error)
    else:
        assert set(RIGHT) <= set(checked)


@pytest.mark.parametrize("text", ["- a\n", "a: [", "\x00"])
def test_a_parameters_file_that_is_none_is_refused_with_its_path(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"params\.yaml"):
        read_parameters(path)


def test_an_empty_file_has_no_parameters(tmp_path):
    (tmp_path / "params.yaml").write_text("# none\n")
    assert read_parameters(tmp_path / "params.yaml") == {}
