import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.runtime import arguments
from intermodal.runtime.arguments import ArgumentError


@given(st.floats() | st.integers())
def test_a_number_passes_exactly_when_it_is_within_its_bounds(value):
    def passes(*bounds, **opened):
        try:
            arguments.in_range("share", value, *bounds, **opened)
        except ArgumentError:
            return False
        return True

    assert passes(0, 1) == (0 <= value <= 1)
    assert passes(0.5, 1, open_low=True, open_high=True) == (0.5 < value < 1)
    assert passes() == (value == value)


@given(st.floats() | st.integers())
def test_a_whole_number_may_come_as_a_float(value):
    try:
        arguments.whole_number("rows", value, 1)
    except ArgumentError:
        assert not (1 <= value < float("inf") and value == int(value))
    else:
        assert value == int(value) >= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: arguments.in_range("confidence", 95, 0.5, 1, open_low=True, open_high=True), "confidence: 95 must be above 0.5 and below 1"),
        (lambda: arguments.in_range("missing", True, 0, 1), "missing: True must be a number"),
        (lambda: arguments.in_range("minimum.auc", "high"), "minimum.auc: 'high' must be a number"),
        (lambda: arguments.whole_number("epochs", 1.5, 1), "epochs: 1.5 must be a whole number, at least 1"),
        (lambda: arguments.whole_number("epochs", True, 1), "epochs: True must be a whole number, at least 1"),
        (lambda: arguments.texts("slices", "origin"), "slices: 'origin' must be a list of texts"),
        (lambda: arguments.texts("slices", [1]), "slices: [1] must be a list of texts"),
        (lambda: arguments.one_of("incomparable", "let", ("block", "pass")), "incomparable: 'let' must be one of block, pass"),
        (lambda: arguments.all_of("minimum", {"aucc": 1}, ("auc",)), "minimum.aucc: 'aucc' is none of auc"),
        (lambda: arguments.not_empty("label", ""), "label: it must not be empty"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_name_its_value_and_what_it_may_be(call, message):
    with pytest.raises(ArgumentError) as error:
        call()
    assert str(error.value) == message


def test_what_stands_for_a_default_passes():
    arguments.in_range("skew", None, 0, 1)
    arguments.texts("slices", [])
