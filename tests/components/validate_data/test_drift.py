"""False alarms where nothing differs, and damage that is found: a small version of `benchmarks/drift.py`, with fixed seeds."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.validate_data.distributions.homogeneity import f_critical, f_tail
from intermodal.components.validate_data.kinds import DAMAGE_KINDS
from intermodal.evaluation.multiple_tests import holm

PARTS = {"train": 1200, "validation": 400, "test": 400}


def write(run: Any, columns: dict[str, Any]) -> None:
    """Cut columns of 2,000 rows into the parts of a run."""
    start = 0
    for part, rows in PARTS.items():
        table = pa.table({name: values[start : start + rows] for name, values in columns.items()})
        pq.write_table(table, run.examples / part / "0.parquet")
        start += rows


def kinds(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["feature"], each["kind"]) for each in found["anomalies"]}


def features(seed: int, width: int, latent: Any) -> dict[str, Any]:
    """Return normal and log-normal numbers, counts and categories, four at a time correlated with each other."""
    rng = np.random.default_rng(seed)
    made = {}
    common = latent(rng)
    for each in range(width):
        if each % 4 == 0:
            common = latent(rng)
        z = (common + latent(rng)) / 2**0.5
        values = (z, np.exp(2 * z), np.digitize(z, [-0.5, 0.8, 1.6]), np.array(["a", "b", "c", "d"])[np.digitize(z, [0, 0.8, 1.3])])[each % 4]
        made[f"f{each}"] = pa.array(values)
    return made


def independent(rng: Any) -> Any:
    return rng.normal(size=2000)


def seasonal(rng: Any) -> Any:
    return np.sin(2 * np.pi * (np.arange(2000) / 500 + rng.random())) + rng.normal(size=2000) / 2


def days(rng: Any) -> Any:
    return (rng.normal(size=60)[np.arange(2000) * 60 // 2000] + rng.normal(size=2000)) / 2**0.5


@pytest.mark.parametrize(("latent", "seed"), [(independent, 1), (independent, 2), (seasonal, 3), (days, 4)])
def test_sixty_features_of_one_distribution_raise_no_alarm(run, latent, seed):
    write(run, features(seed, 60, latent))
    found = run(label="", min_domain_mass=0.5)
    assert not {kind for _, kind in kinds(found)} & {"SKEW", *DAMAGE_KINDS}
    assert len(found["skew"]) == 120


DAMAGE = [
    ("heat", lambda x: (x - 32) / 1.8, "UNIT", "°F to °C"),
    ("heat", lambda x: x * 60, "SCALE", "minutes and seconds"),
    ("heat", lambda x: x * 0 + 50.0, "CONSTANT", "is 50 in all 400 rows"),
    ("heat", lambda x: -x, "UNIT", "the sign is reversed"),
    ("heat", lambda x: x / 1000, "SCALE", "thousandth"),
    ("colour", lambda x: np.where(x == "red", "blue", np.where(x == "blue", "red", x)), "EXCHANGED", "'red'"),
    ("colour", lambda x: np.where(x == "red", "crimson", x), "NEW_VALUES", "never seen before"),
]


@pytest.mark.parametrize(("column", "damage", "kind", "words"), DAMAGE)
def test_damage_in_a_seasonal_column_blocks_and_is_named(run, column, damage, kind, words):
    rng = np.random.default_rng(7)
    season = np.sin(2 * np.pi * np.arange(2000) / 800)
    made = {
        "heat": 60 + 12 * season + 6 * rng.normal(size=2000),
        "colour": np.array(["red", "green", "blue"])[np.digitize(rng.random(2000), [0.6, 0.9])],
    }
    write(run, {name: pa.array(values) for name, values in made.items()})
    assert not kinds(run(label="")) & {(name, each) for name in made for each in DAMAGE_KINDS}
    made[column] = np.concatenate([made[column][:1600], damage(made[column][1600:])])
    write(run, {name: pa.array(values) for name, values in made.items()})
    with pytest.raises(Exception, match="not fit to train on"):
        run(label="")
    text = next(each["text"] for each in run.found()["anomalies"] if (each["part"], each["feature"], each["kind"]) == ("test", column, kind))
    assert words in text
    assert f"feature_skew: {{{column}: 1}}" in text


def weather(rng: Any) -> dict[str, Any]:
    """Return wind in whole knots, as miles an hour, 0.4 to 1.6 times 10; a place, of which four have one share, and columns that go with others."""
    season = 1 + 0.6 * np.cos(2 * np.pi * np.arange(2000) / 1200)
    wind = np.round(season * (10 + 2 * rng.normal(size=2000))) * 1.15078
    place = rng.integers(0, 4, 2000)
    swing = rng.normal(size=2000)
    return {
        "wind": wind,
        "place": np.array(["ATL", "SEA", "BOS", "LAX"])[place],
        "distance": np.array([760.0, 2420.0, 187.0, 2475.0])[place] + rng.integers(-20, 21, 2000),
        "swing": swing,
        "echo": swing + rng.normal(size=2000) / 2,
    }


def exchanged(values: Any) -> Any:
    return np.where(values == "ATL", "SEA", np.where(values == "SEA", "ATL", values))


HIDDEN = [
    ("wind", lambda x: x * 1.609344, "UNIT", "miles and kilometres"),
    ("wind", lambda x: np.round(x * 0.44704, 2), "UNIT", "m/s and miles an hour"),
    ("place", exchanged, "EXCHANGED", "'ATL' and 'SEA': by 'distance'"),
    ("swing", lambda x: -x, "UNIT", "the sign is reversed: its rank correlation with 'echo'"),
]


@pytest.mark.parametrize(("column", "damage", "kind", "words"), HIDDEN)
@pytest.mark.parametrize("part", ["test", "train against the baseline"])
def test_damage_that_leaves_the_distribution_within_the_blocks_is_found(run, new_run, part, column, damage, kind, words):
    made = weather(np.random.default_rng(9))
    write(run, {name: pa.array(values) for name, values in made.items()})
    assert not {each for _, each in kinds(run(label=""))} & {"SKEW", *DAMAGE_KINDS}
    baseline, at = (None, slice(1600, 2000)) if part == "test" else (run.as_baseline(), slice(0, 2000))
    made[column] = np.concatenate([made[column][: at.start], damage(made[column][at])])
    later = new_run("later")
    for name in PARTS:
        later.write(name)
    write(later, {name: pa.array(values) for name, values in made.items()})
    with pytest.raises(Exception, match="not fit to train on"):
        later(label="", baseline_path=baseline)
    text = next(each["text"] for each in later.found()["anomalies"] if (each["part"], each["kind"]) == (part.split()[0], kind))
    assert text.startswith(f"{part.split()[0]}: {column!r}")
    assert words in text


def test_a_storm_is_no_other_unit(run):
    """Wind that really blows twice as hard comes in the steps that it always came in."""
    rng = np.random.default_rng(9)
    force = np.where(np.arange(2000) < 1600, 3, 6)
    write(run, {"wind": pa.array(np.round(force * rng.exponential(size=2000)) * 1.15078)})
    assert kinds(run(label="")) == {("wind", "SKEW")}


def test_a_damaged_column_does_not_accuse_those_that_go_with_it(run):
    made = weather(np.random.default_rng(9))
    made["distance"][1600:] *= -1
    write(run, {name: pa.array(values) for name, values in made.items()})
    with pytest.raises(Exception, match="not fit to train on"):
        run(label="")
    assert {feature for feature, kind in kinds(run.found()) if kind in DAMAGE_KINDS} == {"distance"}


def test_the_baselines_own_blocks_judge_a_damaged_train(run, new_run):
    rng = np.random.default_rng(8)
    minutes = pa.array(np.exp(rng.normal(size=2000)))
    write(run, {"minutes": minutes})
    run(label="")
    baseline = run.as_baseline()
    later = new_run("later")
    for part in PARTS:
        later.write(part)
    write(later, {"minutes": pa.array(np.asarray(minutes) * 60)})
    with pytest.raises(Exception, match="train: 'minutes' has a typical size"):
        later(label="", baseline_path=baseline)
    assert not {kind for _, kind in kinds(later(label="", baseline_path=baseline, feature_drift={"minutes": 1.0}))} & set(DAMAGE_KINDS)


def test_a_baseline_without_blocks_is_not_compared_and_that_is_said(run):
    run()
    baseline = run.as_baseline()
    (baseline / "statistics" / "blocks.json").unlink()
    found = run(baseline_path=baseline)
    assert ("", "NOT_COMPARED") in kinds(found)
    assert found["drift"] == []
    assert {entry["measure"] for entry in run(baseline_path=baseline, drift=0.5)["drift"]} == {"jensen_shannon", "l_infinity"}


def test_blocks_that_are_none_are_refused(run):
    run()
    baseline = run.as_baseline()
    (baseline / "statistics" / "blocks.json").write_text(json.dumps({"size": {"sise": 1}}))
    with pytest.raises(Exception, match=r"blocks\.json: not what validate_data writes"):
        run(baseline_path=baseline)


@pytest.mark.parametrize(
    ("value", "numerator", "denominator", "tail"), [(5.5914, 1, 7, 0.05), (4.7374, 2, 7, 0.05), (12.2464, 1, 7, 0.01), (3.0204, 9, 10, 0.05)]
)
def test_tail_and_critical_value_of_f(value, numerator, denominator, tail):
    found = f_tail(np.array([value]), np.array([float(numerator)]), np.array([float(denominator)]))
    assert found[0] == pytest.approx(tail, rel=0.02)
    critical = f_critical(found, np.array([float(numerator)]), np.array([float(denominator)]))
    assert critical[0] == pytest.approx(value, rel=0.002)


def test_holm_adjusts_in_steps():
    adjusted, levels = holm(np.array([0.04, 0.001, 0.02]), 0.05)
    assert adjusted == pytest.approx([0.04, 0.003, 0.04])
    assert levels == pytest.approx([0.05, 0.05 / 3, 0.025])
