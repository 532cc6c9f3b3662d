"""How often the judge of a rollout errs: simulated canaries of 5, 20 and 50 %, all metrics, 30 looks a step, requests that correlate.

.venv/bin/python benchmarks/rollout.py [--full] [--part PART] [--seed N] [--draws N]

Latencies are lognormal (p50 40 ms, p95 91 ms) times what the load makes of them: an autoregressive process and bursts that both models meet, an
autoregressive process, garbage collection and bad seconds of each model's own. Counts are drawn for slices of 5 s, into the predictor's buckets.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist, median

import numpy as np

from intermodal.rollout.judging.counts import Counts, Histogram
from intermodal.rollout.judging.limits import Settings
from intermodal.rollout.judging.look import judge
from intermodal.rollout.judging.power import Traffic, requests_needed

SLICE = 5.0
MINUTE = 12  # slices
DEADLINE = 3600.0
#: Slices after which a step is looked at: every 15 s for two minutes, then whenever it has lasted a sixth longer. (Each look takes milliseconds.)
LOOKS = sorted({*range(3, 25, 3), *(math.ceil(24 * (7 / 6) ** each) for each in range(23)), int(DEADLINE / SLICE)})
LOOKS = [each for each in LOOKS if each <= DEADLINE / SLICE]
WEIGHTS = (0.05, 0.2, 0.5)
#: 20 % apart, from 1 ms to 14 s, as the predictor's.
BOUNDS = 0.001 * 1.2 ** np.arange(53)
_SCORES = np.arange(1, 20) / 20
_GRID = np.linspace(-8, 8, 8001)
_TABLE = np.array([NormalDist().cdf(each) for each in _GRID])


def _cdf(values: np.ndarray) -> np.ndarray:
    """The normal distribution, from a table: fast, and right to 1e-6."""
    return np.interp(values, _GRID, _TABLE)


@dataclass(frozen=True)
class World:
    """Traffic, and what the candidate does to it.

    Attributes:
        rate: Requests a second, of both models together.
        errors: The stable model's share of errors.
        shared: Deviation of the logarithm of latency that both models meet, correlated .9 from slice to slice.
        own: Deviation of what each model meets by itself.
        persistence: Correlation of that from slice to slice.
        bursts: Chance that a burst of load begins in a slice: two to eight slices, 2 to 4 times the latency, 3 times the errors, twice the requests.
        pauses: Chance of a slice in which one model's garbage collection delays a tenth of its requests.
        bad: Chance of a slice in which a tenth of one model's requests fail.
        day: How much latency and traffic change over two hours, as a factor.
        warm_up: Seconds for which the candidate takes three times as long, at the beginning of each step.
        slower: The candidate's latency, as a factor.
        more_errors: The candidate's errors, added.
        shift: What is added to the candidate's scores.
        from_step: The first step in which the candidate is worse.
    """

    rate: float = 100.0
    errors: float = 0.01
    shared: float = 0.0
    own: float = 0.0
    persistence: float = 0.5
    bursts: float = 0.0
    pauses: float = 0.0
    bad: float = 0.0
    day: float = 1.0
    warm_up: float = 0.0
    slower: float = 1.0
    more_errors: float = 0.0
    shift: float = 0.0
    from_step: int = 0

    def step(self, generator: np.random.Generator, share: float, number: int) -> Counts:
        """Draw the slices of one step, up to its deadline."""
        slices = int(DEADLINE / SLICE)
        start = np.arange(slices) * SLICE
        day = self.day ** np.sin(2 * np.pi * (start / 7200 + generator.random()))
        burst = np.ones(slices)
        for at in np.flatnonzero(generator.random(slices) < self.bursts):
            burst[at : at + generator.integers(2, 9)] = generator.uniform(2, 4)
        common = np.exp(_noise(generator, slices, self.shared, 0.9)) * day * burst
        harmful = number >= self.from_step
        requests, errors = np.zeros((slices, 2)), np.zeros((slices, 2))
        latencies, scores = np.zeros((slices, 2, len(BOUNDS) + 1)), np.zeros((slices, 2, len(_SCORES) + 1))
        total = generator.poisson(self.rate * SLICE * day * np.where(burst > 1, 2.0, 1.0))
        requests[:, 1] = generator.binomial(total, share)
        requests[:, 0] = total - requests[:, 1]
        for model in (0, 1):
            worse = model == 1 and harmful
            factor = common * np.exp(_noise(generator, slices, self.own, self.persistence)) * (self.slower if worse else 1.0)
            if model == 1:
                factor = factor * np.where(start < self.warm_up, 3.0, 1.0)
            cumulated = _cdf((np.log(BOUNDS)[None, :] - np.log(0.04 * factor)[:, None]) / 0.5)
            paused = np.where(generator.random(slices) < self.pauses, 0.1, 0.0)[:, None]
            delayed = _cdf((np.log(BOUNDS)[None, :] - math.log(0.4)) / 0.4)
            cumulated = (1 - paused) * cumulated + paused * delayed
            shares = np.diff(cumulated, axis=1, prepend=0.0, append=1.0)
            chance = self.errors * np.where(burst > 1, 3.0, 1.0) + (self.more_errors if worse else 0.0)
            chance = chance + np.where(generator.random(slices) < self.bad, 0.1, 0.0)
            errors[:, model] = generator.binomial(requests[:, model].astype(int), np.minimum(chance, 1.0))
            latencies[:, model] = generator.multinomial(
                requests[:, model].astype(int), np.clip(shares, 0, None) / np.clip(shares, 0, None).sum(1, keepdims=True)
            )
            rising = _cdf((np.log(_SCORES / (1 - _SCORES)) + 1.3 - (self.shift if worse else 0.0)) / 1.0)
            scores[:, model] = generator.multinomial(requests[:, model].astype(int), np.diff(rising, prepend=0.0, append=1.0))
        return Counts(start, start + SLICE, requests, errors, Histogram(BOUNDS, latencies), Histogram(_SCORES, scores))


def _noise(generator: np.random.Generator, count: int, deviation: float, correlation: float) -> np.ndarray:
    steps = generator.normal(size=count) * deviation * np.sqrt(1 - correlation**2)
    noise = np.empty(count)
    noise[0] = generator.normal() * deviation
    for at in range(1, count):
        noise[at] = correlation * noise[at - 1] + steps[at]
    return noise


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended: `why` is `promoted`, `rolled back` or `deadline`; seconds and the candidate's requests, of all steps."""

    why: str
    seconds: float
    requests: float
    reason: str = ""


