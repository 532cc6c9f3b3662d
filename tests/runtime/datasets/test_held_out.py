"""A row's part depends on its values alone."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.runtime.datasets import open_dataset
from intermodal.runtime.datasets.held_out import row_places

VALUES = st.fixed_dictionaries(
    {
        "number": st.none() | st.integers(-1000, 1000),
        "ratio": st.none() | st.floats(-1e6, 1e6).map(lambda value: round(value, 2) + 0.0),
        "text": st.none() | st.text("abcé ,", min_size=1).map(lambda value: f"x{value}"),
    }
)
SCHEMA = pa.schema([("number", pa.int64()), ("ratio", pa.float64()), ("text", pa.string())])


def parts(path):
    """Return the rows of each part, sorted."""
    found = {}
    with open_dataset(path) as data:
        cut = data.with_held_out()
        for split in cut.splits:
            rows = [row for batch in cut.batches(split) for row in batch.to_pylist()]
            found[split] = sorted((repr(row["number"]), repr(row["ratio"]), repr(row["text"])) for row in rows)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES, min_size=1, max_size=60), st.randoms(), st.integers(1, 59))
def test_order_files_columns_and_formats_do_not_matter(tmp_path_factory, rows, order, middle):
    folder = tmp_path_factory.mktemp("data")
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "once")
    expected = parts(folder / "once")
    assert sorted(row for part in expected.values() for row in part) == sorted(
        (repr(row["number"]), repr(row["ratio"]), repr(row["text"])) for row in rows
    )
    shuffled = rows.copy()
    order.shuffle(shuffled)
    table = pa.Table.from_pylist(shuffled, SCHEMA).select(["text", "number", "ratio"])
    (folder / "shuffled").mkdir()
    pq.write_table(table.slice(0, middle), folder / "shuffled" / "b.parquet")
    pq.write_table(table.slice(middle), folder / "shuffled" / "a.parquet")
    assert parts(folder / "shuffled") == expected


def test_parquet_and_csv_of_the_same_rows_are_cut_alike(tmp_path):
    generator = random.Random(7)
    rows = [
        {
            "number": generator.choice([None, *range(50)]),
            "ratio": generator.choice([None, generator.randrange(10**6) / 8 + 0.125]),
            "text": generator.choice([None, "p", "q, r"]),
        }
        for _ in range(500)
    ]
    table = pa.Table.from_pylist(rows, SCHEMA)
    pq.write_table(table, tmp_path / "parquet")
    pa.csv.write_csv(table, tmp_path / "csv")
    pandas_like = table.set_column(0, "number", table.column("number").cast(pa.float64()).fill_null(np.nan))
    pq.write_table(pandas_like, tmp_path / "floats")
    with open_dataset(tmp_path / "parquet") as one, open_dataset(tmp_path / "csv") as two, open_dataset(tmp_path / "floats") as three:
        for split in ("train", "validation", "test"):
            expected = one.with_held_out().read(split, ["text", "ratio"])
            assert two.with_held_out().read(split, ["text", "ratio"]).to_pydict() == expected.to_pydict()
            assert three.with_held_out().read(split, ["text", "ratio"]).to_pydict() == expected.to_pydict()


def test_the_shares_are_as_documented(tmp_path):
    pq.write_table(pa.table({"id": range(50_000)}), tmp_path / "x")
    with open_dataset(tmp_path / "x") as data:
        cut = data.with_held_out()
        shares = {split: cut.rows(split) / 50_000 for split in cut.splits}
    # The standard deviation of the largest is .0018.
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.008)


def test_a_validation_part_is_cut_from_train_where_only_test_is_there(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        pq.write_table(pa.table({"id": range(5000)}), tmp_path / split / "0.parquet")
    with open_dataset(tmp_path) as data:
        cut = data.with_held_out()
        assert cut.splits == ["train", "validation", "test"]
        train, validation = set(cut.read("train")["id"].to_pylist()), set(cut.read("validation")["id"].to_pylist())
        assert (train & validation, train | validation) == (set(), set(range(5000)))
        assert len(validation) / 5000 == pytest.approx(0.1, abs=0.02)
        assert cut.rows("test") == 5000
        assert data.rows("train") == 5000, "uncut, train is all of it"


def test_equal_rows_are_never_on_both_sides(tmp_path):
    pq.write_table(pa.table({"id": list(range(500)) * 3}), tmp_path / "x")
    with open_dataset(tmp_path / "x") as data:
        cut = data.with_held_out()
        ids = [set(cut.read(split)["id"].to_pylist()) for split in cut.splits]
    assert sum(map(len, ids)) == 500


def test_neither_neighbours_nor_columns_correlate():
    """Places are uniform, and those of rows that differ by one, or that swap two columns' values, are unrelated."""
    numbers = np.arange(20_000)
    places = row_places(pa.record_batch([pa.array(numbers), pa.array(numbers[::-1])], ["a", "b"]))
    swapped = row_places(pa.record_batch([pa.array(numbers[::-1]), pa.array(numbers)], ["a", "b"]))
    counts, _ = np.histogram(places, 20, (0, 1))
    assert counts == pytest.approx(np.full(20, 1000), abs=150)
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(places, swapped)[0, 1]) < 0.03


def test_a_column_of_nulls_counts_like_none_and_a_seed_changes_all():
    rows = pa.record_batch([pa.array([1, 2, 3])], ["a"])
    more = pa.record_batch([pa.array([1, 2, 3]), pa.nulls(3), pa.array([None, None, None], pa.string())], ["a", "b", "c"])
    assert row_places(rows).tolist() == row_places(more).tolist()
    assert row_places(rows, seed=1).tolist() != row_places(rows).tolist()
    # Fixed: the parts of data that a model was trained on must be the same in every later version.
    assert row_places(rows).round(6).tolist() == [0.844324, 0.747317, 0.253206]
