"""Our use of TFDV's private modules gives what TFDV's public API gives, however the rows are cut."""

import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from intermodal.components.validate_data.rules import Rules
from intermodal.components.validate_data.schema import infer_schema, present_shares
from intermodal.components.validate_data.statistics.streaming import Accumulator, divided, read_batches, read_blocks, tfdv
from intermodal.runtime.datasets import parquet_files

RULES = Rules(None, None, {}, {}, 0.05, 3.0, 0.5, (), True, 0.9, 0.1, 100)

PUBLIC = """
import sys, types
sys.modules["farmhash"] = types.ModuleType("farmhash")  # not installed: see tfdv.py
import pyarrow.parquet as pq, apache_beam as beam, tensorflow_data_validation as tfdv
from tfx_bsl.arrow.table_util import CanonicalizeRecordBatch
out = sys.argv[2]
batches = [CanonicalizeRecordBatch(batch) for batch in pq.read_table(sys.argv[1]).to_batches(max_chunksize=1000)]
with beam.Pipeline() as pipeline:
    _ = pipeline | beam.Create(batches) | tfdv.GenerateStatistics() | tfdv.WriteStatisticsToBinaryFile(out + '/statistics.pb')
statistics = tfdv.load_stats_binary(out + '/statistics.pb')
schema = tfdv.infer_schema(statistics, infer_feature_shape=False)
schema.default_environment.append('TRAINING')
statistics.datasets[0].features[0].num_stats.min = -5
schema.feature[0].int_domain.min = 0
for feature in schema.feature:
    if feature.type == 1:
        feature.drift_comparator.infinity_norm.threshold = 0.001
open(out + '/schema.pb', 'wb').write(schema.SerializeToString())
open(out + '/spoilt.pb', 'wb').write(statistics.SerializeToString())
found = tfdv.validate_statistics(statistics, schema, 'TRAINING', tfdv.load_stats_binary(out + '/statistics.pb'))
open(out + '/anomalies.pb', 'wb').write(found.SerializeToString())
"""


def table(rows: int = 12_000) -> pa.Table:
    """Return a table with more different texts than TFDV's in-memory default counts right, nulls, NaN and skewed numbers."""
    return pa.table(
        {
            "integer": pa.array([None if row % 11 == 0 else row * row % 977 for row in range(rows)]),
            "float": pa.array([math.exp(row * 7919 % 1000 / 100) if row % 50 else float("nan") for row in range(rows)], from_pandas=False),
            "few": pa.array([("a", "b", "c", None)[row * row % 7 % 4] for row in range(rows)]),
            "many": pa.array([f"t{row * 7919 % (1 + row % 4000)}" for row in range(rows)]),
            "all": pa.array([f"n{row}" for row in range(rows)]),
        }
    )


def by_name(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    return {feature.path.step[0]: feature for feature in statistics.datasets[0].features}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run TFDV's public API, in a process of its own."""
    path = tmp_path_factory.mktemp("public")
    pq.write_table(table(), path / "0.parquet", row_group_size=5000)
    subprocess.run([sys.executable, "-c", PUBLIC, path / "0.parquet", path], check=True, capture_output=True)
    return path


def read(message: Any, path: Path) -> Any:
    return message.FromString(path.read_bytes())


def test_statistics_equal_those_of_the_public_api(public):
    ours = by_name(Accumulator.merged(read_blocks([public / "0.parquet"], [], 3)).statistics("train"))
    theirs = by_name(read(statistics_pb2.DatasetFeatureStatisticsList, public / "statistics.pb"))
    assert ours.keys() == theirs.keys()
    for name, feature in ours.items():
        assert_equal(feature, theirs[name])


def assert_equal(ours: statistics_pb2.FeatureNameStatistics, theirs: statistics_pb2.FeatureNameStatistics) -> None:
    """Counts and moments must be equal; quantiles are sketched, to 1% of the rows; the number of different values is estimated above 16,384."""
    assert ours.type == theirs.type
    if ours.WhichOneof("stats") == "num_stats":
        one, other = ours.num_stats, theirs.num_stats
        assert [one.common_stats.num_missing, one.num_zeros, one.min, one.max] == [
            other.common_stats.num_missing,
            other.num_zeros,
            other.min,
            other.max,
        ]
        assert [one.mean, one.std_dev] == pytest.approx([other.mean, other.std_dev], rel=1e-12)
        assert [histogram.num_nan for histogram in one.histograms] == [histogram.num_nan for histogram in other.histograms]
        for mine, yours in zip(one.histograms, other.histograms, strict=True):
            counts = [bucket.sample_count for bucket in mine.buckets], [bucket.sample_count for bucket in yours.buckets]
            assert counts[0] == pytest.approx(counts[1], abs=0.02 * sum(counts[1]))
    else:
        one, other = ours.string_stats, theirs.string_stats
        assert one.common_stats.num_missing == other.common_stats.num_missing
        assert one.unique == other.unique
        assert one.avg_length == pytest.approx(other.avg_length)
        assert one.top_values == other.top_values
        assert one.rank_histogram == other.rank_histogram


def test_schema_and_anomalies_equal_those_of_the_public_api(public):
    statistics = read(statistics_pb2.DatasetFeatureStatisticsList, public / "statistics.pb")
    inferred = infer_schema(statistics, "integer", RULES, present_shares(statistics))
    theirs = read(schema_pb2.Schema, public / "schema.pb")
    assert [(feature.name, feature.type, feature.domain) for feature in inferred.feature] == [(f.name, f.type, f.domain) for f in theirs.feature]
    assert inferred.string_domain == theirs.string_domain
    found = tfdv.validate_statistics(read(statistics_pb2.DatasetFeatureStatisticsList, public / "spoilt.pb"), theirs, statistics)
    expected = read(anomalies_pb2.Anomalies, public / "anomalies.pb")
    assert expected.anomaly_info
    assert expected.drift_skew_info
    assert found == expected


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.integers(-50, 50), st.none() | st.text(max_size=3)), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(1, 20),
)
def test_any_cut_of_the_rows_gives_the_same_statistics(rows, blocks, batch):
    whole = pa.table(
        {"number": pa.array([n for n, _ in rows], pa.int64()), "text": pa.array([t for _, t in rows], pa.string()).cast(pa.large_binary())}
    )
    at_once = Accumulator()
    at_once.add(whole.to_batches()[0])
    accumulators = [Accumulator() for _ in range(blocks)]
    first = 0
    for piece in whole.to_batches(max_chunksize=batch):
        for block, part in divided(piece, first, len(rows), blocks):
            accumulators[block].add(part)
        first += piece.num_rows
    merged = Accumulator.merged(pickle.loads(pickle.dumps(accumulators)))
    assert merged.rows == len(rows)
    ours, expected = by_name(merged.statistics("cut")), by_name(at_once.statistics("whole"))
    assert ours["text"].string_stats == expected["text"].string_stats
    assert ours["number"].num_stats.mean == pytest.approx(expected["number"].num_stats.mean, abs=1e-9)
    assert ours["number"].num_stats.std_dev == pytest.approx(expected["number"].num_stats.std_dev, abs=1e-9)
    assert ours["number"].num_stats.common_stats.num_missing == expected["number"].num_stats.common_stats.num_missing


