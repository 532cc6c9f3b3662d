"""Checks of arguments: ranges and choices, said once, by whoever reads a configuration and by the component's logic.

A component's `arguments.py` has one function, `check_arguments`, whose parameters are named as the component's are; it imports this module and the
standard library alone.
"""

import math
from collections.abc import Collection

from intermodal.runtime.errors import ConfigurationError


class ArgumentError(ConfigurationError):
    """An argument has a value that the component does not take.

    Attributes:
        parameter: The parameter's name; a key inside a mapping follows a dot: ``minimum.auc``.
        reason: What is wrong, with the value and what it may be.
    """

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}")
        self.parameter, self.reason = parameter, reason


def in_range(
    parameter: str,
    value: float | None,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Check that a number is between two bounds; None, which stands for a default, passes.

    Args:
        parameter: The parameter's name.
        value: Its value.
        low: The lowest allowed.
        high: The highest allowed.
        open_low: Whether `low` itself is refused.
        open_high: Whether `high` itself is refused.

    Raises:
        ArgumentError: It is outside, or not a number (NaN).
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentError(parameter, f"{value!r} must be a number")
    if (value > low if open_low else value >= low) and (value < high if open_high else value <= high):
        return
    bounds = [
        *([f"{'above' if open_low else 'at least'} {low:g}"] if low > -math.inf else []),
        *([f"{'below' if open_high else 'at most'} {high:g}"] if high < math.inf else []),
    ]
    raise ArgumentError(parameter, f"{value!r} must be {' and '.join(bounds) or 'a number'}")


def whole_number(parameter: str, value: float, low: int) -> None:
    """Check that a number is whole and at least `low`; 8.0, as JSON brings it, is whole.

    Raises:
        ArgumentError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < math.inf or value != value // 1:
        raise ArgumentError(parameter, f"{value!r} must be a whole number, at least {low}")


def texts(parameter: str, values: Collection[str]) -> None:
    """Check that a value is a list of texts, and no single text.

    Raises:
        ArgumentError: It is not.
    """
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) for each in values):
        raise ArgumentError(parameter, f"{values!r} must be a list of texts")


def one_of(parameter: str, value: str, choices: Collection[str]) -> None:
    """Check that a text is one of some.

    Raises:
        ArgumentError: It is none of them.
    """
    if value not in choices:
        raise ArgumentError(parameter, f"{value!r} must be one of {', '.join(choices)}")


def all_of(parameter: str, values: Collection[str], choices: Collection[str]) -> None:
    """Check that each of some texts, for instance the keys of a mapping, is one of the choices.

    Raises:
        ArgumentError: One is not; the parameter named is that one's place.
    """
    for value in values:
        if value not in choices:
            raise ArgumentError(f"{parameter}.{value}" if isinstance(values, dict) else parameter, f"{value!r} is none of {', '.join(choices)}")


def not_empty(parameter: str, value: str | Collection[object]) -> None:
    """Check that a text, list or mapping has something in it.

    Raises:
        ArgumentError: It is empty.
    """
    if not value:
        raise ArgumentError(parameter, "it must not be empty")
