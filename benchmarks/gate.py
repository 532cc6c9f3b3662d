"""How often the gate errs, and its intervals cover the truth, in simulated data of which the truth is known.

    PYTHONPATH=src .venvs/train/bin/python benchmarks/gate.py [--full] [--seed 1] [--part coverage]

Each row has a signal; its label follows the signal and the day. Days depend on the day before (correlation 0.47, as the flights' do), in how frequent
positives are and in how well each model does. A model sees the signal with noise of its own; a worse model sees it with more. The truth is measured
on four million rows, differences on one million.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from intermodal.components.gate_model.comparison import compare, level
from intermodal.components.gate_model.scored_rows import Compared, ScoredRows
from intermodal.components.gate_model.slices import SliceLimits, judge_slices
from intermodal.components.measure_gate.draws import Window
from intermodal.evaluation.intervals import calibration_bins, estimate, group_blocks, interval, jackknifed_metrics, pooled_estimates
from intermodal.evaluation.multiple_tests import holm

Floats = NDArray[np.float64]
METRICS = ("auc", "pr_auc", "log_loss", "brier", "ece")
ROWS, DAYS = 40_000, 90
#: Of ranks. The gate takes 4096; a quarter is three times as fast, and changes standard errors of AUC by less than a hundredth.
BINS = 1024


@dataclass(frozen=True)
class World:
    """Where data comes from.

    Attributes:
        base: The share of positives, about.
        correlation: Of a day with the day before.
        day: How much days differ: of the positives' share on the logit scale, and of how strong each model's signal is.
        uneven: The standard deviation of the logarithm of the days' numbers of rows.
        trend: By how much the level, and the strength of each model's signal, rise from the first day to the last, in standard deviations of a day.
        shift: By how much each model's logits are too high.
    """

    base: float = 0.2
    correlation: float = 0.47
    day: float = 0.3
    uneven: float = 0.0
    trend: float = 0.0
    shift: float = 0.1

    def draw(self, generator: np.random.Generator, days: int, rows: int, noises: tuple[float, ...]) -> tuple[NDArray[np.int64], Floats, list[Floats]]:
        """Return the day of each row, its label, and the probabilities of a model for each noise."""
        day = np.arange(rows, dtype=np.int64) * days // rows
        if self.uneven:
            sizes = np.exp(self.uneven * generator.normal(size=days))
            day = np.searchsorted(np.cumsum(sizes / sizes.sum()), np.arange(rows) / rows, side="right").clip(max=days - 1)
        level, *strengths = (self.day * self._days(generator, days)[day] for _ in range(1 + len(noises)))
        signal = generator.normal(size=rows)
        offset = np.log(self.base / (1 - self.base)) - 0.35
        label = (generator.random(rows) < _logistic(offset + 1.2 * signal + level)).astype(np.float64)
        models = []
        for noise, strength in zip(noises, strengths, strict=True):
            seen = signal + noise * generator.normal(size=rows)
            models.append(_logistic(offset + self.shift + 1.2 / (1 + noise**2) * seen * (1 + 0.3 * strength)))
        return day, label, models

    def _days(self, generator: np.random.Generator, days: int) -> Floats:
        drawn = generator.normal(size=days)
        for number in range(1, days):
            drawn[number] = self.correlation * drawn[number - 1] + np.sqrt(1 - self.correlation**2) * drawn[number]
        return drawn + self.trend * (np.arange(days) / max(days - 1, 1) - 0.5)


def _logistic(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-values))


@cache
def truth(world: World, noise: float, parts: int = 8) -> dict[str, float]:
    """Return the true metrics of a model, of half a million rows a part. The same rows for each noise, so differences need fewer."""
    generator, found = np.random.default_rng(99), []
    for _ in range(parts):
        day, label, (score,) = world.draw(generator, 4000, 500_000, (noise,))
        whole = group_blocks(np.zeros(len(day)), ordered=True)
        found.append({name: values[0] for name, values in jackknifed_metrics(label, score, whole).items()})
    return {name: float(np.mean([each[name] for each in found])) for name in METRICS}


def noise_for(world: World, champion: float, metric: str, loss: float, *, widest: float = 0.35) -> float:
    """Return the noise of a model that is worse than the champion's by a given loss."""
    sign = -1 if metric in ("auc", "pr_auc") else 1
    noises = np.linspace(champion, champion + widest, 8)
    losses = [sign * (truth(world, float(each), 2)[metric] - truth(world, champion, 2)[metric]) for each in noises]
    return float(np.interp(loss, losses, noises))


