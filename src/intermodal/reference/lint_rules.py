"""The page of the linter's rules."""

from intermodal.linting import rules
from intermodal.reference.markdown import notice, table

_TEXT = (
    "# Lint rules\n\nWhat `intermodal lint` and `intermodal submit` check in a compiled file. Basis: *enforced*: a client or a service was "
    "seen to refuse it; *documented*: a reference or a proto says so; *inferred*: what is known leads there."
)


def lint_page() -> dict[str, str]:
    """Return the page, file name to text."""
    rows = ((f"`{each.id}`", ", ".join(each.platforms) or "each", each.severity, each.why, f"{each.basis}: {each.source}") for each in rules())
    head = ("Rule", "Platform", "Severity", "Why", "Basis")
    return {"lint-rules.md": notice("src/intermodal/linting") + f"{_TEXT}\n\n{table(head, rows)}\n"}
