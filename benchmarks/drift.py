"""How often `validate_data` warns of drift or skew where nothing differs, and what it finds where something is broken.

    PYTHONPATH=src .venvs/validate/bin/python benchmarks/drift.py [--full] [--processes 2] [--flights EXAMPLES]

False alarms: features of eight kinds (normal, log-normal, counts, rare and frequent truths, mostly zeros, few and many categories; nulls in each
fourth), as `train` and two later parts a third as long each. The rows are independent or depend on each other. A run warns if any of its features
does. The tests are the component's own functions on samples as its sketches give them (exact to 10,000 rows).

Damage: `EXAMPLES` is the folder that `retrieve_features` wrote in a run of the flights. It is read with the component's accumulators, a column of
one split is damaged, and the split is compared as in a run.
"""

import argparse
import math
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from intermodal.components.validate_data.distributions.damage import Finding, find_damage
from intermodal.components.validate_data.distributions.homogeneity import Homogeneity, compare_counts, probabilities
from intermodal.components.validate_data.distributions.references import Reference, refer
from intermodal.components.validate_data.distributions.samples import Array, Numbers, Sample, Texts
from intermodal.components.validate_data.rules import Rules
from intermodal.evaluation.multiple_tests import holm

WIDTHS = (5, 50, 500, 2020)
SIZES = (200, 1000, 10_000)
BLOCKS = 8
LEVEL = 0.05
RULES = Rules(None, None, {}, {}, LEVEL, 3.0, 0.5, ("SKEW", "DRIFT"), True, 0.9, 0.1, 100)

Latent = Callable[[np.random.Generator, int], Array]


def independent(rng: np.random.Generator, rows: int) -> Array:
    return rng.normal(size=rows)


