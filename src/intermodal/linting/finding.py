"""Rules, their findings, and the list of all rules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from intermodal.linting.document import Document, Place

Severity = Literal["error", "warning"]
#: enforced: a client or a service was seen to refuse it. documented: a reference or a proto says so. inferred: concluded from what is known.
Basis = Literal["enforced", "documented", "inferred"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: The rule's id.
        severity: `error`: the platform refuses it or the run fails; `warning`: it runs, but not as the file says.
        where: File, line and path within the document.
        what: What is there.
        why: What the platform does with it.
        remedy: What to do.
        basis: How this is known.
        platforms: Where it applies.
        source: Where this is known from.
    """

    rule: str
    severity: Severity
    where: str
    what: str
    why: str
    remedy: str
    basis: Basis
    platforms: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True)
class Complaint:
    """What a rule's check yields: the place, what is there, and the remedy."""

    place: Place
    what: str
    remedy: str


@dataclass(frozen=True)
class Rule:
    """A rule; see `Finding`. No `platforms`: it applies to all. `untyped`: it is checked even if the protos already found a wrong type."""

    id: str
    platforms: tuple[str, ...]
    severity: Severity
    basis: Basis
    why: str
    source: str
    check: Callable[[Document], Iterator[Complaint]]
    untyped: bool = False


#: Every rule, in the order of their modules; `linting.rules` adds the platforms' own.
RULES: list[Rule] = []


def rule(
    identifier: str,
    *,
    why: str,
    source: str,
    platforms: tuple[str, ...] = (),
    severity: Severity = "error",
    basis: Basis = "documented",
    untyped: bool = False,
) -> Callable[[Callable[[Document], Iterator[Complaint]]], Callable[[Document], Iterator[Complaint]]]:
    """Register a check as a rule.

    Args:
        identifier: The rule's id.
        why: What the platform does with it, one clause.
        source: Where that is known from.
        platforms: Where it applies. Default: on every platform.
        severity: See `Finding`.
        basis: See `Finding`.
        untyped: See `Rule`.
    """

    def register(check: Callable[[Document], Iterator[Complaint]]) -> Callable[[Document], Iterator[Complaint]]:
        RULES.append(Rule(identifier, platforms, severity, basis, why, source, check, untyped))
        return check

    return register
