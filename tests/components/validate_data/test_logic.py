"""What `validate_data` promises: outputs, verdict, and a plain sentence for every kind of bad data."""

from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from intermodal.components.validate_data.kinds import TFMD_KINDS
from intermodal.runtime.errors import BlockedError, ConfigurationError, DataError
from tests.components.validate_data.conftest import columns

NUMBERS = [row % 20 / 10 for row in range(400)]


def blocked(run: Any, **given: Any) -> str:
    """Return the words with which `require_valid_data` stops the run; `validate_data` itself ends well, and its outputs are there."""
    with pytest.raises(BlockedError) as error:
        run(**given)
    assert run.found()["verdict"] == "blocked"
    assert (run.path / "view").read_text().endswith("</html>\n")
    assert (run.path / "schema" / "schema.pbtxt").exists()
    return str(error.value)


def test_clean_data_passes_and_everything_is_written(run):
    found = run()
    assert found["verdict"] == "passed"
    assert found["baseline"] is None
    assert found["drift"] == []
    assert not run.kinds("error")
    assert run.statistics("train").name == "train"
    assert run.statistics("test").num_examples == 120
    assert {path.name for path in (run.path / "statistics").iterdir()} == {"train.pb", "validation.pb", "test.pb", "blocks.json"}
    assert {(entry["part"], entry["feature"]) for entry in found["skew"]} == {
        (p, f) for p in ("validation", "test") for f in ("size", "colour", "label")
    }
    (run.path / "anomalies" / "anomalies.pbtxt").read_text()


def test_schema_names_features_and_label_which_is_not_there_at_serving(run):
    run(ignored=["colour"])
    assert [feature.name for feature in run.schema().feature] == ["size", "label"]
    assert list(run.schema().default_environment) == ["TRAINING", "SERVING"]
    assert list(run.feature("label").not_in_environment) == ["SERVING"]
    assert "colour" not in {feature.path.step[0] for feature in run.statistics("train").features}


def test_low_cardinality_text_gets_a_domain(run):
    run()
    domain = next(domain for domain in run.schema().string_domain if domain.name == run.feature("colour").domain)
    assert list(domain.value) == ["blue", "green", "red"]
    run(domain_size=2.0)
    assert not run.feature("colour").domain


def test_some_nulls_more_than_in_train_are_a_warning_and_many_block(run):
    run.write("validation", rows=120, colour=pa.array(["red", "green", "blue"] * 38 + ["red"] + [None] * 5))
    run()
    assert ("validation", "colour", "FEATURE_TYPE_LOW_FRACTION_PRESENT") in run.kinds("warning")
    run.write("validation", rows=120, colour=pa.array(["red"] * 60 + [None] * 60))
    assert "validation: 'colour'" in blocked(run)


def test_a_feature_that_comes_and_goes_within_train_may_be_absent_after_but_its_column_may_not(run):
    run.write("train", size=pa.array([row % 20 / 10 if row > 300 else None for row in range(400)]))
    run.write("test", rows=120, size=pa.nulls(120, pa.float64()))
    run()
    run.write("test", rows=120, size=None)
    assert "Column dropped" in blocked(run)
    assert ("test", "size", "SCHEMA_MISSING_COLUMN") in run.kinds("error")


def test_one_unknown_category_is_a_warning_and_many_block(run):
    run.write("test", rows=120, colour=pa.array(["red"] * 119 + ["mauve"]))
    run()
    assert ("test", "colour", "ENUM_TYPE_UNEXPECTED_STRING_VALUES") in run.kinds("warning")
    text = next(anomaly["text"] for anomaly in run.found()["anomalies"] if anomaly["kind"].startswith("ENUM"))
    assert "mauve" in text
    run.write("test", rows=120, colour=pa.array(["red"] * 60 + ["mauve"] * 60))
    assert "mauve" in blocked(run)
    run(min_domain_mass=0.4)


def test_renamed_column_says_what_is_missing_and_what_is_new(run):
    run.write("test", rows=120, size=None, sizes=pa.array(NUMBERS[:120]))
    words = blocked(run)
    assert "'size'" in words
    assert "was it renamed to 'sizes'?" in words
    assert {("test", "size", "SCHEMA_MISSING_COLUMN"), ("test", "sizes", "SCHEMA_NEW_COLUMN")} <= run.kinds("error")


