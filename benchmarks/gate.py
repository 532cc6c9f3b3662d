"""How often the gate errs, and its intervals cover the truth, in simulated data of which the truth is known.

    PYTHONPATH=src .venvs/train/bin/python benchmarks/gate.py [--full] [--seed 1]

Each row has a signal; its label follows the signal and the day. Days depend on the day before (correlation 0.47, as the flights' do), in how frequent
positives are and in how well each model does. A model sees the signal with noise of its own; a worse model sees it with more. The truth is measured
on four million rows.
"""

import argparse
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from intermodal.components.gate_model.comparison import compare, level
from intermodal.components.gate_model.scored_rows import ScoredRows
from intermodal.components.gate_model.slices import SliceLimits, judge_slices
from intermodal.evaluation.intervals import calibration_bins, estimate, group_blocks, interval, jackknifed_metrics

Floats = NDArray[np.float64]
METRICS = ("auc", "pr_auc", "log_loss", "brier", "ece")
ROWS, DAYS = 40_000, 90


@dataclass(frozen=True)
class World:
    """Where data comes from.

    Attributes:
        base: The share of positives, about.
        correlation: Of a day with the day before.
        day: How much days differ: of the positives' share on the logit scale, and of how strong each model's signal is.
    """

    base: float = 0.2
    correlation: float = 0.47
    day: float = 0.3

    def draw(self, generator: np.random.Generator, days: int, rows: int, noises: tuple[float, ...]) -> tuple[NDArray[np.int64], Floats, list[Floats]]:
        """Return the day of each row, its label, and the probabilities of a model for each noise."""
        day = np.arange(rows, dtype=np.int64) * days // rows
        level, *strengths = (self.day * self._days(generator, days)[day] for _ in range(1 + len(noises)))
        signal = generator.normal(size=rows)
        offset = np.log(self.base / (1 - self.base)) - 0.35
        label = (generator.random(rows) < _logistic(offset + 1.2 * signal + level)).astype(np.float64)
        models = []
        for noise, strength in zip(noises, strengths, strict=True):
            seen = signal + noise * generator.normal(size=rows)
            models.append(_logistic(offset + 0.1 + 1.2 / (1 + noise**2) * seen * (1 + 0.3 * strength)))
        return day, label, models

    def _days(self, generator: np.random.Generator, days: int) -> Floats:
        drawn = generator.normal(size=days)
        for number in range(1, days):
            drawn[number] = self.correlation * drawn[number - 1] + np.sqrt(1 - self.correlation**2) * drawn[number]
        return drawn


def _logistic(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-values))


@cache
def truth(world: World, noise: float) -> dict[str, float]:
    """Return the true metrics of a model."""
    generator, found = np.random.default_rng(99), []
    for _ in range(8):
        day, label, (score,) = world.draw(generator, 4000, 500_000, (noise,))
        whole = group_blocks(np.zeros(len(day)), ordered=True)
        found.append({name: values[0] for name, values in jackknifed_metrics(label, score, whole).items()})
    return {name: float(np.mean([each[name] for each in found])) for name in METRICS}


def noise_for(world: World, champion: float, metric: str, loss: float, *, widest: float = 0.35) -> float:
    """Return the noise of a model that is worse than the champion's by a given loss."""
    sign = -1 if metric in ("auc", "pr_auc") else 1
    noises = np.linspace(champion, champion + widest, 8)
    losses = [sign * (truth(world, float(each))[metric] - truth(world, champion)[metric]) for each in noises]
    return float(np.interp(loss, losses, noises))


def rows_of(day: NDArray[np.int64], label: Floats, challenger: Floats, champion: Floats, slices: dict[str, NDArray[np.str_]]) -> ScoredRows:
    return ScoredRows(label, challenger, champion, None, group_blocks(day, ordered=True), slices)


def verdicts(generator: np.random.Generator, turns: int) -> None:
    """Print what becomes of challengers that are worse by a known loss."""
    world, champion = World(), 0.5
    print(f"\n### Challengers of known loss: {ROWS:,} rows, {DAYS} days, {turns} each\n")
    print("| Metric, margin | Truly worse by | passed | too little data | blocked |\n|---|---|---|---|---|")
    for metric, margin, losses in (("auc", 0.005, (0.0, 0.002, 0.005, 0.01)), ("log_loss", 0.005, (0.0, 0.002, 0.005, 0.01))):
        for loss in losses:
            noise = noise_for(world, champion, metric, loss)
            found = []
            for _ in range(turns):
                day, label, (old, new) = world.draw(generator, DAYS, ROWS, (champion, noise))
                found.append(compare(rows_of(day, label, new, old, {}), "1", None, {metric: margin}, level(0.95, 1), 10).outcomes[0].verdict)
            shares = [found.count(each) / turns for each in ("passed", "too little data", "blocked")]
            print(f"| {metric}, {margin} | {loss} | " + " | ".join(f"{each:.1%}" for each in shares) + " |", flush=True)


