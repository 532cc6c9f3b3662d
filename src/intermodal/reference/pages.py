"""The pages of docs/reference/: which there are, whether they are current, and how they are written."""

from pathlib import Path

from intermodal.reference.commands import commands_page
from intermodal.reference.components import component_pages
from intermodal.reference.lint_rules import lint_page
from intermodal.reference.settings import settings_pages
from intermodal.runtime.artifacts import whole_file
from intermodal.runtime.errors import ConfigurationError

FOLDER = Path("docs/reference")
#: Written by others: the index by hand, the fault matrix by tests/fault_matrix.py.
_OTHERS = frozenset({"index.md", "faults.md"})


def reference_pages() -> dict[str, str]:
    """Return every generated page, path below the folder to text."""
    return component_pages() | settings_pages() | commands_page() | lint_page()


def stale_pages(folder: Path) -> list[Path]:
    """Return the files that are missing, differ from what would be written, or belong to nothing any more."""
    pages = reference_pages()
    differ = [folder / name for name, text in pages.items() if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text]
    found = (path for path in sorted(folder.rglob("*.md")) if path.relative_to(folder).as_posix() not in _OTHERS | set(pages))
    return [*differ, *found]


def write_reference(folder: Path) -> None:
    """Write every page, and remove those that belong to nothing any more."""
    for name, text in reference_pages().items():
        with whole_file(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")
    for path in stale_pages(folder):
        path.unlink()


def main(arguments: list[str]) -> None:
    """Write the reference below the working directory, or with `--check` fail when it is stale.

    Raises:
        ConfigurationError: The reference is stale, or an argument is not known.
    """
    if unknown := [each for each in arguments if each != "--check"]:
        raise ConfigurationError(f"{' '.join(unknown)} is not known; the only option is --check")
    if "--check" not in arguments:
        write_reference(FOLDER)
    elif stale := stale_pages(FOLDER):
        raise ConfigurationError(f"{', '.join(map(str, stale))} stale; run `make reference` and commit what it writes")
