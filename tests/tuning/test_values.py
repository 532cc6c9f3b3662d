"""Values as texts, and a trial's lines: both ways."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.runtime.errors import ConfigurationError
from intermodal.tuning.trial import epoch_line, epoch_numbers
from intermodal.tuning.values import decode, labels

CHOICES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each, max_size=3), max_leaves=4)


@given(st.lists(CHOICES, min_size=1, max_size=6, unique_by=json.dumps))
def test_every_choice_has_a_text_of_its_own_that_a_shell_and_a_json_leave_alone(choices):
    texts = labels(choices)
    space = {"a": {"type": "categorical", "choices": choices}}
    assert [json.dumps(decode(space, {"a": text})["a"]) for text in texts] == [json.dumps(each) for each in choices]
    assert all(json.dumps(text) == f'"{text}"' and not set(text) & set(" \t\n'\"$`\\;&|<>()*?#!") for text in texts)


def test_usual_choices_stay_readable():
    assert labels(["relu", 64, 0.5, [64, 32], True, "true", "two words"]) == [
        "relu",
        "64",
        "0.5",
        "[64,32]",
        "true",
        "%22true%22",
        "%22two%20words%22",
    ]


def test_numbers_come_back_by_their_type_and_another_spaces_values_are_refused():
    space = {"rate": {"type": "float", "low": 0.0, "high": 1.0}, "units": {"type": "int", "low": 1, "high": 99}}
    decoded = decode(space, {"units": "64.0", "rate": "1e-3"})
    assert decoded == {"rate": 0.001, "units": 64}
    assert isinstance(decoded["units"], int)
    with pytest.raises(ConfigurationError, match=r"values for rate; the space has rate, units"):
        decode(space, {"rate": "1"})
    with pytest.raises(ConfigurationError, match=r"space\.kind: a trial got 'c', which is none of its choices"):
        decode({"kind": {"type": "categorical", "choices": ["a", "b"]}}, {"kind": "c"})


@given(st.integers(1, 10**6), st.dictionaries(st.sampled_from(["val_loss", "val_auc"]), st.floats(-1e300, 1e300), min_size=1))
def test_a_line_of_an_epoch_is_read_as_it_was_said(epoch, numbers):
    found = epoch_numbers(epoch_line(epoch, numbers) + "\n")
    assert found == (epoch, {name: pytest.approx(value, rel=1e-9) for name, value in numbers.items()})
    assert epoch_numbers("epoch 3/12: loss 0.4112, val_loss 0.4230; 1.2 s") is None
