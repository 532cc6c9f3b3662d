"""What files become: every row, of a type that all rows fit, wherever it stands and however it is wrapped."""

import gzip
import io
import math
import zipfile
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.runtime.datasets import csv_files

CSV = "id,fruit,weight\n1,apple,1.5\n2,pear,NA\n"


def zipped(**members: str | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_csv", ".csv").replace("_parquet", ".parquet"), content)
    return file.getvalue()


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink)
    return sink.getvalue()


TABLE = pa.table({"id": [1, 2], "fruit": ["apple", "pear"], "weight": [1.5, None]})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.CSV", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.csv.zip", zipped(a_csv=CSV, readme="not a table")),
        ("a.zip", zipped(deep_csv=CSV)),
        ("a.parquet", TABLE),
        ("a.parquet.zip", zipped(a_parquet=parquet(TABLE))),
        ("a.parquet.gz", gzip.compress(parquet(TABLE))),
    ],
)
def test_a_file_of_any_kind_becomes_the_same_table(ingest, name, content):
    entry = ingest(ingest.put(name, content), format="csv" if name == "a.zip" else None)
    assert ingest.read().to_pylist() == TABLE.to_pylist()
    assert entry["rows"] == 2
    assert entry["columns"] == {"id": "int64", "fruit": "string", "weight": "double"}


@pytest.mark.parametrize("uri", ["in", "in/*.csv", "in/p?.csv", "**/p*.csv"])
def test_a_directory_or_a_glob_is_read_in_the_order_of_names(ingest, uri):
    ingest.put("in/p2.csv", "id,x\n3,c\n")
    ingest.put("in/p1.csv", "x,id\na,1\nb,2\n")
    ingest.put("in/_SUCCESS", "")
    ingest.put("in/.hidden.csv", "nonsense")
    ingest(str(ingest.folder / uri), row_number="row")
    assert ingest.read().select(["id", "x", "row"]).to_pylist() == [
        {"id": 1, "x": "a", "row": 0},
        {"id": 2, "x": "b", "row": 1},
        {"id": 3, "x": "c", "row": 2},
    ]


def test_a_single_star_stays_within_its_folder_and_a_literal_bracket_is_a_name(ingest):
    ingest.put("in/a.csv", "id\n1\n")
    ingest.put("in/deep/b.csv", "id\n2\n")
    odd = ingest.put("in/c[1].csv", "id\n3\n")
    ingest(str(ingest.folder / "in" / "[ab].csv"))
    assert ingest.read()["id"].to_pylist() == [1]
    ingest(odd)
    assert ingest.read()["id"].to_pylist() == [3]


