"""What a broken source does to a feature: another unit, one value throughout, exchanged categories. Beyond what any block of the reference shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from intermodal.components.validate_data.distributions.homogeneity import unlikely
from intermodal.components.validate_data.distributions.references import Reference, new_share, outside
from intermodal.components.validate_data.distributions.samples import Array, Numbers, Sample, Texts
from intermodal.components.validate_data.rules import Rules

#: A change of size or spread by a known factor is damage from here on, where the reference's blocks do not vary by as much.
_KNOWN: Final = 1.5

#: How far from the blocks' range a converted sample may lie for the conversion to explain it.
_NEAR: Final = 1.25

#: An exchange or a conversion explains a difference that is at least so great a share of the rows.
_MOVED: Final = 0.25

#: A feature of which no value has a greater share of any block is not constant by itself.
_VARIES: Final = 0.9

#: Numbers of which one value has a greater share of any block are counts or codes: their quantiles jump.
_REPEATS: Final = 0.25

#: A column without a value that has half of some block is worth at least so many independent rows.
_WORTH: Final = 10.0

#: Size and spread are those of at least so many values other than 0, in every block and in the sample.
_ENOUGH: Final = 30

#: Numbers with few different values: in every block at least this share of the rows has values of the other blocks; after a conversion at most the
#: other share has.
_STEPS: Final = 0.9
_OFF: Final = 0.5
_SEVERAL: Final = 5

#: So much more of a sample than of any block may be out of range once it is converted back.
_BACK: Final = 0.05

#: Two values are exchanged when that leaves at most this share of their difference.
_CROSSED: Final = 1 / 3

#: Blocks that agree to less than this (of a logarithm, of a skewness) are taken to vary by as much.
_LEAST: Final = 0.02

#: From this skewness on (-1 to 1) numbers lean to a side.
_LEANS: Final = 0.1

#: Factors between units in use, each of which may also have been divided by.
_FACTORS: Final = {
    60.0: "minutes and seconds, or hours and minutes",
    3600.0: "hours and seconds",
    24.0: "days and hours",
    1440.0: "days and minutes",
    7.0: "weeks and days",
    1000.0: "a unit and its thousandth",
    1e6: "a unit and its millionth",
    100.0: "shares and percent, or a unit and its hundredth",
    10.0: "a unit and its tenth",
    12.0: "feet and inches, or years and months",
    2.54: "inches and centimetres",
    25.4: "inches and millimetres",
    1 / 0.3048: "metres and feet",
    1.609344: "miles and kilometres",
    1.852: "nautical miles and kilometres",
    3.6: "m/s and km/h",
    1 / 0.44704: "m/s and miles an hour",
    3.6 / 1.852: "m/s and knots",
    33.86389: "inches of mercury and hPa",
    180 / math.pi: "radians and degrees",
    1 / 0.45359237: "kilograms and pounds",
    3.785411784: "gallons and litres",
}

#: Conversions that move the zero or the sign: (factor, shift, words).
_CONVERSIONS: Final = (
    (1 / 1.8, -32 / 1.8, "°F to °C"),
    (1.8, 32.0, "°C to °F"),
    (1.0, 273.15, "°C to K"),
    (1.0, -273.15, "K to °C"),
    (-1.0, 0.0, "the sign is reversed"),
)


@dataclass(frozen=True)
class Damage:
    """A kind of anomaly (`kinds.DAMAGE_KINDS`) and what has changed, in words."""

    kind: str
    text: str


@dataclass(frozen=True)
class Finding:
    """What is known of a sample that may be damaged.

    Attributes:
        reference: What it is compared with.
        sample: The sample, of the same kind.
        counts: Its rows in the reference's cells; of shape (cells,).
        effect: The design effect.
        differs: Whether the test, corrected for all features of the run, says that it differs.
        beyond_sampling: Whether it differs by more than independent rows would.
        level: Probability of a false alarm that is left to this feature.
    """

    reference: Reference
    sample: Sample
    counts: Array
    effect: float
    differs: bool
    beyond_sampling: bool
    level: float


def find_damage(found: Finding, against: str, rules: Rules) -> Damage | None:
    """Look for damage in a sample.

    Every rule is bounded by what the reference's own blocks show, so that a season or a trend is not damage, and by sampling noise.

    Args:
        found: The sample and its test.
        against: What the reference is called.
        rules: `scale`, `outside` and `min_domain_mass`.

    Returns:
        The damage, or None.
    """
    reference, sample = found.reference, found.sample
    rows = sample.rows - sample.missing
    if not rows or not reference.blocks:
        return None
    if words := _constant(reference, sample, found.effect, found.level):
        return Damage("CONSTANT", f"{words} of {against}")
    if isinstance(sample, Texts):
        if words := _new(reference, sample, rows, rules.min_domain_mass):
            return Damage("NEW_VALUES", f"{words} of {against}")
        words = _exchanged(reference, found.counts) if found.beyond_sampling else None
        return Damage("EXCHANGED", f"{words} of {against}") if words else None
    if not found.beyond_sampling or not all(map(math.isfinite, (sample.knots[0], sample.knots[-1], reference.low, reference.high))):
        return None
    if words := _scaled(reference, sample, found.level, rules.scale):
        return Damage("SCALE", f"{words} of {against}")
    if words := _off_steps(reference, sample, found.level):
        return Damage("UNIT", f"{words} of {against}")
    if words := _converted(reference, sample, found.counts, found.differs) or _reversed(reference, sample, found.level):
        return Damage("UNIT", f"{words} of {against}")
    words = _outside(reference, sample, rules.outside)
    return Damage("OUT_OF_RANGE", f"{words} of {against}") if words else None


def _constant(reference: Reference, sample: Sample, effect: float, level: float) -> str | None:
    """Judge one value in all rows: as likely as the greatest share of a value in any block, to the power of the independent rows they are worth."""
    if not sample.constant or reference.commonest >= _VARIES:
        return None
    rows = sample.rows - sample.missing
    worth = max(rows / effect, min(rows, _WORTH) if reference.commonest < 0.5 else 0.0)
    if worth * math.log(reference.commonest) >= math.log(level):
        return None
    value = f"{sample.knots[0]:g}" if isinstance(sample, Numbers) else repr(next(iter(sample.counts)))
    return f"is {value} in all {rows:,.0f} rows that have a value, where no value has more than {reference.commonest:.1%} of any block"


def _off_steps(reference: Reference, sample: Numbers, level: float) -> str | None:
    """Judge whether numbers that have few different values have other ones now, and the known ones once they are converted back.

    A season or a trend changes how often each value comes, not which values an instrument or a rounding can give.
    """
    if not reference.on_steps or min(reference.on_steps) < _STEPS or len(sample.values) < _SEVERAL:
        return None
    share = reference.on(sample)
    if not share <= _OFF or not unlikely(share, np.array(reference.on_steps), reference.rows / len(reference.blocks) / sample.rows, level, _LEAST):
        return None
    explained = []
    for factor, shift, words in _conversions(True):
        back = sample.converted(1 / factor, -shift / factor)
        inside = outside(back, reference.low, reference.high) <= reference.outside + _BACK
        if inside and (found := reference.on(back)) >= _STEPS:
            explained.append((-round(found, 2), _beyond(back.size, reference.size), words))
    if not explained:
        return None
    return (
        f"looks converted, {min(explained)[2]}: {share:.0%} of its values other than 0 are among the {len(reference.steps)} that it has had,"
        f" {-min(explained)[0]:.0%} once they are converted back, at least {min(reference.on_steps):.0%} in every block"
    )


def _on_steps(reference: Reference, sample: Numbers) -> bool:
    """Say whether a sample has the few different values that are known, so that it is in no other unit. Whole numbers may have been rounded again."""
    if not reference.on_steps or min(reference.on_steps) < _STEPS or all(step.is_integer() for step in reference.steps):
        return False
    return reference.on(sample) >= _STEPS


def _scaled(reference: Reference, sample: Numbers, level: float, scale: float) -> str | None:
    """Judge size and spread: beyond the range of the blocks by a factor, and too far from them for a t test on logarithms."""
    if sample.nonzero < _ENOUGH or (reference.filled is not None and reference.filled < _ENOUGH):
        return None
    factor = _known_factor(reference, sample)
    for name, value, known in (
        ("typical size (median of absolute values)", sample.size, reference.size),
        ("spread (from the 0.1 to the 0.9 quantile)", sample.spread, reference.spread),
    ):
        ratio = _beyond(value, known)
        if ratio > (min(_KNOWN, scale) if factor else scale) and (_unlikely(math.log(value), np.log(known).tolist(), reference, sample.rows, level)):
            hint = f" (the factor between {_FACTORS[factor]} is {factor:g})" if factor else ""
            return (
                f"has a {name} of {value:.4g}, which is {_times(value, known[0])} the {known[0]:.4g} that it was{hint}; no block comes nearer"
                f" to that than a factor of {ratio:.3g}, with {min(known):.4g} to {max(known):.4g} in the blocks"
            )
    return None


def _times(value: float, before: float) -> str:
    """Return the ratio of two numbers above 0 in words."""
    return f"{value / before:.3g} times" if value >= before else f"1/{before / value:.3g} of"


def _converted(reference: Reference, sample: Numbers, counts: Array, differs: bool) -> str | None:
    """Judge whether a sample that is farther away than any block is as near as the blocks are once it is converted back."""
    distance, own = reference.distance(counts), reference.own_distance
    if distance < _MOVED:
        return None
    for factor, shift, words in _conversions(differs and not _on_steps(reference, sample)):
        back = sample.converted(1 / factor, -shift / factor)
        nearer = reference.distance(reference.count(back))
        explained = nearer <= min(own, distance / 2)
        if outside(back, reference.low, reference.high) > reference.outside + _BACK:
            continue
        beyond_blocks = distance > own and nearer <= own and _fits(back, reference)
        if factor < 0:
            beyond_blocks = beyond_blocks and _other_side(reference, sample) > 0.5
        else:
            beyond_blocks = beyond_blocks and _beyond(sample.size, reference.size) > _KNOWN
        if (differs and explained) or beyond_blocks:
            return (
                f"looks converted, {words}: {distance:.0%} of its rows would have to be elsewhere to be distributed as before, {nearer:.0%} once"
                " it is converted back; this is not so in any block"
            )
    return None


def _other_side(reference: Reference, sample: Numbers) -> float:
    """Return the share of a sample's values that are not 0 and have a sign that the reference never has."""
    below, above = sample.less_than(0.0), sample.below[-1] - float(sample.at_most(np.zeros(1))[0])
    other = below if reference.low >= 0 else above if reference.high <= 0 else 0.0
    return float(other / max(below + above, 1.0))


