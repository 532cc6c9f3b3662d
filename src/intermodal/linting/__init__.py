"""Lint of compiled pipelines: what each platform accepts, with the evidence."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from intermodal.authoring.platform import remote_platforms
from intermodal.linting import containers, placeholders, secrets, structure, wiring
from intermodal.linting.document import Document, UnreadableError, parse_document, read_document, read_text
from intermodal.linting.finding import RULES, Finding, Rule
from intermodal.runtime.errors import ConfigurationError, nearest

__all__ = ["Finding", "containers", "lint", "lint_documents", "placeholders", "rules", "secrets", "structure", "wiring"]


def lint(source: Path | str, target: str | None = None) -> list[Finding]:
    """Check a compiled file.

    Args:
        source: A compiled pipeline or component: the file as a `Path`, or its text as a `str`.
        target: A platform. Default: all; every finding names its platforms.

    Returns:
        The findings, errors first, then by line. A file that is not a compiled pipeline gives one.

    Raises:
        ConfigurationError: There is no such target.
    """
    platforms = _platforms(target)
    name = str(source) if isinstance(source, Path) else "pipeline"
    try:
        return _findings(read_document(source) if isinstance(source, Path) else read_text(source, name), platforms)
    except UnreadableError as error:
        return [_unreadable(name, error, platforms)]


def lint_documents(documents: list[dict[str, Any]], target: str | None, name: str = "pipeline") -> list[Finding]:
    """Check a pipeline in memory; see `lint`.

    Args:
        documents: The specification, and the platform's document if there is one.
        target: A platform, or None for all.
        name: The file's name in findings.
    """
    platforms = _platforms(target)
    try:
        return _findings(parse_document(documents, name), platforms)
    except UnreadableError as error:
        return [_unreadable(name, error, platforms)]


def rules() -> list[Rule]:
    """Return every rule: those that hold on each platform, then the platforms' own."""
    for each in remote_platforms().values():
        if each.rules:
            importlib.import_module(each.rules)  # registers them
    return RULES


def _platforms(target: str | None) -> tuple[str, ...]:
    chosen = tuple(each for each in remote_platforms() if target in (None, each))
    if not chosen:
        raise ConfigurationError(f"there is no target {target!r} to lint for; {nearest(str(target), remote_platforms())}")
    return chosen


def _findings(document: Document, platforms: Iterable[str]) -> list[Finding]:
    found: dict[Finding, int] = {}
    shaped = structure.shaped(document)
    for rule in rules():
        if not shaped and not rule.untyped:
            continue
        applies_to = tuple(each for each in platforms if not rule.platforms or each in rule.platforms)
        for complaint in rule.check(document) if applies_to else ():
            line = document.line(complaint.place)
            where = f"{document.path}:{line}" if line else document.path
            where = f"{where} {'.'.join(map(str, complaint.place[1:]))}".rstrip()
            finding = Finding(rule.id, rule.severity, where, complaint.what, rule.why, complaint.remedy, rule.basis, applies_to, rule.source)
            found[finding] = line
    return sorted(found, key=lambda each: (each.severity, found[each], each.rule, each.where, each.what))


def _unreadable(path: str, error: UnreadableError, platforms: tuple[str, ...]) -> Finding:
    return Finding(
        "readable",
        "error",
        path,
        str(error),
        "no platform can read it",
        "give a file that `intermodal compile` or kfp wrote",
        "enforced",
        platforms,
        "PyYAML 6, kfp SDK 2.17",
    )
