"""The rules that compare a model with the champion on all rows: non-inferiority within a margin.

The model passes when it is shown to be no worse than the champion by more than the margin: when the upper confidence limit of how much worse it is
lies within the margin (a non-inferiority test; Wellek, Testing Statistical Hypotheses of Equivalence and Noninferiority, 2010). Less data makes it
harder to pass. Several metrics need no correction, as the model must pass in each (an intersection-union test: Berger, Technometrics 24, 1982).

The champion changes, so many models that each lose a little could lose much. Therefore the model is compared in the same way with a reference that
stays: the last version that was shown to be better than the one before it.
"""

import math
from dataclasses import dataclass

from intermodal.components.gate_model.outcome import BLOCKED, PASSED, TITLES, TOO_LITTLE_DATA, Outcome, percent
from intermodal.components.gate_model.scored_rows import Compared
from intermodal.evaluation.intervals import Estimate, blocks_needed, estimate


@dataclass(frozen=True)
class Comparison:
    """How a model compares with the champion and the reference.

    Attributes:
        outcomes: A rule for each metric and each of the two.
        supersedes: Whether it is shown to be better than the reference in every metric, and so becomes the reference itself.
    """

    outcomes: list[Outcome]
    supersedes: bool


def compare(rows: Compared, versions: dict[str, str], margins: dict[str, float], confidence: float, minimum_blocks: int) -> Comparison:
    """Judge the model against the champion, and the reference where that is another model, metric by metric.

    Args:
        rows: Scored by all of them.
        versions: Of `champion` and `reference`, those that the rows have scores of; at least one.
        margins: Metric to how much worse than either the model may be, in the metric's units.
        confidence: Of each test.
        minimum_blocks: With fewer blocks nothing is shown.
    """
    outcomes: list[Outcome] = []
    found: dict[str, Estimate] = {}
    for kind, version in sorted(versions.items()):
        found = {metric: estimate(values, rows.blocks) for metric, values in rows.worsening(list(margins), kind).items()}
        whom = f"{kind} {version}"
        outcomes += [_judged(kind, each, found[each], margins[each], rows, whom, confidence, minimum_blocks) for each in margins]
    limits = [each.above(confidence) for each in found.values()]  # against the reference: the last, or the champion where that is it
    return Comparison(outcomes, all(limit is not None and limit < 0 for limit in limits))


def level(confidence: float, use: int) -> float:
    """Return the confidence of the comparison that is the n-th use of the same rows, so that all uses together have the given confidence.

    The n-th gets 6 / (pi n)^2 of the allowed errors, which add up to all of them (alpha spending; Bonferroni).
    """
    return 1 - (1 - confidence) * 6 / (math.pi * use) ** 2


def _judged(kind: str, metric: str, worse: Estimate, margin: float, rows: Compared, other: str, confidence: float, minimum_blocks: int) -> Outcome:
    blocks = rows.blocks.count
    name, title = f"{kind} {metric}", TITLES[metric]
    value, least, most = worse.value, worse.below(confidence), worse.above(confidence)
    if value is None:
        text = f"{title} is undefined on these rows, so nothing shows the model no worse; give rows of both classes"
        return Outcome(name, TOO_LITTLE_DATA, text, None, margin)
    measured = f"{title} is {_difference(value)} that of {other}"
    if blocks < minimum_blocks or least is None or most is None:
        text = f"{measured}, but {_few(blocks, minimum_blocks)}"
        return Outcome(name, TOO_LITTLE_DATA, text, value, margin)
    sure = f"{measured}; with {percent(confidence)} confidence"
    if most <= margin:
        limit = f"at least {-most:.4f} better" if most < 0 else f"at most {most:.4f} worse"
        return Outcome(name, PASSED, f"{sure} it is {limit}: within the margin of {margin:g}", value, margin, least, most)
    if least > 0:
        text = f"{sure} it is at least {least:.4f} worse, and not shown to be within the margin of {margin:g}: train a better model"
        return Outcome(name, BLOCKED, text, value, margin, least, most)
    text = f"{sure} it may be {most:.4f} worse, and the margin is {margin:g}; these {blocks} blocks show no difference below {most - value:.4f}"
    if value < margin:
        needed = blocks_needed(worse, rows.blocks, margin - value, confidence)
        text += f": if it stays so, about {needed} blocks would do"
    return Outcome(name, TOO_LITTLE_DATA, text, value, margin, least, most)


def _difference(value: float) -> str:
    return f"{abs(value):.4f} {'worse' if value > 0 else 'better'} than" if value else "the same as"


def _few(blocks: int, minimum: int) -> str:
    if blocks < minimum:
        return f"the rows are {blocks} {'block' if blocks == 1 else 'blocks'}, and chance is judged from {minimum} on: give more of them"
    return "one block has all rows of a class, so chance cannot be judged: give more rows"