def _reversed(reference: Reference, sample: Numbers, level: float) -> str | None:
    """Judge whether a sample leans to the other side, half as far as any block leans to its own, and too far from them for a t test."""
    if reference.commonest > _REPEATS or not math.isfinite(sample.lean) or len(reference.lean) < len(reference.blocks) or abs(sample.lean) < _LEANS:
        return None
    least = min(abs(each) for each in reference.lean)
    one_side = min(reference.lean) * max(reference.lean) > 0 and least >= _LEANS
    mirrored = one_side and sample.lean * reference.lean[0] < 0 and abs(sample.lean) >= least / 2
    if not mirrored or not _unlikely(sample.lean, reference.lean, reference, sample.rows, level):
        return None
    return (
        f"looks converted, the sign is reversed: it leans to the other side (Kelley's skewness {sample.lean:.2f},"
        f" {min(reference.lean):.2f} to {max(reference.lean):.2f} in the blocks"
    )


def _outside(reference: Reference, sample: Numbers, most: float) -> str | None:
    """Judge the share of rows beyond the least and the greatest number, against that of each block beyond the others'."""
    share = outside(sample, reference.low, reference.high)
    if share <= reference.outside + most:
        return None
    ends = f"{reference.low:.4g} to {reference.high:.4g}"
    return f"lies outside {ends} in {share:.1%} of its rows, where at most {reference.outside:.1%} lie outside the range of the others in any block"


