"""The configurations that come with the project: in a checkout, and in the installed package."""

from pathlib import Path
from typing import Final

import intermodal

_PATTERNS: Final = ("pipelines/*.yaml", "examples/*/*.yaml")


def shipped_configurations() -> list[Path]:
    """Return the configurations of the checkout that is the working directory, else the package's, relative to either and sorted."""
    for root in (Path(), _package()):
        if found := sorted(path.relative_to(root) for pattern in _PATTERNS for path in root.glob(pattern)):
            return found
    return []


def find_configuration(path: Path) -> Path:
    """Return the file that a person means by a path: the file itself, or one that is shipped with the package, by its path there or its name."""
    if path.exists():
        return path
    for shipped in shipped_configurations():
        if path in (shipped, Path(shipped.stem)):
            return shipped if shipped.exists() else _package() / shipped
    return path


def _package() -> Path:
    return Path(intermodal.__file__).resolve().parent