@pytest.mark.parametrize(
    ("column", "found"), [(pa.array(["1.5"] * 120), "STRING"), (pa.array([1] * 120), "INT")], ids=["text for numbers", "integers for floats"]
)
def test_column_of_another_type(run, column, found):
    run.write("test", rows=120, size=column)
    words = blocked(run)
    assert ("test", "size", "UNEXPECTED_DATA_TYPE") in run.kinds("error")
    assert found in words
    assert "FLOAT" in words


@pytest.mark.parametrize(
    ("value", "kind"), [(float("nan"), "FLOAT_TYPE_HAS_NAN"), (float("inf"), "FLOAT_TYPE_HAS_INF"), (-float("inf"), "FLOAT_TYPE_HAS_INF")]
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_nan_and_infinity_block(run, part, value, kind):
    rows = {"train": 400, "test": 120}[part]
    run.write(part, rows=rows, size=pa.array([*NUMBERS[: rows - 1], value]))
    assert "as nulls" in blocked(run)
    assert (part, "size", kind) in run.kinds("error")
    assert run(warn=["SKEW", "FLOAT_TYPE_HAS_NAN", "FLOAT_TYPE_HAS_INF"])["verdict"] == "passed"


@pytest.mark.parametrize(
    ("label", "kind", "word"),
    [
        (None, "LABEL_MISSING", "there is no label 'label'; the columns are colour, size"),
        (pa.array([1] * 120), "LABEL_ONE_CLASS", "1 in every row"),
        (pa.array([0, 1] * 59 + [0, None]), "LABEL_NULLS", "null or NaN in 1 of 120 rows"),
        (pa.array([None] * 120, pa.int64()), "LABEL_NULLS", "null or NaN in 120 of 120 rows"),
        (pa.array([0.0, 1.0] * 59 + [0.0, float("nan")]), "LABEL_NULLS", "null or NaN in 1 of 120 rows"),
        (pa.array([0, 1, 2] * 40), "LABEL_VALUES", "from 0 to 2"),
        (pa.array([0.0, 1.0] * 59 + [0.0, 0.5]), "LABEL_VALUES", "from 0 to 1"),
        (pa.array(["yes", "no"] * 60), "LABEL_VALUES", "text"),
    ],
)
def test_label_that_cannot_be_learnt(run, label, kind, word):
    run.write("test", rows=120, label=label)
    assert word in blocked(run)
    assert ("test", "label", kind) in run.kinds("error")


@pytest.mark.parametrize("label", [pa.array([True, False] * 200), pa.array([0.0, 1.0] * 200), pa.array([0, 1] * 200, pa.int8())])
def test_label_may_be_boolean_or_a_whole_float(run, label):
    for part, rows in (("train", 400), ("validation", 120), ("test", 120)):
        run.write(part, rows=rows, label=label[:rows])
    assert run()["verdict"] == "passed"


def test_label_missing_everywhere(run):
    with pytest.raises(BlockedError, match="there is no label 'lable'"):
        run(label="lable")


def test_ignored_column_that_is_not_there(run):
    run(ignored=["colours"])
    assert ("train", "colours", "IGNORED_MISSING") in run.kinds("warning")
    assert "did you mean 'colour'?" in run.found()["anomalies"][0]["text"]


def test_part_without_rows(run):
    run.write("validation", rows=0)
    assert "validation: the part has no rows" in blocked(run)
    run.write("validation", rows=120)
    run.write("train", rows=0)
    with pytest.raises(DataError, match="train: no rows"):
        run()


def test_no_training_part(run):
    (run.examples / "train").rename(run.examples / "learn")
    with pytest.raises(DataError, match="no split 'train', only validation, test, learn"):
        run()


@pytest.mark.parametrize("keep", [0, 3, 200, -9])
def test_truncated_parquet_is_named_and_earlier_outputs_stay(run, keep):
    run()
    before = (run.path / "anomalies" / "anomalies.json").read_text()
    path = run.write("test", "1.parquet")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"test/1\.parquet: not whole Parquet"):
        run()
    assert (run.path / "anomalies" / "anomalies.json").read_text() == before


def test_parquet_damaged_inside_is_named(run):
    path = run.write("test", "1.parquet", rows=100_000, size=pa.array([row * 1.7 for row in range(100_000)]))
    content = bytearray(path.read_bytes())
    content[40:4000] = b"\xff" * 3960
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test/1\.parquet"):
        run()


