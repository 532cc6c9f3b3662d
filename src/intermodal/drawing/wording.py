"""How the page writes numbers, and what it calls metrics."""

import math
from collections.abc import Mapping
from typing import Any, Final

#: What stands where a number is missing or not finite.
NOTHING: Final = "\N{EN DASH}"
_MINUS: Final = "\N{MINUS SIGN}"

METRICS: Final = {
    "auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "accuracy": "Accuracy",
    "ece": "Calibration error",
}
LOWER_IS_BETTER: Final = frozenset({"log_loss", "brier", "ece"})


def finite(value: Any) -> float | None:
    """Return a number as a float, and None for whatever is no finite number; beyond 1e100 a number stands for infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= 1e100 else None


def number(value: Any) -> str:
    """Write a number with three significant digits, from 1,000 on with none after the point and with thousands apart."""
    known = finite(value)
    if known is None:
        return NOTHING
    if known == int(known) and abs(known) < 1e15:
        return f"{int(known):,}".replace("-", _MINUS)
    if abs(known) >= 1000:
        text = f"{known:,.0f}" if abs(known) < 1e15 else f"{known:.2e}"
    elif abs(known) >= 0.0001:
        text = f"{known:.{max(0, 2 - math.floor(math.log10(abs(known))))}f}"
    else:
        text = f"{known:.2g}"
    return text.replace("-", _MINUS)


def signed(value: Any) -> str:
    """Write a number with its sign, plus included."""
    known = finite(value)
    return f"+{number(known)}" if known is not None and known > 0 else number(value)


def percent(value: Any) -> str:
    """Write a fraction as a percentage with at most one decimal."""
    known = finite(value)
    if known is None:
        return NOTHING
    hundredfold = 100 * known
    return f"{hundredfold:.0f} %" if hundredfold == 0 or abs(hundredfold) >= 99.95 else f"{hundredfold:.1f} %"


def compact(value: Any) -> str:
    """Write a number shortly, for the labels of an axis: 1.5M, 250k, 0.05."""
    known = finite(value)
    if known is None:
        return NOTHING
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(known) >= size:
            return f"{known / size:.3g}{letter}".replace("-", _MINUS)
    return f"{known:.3g}".replace("-", _MINUS)


def interval(measure: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    """Write a measure `{"value", "low", "high"}` with its interval, where it has one; the interval's width says how many decimals mean something."""
    value, low, high = (finite((measure or {}).get(key)) for key in ("value", "low", "high"))
    if value is None or low is None or high is None or not 0 < high - low < 100:
        return signed(value) if sign else number(value)
    decimals = min(6, max(3, 1 - math.floor(math.log10(high - low))))
    first, second, third = (f"{each:{'+' if sign else ''}.{decimals}f}".replace("-", _MINUS) for each in (value, low, high))
    return f"{first} ({second} to {third})"


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: 1 rule, 5 rules, 2 anomalies."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number(count)} {noun if count == 1 else many}"