def _conversions(factors: bool) -> Sequence[tuple[float, float, str]]:
    """Return the conversions to try; mere factors, which a season may have too, only where asked for."""
    if not factors:
        return _CONVERSIONS
    scales = [(each, 0.0, f"by the factor {each:.4g} ({words})") for factor, words in _FACTORS.items() for each in (factor, 1 / factor)]
    return (*_CONVERSIONS, *scales)


def _beyond(value: float, known: Sequence[float]) -> float:
    """Return by what factor a value lies outside the range of those known; at most 1 inside it, 0 where there is no telling."""
    if not known or not math.isfinite(value) or min(known) <= 0 or value <= 0:
        return 0.0
    return max(value / max(known), min(known) / value)


def _known_factor(reference: Reference, sample: Numbers) -> float | None:
    """Return the factor between units that brings size and spread nearest to the reference's, if that is near."""
    if reference.commonest > _REPEATS or not reference.size or not math.isfinite(sample.size) or sample.size <= 0 or _on_steps(reference, sample):
        return None
    ratio = math.log(sample.size / reference.size[0])
    nearest = min(_FACTORS, key=lambda factor: abs(abs(ratio) - math.log(factor)))
    if abs(abs(ratio) - math.log(nearest)) > math.log(_NEAR):
        return None
    return nearest if _fits(sample.converted(nearest ** -math.copysign(1, ratio), 0.0), reference) else None


