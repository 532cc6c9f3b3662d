import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.runtime.datasets import open_dataset, parquet_files
from intermodal.training.cluster import Cluster
from intermodal.training.rows import Part, Source

ROWS = 1003


@pytest.fixture
def dataset(tmp_path):
    table = pa.table({"number": np.arange(ROWS, dtype=np.float64), "y": (np.arange(ROWS) % 3 == 0).astype(int)})
    folder = tmp_path / "examples" / "train"
    folder.mkdir(parents=True)
    for index, start in enumerate((0, 400)):
        pq.write_table(table.slice(start, (400, ROWS)[index]), folder / f"{index}.parquet", row_group_size=50)
    with open_dataset(tmp_path / "examples") as opened:
        yield opened


def source(dataset):
    def convert(table):
        numbers = table["number"].to_numpy()
        return np.stack([numbers, -numbers], axis=1).astype(np.float32), table["y"].to_numpy().astype(np.float32)

    return Source(dataset, "train", ROWS, ["number", "y"], convert, 2)


def batches(dataset, folder, worker=0, workers=1, epoch=0, first=0, **more):
    with Part(source(dataset), Cluster(worker, workers), 100, folder, **{"seed": 5, **more}) as part, part.ahead(epoch, first) as ahead:
        return list(ahead)


def numbers(batch):
    kept = batch.weights > 0
    np.testing.assert_array_equal(batch.features[kept, 0], -batch.features[kept, 1])
    np.testing.assert_array_equal(batch.labels[kept], batch.features[kept, 0] % 3 == 0)
    assert not batch.features[~kept].any()
    assert not batch.labels[~kept].any()
    return batch.features[kept, 0].astype(int).tolist()


@pytest.mark.parametrize("in_memory", [1 << 20, 2000])
def test_batches_hold_every_row_once_in_static_shapes(dataset, tmp_path, in_memory):
    made = batches(dataset, tmp_path, in_memory=in_memory)
    assert [batch.rows for batch in made] == [100] * 10 + [3]
    assert {batch.features.shape for batch in made} == {(100, 2)}
    seen = [number for batch in made for number in numbers(batch)]
    assert sorted(seen) == list(range(ROWS))
    assert seen != sorted(seen)
    later = batches(dataset, tmp_path, in_memory=in_memory, first=7)
    assert [numbers(batch) for batch in later] == [numbers(batch) for batch in made[7:]]


@pytest.mark.parametrize("in_memory", [1 << 20, 2000])
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_each_batch_of_one_worker(dataset, tmp_path, workers, in_memory):
    alone = batches(dataset, tmp_path, epoch=2, in_memory=in_memory)
    shared = [batches(dataset, tmp_path / str(worker), worker, workers, 2, in_memory=in_memory, replicas=4) for worker in range(workers)]
    for step, batch in enumerate(alone):
        parts = [numbers(each[step]) for each in shared]
        assert sorted(itertools.chain(*parts)) == sorted(numbers(batch))
        assert {each[step].rows for each in shared} == {batch.rows}
        assert len({each[step].features.shape for each in shared}) == 1
        assert shared[0][step].features.shape[0] % 4 == 0


def test_a_worker_reads_only_the_row_groups_that_it_needs(dataset, tmp_path, monkeypatch):
    read = []
    plain = parquet_files.file_batches

    def counted(file, columns, groups=None):
        for batch in plain(file, columns, groups):
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet_files, "file_batches", counted)
    batches(dataset, tmp_path, 3, 64)
    assert sum(read) <= 100  # one shard of 15 or 16 rows, in one group of 50 rows or two


def test_a_batch_larger_than_the_data_is_all_of_it(dataset, tmp_path):
    with Part(source(dataset), Cluster(0, 1), 5000, tmp_path, seed=None) as part:
        (batch,) = part.batches(0)
    assert batch.rows == ROWS
    assert batch.features.shape == (ROWS, 2)


def test_what_goes_wrong_in_reading_is_raised_where_the_batches_are_taken(dataset, tmp_path):
    with Part(source(dataset), Cluster(0, 1), 100, tmp_path, seed=0, in_memory=0) as part:
        (tmp_path / "train" / "features.f32").write_bytes(b"")
        with pytest.raises(OSError, match="shorter than it was written"), part.ahead(0) as ahead:
            list(ahead)


@pytest.mark.fault("Training", "Parquet has fewer row groups than there are workers", "each row is read once, by one worker")
def test_three_workers_share_one_row_group(tmp_path):
    (tmp_path / "examples" / "train").mkdir(parents=True)
    table = pa.table({"number": np.arange(ROWS, dtype=np.float64), "y": (np.arange(ROWS) % 3 == 0).astype(int)})
    pq.write_table(table, tmp_path / "examples" / "train" / "0.parquet", row_group_size=ROWS)
    with open_dataset(tmp_path / "examples") as opened:
        found = [sorted(row for each in batches(opened, tmp_path, worker, 3) for row in numbers(each)) for worker in range(3)]
    assert all(len(each) > ROWS / 4 for each in found)
    assert sorted(row for each in found for row in each) == list(range(ROWS))