Method = Callable[[Counts, int], tuple[str, str]]


def rollout(generator: np.random.Generator, world: World, method: Method, weights: tuple[float, ...] = WEIGHTS) -> Outcome:
    """Roll out once."""
    seconds = requests = 0.0
    for number, share in enumerate(weights):
        counts = world.step(generator, share, number)
        for end in LOOKS:
            decision, reason = method(counts, end)
            if decision != "too little data":
                break
        seconds += end * SLICE
        requests += float(counts.requests[:end, 1].sum())
        if decision == "roll back":
            return Outcome("rolled back", seconds, requests, reason)
        if decision != "promote":
            return Outcome("deadline", seconds, requests, reason)
    return Outcome("promoted", seconds, requests)


def ours(settings: Settings) -> Method:
    def decide(counts: Counts, end: int) -> tuple[str, str]:
        look = judge(counts.taken(slice(0, end)), settings)
        return look.decision, "; ".join(look.reasons)

    return decide


def fixed(failures: int, error_limit: float, p95_limit: float) -> Method:
    """Every minute a check of the last minute against fixed limits; so many failed checks roll back, five good ones promote."""

    def decide(counts: Counts, end: int) -> tuple[str, str]:
        minutes = counts.taken(slice(0, end // MINUTE * MINUTE)).merged(MINUTE) if end >= MINUTE else counts.taken(slice(0, 0))
        assert minutes.latencies is not None
        of = np.maximum(minutes.requests[:, 1], 1.0)
        slow = minutes.latencies.counts[:, 1, np.searchsorted(BOUNDS, p95_limit) + 1 :].sum(axis=1)
        checks = len(minutes)
        bad = int(((minutes.errors[:, 1] / of > error_limit) | (slow / of > 0.05)).sum())
        if bad >= failures:
            return "roll back", "limit"
        return ("promote" if checks - bad >= 5 else "too little data"), ""

    return decide


def repeated_test(counts: Counts, end: int) -> tuple[str, str]:
    """At every look a test of all requests so far, as if it were the only one and requests independent: 5 %, one-sided; promoted after 5 minutes."""
    part = counts.taken(slice(0, end))
    assert part.latencies is not None
    n = part.requests.sum(axis=0)
    if n.min() == 0:
        return "too little data", ""
    middle = np.concatenate([[np.log(BOUNDS[0])], (np.log(BOUNDS[1:]) + np.log(BOUNDS[:-1])) / 2, [np.log(BOUNDS[-1])]])
    weights = part.latencies.counts.sum(axis=0)
    mean = (weights * middle).sum(axis=1) / n
    variance = (weights * middle**2).sum(axis=1) / n - mean**2
    slower = (mean[1] - mean[0]) / math.sqrt((variance / n).sum())
    rate = part.errors.sum(axis=0) / n
    failing = (rate[1] - rate[0]) / max(math.sqrt((rate * (1 - rate) / n).sum()), 1e-9)
    if max(slower, failing) > 1.645:
        return "roll back", "p < .05"
    return ("promote" if end * SLICE >= 300 else "too little data"), ""


HARD = World(shared=0.15, own=0.05, bursts=0.01, pauses=0.03, bad=0.01, day=1.3, warm_up=15)
NULLS = {
    "independent requests": World(),
    "bursts and a day's course, met by both": World(shared=0.2, bursts=0.02, day=1.5),
    "each model's own noise (5 %, correlated .5)": World(own=0.05),
    "garbage collection and bad seconds of each model's own": World(pauses=0.05, bad=0.02),
    "all of it, and 15 s of warm-up": HARD,
    "all of it, 10 requests/s": replace(HARD, rate=10.0),
    "all of it, 1,000 requests/s": replace(HARD, rate=1000.0),
    "all of it, .1 % errors": replace(HARD, errors=0.001),
}
HARMS = {
    "p95 +30 %": replace(HARD, slower=1.3),
    "errors +1 %": replace(HARD, more_errors=0.01),
    "errors +1 % from 20 % on": replace(HARD, more_errors=0.01, from_step=1),
    "p95 +30 % from 20 % on": replace(HARD, slower=1.3, from_step=1),
    "p95 +30 %, 10 requests/s": replace(HARD, slower=1.3, rate=10.0),
    "errors +1 %, 10 requests/s": replace(HARD, more_errors=0.01, rate=10.0),
    "p95 twice as long": replace(HARD, slower=2.0),
    "errors +10 %": replace(HARD, more_errors=0.1),
    "every request fails": replace(HARD, more_errors=1.0),
    "scores shifted (distance .4)": replace(HARD, shift=1.05),
}
SETTINGS = Settings(steps=len(WEIGHTS), bake=60.0)


def methods() -> dict[str, Method]:
    return {
        "ours": ours(SETTINGS),
        "fixed limits, first failure": fixed(1, 0.02, 0.12),
        "fixed limits, fifth failure": fixed(5, 0.02, 0.12),
        "a test at every look": repeated_test,
    }


def outcomes(generator: np.random.Generator, world: World, method: Method, draws: int, weights: tuple[float, ...] = WEIGHTS) -> list[Outcome]:
    return [rollout(generator, world, method, weights) for _ in range(draws)]


def share(found: list[Outcome], *why: str) -> float:
    return sum(each.why in why for each in found) / len(found)


def print_head(*columns: str) -> None:
    """Print a table's head: these columns, and one for each other method."""
    names = [*columns, *list(methods())[1:]]
    print(f"| {' | '.join(names)} |\n" + "|---" * len(names) + "|")


def false_rollbacks(generator: np.random.Generator, draws: int) -> None:
    """Print how often a candidate that is no worse is rolled back."""
    print(f"\n### A candidate that is no worse: rolled back, {draws} rollouts each\n")
    print_head("Traffic", "ours", "of it, by the deadline", "minutes to promotion, median")
    for title, world in NULLS.items():
        cells = []
        for name, method in methods().items():
            found = outcomes(generator, world, method, draws if name == "ours" else max(draws // 5, 10))
            cells.append(f"{share(found, 'rolled back', 'deadline'):.1%}")
            if name == "ours":
                minutes = [each.seconds / 60 for each in found if each.why == "promoted"]
                cells += [f"{share(found, 'deadline'):.1%}", f"{median(minutes):.0f}" if minutes else "-"]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def detection(generator: np.random.Generator, draws: int) -> None:
    """Print how often a harmful candidate is found, and what it takes."""
    print(f"\n### A harmful candidate: not promoted, {draws} rollouts each\n")
    print_head("Harm", "ours", "of it, by the deadline", "seconds to rollback, median and 95th", "candidate's requests, median and 95th")
    for title, world in HARMS.items():
        cells = []
        for name, method in methods().items():
            found = outcomes(generator, world, method, draws if name == "ours" else max(draws // 5, 10))
            cells.append(f"{share(found, 'rolled back', 'deadline'):.1%}")
            if name == "ours":
                ended = [each for each in found if each.why == "rolled back"] or found
                seconds, requests = [each.seconds for each in ended], [each.requests for each in ended]
                cells += [f"{share(found, 'deadline'):.1%}"]
                cells += [f"{median(values):,.0f}, {np.quantile(values, 0.95):,.0f}" for values in (seconds, requests)]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def shares(generator: np.random.Generator, draws: int) -> None:
    """Print the same of one step at other shares of the requests."""
    print(f"\n### One step at other shares, all of the noise, {draws} rollouts each\n")
    print("| Candidate's share | no worse: rolled back | p95 +30 %: not promoted | errors +1 %: not promoted |\n|---|---|---|---|")
    for weight in (0.01, 0.1, 0.8, 0.99):
        cells = []
        for world in (HARD, HARMS["p95 +30 %"], HARMS["errors +1 %"]):
            found = outcomes(generator, world, ours(replace(SETTINGS, steps=1)), draws, (weight,))
            cells.append(f"{share(found, 'rolled back', 'deadline'):.1%} ({share(found, 'deadline'):.1%} by the deadline)")
        print(f"| {weight:.0%} | {' | '.join(cells)} |", flush=True)


def failures(generator: np.random.Generator, draws: int) -> None:
    """Print where it fails: noise of one model that lasts for minutes, and a warm-up that lasts longer than the setting."""
    print(f"\n### Where it fails: no worse on the whole, rolled back, {draws} rollouts each\n\n| Traffic | rolled back |\n|---|---|")
    worlds = {
        "own noise of 5 %, correlated .9 (50 s)": World(own=0.05, persistence=0.9),
        "own noise of 10 %, correlated .5": World(own=0.1),
        "own noise of 10 %, correlated .95 (100 s)": World(own=0.1, persistence=0.95),
        "own noise of 20 %, correlated .99 (8 minutes)": World(own=0.2, persistence=0.99),
        "warm-up of 40 s, where 20 s are left out": World(warm_up=40),
        "warm-up of 90 s, where 20 s are left out": World(warm_up=90),
        "4 % slower (5 % are tolerated)": replace(HARD, slower=1.04),
        "10 % slower": replace(HARD, slower=1.1),
    }
    for title, world in worlds.items():
        found = outcomes(generator, world, ours(SETTINGS), draws)
        print(f"| {title} | {share(found, 'rolled back', 'deadline'):.1%} |", flush=True)


def power(generator: np.random.Generator, draws: int) -> None:
    """Print what is said beforehand beside what is measured, without noise beyond chance."""
    print(f"\n### Said beforehand and measured: one step at 5 %, {draws} each\n")
    print("| Harm | requests/s | candidate's requests, said for 95 % | found by then |\n|---|---|---|---|")
    for rate in (20.0, 100.0):
        said = requests_needed(Traffic(rate, 0.05, 0.01, p50=0.04, p95=0.0911), replace(SETTINGS, bake=0, warm_up=0), slice_seconds=SLICE)
        for name, world in (("errors", World(rate=rate, more_errors=0.01)), ("p95", World(rate=rate, slower=1.3))):
            found = 0
            for _ in range(draws):
                counts = world.step(generator, 0.05, 0)
                end = min(int(np.searchsorted(np.cumsum(counts.requests[:, 1]), said.to_find[name])) + 1, len(counts))
                looks = (judge(counts.taken(slice(0, at)), replace(SETTINGS, warm_up=0)) for at in (*(each for each in LOOKS if each < end), end))
                found += any(look.decision == "roll back" for look in looks)
            print(f"| {name} | {rate:.0f} | {said.to_find[name]:,.0f} | {found / draws:.1%} |", flush=True)


def main() -> None:
    parts = {each.__name__: each for each in (false_rollbacks, detection, shares, failures, power)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="400 rollouts of each kind instead of 40: about half an hour")
    parser.add_argument("--draws", type=int, help="rollouts of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=parts, action="append", help="what to measure, may be given again; default: all")
    options = parser.parse_args()
    for number, (name, part) in enumerate(parts.items()):
        if name in (options.part or parts):
            part(np.random.default_rng([options.seed, number]), options.draws or (400 if options.full else 40))


if __name__ == "__main__":
    main()
