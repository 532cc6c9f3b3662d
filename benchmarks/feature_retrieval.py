"""Point-in-time retrieval of four feature views: ours against the alternatives, at 1, 3 and 10 times the rows.

    .venv/bin/python benchmarks/feature_retrieval.py RUN [--sizes 1 3 10] [--rounds 3] [--shipped]   (RUN: a folder below .intermodal/runs)

Every measurement runs in a process of its own, in the environment of the image `data` with polars added. Copies get keys of their own, so that
sources grow with the rows. Feast's DuckDB store as shipped takes half a minute at 1x and far more beyond: `--shipped`, 1x.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from intermodal.execution.environments import environment

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("ours", "by_hand", "polars", "polars_in_order", "pandas", "shipped")

MEASURE = r"""
import json, resource, sys, time
from datetime import timedelta
from pathlib import Path
method, folder = sys.argv[1], Path(sys.argv[2])
VIEWS = {
    "weather_reports": ("origin", 6, ["temp", "dew_point", "humidity", "pressure"]),
    "origin_operations": ("origin", 1, ["origin_delay_2h", "origin_departures_2h"]),
    "destination_operations": ("dest", 2, ["destination_delay_3h", "destination_delay_24h"]),
    "aircraft_departures": ("tailnum", 48, ["aircraft_departure_delay"]),
}
T = "event_timestamp"

def clock():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), used.ru_utime + used.ru_stime

def feast(offline):
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64
    from intermodal.features.store import open_store
    import pandas as pd
    entities = {key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key, _, _ in VIEWS.values()}
    views = [FeatureView(name=name, entities=[entities[key]], ttl=timedelta(hours=hours), schema=[Field(name=f, dtype=Float64) for f in features],
                         source=FileSource(name=name, path=str(folder / f"{name}.parquet"), timestamp_field=T))
             for name, (key, hours, features) in VIEWS.items()]
    service = FeatureService(name="s", features=views)
    stores = {"registry": str(folder / f"{method}.db"), "online_store": {"type": "sqlite", "path": str(folder / "o.db")}}
    store = open_store({"project": "b", **stores, **offline}, folder)
    store.apply([*entities.values(), *views, service])
    rows = f"SELECT * FROM read_parquet('{folder}/spine.parquet')"
    started = clock()
    if offline:
        job = store.get_historical_features(entity_df=pd.read_parquet(folder / "spine.parquet"), features=service)
    else:
        job = store.get_historical_features(entity_df=rows, features=service)
    return started, job.to_arrow()

def by_hand():
    import duckdb
    joins, columns = [], ["e.*"]
    for i, (name, (key, hours, features)) in enumerate(VIEWS.items()):
        columns += [f"CASE WHEN v{i}.{T} >= e.{T} - INTERVAL {hours} HOUR THEN v{i}.{f} END AS {f}" for f in features]
        joins.append(f"ASOF LEFT JOIN read_parquet('{folder}/{name}.parquet') v{i} ON e.{key} = v{i}.{key} AND e.{T} >= v{i}.{T}")
    started = clock()
    return started, duckdb.sql(f"SELECT {', '.join(columns)} FROM read_parquet('{folder}/spine.parquet') e {' '.join(joins)}").to_arrow_table()

def polars(in_order=False):
    import polars as pl
    started = clock()
    rows = pl.read_parquet(folder / "spine.parquet")
    if in_order:
        rows = rows.with_row_index("row")
    rows = rows.sort(T)
    for name, (key, hours, features) in VIEWS.items():
        source = pl.read_parquet(folder / f"{name}.parquet", columns=[key, T, *features]).sort(T)
        rows = rows.join_asof(source, on=T, by=key, strategy="backward", tolerance=timedelta(hours=hours), check_sortedness=False)
    if in_order:
        rows = rows.sort("row").drop("row")
    return started, rows.to_arrow()

def pandas():
    import pandas as pd, pyarrow as pa
    started = clock()
    rows = pd.read_parquet(folder / "spine.parquet").sort_values(T)
    for name, (key, hours, features) in VIEWS.items():
        source = pd.read_parquet(folder / f"{name}.parquet", columns=[key, T, *features]).sort_values(T)
        rows = pd.merge_asof(rows, source, on=T, by=key, tolerance=pd.Timedelta(hours=hours))
    return started, pa.Table.from_pandas(rows, preserve_index=False)