def _fits(sample: Numbers, reference: Reference) -> bool:
    """Say whether size and spread are within the range of the reference's blocks, or nearly."""
    pairs = ((sample.size, reference.size), (sample.spread, reference.spread))
    return all(_beyond(value, known) <= _NEAR for value, known in pairs)


def _unlikely(value: float, known: Sequence[float], reference: Reference, rows: float, level: float) -> bool:
    """Say whether a t test, with the blocks as the sample, finds a value too far from them. The first one known is that of the whole."""
    return unlikely(value, np.array(known[1:] or known), reference.rows / len(reference.blocks) / rows, level, _LEAST)


def _new(reference: Reference, sample: Texts, rows: float, min_domain_mass: float) -> str | None:
    if reference.known is None:
        return None
    share = new_share(sample, reference.known)
    if share <= reference.new + (1 - min_domain_mass) + 2 / math.sqrt(rows):  # four times the greatest standard error of a share
        return None
    return f"has values never seen before in {share:.1%} of its rows, where at most {reference.new:.1%} have values of their own in any block"


def _exchanged(reference: Reference, counts: Array) -> str | None:
    """Look for two values of which each has the share of the other, their shares being apart in all blocks."""
    cells = len(reference.labels)
    blocks = np.array(reference.blocks)
    shares = (blocks / np.maximum(blocks.sum(axis=1, keepdims=True), 1))[:, :cells]
    own = (counts / counts.sum())[:cells]
    mean, low, high = shares.mean(axis=0), shares.min(axis=0), shares.max(axis=0)
    margin = (high - low) / 2
    displaced = np.flatnonzero((own < low - margin) | (own > high + margin))
    for at, one in enumerate(displaced):
        for other in displaced[at + 1 :]:
            apart = low[one] - margin[one] > high[other] + margin[other] or low[other] - margin[other] > high[one] + margin[one]
            straight = abs(own[one] - mean[one]) + abs(own[other] - mean[other])
            crossed = abs(own[one] - mean[other]) + abs(own[other] - mean[one])
            if apart and crossed < straight * _CROSSED:
                pair = " and ".join(f"{reference.labels[each]!r} ({own[each]:.1%}, was {mean[each]:.1%})" for each in (one, other))
                return f"has the shares of {pair} exchanged; each is outside its own share in any block"
    return None