MOMENTS = ("2013-01-05", "10:20:30", "2013-01-05 10:20:30", "2013-01-05T10:20:30Z", "2013-01-05T10:20:30.25Z", "2013-01-05 10:20:30.25")
NUMBERS = ("7", "0", "1", "-3", "true", "2.5", "1e300", "nan", "inf")
VALUES = st.sampled_from(["", *NUMBERS, *MOMENTS, "x", 'a"b', "a,b", "two\nlines", "é"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES, min_size=1, max_size=14), st.integers(1, 4))
def test_the_type_of_a_column_does_not_depend_on_blocks_or_files(ingest, monkeypatch, values, files):
    cells = ['"' + value.replace('"', '""') + '"' if value else "" for value in values]
    lines = [f"{number},{cell}\n" for number, cell in enumerate(cells)]
    arrow = pyarrow.csv.read_csv(
        io.BytesIO(("n,v\n" + "".join(lines)).encode()),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True),
    )["v"]
    monkeypatch.setattr(csv_files, "_BLOCK", 48)
    for old in ingest.folder.glob("in/*"):
        old.unlink()
    for number in range(files):
        ingest.put(f"in/{number}.csv", "n,v\n" + "".join(lines[number * len(lines) // files : (number + 1) * len(lines) // files]))
    entry = ingest(str(ingest.folder / "in"))
    expected = arrow.type if not pa.types.is_null(arrow.type) else pa.string()
    kind = pa.timestamp("us", expected.tz) if pa.types.is_timestamp(expected) and expected.unit == "s" else expected
    assert entry["columns"]["v"] == str(kind)
    found = ingest.read()["v"]
    assert str(found.cast(kind).to_pylist()) == str(arrow.cast(kind).to_pylist())


def test_a_type_that_only_a_late_row_shows_is_seen(ingest, monkeypatch):
    monkeypatch.setattr(csv_files, "_BLOCK", 1 << 12)
    ingest(ingest.put("a.csv", "a,b,c\n" + "1,,5\n" * 5000 + "1.5,late,5\n"))
    assert ingest.read().schema.types == [pa.float64(), pa.string(), pa.int64()]
    assert ingest.read().slice(5000).to_pylist() == [{"a": 1.5, "b": "late", "c": 5}]


def test_declared_types_win(ingest):
    ingest(ingest.put("a.csv", "zip,day,at\n00501,2013-01-05,2013-01-05T10:00:00+02:00\n"), columns={"zip": "string", "at": "timestamp[s, UTC]"})
    assert ingest.read().to_pylist() == [{"zip": "00501", "day": date(2013, 1, 5), "at": datetime(2013, 1, 5, 8, tzinfo=UTC)}]


def test_names_null_values_and_skipped_rows_are_as_declared(ingest):
    ingest(ingest.put("a.csv", "2 rows\n1,-\n2,b\n"), skip_rows=1.0, column_names=["id", "x"], null_values=["-"])
    assert ingest.read().to_pylist() == [{"id": 1, "x": None}, {"id": 2, "x": "b"}]


def test_another_encoding_is_read_when_declared(ingest):
    ingest(ingest.put("a.csv", "id,x\n1,Zürich\n".encode("latin-1")), encoding="latin-1")
    assert ingest.read()["x"].to_pylist() == ["Zürich"]


def test_zoneless_times_become_utc_with_a_declared_zone(ingest):
    ingest(ingest.put("a.csv", "at\n2013-07-01 12:00:00\n2013-01-01 12:00:00\n2013-11-03 01:30:00\n"), time_zone="America/New_York")
    assert ingest.read()["at"].to_pylist() == [
        datetime(2013, 7, 1, 16, tzinfo=UTC),
        datetime(2013, 1, 1, 17, tzinfo=UTC),
        datetime(2013, 11, 3, 5, 30, tzinfo=UTC),
    ]


def test_nan_infinity_and_null_pass_unharmed(ingest):
    ingest(ingest.put("a.csv", "x\nnan\ninf\n-inf\nNA\n1\n"))
    nan, *others = ingest.read()["x"].to_pylist()
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf, None, 1.0]


def test_a_string_longer_than_a_block_passes(ingest, monkeypatch):
    monkeypatch.setattr(csv_files, "_BLOCK", 1 << 18)
    text = "x" * 1_000_000
    ingest(ingest.put("a.csv", f"id,x\n1,{text}\n2,b\n"))
    assert ingest.read()["x"].to_pylist() == [text, "b"]


def test_parquet_dictionaries_and_other_zones_become_plain(ingest):
    table = pa.table(
        {
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "at": pa.array([0, 1], pa.timestamp("ns", "America/New_York")),
            "text": pa.array(["x", None], pa.large_string()),
        }
    )
    entry = ingest(ingest.put("a.parquet", table))
    assert entry["columns"] == {"kind": "string", "at": "timestamp[ns, tz=UTC]", "text": "string"}
    assert ingest.read()["kind"].to_pylist() == ["a", "b"]


def test_parquet_files_of_related_types_are_united(ingest):
    ingest.put("in/1.parquet", pa.table({"x": pa.array([1], pa.int32())}))
    ingest.put("in/2.parquet", pa.table({"x": pa.array([2.5])}))
    ingest.put("in/3.parquet", pa.table({"x": pa.nulls(1)}))
    ingest(str(ingest.folder / "in"))
    assert ingest.read()["x"].to_pylist() == [1.0, 2.5, None]
