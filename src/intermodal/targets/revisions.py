"""Revisions: a digest of the project's code that one task can see, so that its cached outputs go with that code."""

import hashlib
import re
from functools import cache
from pathlib import Path

import intermodal

_PACKAGE = Path(intermodal.__file__).resolve().parent
_DOTTED = re.compile(r"\bintermodal((?:\.\w+)+)")
_FROM = re.compile(r"\bfrom\s+intermodal((?:\.\w+)*)\s+import\s+\(?([\w\s,]+)")


def code_revision(text: str) -> str:
    """Return a digest of the files of this package that a program may import.

    Every module of the package that the program names, in an import or in a string, and every module those name in turn; of a component always
    the whole folder, data files included. Naming is more than importing, so the rule may take too much, never too little.

    Args:
        text: The program.
    """
    found: set[Path] = set()
    waiting = _named(text)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting |= _named(path.read_text(encoding="utf-8", errors="replace")) if path.suffix == ".py" else set()
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + _content_digest(path, path.stat().st_mtime_ns))
    return digest.hexdigest()


@cache
def _content_digest(path: Path, modified: int) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _named(text: str) -> set[Path]:
    names = {match[1] for match in _DOTTED.finditer(text)}
    for match in _FROM.finditer(text):
        names |= {f"{match[1]}.{name}" for name in re.findall(r"\w+", match[2])}
    return {path for name in names for path in _files(name.strip(".").split("."))}


def _files(parts: list[str]) -> list[Path]:
    """Return the files of the deepest module or package on the way that `parts` name."""
    if parts[0] == "components" and len(parts) > 1 and (_PACKAGE / "components" / parts[1]).is_dir():
        folder = _PACKAGE / "components" / parts[1]
        return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for depth in range(len(parts), 0, -1):
        place = _PACKAGE.joinpath(*parts[:depth])
        if place.with_suffix(".py").is_file():
            return [place.with_suffix(".py")]
        if (place / "__init__.py").is_file():
            return [place / "__init__.py"]
    return []