shipped = {"offline_store": {"type": "duckdb"}}
make = {"ours": lambda: feast({}), "shipped": lambda: feast(shipped), "by_hand": by_hand, "polars": polars,
        "polars_in_order": lambda: polars(in_order=True), "pandas": pandas}
started, table = make[method]()
seconds, cpu = (now - then for now, then in zip(clock(), started))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
import pyarrow as pa, pyarrow.compute as pc
features = [f for _, _, names in VIEWS.values() for f in names]
check = {}
for f in features:
    column = table.column(f).cast(pa.float64())
    column = pc.if_else(pc.is_nan(column), None, column)
    check[f] = [len(column) - column.null_count, round(pc.sum(column).as_py() or 0, 3)]
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "rows": table.num_rows, "check": check}))
"""

COPY = r"""
import sys, duckdb
source, folder, copies = sys.argv[1], sys.argv[2], int(sys.argv[3])
for name, keys in {"examples": ["origin", "dest", "tailnum"], "weather_reports": ["origin"], "origin_operations": ["origin"],
                   "destination_operations": ["dest"], "aircraft_departures": ["tailnum"]}.items():
    changed = ", ".join(f"{key} || '#' || copy AS {key}" for key in keys)
    where = f"SELECT * REPLACE ({changed}) FROM read_parquet('{source}/{name}.parquet'), range({copies}) r(copy)"
    columns = "origin, dest, tailnum, event_timestamp" if name == "examples" else "* EXCLUDE (copy)"
    target = "spine" if name == "examples" else name
    duckdb.sql(f"COPY (SELECT {columns} FROM ({where}) ORDER BY event_timestamp) TO '{folder}/{target}.parquet' (FORMAT parquet)")
"""


def run(code: str, *arguments: str, extra: str = "") -> str:
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), extra])
    done = subprocess.run(
        [str(environment("data")), "-W", "ignore", "-c", code, *arguments], env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    # DuckDB's progress bar may come after it.
    return next((line for line in done.stdout.replace("\r", "\n").splitlines() if line.startswith("{")), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shipped", action="store_true")
    options = parser.parse_args()
    tables = options.run / "transform-tables" / "transformed"
    with tempfile.TemporaryDirectory() as temporary:
        uv = Path(sys.executable).parent / "uv"
        polars = Path(temporary) / "polars"
        subprocess.run([uv, "pip", "install", "--quiet", "--python", environment("data"), "--target", polars, "polars"], check=True)
        print("| Rows | Method | Seconds | Processor seconds | Peak MB | its seconds / ours | its processor seconds / ours |")
        print("|---|---|---|---|---|---|---|")
        for size in options.sizes:
            folder = Path(temporary) / str(size)
            folder.mkdir()
            run(COPY, str(tables), str(folder), str(size))
            methods = [method for method in METHODS if method != "shipped" or (options.shipped and size == 1)]
            found: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
            # Round by round, so that other work on the machine slows all methods down.
            for _ in range(options.rounds):
                for method in methods:
                    if method != "shipped" or not found[method]:
                        found[method].append(json.loads(run(MEASURE, method, str(folder), extra=str(polars))))
            least = {method: {key: min(each[key] for each in rounds) for key in ("seconds", "cpu")} for method, rounds in found.items()}
            for method, rounds in found.items():
                ratios = "" if method == "ours" else " | ".join(f"{least[method][key] / least['ours'][key]:.2f}" for key in ("seconds", "cpu"))
                same = "" if all(each["check"] == found["ours"][0]["check"] for each in rounds) else " **values differ**"
                peak = max(each["peak"] for each in rounds)
                seconds = f"{least[method]['seconds']:.2f} | {least[method]['cpu']:.2f}"
                print(f"| {rounds[0]['rows']:,} | {method} | {seconds} | {peak:,.0f} | {ratios or ' | '}{same} |", flush=True)


if __name__ == "__main__":
    main()
