"""A Dataset artifact is read the same whatever files it is made of."""

import json
import shutil
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.runtime.datasets import open_dataset
from intermodal.runtime.errors import DataError

ROWS = {"size": [1, None, 3], "colour": ["red", None, "blue"]}
CSV = "size,colour\n1,red\n,NA\n3,blue\n"


def parquet(path, rows=ROWS, **changed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**rows, **changed}), path)
    return path


def text(path, content=CSV):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def read(path, split="train", columns=None):
    with open_dataset(path) as data:
        return data.read(split, columns).to_pydict()


@pytest.mark.parametrize(
    ("write", "name"),
    [(parquet, "x"), (parquet, "x.parquet"), (parquet, "x.csv"), (parquet, "x.data"), (text, "x"), (text, "x.csv"), (text, "x.data")],
)
def test_a_file_is_known_by_its_content_whatever_its_name(tmp_path, write, name):
    assert read(write(tmp_path / name)) == ROWS


@pytest.mark.parametrize("name", ["part-0.parquet", "0.snappy.parquet", "DATA.PARQUET", "part-0"])
def test_the_files_of_a_directory_are_one_table_in_order_of_their_names(tmp_path, name):
    for letter in "bca":
        parquet(tmp_path / "examples" / f"{letter}-{name}", {"letter": [letter]})
    text(tmp_path / "examples" / "README.md", "not data")
    text(tmp_path / "examples" / "_SUCCESS", "")
    text(tmp_path / "examples" / ".part-0.parquet.crc", "not data")
    assert read(tmp_path / "examples") == {"letter": ["a", "b", "c"]}


def test_splits_are_folders_the_usual_ones_first(tmp_path):
    for split in ("later", "test", "validation", "train"):
        parquet(tmp_path / split / "deep" / "0.parquet", {"split": [split]})
    (tmp_path / "empty").mkdir()
    with open_dataset(tmp_path) as data:
        assert data.splits == ["train", "validation", "test", "later"]
        assert {split: data.read(split).to_pydict()["split"] for split in data.splits} == {split: [split] for split in data.splits}
        assert data.with_held_out().splits == data.splits


def test_what_ingest_tables_writes_of_one_table_is_that_table(tmp_path):
    for split in ("train", "test"):
        parquet(tmp_path / "sales" / f"split={split}" / "part-0.parquet", {"split": [split]})
    text(tmp_path / "manifest.json", json.dumps({"fingerprint": "", "tables": {"sales": {}}}))
    with open_dataset(tmp_path) as data:
        assert data.splits == ["train", "test"]
        assert data.read("test").to_pydict() == {"split": ["test"]}


def test_columns_are_read_in_the_order_asked_for(tmp_path):
    assert list(read(parquet(tmp_path / "x"), columns=["colour", "size"])) == ["colour", "size"]


def test_a_column_that_one_file_lacks_is_null_there(tmp_path):
    parquet(tmp_path / "x" / "0.parquet", {"a": [1], "b": ["p"]})
    parquet(tmp_path / "x" / "1.parquet", {"a": [2.5]})
    assert read(tmp_path / "x") == {"a": [1.0, 2.5], "b": ["p", None]}


def test_a_dictionary_is_read_as_its_values(tmp_path):
    parquet(tmp_path / "x", {"a": pa.array(["p", "q", "p"]).dictionary_encode()})
    with open_dataset(tmp_path / "x") as data:
        assert data.schema("train").field("a").type == pa.string()
        assert data.read("train").to_pydict() == {"a": ["p", "q", "p"]}


def test_a_csv_column_has_one_type_in_all_files_of_all_splits(tmp_path):
    text(tmp_path / "x" / "train" / "0.csv", "n,code,at\n1,1,2024-01-01 00:00:00Z\n")
    text(tmp_path / "x" / "test" / "0.csv", "n,code,at\n2.5,a,\n")
    with open_dataset(tmp_path / "x") as data:
        assert data.schema("train") == data.schema("test")
        assert data.read("train").to_pydict() == {"n": [1.0], "code": ["1"], "at": [datetime(2024, 1, 1, tzinfo=UTC)]}


def test_the_parquet_of_a_csv_ends_with_the_block(tmp_path):
    with open_dataset(text(tmp_path / "x")) as data:
        (file,) = data.files("train")
        assert pq.read_table(file).to_pydict() == ROWS
    assert not file.exists()


def test_batches_are_bounded_in_rows(tmp_path):
    parquet(tmp_path / "x", {"a": list(range(200_000))})
    with open_dataset(tmp_path / "x") as data:
        sizes = [batch.num_rows for batch in data.batches("train")]
        assert data.rows("train") == sum(sizes) == 200_000
        assert max(sizes) <= 65_536