def days(rng: np.random.Generator, rows: int, count: int = 60) -> Array:
    """Half of the variance is a day's own."""
    return (rng.normal(size=count)[np.arange(rows) * count // rows] + rng.normal(size=rows)) / math.sqrt(2)


def autoregressive(rng: np.random.Generator, rows: int) -> Array:
    """First order; the correlation falls to 1/e in a hundredth of the rows."""
    memory = np.exp(-np.arange(rows // 10) * 100 / rows)
    noise = rng.normal(size=rows + len(memory) - 1)
    length = len(noise) + len(memory)
    values = np.fft.irfft(np.fft.rfft(noise, length) * np.fft.rfft(memory, length), length)[len(memory) - 1 : len(noise)]
    result: Array = values / math.sqrt((memory**2).sum())
    return result


def seasonal(rng: np.random.Generator, rows: int, periods: float) -> Array:
    """Half of the variance is a season's, of random phase."""
    return np.sin(2 * np.pi * (np.arange(rows) / rows * periods + rng.random())) + rng.normal(size=rows) / math.sqrt(2)


DATA: dict[str, Latent] = {
    "independent rows": independent,
    "60 days, half of the variance between days": days,
    "autoregressive, over 1/100 of the rows": autoregressive,
    "10 seasons": partial(seasonal, periods=10),
    "2 seasons": partial(seasonal, periods=2),
}


def sampled(values: Array, missing: int) -> Numbers:
    """Return a sample as a sketch of 1,000 parts gives it."""
    ordered = np.sort(values)
    at = np.unique(np.ceil(np.linspace(0, 1, 1001) * len(ordered)).astype(int).clip(1) - 1)
    knots = np.unique(ordered[at])
    return Numbers(float(len(values) + missing), float(missing), knots, np.searchsorted(ordered, knots, side="right").astype(float))


def counted(codes: Array, missing: int) -> Texts:
    values, counts = np.unique(codes, return_counts=True)
    found = {f"v{value:.0f}": float(count) for value, count in zip(values, counts, strict=True)}
    return Texts(float(len(codes) + missing), float(missing), found, len(found))


def _levels(shares: Array) -> Array:
    ends = np.cumsum(shares / shares.sum())[:-1]
    return np.array([NormalDist().inv_cdf(end) for end in ends])


COUNTS = _levels(np.array([0.4966, 0.3476, 0.1217, 0.0284, 0.0050, 0.0007]))  # Poisson with mean 0.7
FEW = _levels(1 / np.arange(1.0, 6))
MANY = _levels(1 / np.arange(1.0, 41))


def marginal(kind: int, z: Array) -> tuple[Array, bool]:
    """Return values of one of eight kinds, and whether they are categories."""
    made: list[Callable[[], Array]] = [
        lambda: z,
        lambda: np.exp(2 * z),
        lambda: np.digitize(z, COUNTS).astype(float),
        lambda: (z > 1.645).astype(float),
        lambda: (z > 0.253).astype(float),
        lambda: np.where(z > 1, np.exp(z), 0.0),
        lambda: np.digitize(z, FEW).astype(float),
        lambda: np.digitize(z, MANY).astype(float),
    ]
    return made[kind](), kind >= 6


@dataclass(frozen=True)
class Pair:
    """A feature of a part, its reference and the test of both."""

    reference: Reference
    sample: Sample
    counts: Array
    test: Homogeneity


def features(data: str, rows: int, width: int, seed: int) -> Iterator[list[Pair]]:
    """Yield for each feature its pairs: two parts, each a third as long as `train` and after it."""
    rng = np.random.default_rng([zlib.crc32(data.encode()), rows, seed])
    parts = (rows, rows + rows // 3, rows + 2 * (rows // 3))
    for feature in range(width):
        values, category = marginal(feature % 8, DATA[data](rng, parts[-1]))
        there = rng.random(parts[-1]) < 0.95 if feature % 4 == 3 else np.ones(parts[-1], bool)

        def cut(start: int, end: int, values: Array = values, there: Any = there, category: bool = category) -> Sample:
            kept = values[start:end][there[start:end]]
            return (counted if category else sampled)(kept, end - start - len(kept))

        ends = [rows * block // BLOCKS for block in range(BLOCKS + 1)]
        reference = refer({"x": cut(0, rows)}, [{"x": cut(ends[block], ends[block + 1])} for block in range(BLOCKS)])["x"]
        yield [pair(reference, cut(parts[part], parts[part + 1])) for part in range(2)]


def pair(reference: Reference, sample: Sample) -> Pair:
    counts = reference.count(sample)
    return Pair(reference, sample, counts, compare_counts(reference, counts))


def judge(pairs: list[Pair]) -> list[str]:
    """Do what `distributions.comparison.compare` does with the features of a run: return each pair's verdict, `` or `SKEW` or a kind of damage."""
    chances, sampling = probabilities([each.test for each in pairs])
    tested = np.array([each.test.numerator > 0 for each in pairs])
    adjusted = np.ones(len(pairs))
    adjusted[tested] = holm(chances[tested], LEVEL)[0]
    level = LEVEL / len(pairs)
    verdicts = []
    for each, corrected, plain in zip(pairs, adjusted, sampling, strict=True):
        differs = bool(corrected <= LEVEL)
        damage = find_damage(Finding(each.reference, each.sample, each.counts, each.test.effect, differs, bool(plain < level), level), "train", RULES)
        verdicts.append(damage.kind if damage else "SKEW" if differs else "")
    return verdicts


def count_alarms(task: tuple[str, int, int]) -> tuple[str, int, dict[int, tuple[int, int, int]]]:
    """Simulate 2,020 features, and return for each width the runs, those with a warning, and those with an error."""
    data, rows, seed = task
    made = list(features(data, rows, max(WIDTHS), seed))
    found = {}
    for width in WIDTHS:
        groups = iter(made)
        runs = [judge([each for feature in group for each in feature]) for group in iter(lambda: list(islice(groups, width)), [])]  # noqa: B023
        whole = runs[: len(made) // width]
        found[width] = (len(whole), sum("SKEW" in run for run in whole), sum(bool({*run} - {"", "SKEW"}) for run in whole))
    return data, rows, found


def print_false_alarms(rounds: dict[int, int], processes: int) -> None:
    """Print a row for each kind of data and size: of the runs of each width, how many warned and how many were blocked."""
    tasks = [(data, rows, seed) for data in DATA for rows in SIZES for seed in range(rounds[rows])]
    total: dict[tuple[str, int], dict[int, Array]] = {}
    with ProcessPoolExecutor(processes) as pool:
        for data, rows, found in pool.map(count_alarms, tasks):
            sums = total.setdefault((data, rows), {width: np.zeros(3) for width in WIDTHS})
            for width, numbers in found.items():
                sums[width] += numbers
    print("| Data | Rows of train | " + " | ".join(f"{width:,} features" for width in WIDTHS) + " |")
    print("|---|---|" + "---|" * len(WIDTHS))
    for (data, rows), sums in total.items():
        cells = [f"{warned / runs:.1%} ({warned:.0f} of {runs:,.0f}), blocked {blocked:.0f}" for runs, warned, blocked in sums.values()]
        print(f"| {data} | {rows:,} | " + " | ".join(cells) + " |", flush=True)


#: What may happen to a normal feature with mean 50 and standard deviation 20 and to five categories, `x` being the values.
PLANTED: dict[str, Callable[[Array], Array]] = {
    "shift by a half deviation": lambda x: x + 10,
    "deviation times 1.5": lambda x: 50 + (x - 50) * 1.5,
    "°F to °C": lambda x: (x - 32) / 1.8,
    "kilograms to pounds": lambda x: x / 0.45359237,
    "minutes to seconds": lambda x: x * 60,
    "one value throughout": lambda x: np.full_like(x, 50.0),
    "sign reversed": lambda x: -x,
    "a tenth of the rows null": lambda x: x,
    "half of the rows null": lambda x: x,
}


def plant(task: tuple[str, str, int, int]) -> tuple[str, str, int, str]:
    """Damage one of 50 features (100 tests) in one part, and return its verdict."""
    data, damage, rows, seed = task
    rng = np.random.default_rng([zlib.crc32(f"{data} {damage}".encode()), rows, seed])
    part = rows // 3
    z = DATA[data](rng, rows + part)
    if damage == "two of five categories exchanged":
        codes = np.digitize(z, FEW).astype(float)
        before, after = codes[:rows], codes[rows:]
        after = np.where(after == 0, 3.0, np.where(after == 3, 0.0, after))
        cut: Callable[[Array, int], Sample] = counted
        missing = 0
    else:
        values = np.maximum(50 + 20 * z, 0.5)
        before, after = values[:rows], PLANTED[damage](values[rows:])
        cut, missing = sampled, {"a tenth of the rows null": part // 10, "half of the rows null": part // 2}.get(damage, 0)
    reference = refer({"x": cut(before, 0)}, [{"x": cut(block, 0)} for block in np.array_split(before, BLOCKS)])["x"]
    broken = pair(reference, cut(after[: part - missing], missing))
    return data, damage, rows, judge([broken, *_sound(reference, 99)])[0]


def _sound(reference: Reference, count: int) -> list[Pair]:
    """Return pairs that do not differ, so that the correction is that of a run."""
    counts = np.array(reference.counts)
    sample = Numbers(0.0, 0.0, np.empty(0), np.empty(0))
    return [Pair(reference, sample, counts, Homogeneity(0.5, 2.0, 10.0, 1.0, 0.5, 5))] * count


def print_power(rounds: int, processes: int) -> None:
    """Print for each planted damage how often it is blocked and how often it is warned of, by size, among 50 features with 100 tests."""
    kinds = [*PLANTED, "two of five categories exchanged"]
    data = ("independent rows", "60 days, half of the variance between days")
    tasks = [(each, damage, rows, seed) for each in data for damage in kinds for rows in SIZES for seed in range(rounds)]
    found: dict[tuple[str, str, int], list[str]] = {}
    with ProcessPoolExecutor(processes) as pool:
        for name, damage, rows, verdict in pool.map(plant, tasks, chunksize=32):
            found.setdefault((name, damage, rows), []).append(verdict)
    print("| Data | Damage | " + " | ".join(f"{rows:,} rows" for rows in SIZES) + " |\n|---|---|" + "---|" * len(SIZES))
    for name in data:
        for damage in kinds:
            cells = []
            for rows in SIZES:
                verdicts = found[name, damage, rows]
                warned, blocked = verdicts.count("SKEW") / len(verdicts), sum(each not in ("", "SKEW") for each in verdicts) / len(verdicts)
                cells.append(f"blocked {blocked:.0%}, warned {warned:.0%}")
            print(f"| {name} | {damage} | " + " | ".join(cells) + " |", flush=True)


#: Column, what is done to it, and how.
FLIGHTS: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("temp", "°F to °C", lambda x: (x - 32) / 1.8),
    ("dew_point", "°F to °C", lambda x: (x - 32) / 1.8),
    ("temp", "one value throughout", lambda x: x * 0 + 50),
    ("pressure", "one value throughout", lambda x: x * 0 + 1015),
    ("weekday", "one value throughout", lambda x: x * 0 + 3),
    ("departure_minute", "minutes to seconds", lambda x: x * 60),
    ("origin_delay_2h", "minutes to seconds", lambda x: x * 60),
    ("flight_delay_10", "minutes to seconds", lambda x: x * 60),
    ("aircraft_departure_delay", "minutes to seconds", lambda x: x * 60),
    ("arrival_minute", "minutes to hours", lambda x: x / 60),
    ("distance", "miles to kilometres", lambda x: x * 1.609344),
    ("wind_speed", "miles to kilometres an hour", lambda x: x * 1.609344),
    ("precipitation", "inches to millimetres", lambda x: x * 25.4),
    ("visibility", "miles to metres", lambda x: x * 1609.344),
    ("pressure", "hPa to inHg", lambda x: x / 33.8639),
    ("humidity", "percent to shares", lambda x: x / 100),
    ("distance", "sign reversed", lambda x: -x),
    ("flight_delay_10", "sign reversed", lambda x: -x),
    ("aircraft_departure_delay", "sign reversed", lambda x: -x),
    ("wind_direction", "a third of the rows null", None),  # type: ignore[list-item]
    ("origin", "EWR and LGA exchanged", {"EWR": "LGA", "LGA": "EWR"}.get),
    ("carrier", "UA and AA exchanged", {"UA": "AA", "AA": "UA"}.get),
    ("carrier", "UA and OO exchanged", {"UA": "OO", "OO": "UA"}.get),
    ("dest", "ATL and SEA exchanged", {"ATL": "SEA", "SEA": "ATL"}.get),
    ("carrier", "lower case", str.lower),
    ("carrier", "one value throughout", lambda _: "UA"),
]


def print_flights(folder: Path) -> None:
    """Print for each damage in a column of the flights what the component says of September, of October to December, and of `train` itself."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from intermodal.components.validate_data.anomalies import find_anomalies, judged
    from intermodal.components.validate_data.distributions.comparison import Comparison, compare
    from intermodal.components.validate_data.schema import infer_schema, present_shares
    from intermodal.components.validate_data.statistics.streaming import Accumulator, read_batches, read_blocks

    ignored = ["event_timestamp", "tailnum", "flight_key"]
    files = {part: sorted((folder / part).glob("*.parquet")) for part in ("train", "validation", "test")}
    blocks = read_blocks(files["train"], ignored, BLOCKS)
    merged = Accumulator.merged(blocks)
    statistics = merged.statistics("train")
    whole = merged.samples(statistics)
    read = [(block, block.statistics("block", coarse=True)) for block in blocks]
    shares = [present_shares(each) for _, each in read]
    references = refer(whole, [block.samples(each) for block, each in read])
    schema = infer_schema(statistics, "late", RULES, {name: min(share.get(name, 0.0) for share in shares) for name in whole})
    complete = [name for name, share in present_shares(statistics).items() if share == 1]

    def verdicts(part: str, column: str, how: Any) -> str:
        accumulator = Accumulator()
        for file in files[part]:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                for batch in read_batches(parquet, ignored, group):
                    names = batch.schema.names
                    columns = [_damaged(each, how, pa, pc) if name == column else each for name, each in zip(names, batch.columns, strict=True)]
                    accumulator.add(pa.RecordBatch.from_arrays(columns, names))
        counted = accumulator.statistics(part)
        kind = "drift" if part == "train" else "skew"
        found = compare([Comparison(kind, part, accumulator.samples(counted), references)], "late", RULES)[1]
        found = judged([*found, *find_anomalies(part, counted, schema, "late", complete)], RULES.warn)
        own = [each for each in found if each.feature == column] if column else found
        words = sorted({f"{'blocked' if each.severity == 'error' else 'warned'}: {each.kind}" for each in own})
        return ", ".join(words) or "nothing"

    print("| Column | Damage | September (validation) | October to December (test) | train against itself as baseline |\n|---|---|---|---|---|")
    for column, damage, how in [("", "none", None), *FLIGHTS]:
        cells = " | ".join(verdicts(part, column, how) for part in ("validation", "test", "train"))
        print(f"| {column or 'all'} | {damage} | {cells} |", flush=True)


def _damaged(values: Any, how: Any, pa: Any, pc: Any) -> Any:
    if how is None:
        return pc.if_else(pa.array(np.arange(len(values)) % 3 == 0), None, values)
    if pa.types.is_large_binary(values.type):
        texts = values.cast(pa.large_string()).dictionary_encode()
        renamed = pa.array([how(each) or each for each in texts.dictionary.to_pylist()], pa.large_string())
        return pa.DictionaryArray.from_arrays(texts.indices, renamed).cast(pa.large_string()).cast(pa.large_binary())
    numbers = values.cast(pa.float64(), safe=False)
    made = how(numbers.to_numpy(zero_copy_only=False))
    result = pa.array(made, from_pandas=True)
    return result.cast(values.type, safe=False) if pa.types.is_integer(values.type) else result


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="100 rounds instead of one or two: many hours on two cores")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--flights", type=Path, help="the folder `examples` that retrieve_features wrote in a run of the flights")
    given = parser.parse_args()
    began = time.perf_counter()
    if given.flights:
        print_flights(given.flights)
        print()
    print_false_alarms({200: 100, 1000: 100, 10_000: 40} if given.full else {200: 2, 1000: 2, 10_000: 1}, given.processes)
    print()
    print_power(500 if given.full else 20, given.processes)
    print(f"\n{time.perf_counter() - began:.0f} s, {given.processes} processes")


if __name__ == "__main__":
    main()