def rows_of(
    day: NDArray[np.int64], label: Floats, challenger: Floats, others: dict[str, Floats], slices: dict[str, NDArray[np.str_]] | None = None
) -> ScoredRows:
    return ScoredRows(label, challenger, others, group_blocks(day, ordered=True), slices or {}, BINS)


def verdicts(generator: np.random.Generator, turns: int) -> None:
    """Print what becomes of challengers that are worse by a known loss."""
    world, champion, margin, losses, turns = World(), 0.5, 0.005, (0.0, 0.002, 0.005, 0.01), turns // 2
    cells = [(metric, loss, noise_for(world, champion, metric, loss)) for metric in ("auc", "log_loss") for loss in losses]
    noises = list(dict.fromkeys(noise for _, _, noise in cells))
    found: Counter[tuple[str, float, str]] = Counter()
    for _ in range(turns):
        day, label, (old, *new) = world.draw(generator, DAYS, ROWS, (champion, *noises))
        for noise, challenger in zip(noises, new, strict=True):
            rows = rows_of(day, label, challenger, {"champion": old})
            judged = compare(rows, {"champion": "1"}, {"auc": margin, "log_loss": margin}, level(0.95, 1), 10).outcomes
            found.update((metric, noise, outcome.verdict) for metric, outcome in zip(("auc", "log_loss"), judged, strict=True))
    print(f"\n### Challengers of known loss: {ROWS:,} rows, {DAYS} days, {turns} windows, margin {margin}\n")
    print("| Metric | Truly worse by | passed | too little data | blocked |\n|---|---|---|---|---|")
    for metric, loss, noise in cells:
        shares = [found[metric, noise, verdict] / turns for verdict in ("passed", "too little data", "blocked")]
        print(f"| {metric} | {loss} | " + " | ".join(f"{each:.1%}" for each in shares) + " |", flush=True)


