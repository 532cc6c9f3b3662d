"""Markdown of generated pages."""

from collections.abc import Iterable


def notice(source: str) -> str:
    """Return the comment that every generated page starts with.

    Args:
        source: What to change instead of the page.
    """
    return f"<!-- Written by `make reference` from {source}; change that instead. -->\n\n"


def cell(text: str) -> str:
    """Return a text as one cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table.

    Args:
        head: The columns' names.
        rows: Texts as they should be shown; a bar or a line break in them is taken care of.
    """
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(list(head))}"]
    return "\n".join([*lines, *(f"| {' | '.join(cell(each) for each in row)} |" for row in rows)])
