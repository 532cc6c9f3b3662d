"""How often `validate_data` warns of drift or skew where nothing differs, and what it finds where something is broken.

    PYTHONPATH=src .venvs/validate/bin/python benchmarks/drift.py [--full] [--seed 1] [--processes 2] [--flights EXAMPLES]

False alarms: features of eight kinds (normal, log-normal, counts, rare and frequent truths, mostly zeros, few and many categories; nulls in each
fourth), eight at a time correlated with each other (0.5), as `train` and two later parts a third as long each. The rows are independent or depend
on each other. A run has an alarm if any of its features has. What is simulated is all that a run does with the samples of its sketches (exact to
10,000 rows) and with its picked rows; a feature's other columns are the seven that are correlated with it.

Power: one feature is damaged in one part of a run with 100 tests.

Flights: `EXAMPLES` is the folder that `retrieve_features` wrote in a run of the flights, read with the component's accumulators. A column of one
split is damaged, and the split is compared as in a run; and the days are put into random order, so that nothing differs.
"""

import argparse
import math
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from intermodal.components.validate_data.distributions.associations import associate
from intermodal.components.validate_data.distributions.comparison import Comparison, Pair, judge, pairs
from intermodal.components.validate_data.distributions.homogeneity import Homogeneity, f_critical
from intermodal.components.validate_data.distributions.references import Reference, References, refer
from intermodal.components.validate_data.distributions.samples import Array, Numbers, Rows, Sample, Texts, Words
from intermodal.components.validate_data.rules import Rules

WIDTHS = (1, 8, 80, 400, 2000)
SIZES = (200, 1000, 10_000)
BLOCKS = 8
KINDS = 8
MOST = 250
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


def cut(values: Array, there: Any, category: bool) -> tuple[Sample, Array | Words]:
    """Return values as a sketch gives them, and as picked rows."""
    kept, missing = values[there], int((~there).sum())
    if not category:
        return sampled(kept, missing), np.where(there, values, np.nan)
    different, codes = np.unique(values, return_inverse=True)
    return counted(kept, missing), Words([f"v{value:.0f}" for value in different], np.where(there, codes, -1))