VALUES = {
    pa.int64(): st.integers(-(2**40), 2**40),
    pa.float64(): st.floats(-1e9, 1e9).map(lambda value: round(value, 3) + 0.5),
    pa.string(): st.text("abcdé,\"' ", min_size=1).map(lambda value: f"x{value}"),
}


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
    rows = draw(st.integers(1, 30))
    columns = {f"c{n}": pa.array(draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)), kind) for n, kind in enumerate(kinds)}
    table = pa.table({"number": pa.array(range(rows)), **columns})
    return table, sorted(draw(st.lists(st.integers(0, rows), max_size=3)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables())
def test_files_and_formats_make_no_difference(tmp_path, drawn):
    table, ends = drawn
    shutil.rmtree(tmp_path, ignore_errors=True)
    pq.write_table(table, parquet(tmp_path / "one"))
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, len(table)], strict=True)):
        pq.write_table(table.slice(start, end - start), parquet(tmp_path / "many" / f"{number}.parquet"))
    pa.csv.write_csv(table, tmp_path / "csv")
    whole = table.to_pydict()
    assert read(tmp_path / "one") == whole
    assert read(tmp_path / "many") == whole
    assert read(tmp_path / "csv") == whole


def refused(path, words, split="train", columns=None):
    with pytest.raises(DataError, match=words):
        read(path, split, columns)


def test_refusals_of_a_file(tmp_path):
    refused(tmp_path / "nowhere", "no such file or directory")
    refused(text(tmp_path / "empty", ""), "the file is empty")
    refused(text(tmp_path / "x.parquet", CSV), r"x\.parquet: not whole Parquet \(it does not begin with PAR1\)")
    refused(text(tmp_path / "x.json", '{"a": 1}\n'), "neither Parquet nor CSV, but JSON")
    (tmp_path / "zipped").write_bytes(b"PK\x03\x04 and so on")
    refused(tmp_path / "zipped", "a zip archive.*ingest_tables")
    (tmp_path / "binary").write_bytes(b"some\0thing")
    refused(tmp_path / "binary", "neither Parquet nor CSV; write")
    (tmp_path / "latin").write_bytes("a\ncafé\n".encode("latin-1"))
    refused(tmp_path / "latin", "latin: line 2, byte 4: 0xe9 is not utf-8; save it as UTF-8")
    refused(text(tmp_path / "semicolons", "a;b\n1;2\n"), "separated by ';'")
    refused(text(tmp_path / "twice", "a,a\n1,2\n"), "the column 'a' is there twice")
    refused(text(tmp_path / "nameless", "a,\n1,2\n"), "column 2 has no name")
    refused(text(tmp_path / "ragged", "a,b\n1,2\n3\n"), "ragged: .*Expected 2 columns, got 1")


def test_a_truncated_file_is_named(tmp_path):
    whole = parquet(tmp_path / "x" / "0.parquet").read_bytes()
    (tmp_path / "x" / "0.parquet").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "x", r"0\.parquet: not whole Parquet \(.*run the task that writes it again")


def test_refusals_of_a_directory(tmp_path):
    (tmp_path / "void").mkdir()
    refused(tmp_path / "void", "it holds no Parquet or CSV file, but nothing")
    text(tmp_path / "notes" / "README.md", "text")
    refused(tmp_path / "notes", r"no Parquet or CSV file, but README\.md")
    parquet(tmp_path / "half" / "train" / "0.parquet")
    text(tmp_path / "half" / "_temporary", "")
    refused(tmp_path / "half", "only a part of it was written")
    parquet(tmp_path / "spark" / "train" / "_temporary" / "0" / "x.parquet")
    refused(tmp_path / "spark", "only a part of it was written")
    parquet(tmp_path / "both" / "0.parquet")
    text(tmp_path / "both" / "1.csv")
    refused(tmp_path / "both", r"1\.csv: a CSV file beside Parquet files")
    parquet(tmp_path / "mixed" / "0.parquet")
    parquet(tmp_path / "mixed" / "train" / "0.parquet")
    refused(tmp_path / "mixed", r"it holds the file 0\.parquet and the folder train")
    parquet(tmp_path / "hive" / "year=2013" / "0.parquet")
    refused(tmp_path / "hive", "the folder year=2013 is a partition")
    text(tmp_path / "tables" / "manifest.json", json.dumps({"tables": {"sales": {}, "shops": {}}}))
    refused(tmp_path / "tables", r"it holds 2 tables \(sales, shops\)")
    parquet(tmp_path / "types" / "0.parquet", {"a": [1]})
    parquet(tmp_path / "types" / "1.parquet", {"a": ["x"]})
    refused(tmp_path / "types", r"1\.parquet: column 'a' is string, and int64 in another file of the split")


def test_refusals_of_a_split_and_a_column(tmp_path):
    parquet(tmp_path / "training" / "0.parquet")
    refused(tmp_path, "it has no split 'train', only training")
    refused(tmp_path, "the split 'training' has no column 'colours'; did you mean 'colour'?", "training", ["colours"])
    parquet(tmp_path / "training" / "0.parquet", {"a": pa.array([], pa.int64())})
    refused(tmp_path, "the split 'training' has no rows", "training")
