"""Compute statistics of the flights table at 1, 10 and 30 times its rows: ours, TFDV's CSV path and pandas.

    PYTHONPATH=src .venvs/validate/bin/python benchmarks/data_statistics.py <flights.csv.zip> [--sizes 1 10 30]

Each measurement runs in a process of its own. Seconds exclude imports; memory is the process's peak and includes them.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Numbers by feature and name, to compare the methods.
Found = dict[str, dict[str, Any]]


def write_tables(flights: Path, directory: Path, sizes: list[int]) -> int:
    """Write the table as CSV, once, and as Parquet, `size` times over, in row groups of 131,072. Return its rows."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    with zipfile.ZipFile(flights) as archive, archive.open(archive.namelist()[0]) as file:
        options = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True, column_types={"time_hour": pa.string()})
        table = csv.read_csv(file, convert_options=options)
    csv.write_csv(table, directory / "1.csv")
    for size in sizes:
        with pq.ParquetWriter(directory / f"{size}.parquet", table.schema) as writer:
            for _ in range(size):
                writer.write_table(table, row_group_size=131_072)
    return int(table.num_rows)


def ours(path: Path) -> tuple[Callable[[], Any], Callable[[Any], Found]]:
    """The component's streaming path."""
    from intermodal.components.validate_data.statistics.streaming import Accumulator
    from intermodal.components.validate_data.statistics.workers import read_parts

    return lambda: Accumulator.merged(read_parts({"train": [path]}, [], {"train": 8})["train"]).statistics("train"), summarise


def ours_one_process(path: Path) -> tuple[Callable[[], Any], Callable[[Any], Found]]:
    """The same in one process."""
    from intermodal.components.validate_data.statistics.streaming import Accumulator, read_blocks

    return lambda: Accumulator.merged(read_blocks([path], [], 8)).statistics("train"), summarise


def beam(path: Path) -> tuple[Callable[[], Any], Callable[[Any], Found]]:
    """The component's Beam path, on Beam's local runner."""
    from intermodal.components.validate_data.statistics.beam import read_with_beam
    from intermodal.components.validate_data.statistics.streaming import Accumulator

    def run() -> Any:
        read = read_with_beam({"train": [path]}, path.parent, "", [], {"train": 8}, ["--runner=DirectRunner"])
        return Accumulator.merged(read["train"]).statistics("train")

    return run, summarise


def tfdv_csv(path: Path) -> tuple[Callable[[], Any], Callable[[Any], Found]]:
    """TFDV's `generate_statistics_from_csv`, which runs on Beam."""
    sys.modules["farmhash"] = types.ModuleType("farmhash")  # not installed: see components/validate_data/statistics/tfdv.py
    import tensorflow_data_validation as tfdv

    return lambda: tfdv.generate_statistics_from_csv(str(path)), summarise


def pandas(path: Path) -> tuple[Callable[[], Any], Callable[[Any], Found]]:
    """pandas: read everything, `describe`, and `value_counts` of text columns."""
    import pandas as pd

    def run() -> Any:
        frame = pd.read_parquet(path)
        counts = {column: frame[column].value_counts() for column in frame.select_dtypes("object")}
        return frame.describe(), frame.isna().sum(), frame.quantile([0.1, 0.5, 0.9], numeric_only=True), counts

    return run, lambda found: {
        **{name: {"mean": column["mean"], "min": column["min"], "max": column["max"]} for name, column in found[0].items()},
        **{name: {"unique": len(counts), "top": sorted(map(int, counts[:5]), reverse=True)} for name, counts in found[3].items()},
    }


def summarise(statistics: Any) -> Found:
    """Return the numbers of TFDV's message that do not depend on sketches."""
    found: Found = {}
    for feature in statistics.datasets[0].features:
        if feature.WhichOneof("stats") == "num_stats":
            numbers = feature.num_stats
            values = {key: getattr(numbers, key) for key in ("mean", "std_dev", "min", "max", "num_zeros")}
            found[feature.path.step[0]] = {**values, "present": numbers.common_stats.num_non_missing}
        else:
            texts = feature.string_stats
            top = [int(top.frequency) for top in texts.top_values[:5]]
            found[feature.path.step[0]] = {"unique": texts.unique, "top": top, "present": texts.common_stats.num_non_missing}
    return found


METHODS = {"ours": ours, "ours_one_process": ours_one_process, "beam": beam, "tfdv_csv": tfdv_csv, "pandas": pandas}


def measure(method: str, path: Path) -> dict[str, Any]:
    """Run one method in a fresh process."""
    command = [sys.executable, __file__, "--method", method, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_method(method: str, path: Path) -> None:
    """Run one method in this process; print seconds, peak memory and the statistics."""
    began = time.perf_counter()
    run, summary = METHODS[method](path)
    ready = time.perf_counter()
    result = run()
    done = time.perf_counter()
    # Of its child processes, the largest counts; there is one on two cores.
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps({"imports": ready - began, "seconds": done - ready, "peak": peak, "found": summary(result)}, default=float))


def agree(one: Found, other: Found) -> tuple[int, list[str]]:
    """Compare the quantities that both have. Return how many agree to 1e-9 and which do not."""
    equal, different = 0, []
    for name in sorted(one.keys() & other.keys()):
        for key in sorted(one[name].keys() & other[name].keys()):
            mine, yours = one[name][key], other[name][key]
            if mine == yours or (not isinstance(mine, list) and math.isclose(mine, yours, rel_tol=1e-9)):
                equal += 1
            else:
                different.append(f"{name}.{key}: {mine} against {yours}")
    return equal, different


def main() -> None:
    """Measure all methods and print a Markdown table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 30])
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.method:
        run_method(given.method, given.path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        rows = write_tables(given.path, directory, given.sizes)
        plan = [(method, size) for method in ("ours", "ours_one_process") for size in given.sizes]
        plan += [("beam", given.sizes[0]), *(("pandas", size) for size in given.sizes[:2]), ("tfdv_csv", 1)]
        done = {}
        print("| Method | Rows | Seconds | Rows/s | Peak MB | Imports, s |\n|---|---|---|---|---|---|")
        for method, size in plan:
            found = measure(method, directory / ("1.csv" if method == "tfdv_csv" else f"{size}.parquet"))
            done[method, size] = found
            speed = rows * size / found["seconds"]
            print(
                f"| {method} | {rows * size:,} | {found['seconds']:.2f} | {speed:,.0f} | {found['peak']:,.0f} | {found['imports']:.1f} |", flush=True
            )
    first, last = given.sizes[0], given.sizes[-1]
    print(f"\nours to TFDV's CSV path, rows/s: {done['tfdv_csv', 1]['seconds'] / done['ours', first]['seconds'] * first:.1f}")
    for method in ("ours", "ours_one_process") if len(given.sizes) > 1 else ():
        print(f"{method}: peak memory, {last}x to {given.sizes[-2]}x: {done[method, last]['peak'] / done[method, given.sizes[-2]]['peak']:.2f}")
    for method, size in (("tfdv_csv", 1), ("beam", first), ("pandas", first)):
        equal, different = agree(done["ours", first]["found"], done[method, size]["found"])
        print(f"equal to {method}: {equal} of {equal + len(different)} numbers", *different[:5], sep="\n  ")


if __name__ == "__main__":
    main()
