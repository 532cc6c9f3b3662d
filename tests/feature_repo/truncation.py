"""What changes in examples when the future does. It knows nothing of flights: it compares two builds of any examples.

Build the examples of all data, and those of raw tables in which only what was known at a cut is as it was; a value that differs in a row of before
the cut depends on what was not known yet. Feature rows may be made of what came after the cut if their source says so by a later creation time: a
retrieval with `filter_by_created_timestamp` does not know them before the cut, one without it does, and the values differ.
"""

from collections.abc import Collection
from datetime import datetime

import duckdb


def differences(
    examples: duckdb.DuckDBPyRelation, other: duckdb.DuckDBPyRelation, cut: datetime, *, keys: Collection[str], ignored: Collection[str] = ()
) -> dict[str, int]:
    """Count the rows of up to a cut that differ.

    Args:
        examples: One build, with `event_timestamp`, which is compared up to the cut.
        other: Another build, of another future.
        cut: The time up to which nothing may differ.
        keys: Columns that name a row, without `event_timestamp`.
        ignored: Columns that may differ: the label.

    Returns:
        Rows that differ, by column, and under `rows` those that the other build does not have; of what does not differ nothing.
    """
    columns = [name for name in examples.columns if name not in {"event_timestamp", *keys, *ignored}]
    assert {*columns} <= {*other.columns}, "both builds have the same columns"
    on = " AND ".join(f'l."{key}" = r."{key}"' for key in ("event_timestamp", *keys))
    counts = "".join(f', count(*) FILTER (r.event_timestamp IS NOT NULL AND l."{name}" IS DISTINCT FROM r."{name}")' for name in columns)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("left_rows", examples.to_arrow_table())
        connection.register("right_rows", other.to_arrow_table())
        found = connection.execute(
            f"SELECT count(*), count(*) FILTER (r.event_timestamp IS NULL){counts} FROM left_rows l LEFT JOIN right_rows r ON {on} "
            "WHERE l.event_timestamp <= ?",
            [cut],
        ).fetchone()
    assert found
    assert found[0] > 500, "enough rows of before the cut are compared"
    return {name: count for name, count in zip(["rows", *columns], found[1:], strict=True) if count}
