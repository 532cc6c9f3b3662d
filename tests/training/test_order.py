import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.training.order import SHARDS, Order


def rows_of_step(order, epoch, step, workers):
    """The rows of a step by worker, as a worker finds them."""
    found = []
    for worker in range(workers):
        shards, positions = order.places(step, worker, workers)
        windows = {int(each): order.window_rows(epoch, int(each), worker, workers) for each in np.unique(positions // order.window)}
        found.append([int(windows[int(at // order.window)][shard, at % order.window]) for shard, at in zip(shards, positions, strict=True)])
    return found


orders = st.builds(
    Order,
    rows=st.integers(1, 400),
    batch=st.integers(1, 900),
    window=st.integers(1, 20),
    seed=st.none() | st.integers(0, 2**63),
)


@given(orders, st.integers(0, 5), st.integers(1, 5))
def test_an_epoch_is_a_partition_of_the_rows_the_same_for_any_number_of_workers(order, epoch, workers):
    workers = min(workers, order.shards)
    seen = []
    for step in range(order.steps):
        alone = rows_of_step(order, epoch, step, 1)[0]
        shared = rows_of_step(order, epoch, step, workers)
        assert sorted(itertools.chain(*shared)) == sorted(alone)
        assert len(alone) == order.rows_of(step)
        assert max(map(len, shared)) <= order.largest(workers)
        for worker, rows in enumerate(shared):
            ranges = order.ranges(worker, workers)
            assert all(any(start <= row < end for start, end in ranges) for row in rows)
        seen += alone
    assert sorted(seen) == list(range(order.rows))


def test_workers_have_nearly_equal_parts_of_a_step():
    order = Order(245_000, 1024, 100, 0)
    assert [order.largest(workers) for workers in (1, 2, 3, 64)] == [1024, 512, 352, 16]
    sizes = [len(rows) for rows in rows_of_step(order, 0, 0, 3)]
    assert sizes == [352, 336, 336]


@pytest.mark.parametrize("window", [10_000, 40])
def test_epochs_differ_and_a_batch_is_spread_over_the_data(window):
    order = Order(20_032, 64, window, 3)
    first, again, other = (rows_of_step(order, epoch, 0, 1)[0] for epoch in (0, 0, 1))
    assert first == again != other
    # One row of each 64th of the data: what 64 independent draws seldom reach.
    assert len({row * SHARDS // 20_032 for row in first}) == SHARDS
    small = Order(20_032, 8, window, 3)
    assert all(np.ptp(rows_of_step(small, 0, step, 1)[0]) > 10_000 for step in range(50))


def test_each_position_gets_every_row_of_its_shard_about_as_often():
    order = Order(64 * 40, 64, 8, 11)
    first = [order.window_rows(epoch, 0, 0, 64)[0, 0] for epoch in range(4000)]
    counts = np.bincount(np.array(first) - min(first), minlength=40)
    assert counts.min() > 60  # 100 expected, standard deviation 10
    assert counts.max() < 140


def test_rows_do_not_depend_on_the_version_of_numpy():
    order = Order(1000, 10, 5, 42)
    assert order.window_rows(3, 1, 0, 64)[0].tolist() == [9, 1, 8, 12, 7]
