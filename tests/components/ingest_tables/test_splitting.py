"""Which part a row falls in, and what the manifest says of it."""

import hashlib
import itertools
import json
import random
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.components.ingest_tables.logic import ingest_tables
from intermodal.runtime.errors import ConfigurationError, DataError
from tests.components.ingest_tables.conftest import call

TIMES = "id,at\n1,2013-01-31T23:59:59Z\n2,2013-02-01T00:00:00Z\n3,2013-01-01T00:00:00Z\n4,\n5,2013-03-01T00:00:00Z\n6,2013-02-28T23:59:59Z\n"
WINDOWS = {"train": {"end": "2013-02-01T00:00:00Z"}, "test": {"start": "2013-02-01T00:00:00Z", "end": "2013-03-01T00:00:00Z"}}
BY_TIME = {"table": "rows", "by": "time", "column": "at", "parts": WINDOWS}
BY_HASH = {"table": "rows", "by": "hash", "column": "key", "parts": {"train": 0.6, "validation": 0.2, "test": 0.2}}


def parts_of(ingest, names=("train", "validation", "test")) -> dict:
    return {key: part for part in names if (ingest.output / "rows" / f"split={part}").exists() for key in ingest.read(part)["key"].to_pylist()}


def test_a_window_holds_its_start_but_not_its_end_and_no_window_holds_null(ingest):
    entry = ingest(ingest.put("a.csv", TIMES), split=BY_TIME)
    assert ingest.read("train")["id"].to_pylist() == [1, 3]
    assert ingest.read("test")["id"].to_pylist() == [2, 6]
    assert ingest.read("none")["id"].to_pylist() == [4, 5]
    assert {part: each["rows"] for part, each in entry["splits"].items()} == {"train": 2, "test": 2, "none": 2}
    assert entry["rows"] == 6


def test_bounds_count_to_the_microsecond_and_in_any_zone(ingest):
    split = BY_TIME | {"parts": {"train": {"end": "2013-02-01T01:00:00.000001+02:00"}, "test": {"start": "2013-02-01T01:00:00.000001+02:00"}}}
    ingest(ingest.put("a.csv", "id,at\n1,2013-01-31T23:00:00.000000Z\n2,2013-01-31T23:00:00.000001Z\n"), split=split)
    assert (ingest.read("train")["id"].to_pylist(), ingest.read("test")["id"].to_pylist()) == ([1], [2])


def test_times_without_a_zone_are_refused_until_the_zone_is_declared(ingest):
    path = ingest.put("a.csv", TIMES.replace("Z", ""))
    with pytest.raises(DataError, match=r"'at' of table 'rows' is timestamp\[us\], not a time with a zone; give the source a `time_zone`"):
        ingest(path, split=BY_TIME)
    ingest(path, split=BY_TIME, time_zone="UTC")
    assert ingest.read("train")["id"].to_pylist() == [1, 3]


def test_a_column_that_is_no_time_is_refused(ingest):
    with pytest.raises(DataError, match=r"'id' of table 'rows' is int64, not a time with a zone"):
        ingest(ingest.put("a.csv", TIMES), split=BY_TIME | {"column": "id"})


def test_a_part_without_rows_is_refused_with_the_times_that_there_are(ingest):
    split = BY_TIME | {"parts": WINDOWS | {"late": {"start": "2014-01-01T00:00:00Z"}}}
    with pytest.raises(DataError, match=r"'late' of table 'rows' gets no row; column 'at' runs from 2013-01-01T00:00:00.* to 2013-03-01"):
        ingest(ingest.put("a.csv", TIMES), split=split)
    assert not ingest.output.exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=30, max_size=60), st.randoms())
def test_a_key_keeps_its_part_in_any_order_and_any_files(ingest, keys, chance):
    whole = sorted(keys)
    split = BY_HASH | {"parts": {"train": 0.5, "test": 0.5}}
    ingest(ingest.put("whole.parquet", pa.table({"key": whole})), split=split)
    first = parts_of(ingest)
    shuffled = chance.sample(whole, len(whole))
    for old in ingest.folder.glob("in/*"):
        old.unlink()
    for number in range(3):
        ingest.put(f"in/{number}.parquet", pa.table({"key": pa.array(shuffled[number::3]).dictionary_encode()}))
    ingest(str(ingest.folder / "in"), split=split)
    assert parts_of(ingest) == first


def test_the_hash_is_the_documented_one_and_fills_the_fractions(ingest):
    ingest(ingest.put("a.parquet", pa.table({"key": range(20_000)})), split=BY_HASH)
    found = parts_of(ingest)
    for key in random.Random(0).sample(range(20_000), 200):
        place = int.from_bytes(hashlib.blake2b(str(key).encode(), digest_size=8).digest(), "big") / 2**64
        assert found[key] == ("test" if place < 0.2 else "train" if place < 0.8 else "validation")
    for part, share in BY_HASH["parts"].items():
        assert sum(each == part for each in found.values()) == pytest.approx(20_000 * share, rel=0.05)


@pytest.mark.fault("New data", "the parts of a split by hash in another order, as pipeline parameters hand them over", "every row keeps its part")
def test_the_order_of_the_parts_changes_nothing(ingest):
    path = ingest.put("a.parquet", pa.table({"key": range(500)}))
    found = []
    for order in itertools.permutations(BY_HASH["parts"].items()):
        ingest(path, split=BY_HASH | {"parts": dict(order)})
        found.append(parts_of(ingest))
    assert all(each == found[0] for each in found)


def test_a_null_key_is_in_no_part(ingest):
    entry = ingest(ingest.put("a.parquet", pa.table({"key": [*range(50), None]})), split=BY_HASH)
    assert entry["splits"]["none"]["rows"] == 1