def test_string_of_a_megabyte(run):
    run.write("test", rows=120, colour=pa.array(["red"] * 119 + ["x" * 1_000_000]))
    run()
    assert (run.path / "anomalies" / "anomalies.json").stat().st_size < 100_000
    assert (run.path / "statistics" / "test.pb").stat().st_size < 100_000


def test_bytes_that_are_not_utf8(run):
    run.write("test", rows=120, colour=pa.array([b"red"] * 119 + [b"\xff\xfe"], pa.binary()))
    assert "not valid UTF8" in blocked(run)


def test_markup_in_a_value_stays_text_on_the_page(run):
    run.write("train", colour=pa.array(["<script>alert(1)</script>", "green"] * 200))
    with pytest.raises(BlockedError):
        run()
    page = (run.path / "view").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "facets-overview" in page


def test_every_kind_of_column(run):
    rows = range(400)
    texts = pa.array(["a", "b", None, "b"] * 100)
    made: dict[str, Any] = {
        "integer": (pa.array(rows, pa.int16()), schema_pb2.INT),
        "unsigned": (pa.array(rows, pa.uint32()), schema_pb2.INT),
        "truth": (pa.array([True, False, None, True] * 100), schema_pb2.INT),
        "huge": (pa.array([2**64 - 1, *range(399)], pa.uint64()), schema_pb2.FLOAT),
        "single": (pa.array(rows, pa.float32()), schema_pb2.FLOAT),
        "money": (pa.array([row * 100 for row in rows]).cast(pa.decimal128(21, 2)), schema_pb2.FLOAT),
        "text": (texts, schema_pb2.BYTES),
        "large": (texts.cast(pa.large_string()), schema_pb2.BYTES),
        "encoded": (texts.dictionary_encode(), schema_pb2.BYTES),
        "raw": (texts.cast(pa.binary()), schema_pb2.BYTES),
    }
    left_out = {"timestamp": pa.array(rows, pa.timestamp("us", "UTC")), "day": pa.array(rows, pa.date32()), "many": pa.array([[1, 2]] * 400)}
    for part, count in (("train", 400), ("validation", 120), ("test", 120)):
        changed = {name: column[:count] for name, column in {**{name: column for name, (column, _) in made.items()}, **left_out}.items()}
        run.write(part, rows=count, **changed)
    run(warn=["SKEW"], missing=0.2)
    types = {feature.name: feature.type for feature in run.schema().feature}
    assert {name: types.get(name) for name in made} == {name: kind for name, (_, kind) in made.items()}
    assert not types.keys() & left_out.keys()
    assert {("train", name, "UNSUPPORTED_TYPE") for name in left_out} <= run.kinds("warning")
    assert run.feature("truth").WhichOneof("domain_info") is None
    train = {feature.path.step[0]: feature for feature in run.statistics("train").features}
    assert train["encoded"].string_stats.unique == 2
    assert train["truth"].num_stats.mean == pytest.approx(2 / 3)
    assert train["money"].num_stats.max == 39900


def test_column_that_is_null_throughout(run):
    for part, rows in (("train", 400), ("validation", 120), ("test", 120)):
        run.write(part, rows=rows, empty=pa.nulls(rows), hollow=pa.nulls(rows, pa.float64()))
    assert run()["verdict"] == "passed"


def test_part_of_several_files_with_a_column_absent_from_one(run):
    run.write("test", "1.parquet", rows=4, size=None)
    run()
    size = next(feature for feature in run.statistics("test").features if feature.path.step[0] == "size")
    assert run.statistics("test").num_examples == 124
    assert (size.num_stats.common_stats.num_non_missing, size.num_stats.common_stats.num_missing) == (114, 10)


def test_given_schema_is_held_to_and_extended_only_when_it_may(run):
    run()
    text = (run.path / "schema" / "schema.pbtxt").read_text()
    for part, rows in (("train", 400), ("validation", 120), ("test", 120)):
        run.write(part, rows=rows, weight=pa.array(NUMBERS[:rows]), colour=pa.array([*(["red", "green", "blue"] * 400)[: rows - 1], "mauve"]))
    run(schema_text=text)
    assert {("train", "weight", "SCHEMA_NEW_COLUMN"), ("train", "colour", "ENUM_TYPE_UNEXPECTED_STRING_VALUES")} <= run.kinds("warning")
    assert run.feature("weight").type == schema_pb2.FLOAT
    assert "mauve" in next(domain for domain in run.schema().string_domain if domain.name == "colour").value
    words = blocked(run, schema_text=text, evolve=False)
    assert "'weight'" in words
    assert "weight" not in {feature.name for feature in run.schema().feature}
    run(schema_text=text, evolve=False, warn=["SKEW", "SCHEMA_NEW_COLUMN"])