def retrainings(generator: np.random.Generator, turns: int) -> None:
    """Print how much is lost by fifty retrainings, of which each is a little worse than the champion of its time."""
    world, first, margin, step, chains = World(), 0.5, 0.005, 0.001, max(turns // 40, 1)
    print(f"\n### Fifty retrainings, each {step} AUC worse than the champion, margin {margin}: {chains} chains, new rows each time\n")
    print("| Compared with | AUC lost in all: mean | most | models promoted |\n|---|---|---|---|")
    for title, pinned in (("the champion alone", False), ("the champion and the reference", True)):
        lost, promoted = [], []
        for _ in range(chains):
            total, changes = 0.0, 0
            for _ in range(50):
                noises = tuple(noise_for(world, first, "auc", each, widest=0.7) for each in (0.0, total, total + step))
                day, label, (reference, old, new) = world.draw(generator, DAYS, ROWS, noises)
                rows = ScoredRows(label, new, old, reference if pinned else None, group_blocks(day, ordered=True), {})
                outcomes = compare(rows, "2", "1", {"auc": margin}, level(0.95, 1), 10).outcomes
                if all(each.verdict == "passed" for each in outcomes):
                    total, changes = total + step, changes + 1
            lost.append(total)
            promoted.append(changes)
        print(f"| {title} | {np.mean(lost):.4f} | {max(lost):.4f} | {np.mean(promoted):.1f} |", flush=True)


def repeated(generator: np.random.Generator, turns: int) -> None:
    """Print how often any of twenty models that are worse by the margin passes on the same rows."""
    world, margin, windows = World(), 0.005, max(turns // 4, 1)
    noise = noise_for(world, 0.5, "auc", margin)
    found = {"each with 95 %": 0, "95 % over all uses": 0}
    for _ in range(windows):
        day, label, (old, *new) = world.draw(generator, DAYS, ROWS, (0.5, *[noise] * 20))
        most = [rows_of(day, label, each, old, {}).worsening(["auc"])["auc"] for each in new]
        found["each with 95 %"] += any((each.above(0.95) or 1.0) <= margin for each in most)
        found["95 % over all uses"] += any((each.above(level(0.95, use)) or 1.0) <= margin for use, each in enumerate(most, 1))
    print(f"\n### Twenty models that are worse by the margin, judged on the same rows ({windows} windows)\n")
    print("| Confidence | any passed |\n|---|---|")
    for title, count in found.items():
        print(f"| {title} | {count / windows:.0%} |", flush=True)


def coverage(generator: np.random.Generator, turns: int) -> None:
    """Print how often 95 % intervals of a metric, and of its difference between two equal models, cover the truth."""
    print(f"\n### Coverage of 95 % intervals, {turns} each\n")
    names = [*METRICS, "auc difference", "log_loss difference"]
    print("| Days, rows a day | Positives | Days' correlation | " + " | ".join(names) + " |\n" + "|---" * (3 + len(names)) + "|")
    for days, rows in ((10, 400), (30, 400), (90, 400)):
        for base in (0.05, 0.2):
            for correlation in (0.0, 0.47):
                world = World(base, correlation)
                known, hits = truth(world, 0.5), dict.fromkeys(names, 0)
                for _ in range(turns):
                    day, label, models = world.draw(generator, days, days * rows, (0.5, 0.5))
                    blocks = group_blocks(day, ordered=True)
                    one, other = (jackknifed_metrics(label, each, blocks) for each in models)
                    for name in METRICS:
                        hits[name] += _covers(interval(one[name], blocks), known[name])
                    for name in ("auc", "log_loss"):
                        hits[f"{name} difference"] += _covers(interval(one[name] - other[name], blocks), 0.0)
                shares = " | ".join(f"{each / turns:.1%}" for each in hits.values())
                print(f"| {days}, {rows} | {base:.0%} | {correlation} | {shares} |", flush=True)


def _covers(found: dict[str, float | None], value: float) -> bool:
    return found["low"] is not None and found["high"] is not None and found["low"] <= value <= found["high"]


def slices(generator: np.random.Generator, turns: int) -> None:
    """Print how often a slice blocks a model that is worse in none, and one whose probabilities are a fifth in one slice."""
    world = World()
    print(f"\n### 30 slices, {ROWS:,} rows, {DAYS} days, {turns} each\n\n| Challenger | blocked by a slice |\n|---|---|")
    for title, spoilt in (("no worse in any", False), ("probabilities divided by 5 in one of 30", True)):
        blocked = 0
        for _ in range(turns):
            day, label, (old, new) = world.draw(generator, DAYS, ROWS, (0.5, 0.5))
            group = generator.integers(0, 30, ROWS).astype(str)
            new = np.where(spoilt & (group == "7"), new / 5, new)
            # No margin: any fall beyond chance counts, which is the hardest case for the false alarms.
            outcome = judge_slices(
                rows_of(day, label, new, old, {"group": group}), SliceLimits({"auc": 0.0, "log_loss": 0.0}, {}, {}), 0.95, 200, 10
            )[0]
            blocked += outcome.verdict == "blocked"
        print(f"| {title} | {blocked / turns:.1%} |", flush=True)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="ten times as many simulated data sets: an hour")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    turns = 2000 if options.full else 200
    for number, part in enumerate((verdicts, coverage, slices, calibration, retrainings, repeated)):
        part(np.random.default_rng([options.seed, number]), turns)


if __name__ == "__main__":
    main()