def test_python_hash_seed_changes_nothing(ingest):
    path = ingest.put("a.csv", "key\n" + "".join(f"k{number}\n" for number in range(100)))
    manifests = set()
    for seed in ("1", "2"):
        split = {f"split_{name}": value for name, value in (BY_HASH | {"end": "", "step": "1 day"}).items()}
        call = f"ingest_tables(sources=[{{'name': 'rows', 'uri': {path!r}}}], **{split}, fingerprint='v1', tables_path={str(ingest.output)!r})"
        code = f"from intermodal.components.ingest_tables.logic import ingest_tables\n{call}"
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}, check=True, timeout=60)
        manifests.add((ingest.output / "manifest.json").read_text())
    assert len(manifests) == 1


def test_the_content_hash_sees_values_and_not_how_they_are_stored(ingest):
    table = pa.table(
        {
            "id": range(1000),
            "text": [None if number % 7 == 0 else f"é{number}" for number in range(1000)],
            "flag": [None if number % 5 == 0 else number % 2 == 0 for number in range(1000)],
            "price": [None if number % 3 == 0 else number / 7 for number in range(1000)],
            "list": [[number, None] if number % 2 else None for number in range(1000)],
        }
    )
    pq.write_table(table, ingest.folder / "one.parquet", row_group_size=1000, compression="none")
    pq.write_table(table.slice(0, 300), ingest.folder / "b1.parquet", row_group_size=7)
    pq.write_table(table.slice(300), ingest.folder / "b2.parquet", use_dictionary=False)
    one = ingest(str(ingest.folder / "one.parquet"))
    several = ingest(str(ingest.folder / "b*.parquet"))
    assert one == several
    for column in table.column_names:
        values = table[column].to_pylist()
        values[500] = values[499] if values[499] is not None and values[500] is None else None
        pq.write_table(
            table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type)), ingest.folder / "two.parquet"
        )
        assert ingest(str(ingest.folder / "two.parquet"))["sha256"] != one["sha256"], column
    pq.write_table(table.rename_columns(["id2", *table.column_names[1:]]), ingest.folder / "two.parquet")
    assert ingest(str(ingest.folder / "two.parquet"))["sha256"] != one["sha256"]


def test_null_and_empty_text_hash_differently(ingest):
    hashes = {ingest(ingest.put("a.parquet", pa.table({"x": values})))["sha256"] for values in (["", "a"], [None, "a"], ["a", ""], ["a", None])}
    assert len(hashes) == 4


def test_many_batches_hash_as_one(ingest):
    table = pa.table({"id": range(200_000), "text": [f"{number % 1000}" for number in range(200_000)]})
    pq.write_table(table, ingest.folder / "a.parquet", row_group_size=1 << 20)
    pq.write_table(table, ingest.folder / "b.parquet", row_group_size=9_999)
    assert ingest(str(ingest.folder / "a.parquet")) == ingest(str(ingest.folder / "b.parquet"))


def test_the_manifest_carries_the_fingerprint(ingest):
    ingest(ingest.put("a.csv", TIMES))
    assert json.loads((ingest.output / "manifest.json").read_text())["fingerprint"] == "v1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "other"}, "no table 'other'; the tables are rows"),
        ({"column": "when"}, "no column 'when'; its columns are id, at"),
        ({"by": "day"}, "split_by: 'day' must be one of time, hash"),
        ({"column": ""}, "split_column: name the column to split by time"),
        ({"parts": {}}, "split_parts: name the parts"),
        ({"by": ""}, "split_table: it does nothing without split_by"),
        ({"parts": {"a": 0.5}}, "0.5 must be an object with `start`, `end` or both"),
        ({"by": "hash", "parts": {"a": {}}}, "must be a fraction"),
        ({"parts": {"../x": {}}}, "part '../x'"),
        ({"parts": {"none": {}}}, "part 'none'"),
        ({"parts": {"a": {"from": "2013-01-01T00:00:00Z"}}}, "no bound 'from'"),
        ({"parts": {"a": {"end": "soon"}}}, "'soon' is not an ISO 8601 time"),
        ({"parts": {"a": {"end": "2013-01-01"}}}, "'2013-01-01' has no time zone"),
        ({"parts": {"a": {"start": "2014-01-01T00:00:00Z", "end": "2013-01-01T00:00:00Z"}}}, "is not before end"),
        ({"parts": {"a": {}, "b": {"start": "2013-01-01T00:00:00Z"}}}, "windows of a and b overlap"),
        ({"by": "hash", "parts": {"a": 0.5, "b": 0.4}}, "must be positive and sum to 1"),
        ({"by": "hash", "parts": {"a": 1.5, "b": -0.5}}, "must be positive and sum to 1"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(ingest, change, message):
    with pytest.raises((ConfigurationError, DataError), match=message):
        ingest(ingest.put("a.csv", TIMES), split=BY_TIME | change)


def test_the_only_table_is_the_one_that_is_split(ingest):
    ingest(ingest.put("a.csv", TIMES), split=BY_TIME | {"table": ""})
    assert ingest.read("train")["id"].to_pylist() == [1, 3]


def test_of_several_tables_one_must_be_named(ingest):
    paths = [ingest.put(name, TIMES) for name in ("a.csv", "b.csv")]
    with pytest.raises(ConfigurationError, match="split_table: name the table to split: a or b"):
        call(ingest_tables, paths, ingest.output, BY_TIME | {"table": ""})


def test_a_column_called_split_is_refused(ingest):
    with pytest.raises(DataError, match="has a column 'split' already"):
        ingest(ingest.put("a.csv", TIMES.replace("id", "split")), split=BY_TIME)