def test_given_schema_that_is_none(run):
    with pytest.raises(ConfigurationError, match="schema_text: not a TFMD schema"):
        run(schema_text="feature { nam: 'x' }")


def test_column_gone_from_everywhere_blocks_or_leaves_the_schema(run):
    run()
    text = (run.path / "schema" / "schema.pbtxt").read_text()
    for part, rows in (("train", 400), ("validation", 120), ("test", 120)):
        run.write(part, rows=rows, colour=None)
    assert "'colour'" in blocked(run, schema_text=text)
    run(schema_text=text, warn=["SKEW", "SCHEMA_MISSING_COLUMN"])
    assert [feature.name for feature in run.schema().feature] == ["size", "label"]
    assert not run.schema().string_domain


def test_baseline_of_the_same_data_shows_no_drift(run):
    run()
    found = run(baseline_path=run.as_baseline())
    assert found["baseline"] == "3"
    assert [entry["value"] for entry in found["drift"]] == [0.0, 0.0, 0.0]
    assert not run.kinds("warning")


def test_data_that_moved_away_from_the_baseline_drifts(run, new_run):
    run()
    baseline = run.as_baseline()
    later = new_run("later")
    for part, rows in (("train", 400), ("validation", 120), ("test", 120)):
        later.write(part, rows=rows, size=pa.array([number / 2 + 0.5 for number in NUMBERS[:rows]]))
    found = later(baseline_path=baseline)
    assert found["verdict"] == "passed"
    assert ("train", "size", "DRIFT") in later.kinds("warning")
    assert found["drift"][0]["feature"] == "size"
    assert found["drift"][0]["measure"] == "total_variation"
    assert found["drift"][0]["value"] > found["drift"][0]["threshold"]
    assert "size" in blocked(later, baseline_path=baseline, warn=["SKEW"])
    assert not {kind for _, _, kind in _kinds(later(baseline_path=baseline, feature_drift={"size": 1.0}))} & {"DRIFT"}


def _kinds(found: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(anomaly["part"], anomaly["feature"], anomaly["kind"]) for anomaly in found["anomalies"]}


def test_skew_above_a_given_threshold(run):
    run.write("test", rows=120, colour=pa.array(["red"] * 100 + ["green", "blue"] * 10))
    run(skew=0.3)
    assert {anomaly for anomaly in run.kinds("warning") if anomaly[2] == "SKEW"} == {("test", "colour", "SKEW")}
    run(skew=0.99)
    assert "SKEW" not in {kind for _, _, kind in run.kinds("warning")}


def test_a_feature_that_varies_within_train_may_vary_after(run):
    """One threshold for all would flag `tide`; its own blocks show that it moves."""
    tide = [float(row // 50 % 4 + row % 5 / 10) for row in range(400)]
    run.write("train", size=pa.array(tide))
    run.write("test", rows=120, size=pa.array(tide[100:220]))
    run.write("validation", rows=120, size=pa.array(tide[100:220]))
    run()
    assert not {(feature, kind) for _, feature, kind in run.kinds("warning")} & {("size", "SKEW")}
    entry = next(entry for entry in run.found()["skew"] if entry["feature"] == "size")
    assert entry["value"] > 0.1


def test_the_error_names_the_first_anomalies_and_counts_the_rest(run):
    run.write("test", rows=120, label=pa.array([1] * 120), size=pa.array(["x"] * 120), **{f"new{i}": pa.array(NUMBERS[:120]) for i in range(8)})
    words = blocked(run)
    assert "11 anomalies" in words
    assert "the label 'label' is 1 in every row" in words
    assert words.endswith("and 6 more")
    assert "\n" not in words


def test_anomalies_are_also_written_for_tfdv(run):
    run.write("test", rows=120, size=pa.array(["x"] * 120))
    blocked(run)
    from google.protobuf import text_format

    proto = text_format.Parse((run.path / "anomalies" / "anomalies.pbtxt").read_text(), anomalies_pb2.Anomalies())
    assert proto.anomaly_info["test.size"].severity == anomalies_pb2.AnomalyInfo.ERROR


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"warn": ["SCHEMA_NEW_COLUM"]}, "warn: 'SCHEMA_NEW_COLUM' is no kind of anomaly; did you mean 'SCHEMA_NEW_COLUMN'?"),
        ({"warn": ["LABEL_NULLS"]}, "warn: LABEL_NULLS cannot be a warning"),
        ({"warn": "SKEW"}, "warn: 'SKEW' must be a list of texts"),
        ({"skew": 2}, "skew: 2 must be at least 0 and at most 1"),
        ({"feature_drift": {"size": "much"}}, "feature_drift.size: 'much' must be a number"),
        ({"missing": True}, "missing: True must be a number"),
        ({"domain_size": 1.5}, "domain_size: 1.5 must be a whole number"),
        ({"ignored": ["label"]}, "ignored: it names the label 'label'"),
        ({"feature_skew": {"sise": 0.1}}, "feature_skew.sise: the data has no such feature; did you mean 'size'?"),
    ],
)
def test_an_argument_that_is_wrong(run, given, words):
    with pytest.raises(ConfigurationError) as error:
        run(**given)
    assert words in str(error.value)


