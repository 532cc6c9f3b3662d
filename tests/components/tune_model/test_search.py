"""The search and its space, without any training: the objective is a formula."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intermodal.components.tune_model.arguments import check_space, searched_space
from intermodal.components.tune_model.importance import FEWEST, importance_of
from intermodal.components.tune_model.search import best_of, open_search
from intermodal.runtime.arguments import ArgumentError
from intermodal.runtime.errors import ConfigurationError, MachineError
from intermodal.tuning.roles import FAILED, FINISHED, INTERRUPTED, PRUNED, Tried

SPACE = {"learning_rate": {"type": "float", "low": 1e-5, "high": 1.0, "log": True}, "dropout": {"type": "float", "low": 0.0, "high": 0.5}}


def loss(parameters):
    """Lowest, 0, at a learning rate of 0.01 and a dropout of 0.2."""
    return math.log10(parameters["learning_rate"] / 0.01) ** 2 + (parameters["dropout"] - 0.2) ** 2


def opened(folder, space=SPACE, **given):
    return open_search(
        folder, space, **{"metric": "val_loss", "early_stopping": "none", "epochs": 10, "seed": 3, "identity": {"rows": "abc"}, **given}
    )


def tries(search, count):
    for _ in range(count):
        number, parameters = search.begin()
        search.end(number, 0.5, value=loss(parameters))


def test_it_comes_near_a_known_optimum_and_the_same_seed_makes_the_same_trials(tmp_path):
    found = []
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        with opened(tmp_path / name, seed=seed) as search:
            tries(search, 40)
            found.append(search.tried())
    best = best_of(found[0], "val_loss")
    assert best.value < 0.05 < loss({"learning_rate": 0.001, "dropout": 0.1})
    assert best.value == min(each.value for each in found[0])
    assert [each.parameters for each in found[0]] == [each.parameters for each in found[1]]
    assert [each.parameters for each in found[0]] != [each.parameters for each in found[2]]


def test_more_is_better_where_the_metric_says_so(tmp_path):
    with opened(tmp_path, metric="val_auc") as search:
        for value in (0.7, 0.9, 0.8):
            number, _ = search.begin()
            search.end(number, 1.0, value=value)
        assert best_of(search.tried(), "val_auc").value == 0.9


@pytest.mark.fault(
    "Killed process", "tune_model by kill -9 while it writes a line of its study", "the trials that ended are there, and the same ones follow"
)
@pytest.mark.parametrize("torn", [b"", b'{"op_code":6,"trial_i'])
def test_a_killed_search_goes_on_as_it_would_have(tmp_path, torn):
    with opened(tmp_path / "whole") as search:
        tries(search, 16)
        whole = search.tried()
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom tests.components.tune_model import test_search as t\n"
        "with t.opened(Path(sys.argv[1])) as search:\n    t.tries(search, 12)\n    search.begin()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[3]
    # The packages of the tests lie behind the image's own.
    path = f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / 'src')!r}]; sys.path += {sys.path!r}\n"
    done = subprocess.run([sys.executable, "-c", path + code, str(tmp_path / "killed")], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    with (tmp_path / "killed" / "study.jsonl").open("ab") as lines:
        lines.write(torn)
    with opened(tmp_path / "killed") as search:
        tries(search, 4)
        tried = search.tried()
    assert [each.state for each in tried] == [FINISHED] * 12 + [INTERRUPTED] + [FINISHED] * 4
    assert [(each.parameters, each.value) for each in tried if each.state == FINISHED] == [(each.parameters, each.value) for each in whole]


@pytest.mark.parametrize("early_stopping", ["median", "halving", "hyperband"])
def test_a_hopeless_trial_ends_early(tmp_path, early_stopping):
    with opened(tmp_path, early_stopping=early_stopping, epochs=20) as search:
        for final in [1.0] * 12 + [9.0] * 6:
            number, _ = search.begin()
            if all(search.goes_on(number, epoch, final) for epoch in range(1, 21)):
                search.end(number, 1.0, value=final)
            else:
                search.end(number, 1.0)
        bad = search.tried()[12:]
    pruned = [each for each in bad if each.state == PRUNED]
    assert len(pruned) >= 3
    assert all(each.epochs < 20 and each.value == 9.0 for each in pruned)


def test_a_failed_trial_keeps_its_reason(tmp_path):
    with opened(tmp_path) as search:
        number, _ = search.begin()
        search.end(number, 2.0, reason="the loss is no number")
    with opened(tmp_path) as search:
        [tried] = search.tried()
    assert (tried.state, tried.reason, tried.seconds, tried.value) == (FAILED, "the loss is no number", 2.0, None)


def test_a_study_of_another_search_and_one_in_use_are_refused(tmp_path):
    identity = {"rows": "abc", "seed": 1}
    with opened(tmp_path, identity=identity), pytest.raises(MachineError, match="another process searches there"), opened(tmp_path):
        pass
    with pytest.raises(ConfigurationError, match="of another search: rows, seed differ"), opened(tmp_path, identity={"rows": "x", "seed": 2}):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot be written to"), opened(tmp_path / "file"):
        pass


def number(**given):
    return {"learning_rate": {"type": "float", "low": 0.001, "high": 0.1, **given}}


@pytest.mark.fault("Wrong input", "a search space with a wrong name, type, key, bound, step or choice", "tune_model names the parameter and the key")
@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "space: it must not be empty"),
        ([1], "space: .* must map"),
        ({"learnig_rate": {"type": "float", "low": 0, "high": 1}}, r"space\.learnig_rate: nothing reads it"),
        ({"learning_rate": 0.1}, r"space\.learning_rate: 0.1 must be a mapping with a type"),
        ({"learning_rate": {"low": 0, "high": 1}}, r"space\.learning_rate\.type: '' must be one of float, int, categorical"),
        (number(choices=[1]), r"space\.learning_rate\.choices: a parameter of type float has no such key"),
        (number(low=1.0), r"space\.learning_rate\.high: 0\.1 must be above low, 1\.0"),
        (number(low="a"), r"space\.learning_rate\.low: 'a' must be a number"),
        (number(high=math.nan), r"space\.learning_rate\.high: nan"),
        (number(high=math.inf), r"space\.learning_rate\.high: inf"),
        (number(low=0, log=True), r"space\.learning_rate\.low: 0 must be above 0 where log is true"),
        (number(low=0), r"space\.learning_rate: 0 must be above 0"),
        (number(log="yes"), r"space\.learning_rate\.log: 'yes' must be true or false"),
        (number(step=0), r"space\.learning_rate\.step: 0 must be above 0"),
        (number(step=1), r"space\.learning_rate\.step: 1 must be .* at most"),
        (number(step=0.01, log=True), r"space\.learning_rate\.step: a logarithmic parameter has no step"),
        ({"batch_size": {"type": "int", "low": 0, "high": 64}}, r"space\.batch_size: 0 must be a whole number, at least 1"),
        ({"batch_size": {"type": "int", "low": 8, "high": 64.5}}, r"space\.batch_size\.high: 64\.5 must be a whole number"),
        ({"batch_size": {"type": "int", "low": 8}}, r"space\.batch_size\.high: it is missing"),
        ({"batch_size": {"type": "float", "low": 8.5, "high": 64}}, r"space\.batch_size: 8\.5 must be a whole number"),
        ({"hidden_units": {"type": "categorical", "choices": []}}, r"space\.hidden_units\.choices: \[\] must be a list of values"),
        ({"hidden_units": {"type": "categorical", "choices": [[8], [8]]}}, r"space\.hidden_units\.choices: \[8\] is there twice"),
        ({"hidden_units": {"type": "categorical", "choices": [[8], 8]}}, r"space\.hidden_units: 8 must be a list"),
    ],
)
def test_a_bad_space_is_refused_by_name(space, words):
    with pytest.raises(ArgumentError, match=words):
        check_space(space, "", {})


def test_a_parameter_of_ones_own_needs_a_model_function_and_may_not_be_fixed_too():
    space = {"blocks": {"type": "int", "low": 1, "high": 3}}
    check_space(space, "nets.py:build", {})
    with pytest.raises(ArgumentError, match=r"space\.blocks: it is fixed by hyperparameters\.blocks"):
        check_space(space, "nets.py:build", {"blocks": 2})


finite = st.floats(-1e6, 1e6)


@settings(max_examples=30)
@given(
    searched=st.one_of(
        st.builds(
            lambda low, size, steps: {"type": "float", "low": low, "high": low + size, "step": size / steps},
            finite,
            st.floats(0.1, 1e3),
            st.integers(1, 9),
        ),
        st.builds(lambda low, size: {"type": "float", "low": low, "high": low + size, "log": True}, st.floats(1e-6, 1e3), st.floats(0.1, 1e3)),
        st.builds(
            lambda low, size, step: {"type": "int", "low": float(low), "high": float(low + size + step), "step": float(step)},
            st.integers(-50, 50),
            st.integers(0, 50),
            st.integers(1, 9),
        ),
        st.lists(
            st.one_of(st.text(max_size=3), st.booleans(), st.none(), st.lists(st.integers(1, 9), max_size=2)),
            min_size=1,
            max_size=4,
            unique_by=json.dumps,
        ).map(lambda choices: {"type": "categorical", "choices": choices}),
    )
)
def test_a_parameter_is_drawn_from_its_space_and_read_back_as_it_was(tmp_path_factory, searched):
    check_space({"own": searched}, "nets.py:build", {})
    with opened(tmp_path_factory.mktemp("study"), {"own": searched}) as search:
        number, parameters = search.begin()
        search.end(number, 1.0, value=1.0)
        [tried] = search.tried()
    assert tried.parameters == parameters
    value = parameters["own"]
    if searched["type"] == "categorical":
        assert value in searched["choices"]
    else:
        assert searched["low"] <= value <= searched["high"] + 1e-9 * abs(searched["high"])
        assert isinstance(value, int if searched["type"] == "int" else float)


def trials_whose_value_is(value_of, count, state=FINISHED):
    generator = np.random.default_rng(0)
    made = []
    for number in range(count):
        choices = PERCEPTRON["hidden_units"]["choices"]
        parameters = {
            "hidden_units": choices[generator.integers(len(choices))],
            "dropout": generator.uniform(0, 0.5),
            "learning_rate": 10 ** generator.uniform(-3.5, -1.53),
        }
        made.append(Tried(number, parameters, state, value_of(parameters), 3, 1.0, ""))
    return made


PERCEPTRON = dict(searched_space({}, ""))


def test_the_hyperparameter_that_moves_the_metric_is_the_important_one():
    for name, value_of in (
        ("learning_rate", lambda each: math.log10(each["learning_rate"])),
        ("hidden_units", lambda each: sum(each["hidden_units"]) / 100),
    ):
        found = importance_of(trials_whose_value_is(value_of, 30), PERCEPTRON, maximize=False, seed=1)
        assert set(found) == set(PERCEPTRON)
        assert sum(found.values()) == pytest.approx(1)
        assert max(found, key=found.get) == name
        assert found[name] > 0.7


def test_too_few_trials_or_equal_values_tell_nothing_of_importance():
    few = trials_whose_value_is(lambda each: each["dropout"], FEWEST - 1)
    lost = trials_whose_value_is(lambda each: each["dropout"], 30, state=PRUNED)
    assert importance_of(few + lost, PERCEPTRON, maximize=False, seed=0) == {}
    assert importance_of(trials_whose_value_is(lambda _: 0.5, 30), PERCEPTRON, maximize=True, seed=0) == {}


def test_an_empty_space_is_the_perceptrons_own_and_refused_for_another_model():
    check_space(searched_space({}, ""), "", {})
    with pytest.raises(ArgumentError, match=r"space: it is empty, and what nets\.py:build reads is not known here"):
        searched_space({}, "nets.py:build")
