"""Cron expressions: the one syntax for both platforms, and Kubeflow's, which has the seconds first."""

import re
import zoneinfo
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from intermodal.runtime.errors import ConfigurationError

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_ITEM = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")


def check_cron(cron: str, time_zone: str) -> None:
    """Check a cron expression and its time zone before anything is sent.

    Args:
        cron: Five fields: minute, hour, day of month, month (1-12 or JAN-DEC), day of week (0-6, Sunday first, or SUN-SAT); each `*`, a value, a
            range, a list of these, with a step after `*` or a range.
        time_zone: An IANA name.

    Raises:
        ConfigurationError: One is wrong; the message names the field.
    """
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        raise ConfigurationError(f"--cron {cron!r}: expected five fields (minute, hour, day of month, month, day of week), found {len(fields)}")
    for text, (name, low, high, words) in zip(fields, _FIELDS, strict=True):
        for item in text.split(","):
            if not _valid(item, low, high, words):
                raise ConfigurationError(
                    f"--cron {cron!r}: {item!r} is not a valid {name}; it goes from {low} to {high}, for instance {low}, {low}-{high}, */2"
                )
    try:
        zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(f"--time-zone {time_zone!r}: no such time zone; give an IANA name, for instance Europe/Zurich or UTC") from None


def with_seconds(cron: str) -> str:
    """Return five fields as the six that Kubeflow reads: it takes five too, and means seconds first, by minutes and hours.

    Raises:
        ConfigurationError: They are not five.
    """
    if len(cron.split()) != len(_FIELDS):
        raise ConfigurationError(
            f"the cron expression {cron!r} has {len(cron.split())} fields; give five: minute, hour, day of month, month, day of week"
        )
    return " ".join(["0", *cron.split()])


def without_seconds(text: str) -> str:
    """Return Kubeflow's expression as five fields; as it is where five cannot say it: with seconds, or a descriptor such as `@daily`."""
    fields = text.split()
    if len(fields) == len(_FIELDS):
        fields.append("*")  # its parser lets the day of week away, not the seconds
    if len(fields) == len(_FIELDS) + 1:
        return " ".join(fields[1:]) if fields[0] == "0" else f"{' '.join(fields)} (seconds first)"
    return text


def next_time(cron: str, now: datetime) -> datetime | None:
    """Return when five fields next come true, in UTC; None for what is none, or never comes."""
    try:
        return next(CronSim(cron.replace("?", "*"), now.astimezone(UTC)))
    except (CronSimError, StopIteration):
        return None


def _valid(item: str, low: int, high: int, words: list[str]) -> bool:
    match = _ITEM.fullmatch(item)
    if not match or match["step"] == "0" or (match["step"] and match["low"] and not match["high"]):
        return False
    numbers = [_number(text, low, words) for text in (match["low"], match["high"]) if text]
    return all(number is not None and low <= number <= high for number in numbers) and numbers == sorted(numbers, key=lambda number: number or 0)


def _number(text: str, low: int, words: list[str]) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text)
    return words.index(text.upper()) + low if text.upper() in words else None