def retrainings(generator: np.random.Generator, turns: int) -> None:
    """Print how much is lost by fifty retrainings; the reference moves to what is shown to be better than it, as `promote_model` moves it."""
    world, first, margin, chains = World(), 0.6, 0.005, max(turns // 100, 1)
    noises = np.linspace(first - 0.5, first + 0.6, 12)
    losses = [truth(world, first, 2)["auc"] - truth(world, float(each), 2)["auc"] for each in noises]
    print(f"\n### Fifty retrainings, margin {margin} AUC: {chains} chains, {ROWS:,} new rows over {DAYS} days each time\n")
    print("| Each retraining | Compared with | AUC of the last champion below the first's: mean | most | models promoted | reference moved |")
    print("|---|---|---|---|---|---|")
    for kind in ("0.001 worse than the champion", "differs from the first by chance (0.003)"):
        for title, pinned in (("the champion only", False), ("the champion and the reference", True)):
            lost, promoted, moved = [], 0, 0
            for _ in range(chains):
                old, reference = 0.0, 0.0
                for _ in range(50):
                    new = old + 0.001 if kind.startswith("0.001") else float(generator.normal(0, 0.003))
                    drawn = tuple(float(np.interp(each, losses, noises)) for each in (old, reference, new))
                    day, label, (champion, kept, challenger) = world.draw(generator, DAYS, ROWS, drawn)
                    # Where both are one model, its scores are the same.
                    others = {"champion": champion} | ({"reference": kept} if pinned and reference != old else {})
                    found = compare(rows_of(day, label, challenger, others), dict.fromkeys(others, "1"), {"auc": margin}, level(0.95, 1), 10)
                    if all(each.verdict == "passed" for each in found.outcomes):
                        old, promoted = new, promoted + 1
                        if found.supersedes:
                            reference, moved = new, moved + 1
                lost.append(old)
            row = f"| {kind} | {title} | {np.mean(lost):.4f} | {max(lost):.4f} | {promoted / chains:.1f} |"
            print(f"{row} {moved / chains:.2f} |" if pinned else f"{row} |", flush=True)


def sinking(generator: np.random.Generator, turns: int) -> None:
    """Print how far one slice of thirty falls in fifty retrainings that each spoil it a little, by the default margins."""
    world, chains, step = World(), max(turns // 500, 1), 0.02
    noises = np.linspace(0.5, 4.5, 16)
    losses = [truth(world, 0.5, 2)["auc"] - truth(world, float(each), 2)["auc"] for each in noises]
    print(f"\n### One slice of 30 loses {step} AUC with each of fifty retrainings: {chains} chains, {ROWS:,} new rows over {DAYS} days each time\n")
    print("| Slices and rows compared with | AUC that the slice lost: mean | most |\n|---|---|---|")
    for title, pinned in (("the champion only", False), ("the champion and the reference", True)):
        lost = []
        for _ in range(chains):
            total = 0.0
            for _ in range(50):
                old, new = (float(np.interp(each, losses, noises)) for each in (total, total + step))
                day, label, (sound, spoilt, more) = world.draw(generator, DAYS, ROWS, (0.5, old, new))
                group = generator.integers(0, 30, ROWS)
                champion, challenger = (np.where(group == 7, each, sound) for each in (spoilt, more))
                others = {"champion": champion} | ({"reference": sound} if pinned and total else {})
                rows = rows_of(day, label, challenger, others, {"group": group.astype(str)})
                outcomes = compare(rows, dict.fromkeys(others, "1"), {"log_loss": 0.005}, level(0.95, 1), 10).outcomes
                outcomes += judge_slices(rows, SliceLimits({"auc": 0.05, "log_loss": 0.05}, {}, {}), 0.95, 200, 10)
                total += step * all(each.verdict == "passed" for each in outcomes) * (total + step <= losses[-1])
            lost.append(total)
        print(f"| {title} | {np.mean(lost):.3f} | {max(lost):.3f} |", flush=True)


def repeated(generator: np.random.Generator, turns: int) -> None:
    """Print how often any of twenty models that are worse by the margin passes on the same rows."""
    world, margin, windows = World(), 0.005, max(turns * 3 // 20, 1)
    noise = noise_for(world, 0.5, "auc", margin)
    found = {"each with 95 %": 0, "95 % over all uses": 0}
    for _ in range(windows):
        day, label, (old, *new) = world.draw(generator, DAYS, ROWS, (0.5, *[noise] * 20))
        blocks = group_blocks(day, ordered=True)
        champion, *each_auc = (jackknifed_metrics(label, each, blocks, BINS)["auc"] for each in (old, *new))
        most = [estimate(champion - each, blocks) for each in each_auc]
        found["each with 95 %"] += any((each.above(0.95) or 1.0) <= margin for each in most)
        found["95 % over all uses"] += any((each.above(level(0.95, use)) or 1.0) <= margin for use, each in enumerate(most, 1))
    print(f"\n### Twenty models that are worse by the margin, judged on the same rows ({windows} windows)\n")
    print("| Confidence | any passed |\n|---|---|")
    for title, count in found.items():
        print(f"| {title} | {count / windows:.1%} |", flush=True)


def coverage(generator: np.random.Generator, turns: int) -> None:
    """Print how often 95 % intervals of a metric, and of its difference between two equal models, cover the truth."""
    print(f"\n### Coverage of 95 % intervals, {turns} each\n")
    print("| Days, rows a day | Positives | Days' correlation | " + " | ".join(_COVERED) + " |\n" + "|---" * (3 + len(_COVERED)) + "|")
    for days in (10, 30, 90):
        for base in (0.05, 0.2):
            for correlation in (0.0, 0.47):
                shares = _coverage(generator, World(base, correlation), days, 400, turns)
                print(f"| {days}, 400 | {base:.0%} | {correlation} | {shares} |", flush=True)


def hard_coverage(generator: np.random.Generator, turns: int) -> None:
    """Print the same where data is less well-behaved."""
    print(f"\n### Coverage of 95 % intervals in harder cases, {turns} each\n")
    print("| Case | Days, rows a day | Positives | " + " | ".join(_COVERED) + " |\n" + "|---" * (3 + len(_COVERED)) + "|")
    for case, world, days, rows, ordered in (
        ("days correlate by .7", World(correlation=0.7), 10, 400, True),
        ("", World(correlation=0.7), 30, 400, True),
        ("", World(correlation=0.7), 90, 400, True),
        ("days of very different size", World(uneven=1.0), 10, 400, True),
        ("", World(uneven=1.0), 30, 400, True),
        ("a third of the days without a positive", World(base=0.05), 10, 20, True),
        ("", World(base=0.05), 30, 20, True),
        ("", World(base=0.05), 90, 20, True),
        ("blocks without an order", World(correlation=0.0), 10, 400, False),
        ("", World(correlation=0.0), 30, 400, False),
        ("logits too high by .5", World(shift=0.5), 10, 400, True),
        ("", World(shift=0.5), 30, 400, True),
        ("a trend of 3 standard deviations", World(trend=3.0), 10, 400, True),
        ("", World(trend=3.0), 30, 400, True),
    ):
        print(f"| {case} | {days}, {rows} | {world.base:.0%} | {_coverage(generator, world, days, rows, turns, ordered=ordered)} |", flush=True)


_COVERED = (*METRICS, "auc difference", "log_loss difference", "ece difference")


def _coverage(generator: np.random.Generator, world: World, days: int, rows: int, turns: int, *, ordered: bool = True) -> str:
    """Return the shares of intervals that cover the truth, as cells of a table."""
    known = truth(world, 0.5) | {f"{name} difference": 0.0 for name in METRICS}
    hits, defined = Counter[str](), Counter[str]()
    for _ in range(turns):
        day, label, models = world.draw(generator, days, days * rows, (0.5, 0.5))
        blocks = group_blocks(day, ordered=ordered)
        one, other = (jackknifed_metrics(label, each, blocks) for each in models)
        for name in _COVERED:
            metric = name.removesuffix(" difference")
            found = interval(one[metric] if metric == name else one[metric] - other[metric], blocks)
            defined[name] += found["low"] is not None
            hits[name] += _covers(found, known[name])
    return " | ".join(f"{hits[name] / max(defined[name], 1):.1%}" for name in _COVERED)


def _covers(found: dict[str, float | None], value: float) -> bool:
    return found["low"] is not None and found["high"] is not None and found["low"] <= value <= found["high"]


def slices(generator: np.random.Generator, turns: int) -> None:
    """Print how often a slice blocks a model that is worse in none. No margin: any fall beyond chance counts, which is the hardest case."""
    print("\n### 30 slices, no worse in any, margin 0\n\n| Days, rows | Positives | draws | blocked by a slice |\n|---|---|---|---|")
    for days, base, draws in ((DAYS, 0.2, turns // 2), (DAYS, 0.05, turns // 4), (14, 0.2, turns // 4)):
        blocked = sum(_blocked_by_a_slice(generator, World(base), days, 0.0, spoilt=False) for _ in range(draws))
        print(f"| {days}, {ROWS:,} | {base:.0%} | {draws} | {blocked / draws:.1%} |", flush=True)


def spoilt_slices(generator: np.random.Generator, turns: int) -> None:
    """Print how often a slice blocks a model whose probabilities are a fifth in that slice, by the default margins."""
    draws = turns // 10
    print(f"\n### 30 slices, probabilities divided by 5 in one, margin .05, {draws} each\n\n| Days, rows | blocked by a slice |\n|---|---|")
    for days in (DAYS, 30, 14):
        blocked = sum(_blocked_by_a_slice(generator, World(), days, 0.05, spoilt=True) for _ in range(draws))
        print(f"| {days}, {ROWS:,} | {blocked / draws:.1%} |", flush=True)


def _blocked_by_a_slice(generator: np.random.Generator, world: World, days: int, margin: float, *, spoilt: bool) -> bool:
    day, label, (old, new) = world.draw(generator, days, ROWS, (0.5, 0.5))
    group = generator.integers(0, 30, ROWS).astype(str)
    new = np.where(spoilt & (group == "7"), new / 5, new)
    rows = rows_of(day, label, new, {"champion": old}, {"group": group})
    return judge_slices(rows, SliceLimits({"auc": margin, "log_loss": margin}, {}, {}), 0.95, 200, 10)[0].verdict == "blocked"


def slice_days(generator: np.random.Generator, turns: int) -> None:
    """Print how often any of several slices that are no worse blocks, where the days of each slice correlate: normal numbers, one a day and slice."""
    draws = turns * 2 // 5
    print(f"\n### Slices whose own days correlate, no worse in any, margin 0: blocked, {draws} each\n")
    print("| Days' correlation | 14 days | 30 | 90 |\n|---|---|---|---|")
    for title, correlation in (
        ("30 slices, 0", np.zeros(30)),
        ("30 slices, .5", np.full(30, 0.5)),
        ("30 slices, .8", np.full(30, 0.8)),
        ("1 slice, .5", np.full(1, 0.5)),
        ("30 slices, .8 in one, 0 in the others", np.append(0.8, np.zeros(29))),
    ):
        shares = []
        for days in (14, 30, DAYS):
            blocks, blocked = group_blocks(np.arange(days), ordered=True), 0
            for _ in range(draws):
                series = generator.normal(size=(days, len(correlation)))
                for day in range(1, days):
                    series[day] = correlation * series[day - 1] + np.sqrt(1 - correlation**2) * series[day]
                values = [np.append(each.mean(), (each.sum() - each) / (days - 1)) for each in series.T]
                found = pooled_estimates(values, [blocks] * len(values))
                blocked += bool((holm(np.array([each.p_value(0.0) for each in found]), 0.05)[0] <= 0.05).any())
            shares.append(f"{blocked / draws:.1%}")
        print(f"| {title} | {' | '.join(shares)} |", flush=True)


def calibration(generator: np.random.Generator, turns: int) -> None:
    """Print how often the intervals of the ten calibration groups cover the true share."""
    world = World()
    day, label, (score,) = world.draw(np.random.default_rng(98), 8000, 2_000_000, (0.5,))
    place = calibration_bins(score)
    known = [label[place == number].mean() for number in range(10)]
    hits = 0
    for _ in range(turns):
        day, label, (score,) = world.draw(generator, DAYS, ROWS, (0.5,))
        place = calibration_bins(score)
        for number in range(10):
            rows = place == number
            within = group_blocks(day[rows], ordered=True)
            counts, positives = (np.bincount(within.codes, of, within.count) for of in (None, label[rows]))
            shares = np.append(positives.sum(), positives.sum() - positives) / np.append(counts.sum(), counts.sum() - counts)
            found = estimate(shares, within)
            hits += found.below(0.975) <= known[number] <= found.above(0.975)
    print(f"\n### Calibration groups, {ROWS:,} rows, {DAYS} days: {hits / turns / 10:.1%} of 95 % intervals cover the true share ({turns} times ten)")


def own_rates(generator: np.random.Generator, turns: int) -> None:
    """Print what `measure_gate` finds on a data set, beside what is so over all data sets: how often a model that is worse by the margin passes."""
    print(f"\n### What one data set tells of the gate's own error: {turns} data sets, 200 windows drawn from each\n")
    print("| Days, rows a day | Days' correlation | promised | passes, over data sets | measured on one: mean | deviation |\n" + "|---" * 6 + "|")
    for days, correlation in ((15, 0.0), (15, 0.47), (30, 0.0), (30, 0.47), (90, 0.0), (90, 0.47)):
        world, passed, measured = World(correlation=correlation), 0, []
        for _ in range(turns):
            day, label, (old, new) = world.draw(generator, days, days * 200, (0.5, 0.5))
            rows = rows_of(day, label, new, {"champion": old})
            window = Window.of(rows, ["log_loss"], [], 200)
            # Equal models and margin 0: what a model that is worse by the margin is to the margin.
            drawn = [_is_shown_no_worse(window.draw(generator)) for _ in range(200)]
            passed += _is_shown_no_worse(rows)
            measured.append(np.mean(drawn))
        shares = f"{1 - level(0.95, 1):.1%} | {passed / turns:.1%} | {np.mean(measured):.1%} | {np.std(measured):.1%}"
        print(f"| {days}, 200 | {correlation} | {shares} |", flush=True)


def _is_shown_no_worse(rows: Compared) -> bool:
    return compare(rows, {"champion": "1"}, {"log_loss": 0.0}, level(0.95, 1), 10).outcomes[0].verdict == "passed"


def main() -> None:
    parts = {
        each.__name__: each
        for each in (verdicts, coverage, hard_coverage, slices, calibration, retrainings, sinking, repeated, slice_days, own_rates, spoilt_slices)
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="five times as many simulated data sets: about twenty minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=parts, action="append", help="what to measure, may be given again; default: all")
    options = parser.parse_args()
    for number, (name, part) in enumerate(parts.items()):
        if name in (options.part or parts):
            part(np.random.default_rng([options.seed, number]), 1000 if options.full else 200)


if __name__ == "__main__":
    main()