@given(st.integers(1, 200), st.integers(1, 12), st.integers(1, 50))
def test_blocks_are_consecutive_equal_and_lose_no_row(rows, blocks, batch):
    whole = pa.table({"row": pa.array(range(rows))})
    found: dict[int, list[int]] = {}
    first = 0
    for piece in whole.to_batches(max_chunksize=batch):
        for block, part in divided(piece, first, rows, blocks):
            found.setdefault(block, []).extend(part.column(0).to_pylist())
        first += piece.num_rows
    assert [row for block in sorted(found) for row in found[block]] == list(range(rows))
    assert set(found) <= set(range(blocks))
    assert max(map(len, found.values())) - rows / blocks < 1


@given(st.integers(9_000, 60_000), st.integers(700, 40_000), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_any_cut_of_the_rows_picks_the_same_rows(rows, batch, period):
    whole = pa.table({"row": pa.array(range(rows)), "turn": pa.array([row % period for row in range(rows)])})
    found: list[int] = []
    first = 0
    for piece in whole.to_batches(max_chunksize=batch):
        accumulator = Accumulator()
        accumulator.pick(piece, first, rows)
        found += accumulator.picked().get("row", np.empty(0)).tolist()
        first += piece.num_rows
    at_once = Accumulator()
    at_once.pick(whole.to_batches()[0], 0, rows)
    assert found == at_once.picked()["row"].tolist()
    assert len(found) == pytest.approx(min(rows, 10_000), abs=5)
    turns = np.bincount(at_once.picked()["turn"].astype(int), minlength=period)
    assert turns.max() - turns.min() < 0.1 * len(found) / period + 5


def test_picked_texts_are_short_and_nulls_are_none():
    accumulator = Accumulator()
    accumulator.pick(pa.record_batch([pa.array([b"a", None, b"x" * 100, b"a"], pa.large_binary())], ["text"]), 0, 4)
    column = accumulator.picked()["text"]
    assert [column.values[code] if code >= 0 else None for code in column.codes] == ["a", None, "", "a"]


def test_files_are_read_a_batch_at_a_time(tmp_path, monkeypatch):
    """Twenty batches, of which no two are ever held at once."""
    monkeypatch.setattr(parquet_files, "_BATCH_ROWS", 1000)
    pq.write_table(table(20_000), tmp_path / "0.parquet", row_group_size=4000)
    seen: list[int] = []
    add: Callable[..., None] = Accumulator.add

    def watch(self: Accumulator, batch: pa.RecordBatch) -> None:
        seen.append(batch.num_rows)
        add(self, batch)

    monkeypatch.setattr(Accumulator, "add", watch)
    assert read_blocks([tmp_path / "0.parquet"], [])[0].rows == 20_000
    assert max(seen) <= 1000
    assert all(rows == 1000 for rows, _ in pairwise(seen))


def test_long_rows_make_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "_BATCH_BYTES", 1 << 20)
    pq.write_table(pa.table({"text": [f"{row:0100000}" for row in range(60)]}), tmp_path / "0.parquet")
    batches = list(read_batches(pq.ParquetFile(tmp_path / "0.parquet"), [], 0))
    assert sum(batch.num_rows for batch in batches) == 60
    assert max(batch.num_rows for batch in batches) <= 11
