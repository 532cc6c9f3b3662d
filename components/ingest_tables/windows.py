"""Windows of time: from one time to another, or counted back from where the data ends, so that they roll as data is added."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple

from intermodal.runtime.arguments import ArgumentError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {"minute": 60_000_000, "hour": 3_600_000_000, "day": 86_400_000_000, "week": 604_800_000_000}
#: Steps are counted from the first Monday of 1970, so that weeks begin on Mondays.
_ORIGIN: Final = 4 * _UNITS["day"]
_FIRST, _LAST = -(2**63), 2**63 - 1


class Bound(NamedTuple):
    """One end of a window, in microseconds: since 1970 (UTC), or, where it is relative, from where the data ends."""

    at: int
    relative: bool
    text: str


class Window(NamedTuple):
    """A start, which belongs to the window, and an end, which does not; None: it is open."""

    start: Bound | None = None
    end: Bound | None = None


def parse_windows(parts: Mapping[str, Any]) -> dict[str, Window]:
    """Return the window of each part.

    Raises:
        ArgumentError: A bound is unknown, or neither a time with a zone nor a number of units before the data's end.
    """
    windows = {}
    for part, bounds in parts.items():
        parameter = f"split_parts.{part}"
        if not isinstance(bounds, Mapping):
            raise ArgumentError(parameter, f"{bounds!r} must be an object with `start`, `end` or both")
        for name in bounds:
            if name not in Window._fields:
                raise ArgumentError(parameter, f"there is no bound {name!r}; the bounds are start and end")
        windows[part] = Window(**{name: _bound(parameter, name, str(text)) for name, text in bounds.items() if text is not None})
    return windows


def is_rolling(windows: Mapping[str, Window]) -> bool:
    """Return whether any bound is counted from where the data ends."""
    return any(bound is not None and bound.relative for window in windows.values() for bound in window)


def check_windows(parts: Mapping[str, Any], end: str, step: str) -> None:
    """Check windows as far as that is possible without data.

    Raises:
        ArgumentError: A bound, the end or the step makes no sense; a window's start is not before its end; windows overlap.
    """
    windows = parse_windows(parts)
    size = parse_step(step)
    rolling = is_rolling(windows)
    if end and not rolling:
        raise ArgumentError("split_end", f"{end!r} does nothing, as no bound in split_parts is counted back from it; write -90 days, for instance")
    if end:
        resolve(windows, parse_end(end, size))
    elif all(bound is None or bound.relative == rolling for window in windows.values() for bound in window):
        resolve(windows, 0)


def resolve(windows: Mapping[str, Window], end: int) -> dict[str, tuple[int, int]]:
    """Return each window's start, included, and end, excluded, in microseconds since 1970 (UTC).

    Args:
        windows: By part. Where any of them rolls, none goes beyond the end.
        end: Where the data ends, likewise.

    Raises:
        ArgumentError: A start is not before its end, or two windows overlap.
    """
    last = end if is_rolling(windows) else _LAST
    found = {part: (_placed(window.start, end, _FIRST), min(_placed(window.end, end, _LAST), last)) for part, window in windows.items()}
    for part, (start, stop) in found.items():
        if start >= stop:
            first, second = windows[part]
            ends = f"end {second.text}" if second else "the end of the data"
            raise ArgumentError(f"split_parts.{part}", f"start {first.text if first else '(none)'} is not before {ends}")
    for (one, (_, stop)), (other, (start, _)) in pairwise(sorted(found.items(), key=lambda item: item[1])):
        if start < stop:
            raise ArgumentError("split_parts", f"the windows of {one} and {other} overlap; a row may be in one part only")
    return found


def parse_step(step: str) -> int:
    """Return the microseconds by which windows move at a time.

    Raises:
        ArgumentError: It is no number of units, or 0.
    """
    found = re.fullmatch(r"(\d+)\s*([A-Za-z]+)", step.strip())
    if not found or int(found[1]) == 0:
        raise ArgumentError("split_step", f"{step!r} must be a whole number of minutes, hours, days or weeks above 0, for instance 7 days")
    return int(found[1]) * _unit("split_step", step, found[2])


def parse_end(end: str, step: int) -> int:
    """Return the end that a text names, in microseconds since 1970: the last whole step that is over then.

    Raises:
        ArgumentError: It is not a time with a zone.
    """
    return _floor(_time("split_end", end), step)


def data_end(last: int, step: int) -> int:
    """Return where data ends whose last time is given: with that day (or step, if that is shorter), or with an earlier step that is over then."""
    unit = min(step, _UNITS["day"])
    return _floor(_floor(last, unit) + unit, step)


def written(timestamp: int) -> str | None:
    """Return a bound as ISO 8601, None where the window is open, or begins or ends beyond the calendar."""
    try:
        return (_EPOCH + timedelta(microseconds=timestamp)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return None


def _floor(timestamp: int, step: int) -> int:
    return (timestamp - _ORIGIN) // step * step + _ORIGIN


def _placed(bound: Bound | None, end: int, default: int) -> int:
    if bound is None:
        return default
    return max(end + bound.at, _FIRST) if bound.relative else bound.at


def _bound(parameter: str, name: str, text: str) -> Bound:
    if found := re.fullmatch(r"([+-]?)\s*(\d+)\s*([A-Za-z]*)", text.strip()):
        sign, number, unit = found.groups()
        if sign and not unit:
            raise ArgumentError(parameter, f"{name} {text!r} has no unit; write {sign}{number} days, for instance")
        if sign or unit.lower().removesuffix("s") in _UNITS:
            size = _unit(parameter, f"{name} {text}", unit)
            if sign != "-" and int(number):
                raise ArgumentError(parameter, f"{name} {text!r} lies after the end of the data; write -{number} {unit} to count back from it")
            return Bound(-int(number) * size, True, text)
    return Bound(_time(parameter, text, f"{name} "), False, text)


def _unit(parameter: str, text: str, unit: str) -> int:
    name = unit.lower().removesuffix("s")
    if name not in _UNITS:
        raise ArgumentError(parameter, f"{text!r}: there is no unit {unit!r}; write minutes, hours, days or weeks (months differ in length)")
    return _UNITS[name]


def _time(parameter: str, text: str, name: str = "") -> int:
    try:
        timestamp = datetime.fromisoformat(text)
    except ValueError as error:
        ways = "write 2013-09-01T00:00:00Z, for instance" + ("" if parameter == "split_end" else ", or -90 days to count back from the data's end")
        raise ArgumentError(parameter, f"{name}{text!r} is not an ISO 8601 time; {ways}") from error
    if timestamp.tzinfo is None:
        raise ArgumentError(parameter, f"{name}{text!r} has no time zone; write {text}{'' if 'T' in text or ' ' in text else 'T00:00:00'}Z for UTC")
    return (timestamp.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