def compared(columns: Mapping[str, tuple[Array, Any, bool]], ends: Sequence[int]) -> list[Comparison]:
    """Return the parts of some columns (values, which are there, whether categories) after the first one, which they are compared with."""

    def between(start: int, end: int) -> tuple[dict[str, Sample], Rows]:
        made = {name: cut(values[start:end], there[start:end], category) for name, (values, there, category) in columns.items()}
        return {name: sample for name, (sample, _) in made.items()}, {name: rows for name, (_, rows) in made.items()}

    blocks = [between(*each) for each in pairwise([ends[1] * block // BLOCKS for block in range(BLOCKS + 1)])]
    references: References = associate(refer(between(0, ends[1])[0], [samples for samples, _ in blocks]), [rows for _, rows in blocks])
    parts = [between(*each) for each in pairwise(ends[1:])]
    return [Comparison("skew", f"part {number}", samples, rows, references) for number, (samples, rows) in enumerate(parts)]


def features(data: str, rows: int, width: int, seed: int) -> Iterator[list[Pair]]:
    """Yield for each feature its pairs: two parts, each a third as long as `train` and after it."""
    rng = np.random.default_rng([zlib.crc32(data.encode()), rows, seed])
    ends = (0, rows, rows + rows // 3, rows + 2 * (rows // 3))
    for _ in range(width // KINDS):
        common = DATA[data](rng, ends[-1])
        columns = {}
        for kind in range(KINDS):
            values, category = marginal(kind, (common + DATA[data](rng, ends[-1])) / math.sqrt(2))
            columns[f"x{kind}"] = (values, rng.random(ends[-1]) < 0.95 if kind % 4 == 3 else np.ones(ends[-1], bool), category)
        yield from zip(*(pairs(comparison, RULES) for comparison in compared(columns, ends)), strict=True)


def found_in(run: Sequence[Pair]) -> list[str]:
    """Return each pair's verdict: nothing, `SKEW` or a kind of damage."""
    return [each.damage.kind if each.damage else "SKEW" if each.differs else "" for each in judge(run, "", RULES)]


def count_alarms(task: tuple[str, int, int]) -> tuple[str, int, dict[int, Array]]:
    """Simulate 2,000 features, and return for each width the runs (250 at most), those with a warning, with an error, and with either."""
    data, rows, seed = task
    made = list(features(data, rows, max(WIDTHS), seed))
    found = {}
    for width in WIDTHS:
        step = max(width, len(made) // MOST)
        if width == 1:
            step += 1  # Eight kinds in turn.
        starts = range(0, len(made) - width + 1, step)
        runs = [{*found_in([each for feature in made[start : start + width] for each in feature])} for start in starts]
        alarms = [("SKEW" in run, bool(run - {"", "SKEW"}), bool(run - {""})) for run in runs]
        found[width] = np.array([len(runs), *np.sum(alarms, axis=0)], float)
    return data, rows, found


def binomial(hits: float, runs: float) -> tuple[float, float]:
    """Return the 95 % interval of a share (Clopper and Pearson, Biometrika 26, 1934), by way of F."""

    def ratio(one: float, other: float) -> float:
        found = f_critical(np.array([0.025]), np.array([2 * one]), np.array([2 * other]))[0]
        return float(one * found / (other + one * found))

    return (1 - ratio(runs - hits + 1, hits) if hits else 0.0), (ratio(hits + 1, runs - hits) if hits < runs else 1.0)


def print_false_alarms(rounds: Mapping[int, int], seed: int, processes: int) -> None:
    """Print a row for each kind of data and size: of the runs of each width, how many warned and how many were blocked."""
    tasks = [(data, rows, seed + turn) for turn in range(max(rounds.values())) for data in DATA for rows in SIZES if turn < rounds[rows]]
    total: dict[tuple[str, int], dict[int, Array]] = {(data, rows): {width: np.zeros(4) for width in WIDTHS} for data in DATA for rows in SIZES}
    with ProcessPoolExecutor(processes) as pool:
        for data, rows, found in pool.map(count_alarms, tasks):
            for width, numbers in found.items():
                total[data, rows][width] += numbers
    total["all", 0] = {width: np.sum([sums[width] for sums in total.values()], axis=0) for width in WIDTHS}
    print("| Data | Rows of train | " + " | ".join(f"{width:,} features" for width in WIDTHS) + " |")
    print("|---|---|" + "---|" * len(WIDTHS))
    for (data, rows), sums in total.items():
        cells = []
        for runs, warned, blocked, alarms in sums.values():
            low, high = binomial(alarms, runs)
            cells.append(f"{alarms / runs:.1%} ({low:.1%} to {high:.1%}): {warned:.0f} + {blocked:.0f} of {runs:,.0f}")
        print(f"| {data} | {f'{rows:,}' if rows else 'all'} | " + " | ".join(cells) + " |", flush=True)


#: What may happen to a normal feature with mean 50 and standard deviation 20, not below 0.5, `x` being the values.
NUMBERS: dict[str, Callable[[Array], Array]] = {
    "nothing": lambda x: x,
    "shift by a half deviation": lambda x: x + 10,
    "shift by two deviations": lambda x: x + 40,
    "deviation times 1.5": lambda x: 50 + (x - 50) * 1.5,
    "°F to °C": lambda x: (x - 32) / 1.8,
    "miles to kilometres": lambda x: x * 1.609344,
    "kilograms to pounds": lambda x: x / 0.45359237,
    "minutes to seconds": lambda x: x * 60,
    "one value throughout": lambda x: np.full_like(x, 50.0),
    "sign reversed": lambda x: -x,
}

#: Damage to other kinds of features.
OTHERS = (
    "miles to kilometres, whole numbers",
    "sign reversed, symmetric about 0, with a column correlated with it (0.7)",
    "two of five categories exchanged",
    "two categories of one share exchanged, with a column of which they differ by three deviations",
)


def plant(task: tuple[str, str, int, int]) -> tuple[str, str, int, str]:
    """Damage one feature of one part of a run with 100 tests, and return its verdict."""
    data, damage, rows, seed = task
    rng = np.random.default_rng([zlib.crc32(f"{data} {damage}".encode()), rows, seed])
    end = rows + rows // 3
    z = DATA[data](rng, end)
    later = np.arange(end) >= rows
    there = np.ones(end, bool)
    columns = {}
    if damage in NUMBERS:
        values = np.maximum(50 + 20 * z, 0.5)
        columns["x"] = (np.where(later, NUMBERS[damage](values), values), there, False)
    elif damage == OTHERS[0]:
        values = np.round(np.maximum(10 + 4 * z, 1))
        columns["x"] = (np.where(later, values * 1.609344, values), there, False)
    elif damage == OTHERS[1]:
        columns["x"] = (np.where(later, -z, z), there, False)
        columns["y"] = (0.7 * z + math.sqrt(0.51) * DATA[data](rng, end), there, False)
    else:
        equal = damage == OTHERS[3]
        codes = np.digitize(z, _levels(np.ones(5)) if equal else FEW).astype(float)
        columns["x"] = (np.where(later & (codes == 0), 3.0, np.where(later & (codes == 3), 0.0, codes)), there, True)
        if equal:
            columns["y"] = (codes + DATA[data](rng, end), there, False)
    (comparison,) = compared(columns, (0, rows, end))
    own, *others = pairs(comparison, RULES)
    return data, damage, rows, found_in([own, *others, *_sound(100 - len(columns))])[0]


@cache
def _sound(count: int) -> list[Pair]:
    """Return pairs that do not differ, so that the correction is that of a run."""
    nothing = Numbers(0.0, 0.0, np.empty(0), np.empty(0))
    reference = Reference(numeric=True, counts=[1.0], blocks=[], commonest=1.0)
    comparison = Comparison("skew", "sound", {}, {}, {})
    return [Pair(comparison, f"sound {each}", nothing, reference, np.ones(1), Homogeneity(0.5, 2.0, 7.0, 1.0, 0.5, 5), None) for each in range(count)]


def print_power(rounds: int, seed: int, processes: int) -> None:
    """Print for each planted damage how often it is blocked and how often it is warned of, by size, in a run with 100 tests."""
    kinds = [*NUMBERS, *OTHERS]
    data = ("independent rows", "60 days, half of the variance between days")
    tasks = [(each, damage, rows, seed + turn) for each in data for damage in kinds for rows in SIZES for turn in range(rounds)]
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


#: The same, listed after the rules were settled, and looked at once.
UNSEEN: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("wind_speed", "miles an hour to m/s", lambda x: x * 0.44704),
    ("wind_speed", "miles an hour to knots", lambda x: x * 0.868976),
    ("temp", "°F to K", lambda x: (x - 32) / 1.8 + 273.15),
    ("temp", "sign reversed", lambda x: -x),
    ("aircraft_arrival_delay", "sign reversed", lambda x: -x),
    ("destination_delay_3h", "sign reversed", lambda x: -x),
    ("destination_delay_3h", "minutes to seconds", lambda x: x * 60),
    ("departure_minute", "minutes to hours", lambda x: x / 60),
    ("dest", "ORD and BOS exchanged", {"ORD": "BOS", "BOS": "ORD"}.get),
    ("dest", "MCO and FLL exchanged", {"MCO": "FLL", "FLL": "MCO"}.get),
    ("carrier", "EV and 9E exchanged", {"EV": "9E", "9E": "EV"}.get),
    ("carrier", "B6 and DL exchanged", {"B6": "DL", "DL": "B6"}.get),
    ("origin", "EWR to LGA to JFK to EWR", {"EWR": "LGA", "LGA": "JFK", "JFK": "EWR"}.get),
]


def print_flights(folder: Path) -> None:
    """Print for each damage in a column of the flights what the component says of September, of October to December, and of `train` itself."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from intermodal.components.validate_data.anomalies import find_anomalies, judged
    from intermodal.components.validate_data.distributions.comparison import compare
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
    references = associate(refer(whole, [block.samples(each) for block, each in read]), [block.picked() for block in blocks])
    schema = infer_schema(statistics, "late", RULES, {name: min(share.get(name, 0.0) for share in shares) for name in whole})
    complete = [name for name, share in present_shares(statistics).items() if share == 1]

    def verdicts(part: str, column: str, how: Any) -> str:
        accumulator = Accumulator()
        rows = sum(pq.read_metadata(file).num_rows for file in files[part])
        for file in files[part]:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                for batch in read_batches(parquet, ignored, group):
                    names = batch.schema.names
                    columns = [_damaged(each, how, pa, pc) if name == column else each for name, each in zip(names, batch.columns, strict=True)]
                    made = pa.RecordBatch.from_arrays(columns, names)
                    accumulator.pick(made, accumulator.rows, rows)
                    accumulator.add(made)
        counted = accumulator.statistics(part)
        kind = "drift" if part == "train" else "skew"
        found = compare([Comparison(kind, part, accumulator.samples(counted), accumulator.picked(), references)], "late", RULES)[1]
        found = judged([*found, *find_anomalies(part, counted, schema, "late", complete)], RULES.warn)
        own = [each for each in found if each.feature == column] if column else found
        words = sorted({f"{'blocked' if each.severity == 'error' else 'warned'}: {each.kind}" for each in own})
        return ", ".join(words) or "nothing"

    print("| Column | Damage | September (validation) | October to December (test) | train against itself as baseline |\n|---|---|---|---|---|")
    for column, damage, how in [("", "none", None), *FLIGHTS, *UNSEEN]:
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


def print_shuffled(folder: Path, times: int, seed: int) -> None:
    """Put the days of the flights into random order, so that nothing differs, and print in how many runs there is an alarm."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from intermodal.components.validate_data.distributions.comparison import compare
    from intermodal.components.validate_data.statistics.streaming import Accumulator, read_blocks

    parts = {part: pq.read_table(folder / part) for part in ("train", "validation", "test")}
    table = pa.concat_tables(parts.values())
    day = np.asarray(table["event_timestamp"].cast(pa.int64())) // 86_400_000_000
    days, counts = np.unique(day, return_counts=True)
    order = np.argsort(day, kind="stable")
    rows = np.split(order, np.cumsum(counts)[:-1])
    cuts = np.cumsum([len(np.unique(day[start : start + len(part)])) for start, part in _starts(parts.values())])
    alarms: list[list[str]] = []
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(times):
            shuffled = rng.permutation(len(days))
            read = {}
            for part, chosen in zip(parts, np.split(shuffled, cuts[:-1]), strict=True):
                path = Path(scratch) / f"{part}.parquet"
                pq.write_table(table.take(np.concatenate([rows[each] for each in chosen])), path)
                read[part] = read_blocks([path], ["event_timestamp", "tailnum", "flight_key"], BLOCKS if part == "train" else 1)
            blocks = read["train"]
            merged = Accumulator.merged(blocks)
            whole = merged.samples(merged.statistics("train"))
            references = refer(whole, [block.samples(block.statistics("block", coarse=True)) for block in blocks])
            references = associate(references, [block.picked() for block in blocks])
            others = [(part, read[part][0]) for part in parts if part != "train"]
            comparisons = [Comparison("skew", part, each.samples(each.statistics(part)), each.picked(), references) for part, each in others]
            alarms.append([f"{each.feature}: {each.kind}" for each in compare(comparisons, "late", RULES)[1]])
    runs = [run for run in alarms if run]
    low, high = binomial(len(runs), times)
    print(f"Flights, days in random order: {len(runs)} of {times} runs have an alarm ({low:.1%} to {high:.1%}) {runs}", flush=True)


def _starts(tables: Any) -> Iterator[tuple[int, Any]]:
    start = 0
    for table in tables:
        yield start, table
        start += len(table)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="6 rounds (3 at 10,000 rows) instead of one: 25 minutes of processor time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--flights", type=Path, help="the folder `examples` that retrieve_features wrote in a run of the flights")
    given = parser.parse_args()
    began = time.perf_counter()
    if given.flights:
        print_flights(given.flights)
        print()
        print_shuffled(given.flights, 40 if given.full else 5, given.seed)
        print()
    print_false_alarms({200: 6, 1000: 6, 10_000: 3} if given.full else {200: 1, 1000: 1, 10_000: 1}, given.seed, given.processes)
    print()
    print_power(200 if given.full else 20, given.seed, given.processes)
    print(f"\n{time.perf_counter() - began:.0f} s, {given.processes} processes")


if __name__ == "__main__":
    main()
