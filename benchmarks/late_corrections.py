"""Point-in-time join of sources whose rows are corrected later, against one without creation times.

    PYTHONPATH=src .venvs/data/bin/python benchmarks/late_corrections.py [--rows 250000 500000 1000000 2000000] [--rounds 3]

Each event has some 50 rows, created up to a day later, in no order; TTL 0, so that every row counts. 500,000 entity rows in order of time. Processor
seconds, the least of the rounds: reading, sorting and joining.
"""

import argparse
import resource
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from intermodal.features.point_in_time import EntityRows
from intermodal.features.view_source import ViewSource

ENTITIES = 500_000
MINUTE = 60_000_000
DAY = 86_400_000_000


def used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def write(path: Path, rows: int, keys: int, random: np.random.Generator) -> pa.Table:
    """Write a source, and return the entity rows."""
    events = np.sort(random.integers(0, rows // 50, rows)) * MINUTE
    columns = {
        "key": random.integers(0, keys, rows),
        "event_timestamp": events.astype("M8[us]"),
        "created": (events + random.integers(0, DAY, rows)).astype("M8[us]"),
        "value": random.random(rows),
    }
    pq.write_table(pa.table(columns), path)
    times = np.sort(random.integers(0, int(events[-1]) + 1, ENTITIES)).astype("M8[us]")
    return pa.table({"key": random.integers(0, keys, ENTITIES), "time": times})


def seconds(path: Path, entities: pa.Table, created: str | None, *, filtered: bool) -> float:
    source = ViewSource(
        view="values",
        path=str(path),
        keys=["key"],
        source_keys=["key"],
        timestamp="event_timestamp",
        created=created,
        ttl=timedelta(0),
        columns={"value": "value"},
        deciding=["value"],
        filter_created=filtered,
    )
    started = used()
    source.open()
    rows = EntityRows(entities, "time")
    rows.encode("key")
    source.join(rows)
    return used() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000, 2_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| Keys | Rows | No creation times | Filter off | Filter on |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.parquet"
        for keys in (1, 1000):
            for rows in options.rows:
                entities = write(path, rows, keys, np.random.default_rng(1))
                kinds: list[tuple[str | None, bool]] = [(None, False), ("created", False), ("created", True)]
                least = [min(seconds(path, entities, created, filtered=filtered) for _ in range(options.rounds)) for created, filtered in kinds]
                print(f"| {keys:,} | {rows:,} | {' | '.join(f'{each:.2f}' for each in least)} |", flush=True)


if __name__ == "__main__":
    main()