def test_a_threshold_for_one_feature_goes_before_the_one_for_all(run):
    run.write("test", rows=120, colour=pa.array(["red"] * 100 + ["green", "blue"] * 10))
    run(skew=0.3, feature_skew={"colour": 0.99})
    assert "SKEW" not in {kind for _, _, kind in run.kinds("warning")}


def test_the_kinds_of_anomaly_are_tfmds():
    assert list(TFMD_KINDS) == list(anomalies_pb2.AnomalyInfo.Type.keys())


def test_without_a_label_none_is_looked_for(run):
    run.write("test", rows=120, label=pa.array([1] * 120))
    found = run(label="", warn=["SKEW", "CONSTANT"])
    assert not [each for each in found["anomalies"] if each["kind"].startswith("LABEL_")]
    assert "label" in {feature.name for feature in run.schema().feature}
    assert not run.feature("label").not_in_environment


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_single_file_is_a_table_without_splits(run, kind):
    path = run.path / "table"
    if kind == "csv":
        csv.write_csv(pa.table(columns()), path)
    else:
        pq.write_table(pa.table(columns()), path)
    found = run(examples_path=path, ignored=["colour"])
    assert found["skew"] == []
    assert [(each.name, each.type) for each in run.schema().feature] == [("size", schema_pb2.FLOAT), ("label", schema_pb2.INT)]
    assert {file.name for file in (run.path / "statistics").iterdir()} == {"train.pb", "blocks.json"}
    assert run.statistics("train").num_examples == 400


@pytest.mark.parametrize(
    "size",
    [
        [float("nan")] * 400,
        [float("inf")] * 400,
        [float("inf"), -float("inf"), float("nan"), 1.0] * 100,
        [1e308, -1e308] * 200,
        [2**63 - 1, -(2**63)] * 200,
    ],
    ids=["NaN", "infinity", "both", "overflow of moments", "widest integers"],
)
def test_numbers_at_the_edge_break_nothing_when_they_are_let_through(run, size):
    for part, rows in (("train", 400), ("validation", 120), ("test", 120)):
        run.write(part, rows=rows, size=pa.array(size[:rows], from_pandas=False))
    assert run(warn=["SKEW", "FLOAT_TYPE_HAS_NAN", "FLOAT_TYPE_HAS_INF"])["verdict"] == "passed"


@pytest.mark.parametrize("rows", [1, 2, 7, 9])
def test_a_training_part_of_a_few_rows(run, rows):
    run.write("train", rows=rows, label=pa.array([row % 2 for row in range(rows)]))
    if rows == 1:
        assert "0 in every row" in blocked(run)
    else:
        run(min_domain_mass=0, missing=1)
    assert run.statistics("train").num_examples == rows


def test_baseline_whose_column_had_another_type_is_not_compared(run):
    run()
    baseline = run.as_baseline()
    (baseline / "schema.pbtxt").unlink()
    for part, rows in (("train", 400), ("validation", 120), ("test", 120)):
        run.write(part, rows=rows, size=pa.array(["large"] * rows))
    assert {entry["feature"] for entry in run(baseline_path=baseline)["drift"]} == {"colour", "label"}


def test_baseline_that_is_damaged(run):
    run()
    baseline = run.as_baseline()
    (baseline / "statistics" / "train.pb").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"statistics/train\.pb: not statistics"):
        run(baseline_path=baseline)
